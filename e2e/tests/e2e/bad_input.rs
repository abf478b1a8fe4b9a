//! What cannot work is told, with what to do; other objects go on.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use novasphere_e2e::{
    cluster::Cluster,
    harness::{Case, Needs},
    namespace::{Context, PodSecurity, with_namespace},
    wait::{self, Seen},
};
use serde_json::{Value, json};

use crate::support::{self, template};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("bad_input::refusals", Needs::Node, refusals)]
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
        "bad_input::refusals",
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
            support::apply(context, "holder", &node_port_spec()).await?;
            support::wait_for(context, "holder", "ServicesReady", "True", None, wait::LONG).await?;

            let bad_ones = bad_ones();
            for bad in &bad_ones {
                support::apply(context, bad.name, &bad.spec)
                    .await
                    .with_context(|| bad.name)?;
            }
            for bad in &bad_ones {
                let reason = Some(bad.reason);
                let object = support::wait_for(context, bad.name, bad.condition, "False", reason, wait::LONG).await?;
                support::has(&object, "Ready", "False", None).map_err(anyhow::Error::msg)?;
                let message = support::condition(&object, bad.condition)
                    .map(|found| found.message.clone())
                    .unwrap_or_default();
                ensure!(
                    message.contains(bad.says),
                    "{}: the message does not say {:?}: {message}",
                    bad.name,
                    bad.says
                );
                told(context, bad).await?;
            }
            // They are all there, and the rest goes on.
            let good = json!({"virtualMachine": {"template": template()}, "power": {"state": "Stopped"}});
            support::apply(context, "good", &good).await?;
            support::ready(context, "good", wait::SHORT).await?;
            longest_names(context).await.context("the longest names")?;
            heals(context).await.context("a mended port clash")
        },
    )
    .await
}

/// An event says the same, for those who look there.
async fn told(context: &Context<'_>, bad: &Bad) -> Result<()> {
    let events: Api<Event> = context.api();
    let about = ListParams::default().fields(&format!(
        "involvedObject.name={},involvedObject.kind=VmAccess,type=Warning",
        bad.name
    ));
    wait::until(format!("a Warning event on {}", bad.name), wait::SHORT, || async {
        let events = events.list(&about).await?.items;
        let said: Vec<_> = events.iter().filter_map(|event| event.message.as_deref()).collect();
        Ok(Seen::some(
            said.iter().any(|said| said.contains(bad.says)).then_some(()),
            format!("{said:?}"),
        ))
    })
    .await
}

/// The longest name that the API takes has to work, machine and Service alike.
async fn longest_names(context: &Context<'_>) -> Result<()> {
    let machine = json!({"virtualMachine": {"template": template()}, "power": {"state": "Stopped"}});
    let name = "m".repeat(63);
    support::apply(context, &name, &machine).await?;
    support::ready(context, &name, wait::SHORT).await?;
    let refused = support::apply(context, &format!("{name}m"), &machine).await;
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
    support::apply(context, &name, &spec).await?;
    support::ready(context, &name, wait::SHORT).await?;
    let refused = support::apply(context, &format!("{name}n"), &spec).await;
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
    support::apply(context, "port-clash", &spec).await?;
    support::wait_for(context, "port-clash", "ServicesReady", "True", None, wait::SHORT)
        .await
        .map(drop)
}
