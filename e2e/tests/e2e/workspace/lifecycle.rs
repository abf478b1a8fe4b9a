//! The objects of a VncWorkspace on a control plane: made with few writes, exactly once, and gone without a rest. No node is
//! there; what a kubelet and a storage driver would say is said by the test.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        audit,
        cluster::Cluster,
        condition::{has, message, wait_for},
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
        workspace::workspace_is_gone,
        workspace_plane::{apply_desk, ask_to_wake, class, pod_is_ready, provision, start_resyncing, unprovision},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

/// Writes of the controller to make one.
const CREATE_WRITES_LIMIT: usize = 8;

/// Resyncs of a settled object that cost nothing.
const RESYNCS: u64 = 10;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace::lifecycle::writes", Needs::ControlPlane, writes),
        Case::new(
            "workspace::lifecycle::sleeps_and_wakes",
            Needs::ControlPlane,
            sleeps_and_wakes,
        ),
        Case::new("workspace::lifecycle::refusals", Needs::ControlPlane, refusals),
    ]
}

async fn writes() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(cluster, "workspace::lifecycle::writes", PodSecurity::Restricted, async |context| {
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        let controller = start_resyncing(context, &account).await?;
        let homes = ["alice".to_owned()];
        provision(context, &homes).await?;
        let mark = cluster.audit().mark()?;
        apply_desk(context, "alice", &json!({})).await?;
        pod_is_ready(context, "alice").await?;
        let ready = wait_for::<VncWorkspace>(context, "alice", ("Ready", "True", "Running"), wait::LONG).await?;
        wait_for::<VncWorkspace>(context, "alice", ("StorageReady", "True", "Bound"), wait::SHORT).await?;
        controller.reconciles_pass(8).await?;
        let made = context.cluster.audit().by(&account.user(), mark)?;
        ensure!(made.len() <= CREATE_WRITES_LIMIT, "{} writes for one workspace:{}", made.len(), audit::describe(&made));

        let mark = cluster.audit().mark()?;
        controller.reconciles_pass(RESYNCS).await?;
        let resynced = context.cluster.audit().by(&account.user(), mark)?;
        ensure!(resynced.is_empty(), "a settled workspace was written:{}", audit::describe(&resynced));
        println!("workspace::lifecycle::writes: {} writes to make one, 0 in {RESYNCS} resyncs:{}", made.len(), audit::describe(&made));

        let secret = context.api::<Secret>().get("alice-credentials").await?;
        let data = secret.data.context("the Secret is empty")?;
        let password = data.get("vnc-password").context("no password")?;
        ensure!(password.0.len() == 8 && data.contains_key("ssh_host_ed25519_key"), "{:?}", data.keys());
        ensure!(ready.status.and_then(|status| status.home_claim).as_deref() == Some("alice-home"), "no home");

        // Deleted, it leaves its home alone; a new one of that name asks for it.
        context.api::<VncWorkspace>().delete("alice", &DeleteParams::default()).await?;
        workspace_is_gone(context, "alice").await?;
        apply_desk(context, "alice", &json!({})).await?;
        let taken = wait_for::<VncWorkspace>(context, "alice", ("StorageReady", "False", "HomeTaken"), wait::SHORT).await?;
        has(&taken, ("PodReady", "False", "HomeNotReady")).map_err(anyhow::Error::msg)?;
        let said = message(&taken, "StorageReady");
        ensure!(said.contains("earlier workspace alice") && said.contains("persistentVolumeClaimName alice-home"), "{said}");
        context.api::<VncWorkspace>().delete("alice", &DeleteParams::default()).await?;
        workspace_is_gone(context, "alice").await?;
        let storage = json!({"storage": {
            "storageClassName": class(context), "reclaim": "Delete", "restoreFrom": {"persistentVolumeClaimName": "alice-home"},
        }});
        apply_desk(context, "alice", &storage).await?;
        pod_is_ready(context, "alice").await?;
        wait_for::<VncWorkspace>(context, "alice", ("Ready", "True", "Running"), wait::LONG).await?;
        context.api::<VncWorkspace>().delete("alice", &DeleteParams::default()).await?;
        workspace_is_gone(context, "alice").await?;
        wait::gone(&context.api::<PersistentVolumeClaim>(), "alice-home", wait::LONG).await?;
        unprovision(context, &homes).await?;
        controller.stop().await
    })
    .await
}

async fn sleeps_and_wakes() -> Result<()> {
    let cluster = Cluster::plane()?;
    Box::pin(with_namespace(
        cluster,
        "workspace::lifecycle::sleeps_and_wakes",
        PodSecurity::Restricted,
        async |context| {
            let account = Account::create(cluster, &context.namespace, "controller").await?;
            let controller = start_resyncing(context, &account).await?;
            let homes = ["bob".to_owned()];
            provision(context, &homes).await?;
            apply_desk(context, "bob", &json!({})).await?;
            let first = pod_is_ready(context, "bob").await?;
            wait_for::<VncWorkspace>(context, "bob", ("Ready", "True", "Running"), wait::LONG).await?;

            let asleep = json!({"lifecycle": {"state": "Hibernated"}});
            apply_desk(context, "bob", &asleep).await?;
            wait::gone(&context.api::<Pod>(), "bob", wait::SHORT).await?;
            let sleeping =
                wait_for::<VncWorkspace>(context, "bob", ("Hibernated", "True", "Asked"), wait::SHORT).await?;
            has(&sleeping, ("Ready", "True", "Hibernated")).map_err(anyhow::Error::msg)?;

            ask_to_wake(context, "bob").await?;
            let second = pod_is_ready(context, "bob").await?;
            let awake = wait_for::<VncWorkspace>(context, "bob", ("Ready", "True", "Running"), wait::LONG).await?;
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
            apply_desk(context, "bob", &json!({"lifecycle": {"idleTimeout": "2s"}})).await?;
            wait_for::<VncWorkspace>(context, "bob", ("Hibernated", "True", "Idle"), wait::SHORT).await?;

            // Its time is over: it goes, and its home with it.
            apply_desk(
                context,
                "bob",
                &json!({
                    "lifecycle": {"maxLifetime": "1s"},
                    "storage": {"storageClassName": class(context), "reclaim": "Delete"},
                }),
            )
            .await?;
            workspace_is_gone(context, "bob").await?;
            wait::gone(&context.api::<PersistentVolumeClaim>(), "bob-home", wait::LONG).await?;
            unprovision(context, &homes).await?;
            controller.stop().await
        },
    ))
    .await
}

async fn refusals() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "workspace::lifecycle::refusals",
        PodSecurity::Restricted,
        async |context| {
            let account = Account::create(cluster, &context.namespace, "controller").await?;
            let controller = start_resyncing(context, &account).await?;
            apply_desk(
                context,
                "weak",
                &json!({"podOverrides": {"spec": {"hostNetwork": true}}}),
            )
            .await?;
            wait_for::<VncWorkspace>(context, "weak", ("PodReady", "False", "InvalidSpec"), wait::SHORT).await?;
            wait_for::<VncWorkspace>(context, "weak", ("Stalled", "True", "InvalidSpec"), wait::SHORT).await?;
            secrets(context).await.context("Secrets")?;
            apply_desk(context, "classless", &json!({})).await?;
            wait_for::<VncWorkspace>(
                context,
                "classless",
                ("StorageReady", "False", "StorageClassNotFound"),
                wait::SHORT,
            )
            .await?;

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
            apply_desk(context, "poor", &json!({})).await?;
            wait_for::<VncWorkspace>(context, "poor", ("PodReady", "False", "QuotaExceeded"), wait::SHORT).await?;
            quotas.delete("none", &DeleteParams::default()).await?;
            wait_for::<VncWorkspace>(context, "poor", ("PodReady", "False", "Starting"), wait::SHORT).await?;
            controller.stop().await
        },
    )
    .await
}

/// A Secret of the namespace is read only when somebody who may change it has shared it.
async fn secrets(context: &Context<'_>) -> Result<()> {
    let env = json!([{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "build", "key": "token"}}}]);
    apply_desk(context, "reads", &json!({ "env": env })).await?;
    let refused = wait_for::<VncWorkspace>(context, "reads", ("PodReady", "False", "InvalidSpec"), wait::SHORT).await?;
    let said = message(&refused, "PodReady");
    ensure!(said.contains("spec.env[TOKEN]"), "{said}");
    ensure!(context.api::<Pod>().get_opt("reads").await?.is_none(), "it has a Pod");
    let mut secret = json!({"metadata": {"name": "build"}, "stringData": {"token": "t"}});
    let secrets: Api<Secret> = context.api();
    secrets
        .create(&PostParams::default(), &serde_json::from_value(secret.clone())?)
        .await?;
    if let Some(metadata) = secret.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(
            "labels".to_owned(),
            json!({"novasphere.io/shared-with-desktops": "true"}),
        );
    }
    secrets
        .patch("build", &PatchParams::default(), &Patch::Merge(secret))
        .await?;
    wait::object(&context.api::<Pod>(), "reads", "made", wait::SHORT, |_| Ok(()))
        .await
        .map(drop)
}
