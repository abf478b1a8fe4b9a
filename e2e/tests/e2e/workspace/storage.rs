//! Homes on a real storage driver: snapshots at sleep and at the end, homes that are kept, taken over, restored and grown.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::{
    Resource as _,
    api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use novasphere_core::vnc_workspace as names;
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        apply::change,
        cluster::Cluster,
        condition::{message, wait_for},
        desktop_image,
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
        workspace::{
            CSI, apply_workspace, delete_workspace, desktop_answers, has_home, hibernate, home, wake,
            workspace_is_gone, write_home,
        },
    },
    harness::{Case, Needs},
};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace::storage::snapshots", Needs::Node, snapshots),
        Case::new("workspace::storage::expiry", Needs::Node, expiry),
        Case::new("workspace::storage::reclaim", Needs::Node, reclaim),
    ]
}

/// A home of the test bed's driver.
fn on_csi(more: &Value) -> Value {
    let mut storage = json!({"storageClassName": CSI, "size": "1Gi"});
    if let (Some(storage), Some(more)) = (storage.as_object_mut(), more.as_object()) {
        storage.extend(more.clone());
    }
    storage
}

/// The snapshots of a workspace, the oldest first.
async fn taken(context: &Context<'_>) -> Result<Vec<VolumeSnapshot>> {
    let snapshots: Api<VolumeSnapshot> = context.api();
    let mut all = snapshots.list(&ListParams::default()).await?.items;
    all.sort_by_key(|snapshot| snapshot.metadata.creation_timestamp.clone());
    Ok(all)
}

/// Waits until the namespace has `count` snapshots, all of use, and none of `not`. Returns their names, the oldest first.
async fn ready_snapshots(context: &Context<'_>, count: usize, not: &[String]) -> Result<Vec<String>> {
    wait::until(format!("{count} snapshots that are ready"), wait::LONG, || async {
        let all = taken(context).await?;
        let names: Vec<_> = all.iter().map(ResourceExt::name_any).collect();
        let good = all.len() == count
            && all.iter().all(VolumeSnapshot::is_ready)
            && names.iter().all(|name| !not.contains(name));
        let seen = all.iter().map(|snapshot| (snapshot.name_any(), snapshot.is_ready()));
        let seen = format!("{:?}", seen.collect::<Vec<_>>());
        Ok(Seen::some(good.then_some(names), seen))
    })
    .await
}

/// Each sleep leaves a snapshot; two are kept; another workspace begins with one of them; the home grows.
async fn snapshots() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let story = async |context: &Context<'_>| {
        let image = desktop_image::load(cluster, "desktop")?;
        let spec = json!({
            "storage": on_csi(&json!({"reclaim": "Delete"})),
            "backup": {"onHibernate": true, "keep": 2},
        });
        apply_workspace(context, "bob", &image, &spec).await?;
        desktop_answers(context, "bob").await?;
        let mut removed = Vec::new();
        let mut kept: Vec<String> = Vec::new();
        for round in 1..=3_usize {
            write_home(context, "bob", "note", &format!("round-{round}"))?;
            hibernate(context, "bob").await?;
            if round > 2 {
                removed.extend(kept.first().cloned());
            }
            kept = ready_snapshots(context, round.min(2), &removed).await?;
            wake(context, "bob").await?;
        }
        ensure!(removed.len() == 1, "{removed:?}");
        names_its_snapshots(context, "bob", &kept).await?;
        grows(context, "bob").await.context("growing")?;

        // The older of the two: what was written since is not in it.
        let second = kept.first().context("no snapshot")?;
        let from = json!({"storage": on_csi(&json!({
            "size": "2Gi", "reclaim": "Delete", "restoreFrom": {"volumeSnapshotName": second},
        }))});
        apply_workspace(context, "carol", &image, &from).await?;
        desktop_answers(context, "carol").await?;
        has_home(context, "carol", "note", "round-2").context("restored")?;
        delete_workspace(context, "carol").await?;
        delete_workspace(context, "bob").await?;
        // Snapshots outlive their workspace.
        let left = ready_snapshots(context, 2, &[]).await?;
        ensure!(left == kept, "{left:?} are left, not {kept:?}");
        no_volume_is_left(context).await
    };
    let case = "workspace::storage::snapshots";
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}

/// The workspace's status names its snapshots, the newest first.
async fn names_its_snapshots(context: &Context<'_>, name: &str, kept: &[String]) -> Result<()> {
    let workspaces: Api<VncWorkspace> = context.api();
    let newest_first: Vec<_> = kept.iter().rev().cloned().collect();
    wait::object(
        &workspaces,
        name,
        "its snapshots are in its status",
        wait::SHORT,
        |workspace: &VncWorkspace| {
            let named = workspace.status.iter().flat_map(|status| &status.snapshots);
            let named: Vec<_> = named
                .filter(|snapshot| snapshot.ready_to_use)
                .map(|snapshot| snapshot.name.clone())
                .collect();
            if named == newest_first {
                Ok(())
            } else {
                Err(format!("{named:?}"))
            }
        },
    )
    .await
    .map(drop)
}

/// The claim and its volume become larger while the desktop runs. The driver's volumes are folders, so no file system can tell.
async fn grows(context: &Context<'_>, name: &str) -> Result<()> {
    let before = context.api::<Pod>().get(name).await?.uid();
    change::<VncWorkspace>(context, name, &json!({"storage": {"size": "2Gi"}})).await?;
    let claim = names::home_name(name);
    let claims: Api<PersistentVolumeClaim> = context.api();
    let grown = wait::object(&claims, &claim, "2Gi", wait::LONG, |claim: &PersistentVolumeClaim| {
        let capacity = claim
            .status
            .as_ref()
            .and_then(|status| status.capacity.as_ref()?.get("storage"));
        let is = capacity == Some(&Quantity("2Gi".to_owned()));
        is.then_some(()).ok_or_else(|| format!("{:?}", claim.status))
    })
    .await?;
    let volume = grown.spec.and_then(|spec| spec.volume_name).context("no volume")?;
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    let volume = volumes.get(&volume).await?;
    let capacity = volume.spec.and_then(|spec| spec.capacity?.get("storage").cloned());
    ensure!(
        capacity == Some(Quantity("2Gi".to_owned())),
        "the volume has {capacity:?}"
    );
    wait_for::<VncWorkspace>(context, name, ("StorageReady", "True", "Bound"), wait::SHORT).await?;
    ensure!(
        context.api::<Pod>().get(name).await?.uid() == before,
        "it is another Pod"
    );
    Ok(())
}

/// Waits until the driver has no volume for this namespace any more.
async fn no_volume_is_left(context: &Context<'_>) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    wait::until("no volume is left", wait::LONG, || async {
        let all = volumes.list(&ListParams::default()).await?.items;
        let ours = all.iter().filter(|volume| {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            claim.and_then(|claim| claim.namespace.as_ref()) == Some(&context.namespace)
        });
        let left: Vec<_> = ours.map(ResourceExt::name_any).collect();
        Ok(Seen::some(left.is_empty().then_some(()), format!("{left:?}")))
    })
    .await
}

/// Classes of snapshots belong to the cluster, so they are called like the namespace.
async fn snapshot_class(context: &Context<'_>, name: &str, parameters: &Value) -> Result<String> {
    let name = format!("{}-{name}", context.namespace);
    let class = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotClass",
        "metadata": {"name": name},
        "driver": "csi.novacluster.novasphere.io",
        "deletionPolicy": "Delete",
        "parameters": parameters,
    });
    let parameters = PatchParams::apply("test").force();
    snapshot_classes(context)
        .patch(&name, &parameters, &Patch::Apply(class))
        .await?;
    Ok(name)
}

fn snapshot_classes(context: &Context<'_>) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(VolumeSnapshot::GROUP, "v1", "VolumeSnapshotClass");
    let resource = ApiResource::from_gvk_with_plural(&kind, "volumesnapshotclasses");
    Api::all_with(context.client.clone(), &resource)
}

/// The time of a workspace is over while its snapshot takes long, and while it fails. The home goes only when it is safe.
async fn expiry() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let story = async |context: &Context<'_>| {
        let image = desktop_image::load(cluster, "desktop")?;
        let slow = snapshot_class(context, "slow", &json!({"delay": "8s"})).await?;
        let broken = snapshot_class(context, "broken", &json!({"fail": "true"})).await?;
        for (name, class) in [("slow", &slow), ("broken", &broken)] {
            let spec = json!({
                "storage": on_csi(&json!({"reclaim": "Delete"})),
                "backup": {"onExpire": true, "volumeSnapshotClassName": class},
            });
            apply_workspace(context, name, &image, &spec).await?;
        }
        for name in ["slow", "broken"] {
            desktop_answers(context, name).await?;
            write_home(context, name, "note", name)?;
            change::<VncWorkspace>(
                context,
                name,
                &json!({"lifecycle": {"expiresAt": Timestamp::now().to_string()}}),
            )
            .await?;
        }
        goes_when_its_snapshot_is_ready(context).await.context("slow")?;
        let saved = stays_while_its_snapshot_fails(context, &broken)
            .await
            .context("broken")?;
        let from =
            json!({"storage": on_csi(&json!({"reclaim": "Delete", "restoreFrom": {"volumeSnapshotName": saved}}))});
        apply_workspace(context, "again", &image, &from).await?;
        desktop_answers(context, "again").await?;
        has_home(context, "again", "note", "broken")?;
        delete_workspace(context, "again").await?;
        no_volume_is_left(context).await?;
        for class in [slow, broken] {
            snapshot_classes(context)
                .delete(&class, &DeleteParams::default())
                .await?;
        }
        Ok(())
    };
    let case = "workspace::storage::expiry";
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}

/// From the end of its time on the home is looked at: it is never gone before its snapshot is of use.
async fn goes_when_its_snapshot_is_ready(context: &Context<'_>) -> Result<()> {
    wait_for::<VncWorkspace>(context, "slow", ("StorageReady", "False", "TakingSnapshot"), wait::LONG).await?;
    wait_for::<VncWorkspace>(context, "slow", ("PodReady", "False", "Expired"), wait::SHORT).await?;
    let claims: Api<PersistentVolumeClaim> = context.api();
    let claim = names::home_name("slow");
    let looks = std::cell::Cell::new(0_u32);
    wait::until("the home is gone", wait::LONG, || async {
        // In this order: a snapshot that is not of use after the home was seen to go is what must not be.
        let home = claims.get_opt(&claim).await?;
        let is_going = home.is_none_or(|home| home.metadata.deletion_timestamp.is_some());
        let all = taken(context).await?;
        let saved = all.iter().find(|snapshot| source(snapshot) == Some(claim.as_str()));
        let is_saved = saved.is_some_and(VolumeSnapshot::is_ready);
        if is_going && !is_saved {
            // Not an error of the look, which would be looked at again.
            return Ok(Seen::Done(Err(anyhow::anyhow!(
                "the home went before its snapshot was ready"
            ))));
        }
        looks.set(looks.get() + u32::from(!is_saved));
        Ok(Seen::some(
            is_going.then_some(Ok(())),
            format!("it is there; saved: {is_saved}"),
        ))
    })
    .await??;
    ensure!(
        looks.get() > 1,
        "the snapshot was ready at once, so nothing was waited for"
    );
    workspace_is_gone(context, "slow").await?;
    wait::gone(&claims, &claim, wait::SHORT).await
}

fn source(snapshot: &VolumeSnapshot) -> Option<&str> {
    snapshot.spec.as_ref()?.source.persistent_volume_claim_name.as_deref()
}

/// A snapshot that fails keeps the home and the workspace. When the driver can again, it ends. Returns the snapshot.
async fn stays_while_its_snapshot_fails(context: &Context<'_>, class: &str) -> Result<String> {
    let failed = wait_for::<VncWorkspace>(
        context,
        "broken",
        ("StorageReady", "False", "SnapshotFailed"),
        wait::LONG,
    )
    .await?;
    let said = message(&failed, "StorageReady");
    ensure!(said.contains("the home is kept"), "{said}");
    println!("workspace::storage::expiry: {said}");
    let kept = home(context, &names::home_name("broken")).await?;
    ensure!(kept.metadata.deletion_timestamp.is_none(), "the home goes");
    snapshot_class(
        context,
        class.trim_start_matches(&format!("{}-", context.namespace)),
        &json!({"fail": "false"}),
    )
    .await?;
    workspace_is_gone(context, "broken").await?;
    wait::gone(
        &context.api::<PersistentVolumeClaim>(),
        &names::home_name("broken"),
        wait::SHORT,
    )
    .await?;
    let all = taken(context).await?;
    let saved = all
        .iter()
        .find(|snapshot| source(snapshot) == Some(names::home_name("broken").as_str()));
    let saved = saved.context("no snapshot is left")?;
    ensure!(saved.is_ready(), "the home went before its snapshot was ready");
    Ok(saved.name_any())
}

/// A deleted workspace leaves its home, or a snapshot of it, or nothing, as it was asked to.
async fn reclaim() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let story = async |context: &Context<'_>| {
        let image = desktop_image::load(cluster, "desktop")?;
        for (name, reclaim) in [("kept", "Retain"), ("saved", "Snapshot")] {
            let spec = json!({"storage": on_csi(&json!({"reclaim": reclaim}))});
            apply_workspace(context, name, &image, &spec).await?;
        }
        for name in ["kept", "saved"] {
            desktop_answers(context, name).await?;
            write_home(context, name, "note", name)?;
            delete_workspace(context, name).await?;
        }
        // One home is left, one snapshot of the other.
        let claims: Api<PersistentVolumeClaim> = context.api();
        wait::gone(&claims, &names::home_name("saved"), wait::SHORT).await?;
        let snapshots = ready_snapshots(context, 1, &[]).await?;
        let kept = home(context, &names::home_name("kept")).await?;
        ensure!(kept.metadata.deletion_timestamp.is_none(), "the home goes");

        let claim = json!({"reclaim": "Delete", "restoreFrom": {"persistentVolumeClaimName": kept.name_any()}});
        let snapshot = json!({"reclaim": "Delete", "restoreFrom": {"volumeSnapshotName": snapshots.first()}});
        for (name, storage) in [("heir", claim), ("copy", snapshot)] {
            apply_workspace(context, name, &image, &json!({"storage": on_csi(&storage)})).await?;
        }
        for (name, text) in [("heir", "kept"), ("copy", "saved")] {
            desktop_answers(context, name).await?;
            has_home(context, name, "note", text).with_context(|| format!("restored as {name}"))?;
            delete_workspace(context, name).await?;
        }
        wait::gone(&claims, &kept.name_any(), wait::LONG).await?;
        no_volume_is_left(context).await
    };
    let case = "workspace::storage::reclaim";
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}
