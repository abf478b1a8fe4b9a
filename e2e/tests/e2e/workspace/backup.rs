//! Snapshots by schedule and at deletion. No node is there: the test plays the kubelet and the storage driver.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::change,
        audit,
        cluster::Cluster,
        condition::wait_for,
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
        workspace::workspace_is_gone,
        workspace_plane::{NodeStandIn, apply_desk, class, is_running, provision, start_resyncing, unprovision},
    },
    harness::{Case, Needs},
};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;
use serde_json::json;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace::backup::schedule", Needs::ControlPlane, schedule),
        Case::new("workspace::backup::on_delete", Needs::ControlPlane, on_delete),
    ]
}

/// Once a year: times come when the test says so.
const SCHEDULE: &str = "0 3 1 1 *";

/// A snapshot for each time, while the desktop runs and while it sleeps; the newest is kept, and a settled workspace costs nothing.
async fn schedule() -> Result<()> {
    let cluster = Cluster::plane()?;
    let story = async |context: &Context<'_>| {
        let homes = ["alice".to_owned()];
        provision(context, &homes).await?;
        let _stand_in = NodeStandIn::start(context, false).await?;
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        let controller = start_resyncing(context, &account).await?;
        let spec = json!({
            "storage": {"storageClassName": class(context), "reclaim": "Delete"},
            "backup": {"schedule": SCHEDULE, "keep": 1},
        });
        apply_desk(context, "alice", &spec).await?;
        let workspaces: Api<VncWorkspace> = context.api();
        wait::object(&workspaces, "alice", "running", wait::SHORT, is_running).await?;
        let first = taken_at_its_time(context, &[]).await?;

        change::<VncWorkspace>(context, "alice", &json!({"lifecycle": {"state": "Hibernated"}})).await?;
        wait::gone(&context.api::<Pod>(), "alice", wait::SHORT).await?;
        // The status that says so would take back the time that is set below.
        wait_for::<VncWorkspace>(context, "alice", ("Hibernated", "True", "Asked"), wait::SHORT).await?;
        wait_for::<VncWorkspace>(context, "alice", ("PodReady", "False", "Hibernated"), wait::SHORT).await?;
        let second = taken_at_its_time(context, &[first]).await?;

        controller.reconciles_pass(2).await?;
        let mark = context.cluster.audit().mark()?;
        controller.reconciles_pass(3).await?;
        let writes = context.cluster.audit().by(&account.user(), mark)?;
        ensure!(writes.is_empty(), "a settled workspace:{}", audit::describe(&writes));

        workspaces.delete("alice", &DeleteParams::default()).await?;
        workspace_is_gone(context, "alice").await?;
        let left = names(context).await?;
        ensure!(left == [second], "snapshots outlive their workspace: {left:?}");
        controller.stop().await?;
        unprovision(context, &homes).await
    };
    let case = "workspace::backup::schedule";
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}

/// Lets the next time of the schedule come, and waits until one snapshot is left, which is ready and none of these.
async fn taken_at_its_time(context: &Context<'_>, before: &[String]) -> Result<String> {
    let workspaces: Api<VncWorkspace> = context.api();
    let next = |workspace: &VncWorkspace| {
        workspace
            .status
            .as_ref()
            .and_then(|status| status.next_backup_at.clone())
    };
    let told = wait::object(
        &workspaces,
        "alice",
        "the next time is told",
        wait::SHORT,
        |alice: &VncWorkspace| next(alice).map(drop).ok_or_else(|| format!("{:?}", alice.status)),
    )
    .await?;
    // Snapshots are named after the second of their time, and the one before may have been taken in this one.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let now = jiff::Timestamp::now();
    ensure!(next(&told).is_some_and(|at| at.0 > now), "{:?}", told.status);
    let has_come = json!({"status": {"nextBackupAt": now.strftime("%FT%TZ").to_string()}});
    workspaces
        .patch_status("alice", &PatchParams::default(), &Patch::Merge(has_come))
        .await?;
    let taken = wait::until("a snapshot is taken", wait::SHORT, || async {
        let all = context
            .api::<VolumeSnapshot>()
            .list(&ListParams::default())
            .await?
            .items;
        let seen: Vec<_> = all.iter().map(|one| (one.name_any(), one.is_ready())).collect();
        let only = match seen.as_slice() {
            [(name, true)] if !before.contains(name) => Some(name.clone()),
            _ => None,
        };
        Ok(Seen::some(only, format!("{seen:?}")))
    })
    .await?;
    wait::object(
        &workspaces,
        "alice",
        "the time after is told",
        wait::SHORT,
        |alice: &VncWorkspace| {
            let is_later = next(alice).is_some_and(|at| at.0 > now);
            is_later.then_some(()).ok_or_else(|| format!("{:?}", alice.status))
        },
    )
    .await?;
    Ok(taken)
}

async fn names(context: &Context<'_>) -> Result<Vec<String>> {
    let all = context.api::<VolumeSnapshot>().list(&ListParams::default()).await?;
    Ok(all.items.iter().map(ResourceExt::name_any).collect())
}

/// A deletion waits for the snapshot that was asked for; then the home goes or stays.
async fn on_delete() -> Result<()> {
    let cluster = Cluster::plane()?;
    let story = async |context: &Context<'_>| {
        let homes = ["goes".to_owned(), "stays".to_owned()];
        provision(context, &homes).await?;
        let stand_in = NodeStandIn::start(context, true).await?;
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        let controller = start_resyncing(context, &account).await?;
        let workspaces: Api<VncWorkspace> = context.api();
        let claims: Api<PersistentVolumeClaim> = context.api();
        for (name, reclaim) in [("goes", "Delete"), ("stays", "Retain")] {
            let spec = json!({
                "storage": {"storageClassName": class(context), "reclaim": reclaim}, "backup": {"onDelete": true},
            });
            apply_desk(context, name, &spec).await?;
            wait::object(&workspaces, name, "running", wait::SHORT, is_running).await?;
            // Such a deletion takes what the workspace owns before the workspace.
            workspaces.delete(name, &DeleteParams::foreground()).await?;
            wait_for::<VncWorkspace>(context, name, ("StorageReady", "False", "TakingSnapshot"), wait::SHORT).await?;
            let home = claims.get(&format!("{name}-home")).await?;
            ensure!(
                home.metadata.deletion_timestamp.is_none(),
                "{name}: the home goes before it is saved"
            );
        }
        stand_in.release_snapshots();
        for name in ["goes", "stays"] {
            workspace_is_gone(context, name).await?;
        }
        wait::gone(&claims, "goes-home", wait::LONG).await?;
        let kept = claims.get("stays-home").await?;
        ensure!(kept.metadata.deletion_timestamp.is_none(), "{:?}", kept.metadata);
        let unsaved = stand_in.unsaved();
        ensure!(unsaved.is_empty(), "homes went before they were saved: {unsaved:?}");
        let saved = names(context).await?;
        ensure!(saved.len() == 2, "{saved:?}");
        controller.stop().await?;
        claims.delete("stays-home", &DeleteParams::default()).await?;
        unprovision(context, &homes).await
    };
    let case = "workspace::backup::on_delete";
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}
