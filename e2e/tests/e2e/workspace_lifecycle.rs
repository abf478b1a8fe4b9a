//! The objects of a VncWorkspace on a control plane: made with few writes, exactly once, and gone without a rest. No node is
//! there; what a kubelet and a storage driver would say is said by the test.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota, Secret, Service},
    networking::v1::NetworkPolicy,
    storage::v1::StorageClass,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use novasphere_controller::config::ControllerConfig;
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    account::Account,
    audit::{self, Write},
    cluster::Cluster,
    controller::{InProcess, config_for},
    harness::{Case, Needs},
    namespace::{Context, PodSecurity, with_namespace},
    wait::{self, Seen},
};
use serde_json::{Value, json};

/// Making one costs at most so many writes.
const CREATE_WRITES: usize = 8;

/// So many resyncs of a settled object cost nothing.
const RESYNCS: u64 = 10;

/// So many requests to make a workspace, so many at a time, for so many names.
const REQUESTS: usize = 1000;
const AT_ONCE: usize = 50;
const NAMES: usize = 100;

const IMAGE: &str = "registry.example.org/desktop:1";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace_lifecycle::writes", Needs::ControlPlane, writes),
        Case::new(
            "workspace_lifecycle::sleeps_and_wakes",
            Needs::ControlPlane,
            sleeps_and_wakes,
        ),
        Case::new("workspace_lifecycle::refusals", Needs::ControlPlane, refusals),
        Case::new("workspace_lifecycle::one_of_each", Needs::ControlPlane, one_of_each),
    ]
}

async fn start(context: &Context<'_>, account: &Account) -> Result<InProcess> {
    let config = ControllerConfig {
        resync_interval: novasphere_crd::Duration::from_secs(1),
        ..config_for(&context.namespace)
    };
    InProcess::start_ready(context, account, config).await
}

async fn apply(context: &Context<'_>, name: &str, spec: &Value) -> Result<VncWorkspace> {
    let mut all = json!({
        "user": "alice",
        "image": IMAGE,
        "storage": {"storageClassName": class(context)},
        // The scheduler would say that there is no node.
        "podOverrides": {"spec": {"schedulerName": "nobody"}},
    });
    if let (Some(all), Some(spec)) = (all.as_object_mut(), spec.as_object()) {
        all.extend(spec.clone());
    }
    let object = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VncWorkspace",
        "metadata": {"name": name},
        "spec": all,
    });
    let parameters = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::apply("person").force()
    };
    Ok(context
        .api::<VncWorkspace>()
        .patch(name, &parameters, &Patch::Apply(object))
        .await?)
}

/// A class of this test alone, so that its volume is bound by nobody else.
fn class(context: &Context<'_>) -> String {
    context.namespace.clone()
}

/// A class with a volume for the home of `name`, as a driver would make it.
async fn provision(context: &Context<'_>, name: &str) -> Result<PersistentVolume> {
    let storage_class = json!({"metadata": {"name": class(context)}, "provisioner": "kubernetes.io/no-provisioner"});
    let classes: Api<StorageClass> = Api::all(context.client.clone());
    classes
        .create(&PostParams::default(), &serde_json::from_value(storage_class)?)
        .await?;
    let volume = json!({
        "metadata": {"name": format!("{}-{name}", context.namespace)},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class(context),
            "claimRef": {"namespace": context.namespace, "name": format!("{name}-home")},
            "hostPath": {"path": "/nowhere"},
        },
    });
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    Ok(volumes
        .create(&PostParams::default(), &serde_json::from_value(volume)?)
        .await?)
}

async fn unprovision(context: &Context<'_>, volume: &PersistentVolume) -> Result<()> {
    let parameters = DeleteParams::default();
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    volumes.delete(&volume.name_any(), &parameters).await?;
    let classes: Api<StorageClass> = Api::all(context.client.clone());
    classes.delete(&class(context), &parameters).await?;
    Ok(())
}

/// Says that the Pod is ready, as a kubelet does when its probe succeeds.
async fn pod_is_ready(context: &Context<'_>, name: &str) -> Result<Pod> {
    let pods: Api<Pod> = context.api();
    let pod = wait::object(&pods, name, "there and not ending", wait::SHORT, |pod: &Pod| match pod
        .metadata
        .deletion_timestamp
    {
        None => Ok(()),
        Some(_) => Err("it ends".to_owned()),
    })
    .await?;
    let status = json!({"status": {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T00:00:00Z"}],
    }});
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(pod)
}

fn has(object: &VncWorkspace, kind: &str, status: &str, reason: &str) -> Result<(), String> {
    let all = object.status.iter().flat_map(|status| &status.conditions);
    let found = all.clone().find(|condition| condition.type_ == kind);
    let is = found.is_some_and(|condition| {
        condition.status == status
            && condition.reason == reason
            && condition.observed_generation == object.metadata.generation
    });
    if is {
        return Ok(());
    }
    let said = all.map(|condition| {
        format!(
            "{}={} {}: {}; ",
            condition.type_, condition.status, condition.reason, condition.message
        )
    });
    Err(said.collect())
}

async fn wait_for(context: &Context<'_>, name: &str, kind: &str, status: &str, reason: &str) -> Result<VncWorkspace> {
    let what = format!("{kind}={status} {reason}");
    let api: Api<VncWorkspace> = context.api();
    wait::object(&api, name, what, wait::SHORT, |object| {
        has(object, kind, status, reason)
    })
    .await
}

fn by(context: &Context<'_>, account: &Account, mark: audit::Mark) -> Result<Vec<Write>> {
    let mut writes = context.cluster.audit().since(mark)?;
    writes.retain(|write| write.user() == account.user() && !write.is_lease());
    Ok(writes)
}

async fn nothing_left(context: &Context<'_>, name: &str) -> Result<()> {
    wait::gone(&context.api::<VncWorkspace>(), name, wait::LONG).await?;
    wait::gone(&context.api::<Pod>(), name, wait::LONG).await?;
    wait::gone(&context.api::<Service>(), name, wait::LONG).await?;
    wait::gone(&context.api::<NetworkPolicy>(), name, wait::LONG).await?;
    wait::gone(&context.api::<Secret>(), &format!("{name}-credentials"), wait::LONG).await
}

async fn writes() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(cluster, "workspace_lifecycle::writes", PodSecurity::Restricted, async |context| {
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        let controller = start(context, &account).await?;
        let volume = provision(context, "alice").await?;
        let mark = cluster.audit().mark()?;
        apply(context, "alice", &json!({})).await?;
        pod_is_ready(context, "alice").await?;
        let ready = wait_for(context, "alice", "Ready", "True", "Running").await?;
        wait_for(context, "alice", "StorageReady", "True", "Bound").await?;
        controller.reconciles_pass(8).await?;
        let made = by(context, &account, mark)?;
        ensure!(made.len() <= CREATE_WRITES, "{} writes for one workspace:{}", made.len(), audit::describe(&made));

        let mark = cluster.audit().mark()?;
        controller.reconciles_pass(RESYNCS).await?;
        let resynced = by(context, &account, mark)?;
        ensure!(resynced.is_empty(), "a settled workspace was written:{}", audit::describe(&resynced));
        println!("workspace_lifecycle::writes: {} writes to make one, 0 in {RESYNCS} resyncs:{}", made.len(), audit::describe(&made));

        let secret = context.api::<Secret>().get("alice-credentials").await?;
        let data = secret.data.context("the Secret is empty")?;
        let password = data.get("vnc-password").context("no password")?;
        ensure!(password.0.len() == 8 && data.contains_key("ssh_host_ed25519_key"), "{:?}", data.keys());
        ensure!(ready.status.and_then(|status| status.home_claim).as_deref() == Some("alice-home"), "no home");

        // Deleted, it leaves its home alone; a new one of that name asks for it.
        context.api::<VncWorkspace>().delete("alice", &DeleteParams::default()).await?;
        nothing_left(context, "alice").await?;
        apply(context, "alice", &json!({})).await?;
        wait_for(context, "alice", "StorageReady", "False", "HomeTaken").await?;
        context.api::<VncWorkspace>().delete("alice", &DeleteParams::default()).await?;
        nothing_left(context, "alice").await?;
        let storage = json!({"storage": {
            "storageClassName": class(context), "reclaim": "Delete", "restoreFrom": {"persistentVolumeClaimName": "alice-home"},
        }});
        apply(context, "alice", &storage).await?;
        pod_is_ready(context, "alice").await?;
        wait_for(context, "alice", "Ready", "True", "Running").await?;
        context.api::<VncWorkspace>().delete("alice", &DeleteParams::default()).await?;
        nothing_left(context, "alice").await?;
        wait::gone(&context.api::<PersistentVolumeClaim>(), "alice-home", wait::LONG).await?;
        unprovision(context, &volume).await?;
        controller.stop().await
    })
    .await
}

async fn sleeps_and_wakes() -> Result<()> {
    let cluster = Cluster::plane()?;
    Box::pin(with_namespace(
        cluster,
        "workspace_lifecycle::sleeps_and_wakes",
        PodSecurity::Restricted,
        async |context| {
            let account = Account::create(cluster, &context.namespace, "controller").await?;
            let controller = start(context, &account).await?;
            let volume = provision(context, "bob").await?;
            apply(context, "bob", &json!({})).await?;
            let first = pod_is_ready(context, "bob").await?;
            wait_for(context, "bob", "Ready", "True", "Running").await?;

            let asleep = json!({"lifecycle": {"state": "Hibernated"}});
            apply(context, "bob", &asleep).await?;
            wait::gone(&context.api::<Pod>(), "bob", wait::SHORT).await?;
            let sleeping = wait_for(context, "bob", "Hibernated", "True", "Asked").await?;
            has(&sleeping, "Ready", "True", "Hibernated").map_err(anyhow::Error::msg)?;

            // As a gateway does when somebody connects.
            let wake = json!({"status": {"wakeRequestedAt": jiff::Timestamp::now().to_string()}});
            let workspaces: Api<VncWorkspace> = context.api();
            workspaces
                .patch_status("bob", &PatchParams::default(), &Patch::Merge(wake))
                .await?;
            let second = pod_is_ready(context, "bob").await?;
            let awake = wait_for(context, "bob", "Ready", "True", "Running").await?;
            ensure!(first.uid() != second.uid(), "it is the same Pod");
            let status = awake.status.context("no status")?;
            ensure!(
                status.wake_requested_at.is_some(),
                "the controller took away what the gateway wrote"
            );

            // A Pod that somebody deletes, and one that ends, are made again.
            context.api::<Pod>().delete("bob", &DeleteParams::default()).await?;
            wait::until("another Pod", wait::SHORT, || async {
                let pod = context.api::<Pod>().get_opt("bob").await?;
                let is_new = pod.as_ref().is_some_and(|pod| pod.uid() != second.uid());
                Ok(Seen::some(is_new.then_some(()), "the same, or none"))
            })
            .await?;

            // Short idleness, then sleep.
            pod_is_ready(context, "bob").await?;
            apply(context, "bob", &json!({"lifecycle": {"idleTimeout": "2s"}})).await?;
            wait_for(context, "bob", "Hibernated", "True", "Idle").await?;

            // Its time is over: it goes, and its home with it.
            apply(
                context,
                "bob",
                &json!({
                    "lifecycle": {"maxLifetime": "1s"},
                    "storage": {"storageClassName": class(context), "reclaim": "Delete"},
                }),
            )
            .await?;
            nothing_left(context, "bob").await?;
            wait::gone(&context.api::<PersistentVolumeClaim>(), "bob-home", wait::LONG).await?;
            unprovision(context, &volume).await?;
            controller.stop().await
        },
    ))
    .await
}

async fn refusals() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "workspace_lifecycle::refusals",
        PodSecurity::Restricted,
        async |context| {
            let account = Account::create(cluster, &context.namespace, "controller").await?;
            let controller = start(context, &account).await?;
            apply(
                context,
                "weak",
                &json!({"podOverrides": {"spec": {"hostNetwork": true}}}),
            )
            .await?;
            wait_for(context, "weak", "PodReady", "False", "InvalidSpec").await?;
            wait_for(context, "weak", "Stalled", "True", "InvalidSpec").await?;
            apply(context, "saved", &json!({"storage": {"reclaim": "Snapshot"}})).await?;
            wait_for(context, "saved", "StorageReady", "False", "InvalidSpec").await?;
            apply(context, "classless", &json!({})).await?;
            wait_for(context, "classless", "StorageReady", "False", "StorageClassNotFound").await?;

            let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
            let quotas: Api<ResourceQuota> = context.api();
            quotas
                .create(&PostParams::default(), &serde_json::from_value(quota)?)
                .await?;
            wait::object(&quotas, "none", "counted", wait::SHORT, |quota: &ResourceQuota| {
                let hard = quota.status.as_ref().and_then(|status| status.hard.as_ref());
                hard.map(drop).ok_or_else(|| "not yet".to_owned())
            })
            .await?;
            apply(context, "poor", &json!({})).await?;
            wait_for(context, "poor", "PodReady", "False", "QuotaExceeded").await?;
            quotas.delete("none", &DeleteParams::default()).await?;
            wait_for(context, "poor", "PodReady", "False", "Starting").await?;
            controller.stop().await
        },
    )
    .await
}

/// Many people and scripts ask for the same workspaces at once.
async fn one_of_each() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(cluster, "workspace_lifecycle::one_of_each", PodSecurity::Restricted, async |context| {
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        let controller = start(context, &account).await?;
        let spec = json!({"service": {"type": "NodePort"}, "ssh": {"authorizedKeys": [
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice",
        ]}});
        let requests = (0..REQUESTS).map(|request| {
            let spec = &spec;
            async move { apply(context, &format!("w{}", request % NAMES), spec).await.map(drop) }
        });
        let began = std::time::Instant::now();
        stream::iter(requests).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        let asked = began.elapsed();
        let services: Api<Service> = context.api();
        wait::until("a Pod of each", Duration::from_mins(3), || async {
            let pods = context.api::<Pod>().list_metadata(&ListParams::default()).await?.items.len();
            Ok(Seen::some((pods >= NAMES).then_some(()), format!("{pods} of {NAMES}")))
        })
        .await?;
        controller.reconciles_pass(200).await?;
        let services = services.list(&ListParams::default()).await?.items;
        let ports: Vec<i32> = services
            .iter()
            .flat_map(|service| service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()))
            .filter_map(|port| port.node_port)
            .collect();
        let different: BTreeSet<_> = ports.iter().collect();
        let all = ListParams::default();
        let counts = [
            services.len(),
            context.api::<Pod>().list_metadata(&all).await?.items.len(),
            context.api::<PersistentVolumeClaim>().list_metadata(&all).await?.items.len(),
            context.api::<NetworkPolicy>().list_metadata(&all).await?.items.len(),
            context.api::<Secret>().list_metadata(&all).await?.items.len(),
        ];
        ensure!(counts == [NAMES; 5], "not one of each: {counts:?}");
        ensure!(ports.len() == 2 * NAMES && different.len() == ports.len(), "{} ports, {} different", ports.len(), different.len());
        println!(
            "workspace_lifecycle::one_of_each: {REQUESTS} requests in {asked:.1?}, {NAMES} workspaces with {} different ports after {:.1?}",
            ports.len(),
            began.elapsed()
        );
        controller.stop().await
    })
    .await
}
