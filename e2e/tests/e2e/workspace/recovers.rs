//! What goes wrong with a VncWorkspace and must not stop it for good: a home that cannot grow, a Secret that somebody deletes, Pods
//! that end at once, a range of ports that is used up. No node is there; what a kubelet would say is said by the test.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
    storage::v1::StorageClass,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use novasphere_controller::config::{ControllerConfig, NodePortsConfig, PortRangeConfig};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::change,
        cluster::Cluster,
        condition::{message, wait_for},
        controller::InProcess,
        namespace::{Context, PodSecurity, with_namespace},
        wait,
        workspace::workspace_is_gone,
        workspace_plane::{apply_desk, ask_to_wake, class, pod_is_ready, provision, resyncing, unprovision},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

/// A port that no other case asks for, and the default range does not have.
const PORT: u16 = 32_741;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace::recovers::homes", Needs::ControlPlane, || {
            with_homes("workspace::recovers::homes", &["alice"], resyncing, homes)
        }),
        Case::new("workspace::recovers::secrets", Needs::ControlPlane, || {
            with_homes("workspace::recovers::secrets", &["alice"], resyncing, secrets)
        }),
        Case::new("workspace::recovers::ends", Needs::ControlPlane, || {
            with_homes("workspace::recovers::ends", &["alice"], resyncing, ends)
        }),
        Case::new("workspace::recovers::ports", Needs::ControlPlane, || {
            with_homes("workspace::recovers::ports", &["first", "second"], one_port, ports)
        }),
    ]
}

/// Runs a test with a controller of this configuration, and homes that bind for workspaces of these names.
async fn with_homes(
    test: &'static str,
    names: &[&str],
    configure: fn(&str) -> ControllerConfig,
    story: impl AsyncFn(&Context<'_>, &InProcess) -> Result<()>,
) -> Result<()> {
    let cluster = Cluster::plane()?;
    let body = async |context: &Context<'_>| {
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        let controller = InProcess::start_ready(context, &account, configure(&context.namespace)).await?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        provision(context, &names).await?;
        story(context, &controller).await?;
        unprovision(context, &names).await?;
        controller.stop().await
    };
    Box::pin(with_namespace(cluster, test, PodSecurity::Restricted, body)).await
}

/// A home that may not grow does not keep the desktop from waking, and grows when it may; also when it was taken over.
async fn homes(context: &Context<'_>, _controller: &InProcess) -> Result<()> {
    apply_desk(context, "alice", &json!({})).await?;
    pod_is_ready(context, "alice").await?;
    wait_for::<VncWorkspace>(context, "alice", ("Ready", "True", "Running"), wait::LONG).await?;

    change::<VncWorkspace>(context, "alice", &json!({"storage": {"size": "20Gi"}})).await?;
    let workspace =
        wait_for::<VncWorkspace>(context, "alice", ("StorageReady", "False", "CannotGrow"), wait::SHORT).await?;
    let said = message(&workspace, "StorageReady");
    ensure!(said.contains("allowVolumeExpansion"), "{said}");
    change::<VncWorkspace>(context, "alice", &json!({"lifecycle": {"state": "Hibernated"}})).await?;
    wait::gone(&context.api::<Pod>(), "alice", wait::SHORT).await?;
    wait_for::<VncWorkspace>(context, "alice", ("Hibernated", "True", "Asked"), wait::SHORT).await?;
    ask_to_wake(context, "alice").await?;
    pod_is_ready(context, "alice").await?;
    wait_for::<VncWorkspace>(context, "alice", ("PodReady", "True", "Running"), wait::LONG).await?;
    wait_for::<VncWorkspace>(context, "alice", ("StorageReady", "False", "CannotGrow"), wait::SHORT).await?;

    let classes: Api<StorageClass> = Api::all(context.client.clone());
    let expands = Patch::Merge(json!({"allowVolumeExpansion": true}));
    classes
        .patch(&class(context), &PatchParams::default(), &expands)
        .await?;
    asks_for(context, "20Gi").await?;
    wait_for::<VncWorkspace>(context, "alice", ("Ready", "True", "Running"), wait::LONG).await?;

    context
        .api::<VncWorkspace>()
        .delete("alice", &DeleteParams::default())
        .await?;
    workspace_is_gone(context, "alice").await?;
    let taken_over = |size: &str| {
        json!({"storage": {
            "storageClassName": class(context), "size": size, "reclaim": "Delete",
            "restoreFrom": {"persistentVolumeClaimName": "alice-home"},
        }})
    };
    apply_desk(context, "alice", &taken_over("20Gi")).await?;
    pod_is_ready(context, "alice").await?;
    wait_for::<VncWorkspace>(context, "alice", ("Ready", "True", "Running"), wait::LONG).await?;
    apply_desk(context, "alice", &taken_over("30Gi")).await?;
    asks_for(context, "30Gi").await?;
    wait_for::<VncWorkspace>(context, "alice", ("Ready", "True", "Running"), wait::LONG).await?;
    context
        .api::<VncWorkspace>()
        .delete("alice", &DeleteParams::default())
        .await?;
    workspace_is_gone(context, "alice").await?;
    Ok(())
}

/// Waits until the home of alice asks for a size.
async fn asks_for(context: &Context<'_>, size: &str) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = context.api();
    let what = format!("asking for {size}");
    wait::object(
        &claims,
        "alice-home",
        what,
        wait::SHORT,
        |claim: &PersistentVolumeClaim| {
            let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
            let asked = resources.and_then(|resources| resources.requests.as_ref()?.get("storage"));
            let is_so = asked.is_some_and(|asked| asked.0 == size);
            is_so.then_some(()).ok_or_else(|| format!("{asked:?}"))
        },
    )
    .await
    .map(drop)
}

/// A Secret that somebody deletes is made again, and the desktop with it: Xvnc reads its password when it starts.
async fn secrets(context: &Context<'_>, controller: &InProcess) -> Result<()> {
    apply_desk(context, "alice", &json!({})).await?;
    let first = pod_is_ready(context, "alice").await?;
    wait_for::<VncWorkspace>(context, "alice", ("Ready", "True", "Running"), wait::LONG).await?;
    controller.reconciles_pass(3).await?;
    let still = context.api::<Pod>().get("alice").await?;
    ensure!(still.uid() == first.uid(), "the Pod was made twice");

    let secrets: Api<Secret> = context.api();
    let old = secrets.get("alice-credentials").await?;
    secrets.delete("alice-credentials", &DeleteParams::default()).await?;
    another_pod(context, "alice", &first).await?;
    let new = secrets.get("alice-credentials").await?;
    ensure!(
        old.uid() != new.uid() && old.data != new.data,
        "they are the same credentials"
    );
    let second = pod_is_ready(context, "alice").await?;
    wait_for::<VncWorkspace>(context, "alice", ("Ready", "True", "Running"), wait::LONG).await?;
    controller.reconciles_pass(3).await?;
    let still = context.api::<Pod>().get("alice").await?;
    ensure!(still.uid() == second.uid(), "the Pod does not stay");
    Ok(())
}

/// Waits for a Pod that is not `old`.
async fn another_pod(context: &Context<'_>, name: &str, old: &Pod) -> Result<Pod> {
    let uid = old.uid();
    wait::object(&context.api::<Pod>(), name, "another Pod", wait::SHORT, |pod: &Pod| {
        let is_new = pod.uid() != uid && pod.metadata.deletion_timestamp.is_none();
        is_new.then_some(()).ok_or_else(|| "the old one".to_owned())
    })
    .await
}

/// Pods that end at once follow each other with pauses, and the condition says why they ended.
async fn ends(context: &Context<'_>, controller: &InProcess) -> Result<()> {
    apply_desk(context, "alice", &json!({})).await?;
    let pods: Api<Pod> = context.api();
    let first = wait::object(&pods, "alice", "made", wait::SHORT, |_| Ok(())).await?;
    end(&pods).await?;
    // Most ends are a node's: the next one comes at once.
    let second = another_pod(context, "alice", &first).await?;
    end(&pods).await?;
    let workspace = wait_for::<VncWorkspace>(context, "alice", ("PodReady", "False", "Ended"), wait::SHORT).await?;
    let said = message(&workspace, "PodReady");
    ensure!(
        said.contains("UnexpectedAdmissionError: Allocate failed") && said.contains("2 time(s)"),
        "{said}"
    );
    controller.reconciles_pass(3).await?;
    let still = pods.get("alice").await?;
    ensure!(still.uid() == second.uid(), "there was no pause");
    let third = another_pod(context, "alice", &second).await?;
    let between = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let pause = between(&third).zip(between(&second)).context("no times")?;
    ensure!(
        pause.0.duration_since(pause.1).as_secs() >= 9,
        "the pause was from {} to {}",
        pause.1,
        pause.0
    );
    wait_for::<VncWorkspace>(context, "alice", ("PodReady", "False", "Ended"), wait::SHORT).await?;
    pod_is_ready(context, "alice").await?;
    wait_for::<VncWorkspace>(context, "alice", ("Ready", "True", "Running"), wait::LONG).await?;
    Ok(())
}

/// Ends the Pod of alice, as a kubelet does that cannot give it its device.
async fn end(pods: &Api<Pod>) -> Result<()> {
    let status = json!({"status": {
        "phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "Allocate failed",
    }});
    pods.patch_status("alice", &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

/// Without a port of the range there is no Service: the apiserver would choose any port of the cluster.
async fn ports(context: &Context<'_>, controller: &InProcess) -> Result<()> {
    let spec: Value = json!({"service": {"type": "NodePort"}});
    apply_desk(context, "first", &spec).await?;
    has_port(context, "first").await?;
    apply_desk(context, "second", &spec).await?;
    wait_for::<VncWorkspace>(context, "second", ("PodReady", "False", "NodePortsUsedUp"), wait::SHORT).await?;
    controller.reconciles_pass(6).await?;
    wait_for::<VncWorkspace>(context, "second", ("PodReady", "False", "NodePortsUsedUp"), wait::SHORT).await?;
    let services: Api<Service> = context.api();
    ensure!(
        services.get_opt("second").await?.is_none(),
        "it has a Service without a port of the range"
    );
    context
        .api::<VncWorkspace>()
        .delete("first", &DeleteParams::default())
        .await?;
    has_port(context, "second").await?;
    pod_is_ready(context, "second").await?;
    wait_for::<VncWorkspace>(context, "second", ("PodReady", "True", "Running"), wait::LONG).await?;
    Ok(())
}

fn one_port(namespace: &str) -> ControllerConfig {
    let mut config = resyncing(namespace);
    config.workspaces.node_ports = NodePortsConfig {
        vnc: PortRangeConfig {
            first: PORT,
            last: PORT,
        },
        ..NodePortsConfig::default()
    };
    config
}

async fn has_port(context: &Context<'_>, name: &str) -> Result<()> {
    wait::object(
        &context.api::<Service>(),
        name,
        "with its port",
        wait::SHORT,
        |service: &Service| {
            let spec = service.spec.as_ref();
            let ports: Vec<_> = spec
                .iter()
                .flat_map(|spec| spec.ports.iter().flatten())
                .map(|port| port.node_port)
                .collect();
            let is_so = ports == [Some(i32::from(PORT))];
            is_so.then_some(()).ok_or_else(|| format!("{ports:?}"))
        },
    )
    .await
    .map(drop)
}
