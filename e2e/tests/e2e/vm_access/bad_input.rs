//! A condition and an event say what cannot work and what to do; other objects go on.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, api::PostParams};
use novasphere_crd::VmAccess;
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        condition::{has, message, wait_for},
        event::wait_for_event,
        namespace::{Context, PodSecurity, with_namespace},
        vm_access::{apply_vm_access, ready, template},
        wait,
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("vm_access::bad_input::refusals", Needs::Node, refusals)]
}

/// One thing that cannot work.
struct Bad {
    name: &'static str,
    spec: Value,
    condition: &'static str,
    reason: &'static str,
    /// What the message has to say: the thing that is wrong, or what to do.
    says: &'static str,
}

/// The node port that two `VmAccess` want.
const NODE_PORT: u16 = 31_777;

fn bad_ones() -> Vec<Bad> {
    let with = |field: &str, value: Value| {
        let mut template = template();
        if let Some(template) = template.as_object_mut() {
            template.insert(field.to_owned(), value);
        }
        template
    };
    let machine =
        |template: Value, state: &str| json!({"virtualMachine": {"template": template}, "power": {"state": state}});
    let mut instancetype = with("instancetype", json!({"name": "no-such-type"}));
    if let Some(fields) = instancetype.as_object_mut() {
        fields.remove("memory");
    }
    vec![
        Bad {
            name: "wrong-instancetype",
            spec: machine(instancetype, "Running"),
            condition: "VirtualMachineReady",
            reason: "KubeVirtFailure",
            says: "no-such-type",
        },
        Bad {
            name: "refused-by-kubevirt",
            // A disk that has no volume.
            spec: machine(
                with(
                    "overrides",
                    json!({"template": {"spec": {"domain": {"devices": {
                        "disks": [{"name": "without-volume", "disk": {"bus": "virtio"}}],
                    }}}}}),
                ),
                "Stopped",
            ),
            condition: "VirtualMachineReady",
            reason: "Rejected",
            says: "without-volume",
        },
        Bad {
            name: "without-cdi",
            spec: machine(
                with(
                    "rootDisk",
                    json!({"dataVolume": {"source": {"blank": {}}, "size": "1Gi"}}),
                ),
                "Running",
            ),
            condition: "VirtualMachineReady",
            reason: "CdiNotInstalled",
            says: "CDI",
        },
        Bad {
            name: "unknown-storage-class",
            spec: machine(
                with("rootDisk", json!({"persistentVolumeClaim": {"claimName": "unbound"}})),
                "Running",
            ),
            condition: "VirtualMachineReady",
            reason: "ErrorUnschedulable",
            says: "PersistentVolumeClaim",
        },
        Bad {
            name: "no-such-claim",
            spec: machine(
                with(
                    "rootDisk",
                    json!({"persistentVolumeClaim": {"claimName": "no-such-claim"}}),
                ),
                "Running",
            ),
            condition: "VirtualMachineReady",
            reason: "ErrorPvcNotFound",
            says: "no-such-claim",
        },
        Bad {
            name: "no-such-machine",
            spec: json!({"virtualMachine": {"name": "no-such-machine-here"}}),
            condition: "VirtualMachineReady",
            reason: "VirtualMachineNotFound",
            says: "no-such-machine-here",
        },
        Bad {
            name: "port-clash",
            spec: node_port_spec(),
            condition: "ServicesReady",
            reason: "NodePortInUse",
            says: "31777",
        },
        Bad {
            name: "port-range",
            spec: json!({
                "virtualMachine": {"template": template()},
                "services": [{"name": "web", "type": "NodePort", "ports": [{"name": "web", "port": 80, "nodePort": 80}]}],
            }),
            condition: "ServicesReady",
            reason: "Rejected",
            says: "range",
        },
    ]
}

fn node_port_spec() -> Value {
    json!({
        "virtualMachine": {"template": template()},
        "services": [{"name": "web", "type": "NodePort", "ports": [{"name": "web", "port": 80, "nodePort": NODE_PORT}]}],
    })
}

async fn refusals() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    with_namespace(
        cluster,
        "vm_access::bad_input::refusals",
        PodSecurity::Privileged,
        async |context| {
            let claims: Api<PersistentVolumeClaim> = context.api();
            let claim = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": "unbound"},
                "spec": {
                    "storageClassName": "no-such-class",
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            });
            claims
                .create(&PostParams::default(), &serde_json::from_value(claim)?)
                .await?;
            apply_vm_access(context, "holder", &node_port_spec()).await?;
            wait_for::<VmAccess>(context, "holder", ("ServicesReady", "True"), wait::LONG).await?;

            let bad_ones = bad_ones();
            for bad in &bad_ones {
                apply_vm_access(context, bad.name, &bad.spec)
                    .await
                    .with_context(|| bad.name)?;
            }
            for bad in &bad_ones {
                let object =
                    wait_for::<VmAccess>(context, bad.name, (bad.condition, "False", bad.reason), wait::LONG).await?;
                has(&object, ("Ready", "False")).map_err(anyhow::Error::msg)?;
                let message = message(&object, bad.condition);
                ensure!(
                    message.contains(bad.says),
                    "{}: the message does not say {:?}: {message}",
                    bad.name,
                    bad.says
                );
                let selector = "involvedObject.kind=VmAccess,type=Warning";
                wait_for_event(context, bad.name, selector, bad.says).await?;
            }
            // They are all there, and the rest goes on.
            let good = json!({"virtualMachine": {"template": template()}, "power": {"state": "Stopped"}});
            apply_vm_access(context, "good", &good).await?;
            ready(context, "good", wait::SHORT).await?;
            longest_names(context).await.context("the longest names")?;
            heals(context).await.context("a mended port clash")
        },
    )
    .await
}

/// The longest name that the API takes has to work, machine and Service alike.
async fn longest_names(context: &Context<'_>) -> Result<()> {
    let machine = json!({"virtualMachine": {"template": template()}, "power": {"state": "Stopped"}});
    let name = "m".repeat(63);
    apply_vm_access(context, &name, &machine).await?;
    ready(context, &name, wait::SHORT).await?;
    let refused = apply_vm_access(context, &format!("{name}m"), &machine).await;
    let message = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(
        message.contains("at most 63"),
        "a name beyond 63 characters is refused at once, not {message:?}"
    );

    // `<name>-port` has 63 characters.
    let name = "n".repeat(58);
    let spec = json!({
        "virtualMachine": {"template": template()},
        "power": {"state": "Stopped"},
        "services": [{"name": "port", "ports": [{"name": "echo", "port": 7777}]}],
    });
    apply_vm_access(context, &name, &spec).await?;
    ready(context, &name, wait::SHORT).await?;
    let refused = apply_vm_access(context, &format!("{name}n"), &spec).await;
    let message = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(
        message.contains("shorten one of the two names"),
        "a Service's name beyond 63 characters is refused at once, not {message:?}"
    );
    Ok(())
}

/// What the message asks for helps.
async fn heals(context: &Context<'_>) -> Result<()> {
    let mut spec = node_port_spec();
    if let Some(port) = spec.pointer_mut("/services/0/ports/0").and_then(Value::as_object_mut) {
        port.remove("nodePort");
    }
    apply_vm_access(context, "port-clash", &spec).await?;
    wait_for::<VmAccess>(context, "port-clash", ("ServicesReady", "True"), wait::SHORT)
        .await
        .map(drop)
}
