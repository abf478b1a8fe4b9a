//! A real guest on a real KubeVirt, from nothing to nothing.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use novasphere_crd::VmAccess;
use novasphere_e2e::{
    fixtures::{
        audit::{self, Mark, Write},
        cluster::Cluster,
        installed,
        kubevirt::{text_at, virtual_machine_instances, virtual_machines},
        namespace::{Context, PodSecurity, with_namespace},
        serial_console::SerialConsole,
        vm_access::{BOOTED, GUEST_IMAGE, apply_vm_access, echo_service, ready_as, sample, vm_access_is_gone},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const NAME: &str = "guest";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("vm_access::lifecycle::from_template", Needs::Node, from_template),
        Case::new("vm_access::lifecycle::adopted", Needs::Node, adopted),
    ]
}

async fn from_template() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    with_namespace(
        cluster,
        "vm_access::lifecycle::from_template",
        PodSecurity::Privileged,
        async |context| {
            let undisturbed = installed::undisturbed().await;
            let mark = cluster.audit().mark()?;
            apply_vm_access(context, NAME, &sample("Running", "Delete")?).await?;
            boots(context).await.context("the guest boots")?;
            let object = ready_as(context, NAME, "Running", wait::LONG).await?;
            answers(&object).await.context("ports of the guest answer")?;
            status_describes(&object)?;
            few_writes(context, mark)?;
            resyncs_write_nothing(context).await.context("resyncs")?;
            drop(undisturbed);
            power_by_sample(context).await.context("power by spec")?;
            deletes_with_machine(context).await.context("deletionPolicy Delete")?;
            orphans_machine(context).await.context("deletionPolicy Orphan")
        },
    )
    .await
}

/// Reads the boot line from the serial console. KubeVirt does not replay what was
/// printed before the console was opened, so a guest that was quicker boots again.
async fn boots(context: &Context<'_>) -> Result<()> {
    const FIRST_BOOT_TIMEOUT: Duration = Duration::from_mins(1);
    let mut console = wait::until("the console opens", wait::LONG, || async {
        Ok(Seen::Done(
            SerialConsole::open(&context.client, &context.namespace, NAME).await?,
        ))
    })
    .await?;
    if console.expect(BOOTED, FIRST_BOOT_TIMEOUT).await.is_err() {
        console.send_line("reboot -f").await?;
        console.expect(BOOTED, wait::LONG).await?;
    }
    // It is a shell of a real machine, not only a recording of one.
    console.ask("echo sum=$((40 + 2))", "sum=42", wait::SHORT).await
}

/// What a guest says on a port of a Service, and what it is asked for that.
const ANSWERS: [(&str, &str, &str); 2] = [("web", "GET / HTTP/1.0\r\n\r\n", "tiny-guest"), ("ssh", "", "SSH-2.0")];

async fn answers(object: &VmAccess) -> Result<()> {
    let services = object
        .status
        .as_ref()
        .map(|status| status.services.clone())
        .unwrap_or_default();
    for (name, question, answer) in ANSWERS {
        let service = services
            .iter()
            .find(|service| service.name == name)
            .with_context(|| format!("no {name} in status"))?;
        let endpoint = service.endpoint.as_deref().context("no endpoint in status")?;
        let address: SocketAddr = endpoint.parse().with_context(|| format!("endpoint {endpoint}"))?;
        wait::until(format!("{name} at {address} answers {answer}"), wait::SHORT, || async {
            let said = talk(address, question).await?;
            Ok(Seen::some(said.contains(answer).then_some(()), said))
        })
        .await?;
    }
    Ok(())
}

async fn talk(address: SocketAddr, question: &str) -> Result<String> {
    // A SYN to a Service that is not programmed yet is lost; do not wait for its repetition.
    let mut stream = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await??;
    stream.write_all(question.as_bytes()).await?;
    let mut said = Vec::new();
    // SSH says its line and waits.
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut said)).await;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn status_describes(object: &VmAccess) -> Result<()> {
    let status = object.status.as_ref().context("no status")?;
    let machine = status.virtual_machine.as_ref().context("no status.virtualMachine")?;
    let shown = serde_json::to_value(machine)?;
    for field in ["name", "uid", "printableStatus", "nodeName", "cpu", "memory", "image"] {
        ensure!(
            shown.get(field).is_some_and(|value| !value.is_null()),
            "status.virtualMachine.{field} is missing: {shown}"
        );
    }
    ensure!(
        shown.pointer("/interfaces/0/ipAddresses/0").is_some(),
        "no address of the guest: {shown}"
    );
    Ok(())
}

/// The promise of 5 is for one Service; the sample has two.
const WRITES_LIMIT: usize = 5 + 1;

fn few_writes(context: &Context<'_>, mark: Mark) -> Result<()> {
    let writes = installed::writes(context, mark)?;
    ensure!(
        !writes.is_empty(),
        "the audit log has no write of {}: is the account right?",
        installed::account()
    );
    ensure!(
        writes.len() <= WRITES_LIMIT,
        "{} writes for one VmAccess:{}",
        writes.len(),
        audit::describe(&writes)
    );
    let what: Vec<_> = writes.iter().map(Write::resource).collect();
    println!(
        "vm_access::lifecycle::from_template: {} writes for a machine with two Services: {}",
        what.len(),
        what.join(", ")
    );
    Ok(())
}

/// A touched annotation makes the controller look again.
async fn resyncs_write_nothing(context: &Context<'_>) -> Result<()> {
    const RESYNCS: u64 = 20;
    let leader = installed::leader(context).await?;
    let mark = context.cluster.audit().mark()?;
    for number in 0..RESYNCS {
        let before = installed::reconciles(context, &leader).await?;
        let patch = json!({"metadata": {"annotations": {"e2e/touched": number.to_string()}}});
        context
            .api::<VmAccess>()
            .patch(NAME, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        wait::until("the touched object is reconciled", wait::SHORT, || async {
            let now = installed::reconciles(context, &leader).await?;
            Ok(Seen::some((now > before).then_some(()), format!("{now} reconciles")))
        })
        .await?;
    }
    let writes = installed::writes(context, mark)?;
    ensure!(
        writes.is_empty(),
        "{RESYNCS} resyncs of a settled machine cost writes:{}",
        audit::describe(&writes)
    );
    Ok(())
}

async fn instance_uid(context: &Context<'_>) -> Result<String> {
    let instances = context.dynamic(&virtual_machine_instances());
    Ok(instances.get(NAME).await?.uid().unwrap_or_default())
}

async fn power_by_sample(context: &Context<'_>) -> Result<()> {
    let machines = context.dynamic(&virtual_machines());
    let instances = context.dynamic(&virtual_machine_instances());

    let first = instance_uid(context).await?;
    let mut restart = sample("Running", "Delete")?;
    if let Some(power) = restart.get_mut("power").and_then(Value::as_object_mut) {
        power.insert("restartedAt".to_owned(), json!(Timestamp::now().to_string()));
    }
    apply_vm_access(context, NAME, &restart).await?;
    another_instance(context, &instances, &first)
        .await
        .context("restartedAt")?;
    ready_as(context, NAME, "Running", wait::LONG).await?;
    let second = instance_uid(context).await?;

    apply_vm_access(context, NAME, &sample("Paused", "Delete")?).await?;
    ready_as(context, NAME, "Paused", wait::LONG).await?;
    ensure!(
        text_at(&machines.get(NAME).await?, "/status/printableStatus") == "Paused",
        "KubeVirt does not say Paused"
    );
    apply_vm_access(context, NAME, &restart).await?;
    ready_as(context, NAME, "Running", wait::LONG).await?;
    ensure!(
        instance_uid(context).await? == second,
        "restartedAt restarted more than once, or pausing restarts"
    );

    apply_vm_access(context, NAME, &sample("Stopped", "Delete")?).await?;
    ready_as(context, NAME, "Stopped", wait::LONG).await?;
    wait::gone(&instances, NAME, wait::LONG).await?;
    apply_vm_access(context, NAME, &sample("Running", "Delete")?).await?;
    ready_as(context, NAME, "Running", wait::LONG).await.map(drop)
}

async fn another_instance(context: &Context<'_>, instances: &Api<DynamicObject>, first: &str) -> Result<()> {
    wait::object(instances, NAME, "another run of the machine", wait::LONG, |instance| {
        let uid = instance.uid().unwrap_or_default();
        if uid != first && text_at(instance, "/status/phase") == "Running" {
            return Ok(());
        }
        Err(format!(
            "{uid} is {} in {}",
            text_at(instance, "/status/phase"),
            context.namespace
        ))
    })
    .await
    .map(drop)
}

async fn deletes_with_machine(context: &Context<'_>) -> Result<()> {
    context.api::<VmAccess>().delete(NAME, &DeleteParams::default()).await?;
    vm_access_is_gone(context, NAME).await?;
    wait::gone(&context.dynamic(&virtual_machine_instances()), NAME, wait::LONG).await?;
    wait::gone(&context.dynamic(&virtual_machines()), NAME, wait::LONG).await
}

async fn orphans_machine(context: &Context<'_>) -> Result<()> {
    apply_vm_access(context, NAME, &sample("Stopped", "Orphan")?).await?;
    ready_as(context, NAME, "Stopped", wait::LONG).await?;
    context.api::<VmAccess>().delete(NAME, &DeleteParams::default()).await?;
    vm_access_is_gone(context, NAME).await?;
    let machines = context.dynamic(&virtual_machines());
    let machine = machines
        .get(NAME)
        .await
        .context("the machine has gone with its VmAccess")?;
    ensure!(
        machine.metadata.deletion_timestamp.is_none(),
        "the machine is being deleted"
    );
    ensure!(
        machine.owner_references().is_empty(),
        "the machine still has an owner: {:?}",
        machine.owner_references()
    );
    // Orphaned is adoptable.
    apply_vm_access(context, NAME, &json!({"virtualMachine": {"name": NAME}})).await?;
    ready_as(context, NAME, "Stopped", wait::SHORT).await.map(drop)
}

/// A machine that somebody else made is started and stopped by KubeVirt's calls; its spec stays as it is.
async fn adopted() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    with_namespace(
        cluster,
        "vm_access::lifecycle::adopted",
        PodSecurity::Privileged,
        async |context| {
            let machines = context.dynamic(&virtual_machines());
            let instances = context.dynamic(&virtual_machine_instances());
            let machine: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "kubevirt.io/v1",
                "kind": "VirtualMachine",
                "metadata": {"name": NAME},
                "spec": {"runStrategy": "Manual", "template": {"spec": {
                    "terminationGracePeriodSeconds": 5,
                    "domain": {
                        "memory": {"guest": "128Mi"},
                        "devices": {
                            "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                            "interfaces": [{"name": "default", "masquerade": {}}],
                        },
                    },
                    "networks": [{"name": "default", "pod": {}}],
                    "volumes": [{"name": "root", "containerDisk": {
                        "image": GUEST_IMAGE, "imagePullPolicy": "Never",
                    }}],
                }}},
            }))?;
            let made = machines.create(&PostParams::default(), &machine).await?;

            let adopt = |power: Option<Value>| {
                let mut spec = json!({"virtualMachine": {"name": NAME}, "services": [echo_service()]});
                if let (Some(spec), Some(power)) = (spec.as_object_mut(), power) {
                    spec.insert("power".to_owned(), power);
                }
                spec
            };
            apply_vm_access(context, NAME, &adopt(None)).await?;
            ready_as(context, NAME, "Stopped", wait::LONG).await?;
            apply_vm_access(context, NAME, &adopt(Some(json!({"state": "Running"})))).await?;
            let object = ready_as(context, NAME, "Running", wait::LONG).await?;
            ensure!(
                object.status.is_some_and(|status| status.services.len() == 1),
                "the Service is missing in status"
            );
            let first = instance_uid(context).await?;
            let restart = json!({"state": "Running", "restartedAt": Timestamp::now().to_string()});
            apply_vm_access(context, NAME, &adopt(Some(restart))).await?;
            another_instance(context, &instances, &first)
                .await
                .context("restartedAt")?;
            apply_vm_access(context, NAME, &adopt(Some(json!({"state": "Paused"})))).await?;
            ready_as(context, NAME, "Paused", wait::LONG).await?;
            apply_vm_access(context, NAME, &adopt(Some(json!({"state": "Stopped"})))).await?;
            ready_as(context, NAME, "Stopped", wait::LONG).await?;
            wait::gone(&instances, NAME, wait::LONG).await?;

            // Nobody wants a state now, so nobody fights a person who starts it.
            apply_vm_access(context, NAME, &adopt(None)).await?;
            ready_as(context, NAME, "Stopped", wait::LONG).await?;
            by_hand(context, "start").await?;
            ready_as(context, NAME, "Running", wait::LONG).await?;

            context.api::<VmAccess>().delete(NAME, &DeleteParams::default()).await?;
            vm_access_is_gone(context, NAME).await?;
            let after = machines.get(NAME).await?;
            ensure!(
                after.uid() == made.uid() && after.metadata.deletion_timestamp.is_none(),
                "the machine was deleted"
            );
            ensure!(
                after.data.get("spec") == made.data.get("spec"),
                "the spec of an adopted machine was changed"
            );
            ensure!(after.owner_references().is_empty(), "an adopted machine got an owner");
            Ok(())
        },
    )
    .await
}

/// What `virtctl start` and `virtctl stop` do.
async fn by_hand(context: &Context<'_>, call: &str) -> Result<()> {
    let path = format!(
        "/apis/subresources.kubevirt.io/v1/namespaces/{}/virtualmachines/{NAME}/{call}",
        context.namespace
    );
    context
        .client
        .request_text(http::Request::put(path).body(b"{}".to_vec())?)
        .await?;
    Ok(())
}
