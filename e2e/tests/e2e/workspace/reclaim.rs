//! What becomes of homes whose workspaces cannot be carried out, cannot be read, or are held by somebody else. No node is there: the
//! test plays the kubelet and the storage driver.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use novasphere_core::{label, vnc_workspace::FINALIZER};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::change,
        cluster::Cluster,
        condition::{has, message, wait_for},
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
        workspace::workspace_is_gone,
        workspace_plane::{NodeStandIn, apply_desk, class, provision, start_resyncing, unprovision},
    },
    harness::{Case, Needs},
};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace::reclaim::invalid", Needs::ControlPlane, invalid),
        Case::new(
            "workspace::reclaim::held_by_another",
            Needs::ControlPlane,
            held_by_another,
        ),
        Case::new("workspace::reclaim::undecodable", Needs::ControlPlane, undecodable),
    ]
}

/// An override that Pod Security refuses.
fn weak() -> Value {
    json!({"spec": {"hostNetwork": true}})
}

async fn running(context: &Context<'_>, name: &str, reclaim: &str) -> Result<()> {
    let storage = json!({"storage": {"storageClassName": class(context), "reclaim": reclaim}});
    apply_desk(context, name, &storage).await?;
    wait_for::<VncWorkspace>(context, name, ("Ready", "True", "Running"), wait::LONG).await?;
    wait_for::<VncWorkspace>(context, name, ("StorageReady", "True", "Bound"), wait::SHORT)
        .await
        .map(drop)
}

/// With a spec that cannot be carried out, a desktop goes on, sleeps and ends, and its home stays as its owner asked last.
async fn invalid() -> Result<()> {
    let cluster = Cluster::plane()?;
    let story = async |context: &Context<'_>| {
        let homes = ["alice".to_owned()];
        provision(context, &homes).await?;
        let stand_in = NodeStandIn::start(context, true).await?;
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        let controller = start_resyncing(context, &account).await?;
        running(context, "alice", "Delete").await?;
        ensure!(goes_along(context, "alice").await?, "the home would stay");

        let both = json!({"podOverrides": weak(), "storage": {"reclaim": "Snapshot"}});
        change::<VncWorkspace>(context, "alice", &both).await?;
        let refused =
            wait_for::<VncWorkspace>(context, "alice", ("PodReady", "False", "InvalidSpec"), wait::SHORT).await?;
        let pod = refused.status.and_then(|status| status.pod_name);
        ensure!(pod.as_deref() == Some("alice"), "nobody can see the desktop that runs");
        wait::until("the home stays", wait::SHORT, || async {
            let workspace = context.api::<VncWorkspace>().get("alice").await?;
            let is_kept = workspace.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
            let goes_along = goes_along(context, "alice").await?;
            let seen = format!("finalizer: {is_kept}, owner reference: {goes_along}");
            Ok(Seen::some((is_kept && !goes_along).then_some(()), seen))
        })
        .await?;

        change::<VncWorkspace>(context, "alice", &json!({"lifecycle": {"state": "Hibernated"}})).await?;
        wait::gone(&context.api::<Pod>(), "alice", wait::SHORT).await?;
        let asleep = wait_for::<VncWorkspace>(context, "alice", ("Hibernated", "True", "Asked"), wait::SHORT).await?;
        has(&asleep, ("PodReady", "False", "InvalidSpec")).map_err(anyhow::Error::msg)?;

        change::<VncWorkspace>(context, "alice", &json!({"lifecycle": {"maxLifetime": "1s"}})).await?;
        wait_for::<VncWorkspace>(
            context,
            "alice",
            ("StorageReady", "False", "TakingSnapshot"),
            wait::SHORT,
        )
        .await?;
        wait_for::<VncWorkspace>(context, "alice", ("PodReady", "False", "Expired"), wait::SHORT).await?;
        stand_in.release_snapshots();
        workspace_is_gone(context, "alice").await?;
        wait::gone(&context.api::<PersistentVolumeClaim>(), "alice-home", wait::LONG).await?;
        let unsaved = stand_in.unsaved();
        ensure!(unsaved.is_empty(), "homes went before they were saved: {unsaved:?}");
        let saved = context
            .api::<VolumeSnapshot>()
            .list(&ListParams::default())
            .await?
            .items;
        ensure!(
            saved.len() == 1 && saved.iter().all(VolumeSnapshot::is_ready),
            "{saved:?}"
        );
        controller.stop().await?;
        unprovision(context, &homes).await
    };
    let case = "workspace::reclaim::invalid";
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}

/// Whether the garbage collector takes the home with its workspace.
async fn goes_along(context: &Context<'_>, name: &str) -> Result<bool> {
    let home = context
        .api::<PersistentVolumeClaim>()
        .get(&format!("{name}-home"))
        .await?;
    Ok(!home.owner_references().is_empty())
}

/// A person who applies what they have exported owns our finalizer, too.
async fn held_by_another() -> Result<()> {
    let cluster = Cluster::plane()?;
    let story = async |context: &Context<'_>| {
        let homes = ["bob".to_owned()];
        provision(context, &homes).await?;
        let _stand_in = NodeStandIn::start(context, false).await?;
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        let controller = start_resyncing(context, &account).await?;
        running(context, "bob", "Snapshot").await?;
        let workspaces: Api<VncWorkspace> = context.api();
        let exported = json!({
            "apiVersion": "novasphere.io/v1alpha1",
            "kind": "VncWorkspace",
            "metadata": {"name": "bob", "finalizers": ["example.org/other", FINALIZER]},
        });
        let parameters = PatchParams::apply("gitops").force();
        workspaces.patch("bob", &parameters, &Patch::Apply(exported)).await?;
        workspaces.delete("bob", &DeleteParams::default()).await?;
        wait::object(&workspaces, "bob", "ours is gone", wait::SHORT, |bob: &VncWorkspace| {
            if bob.finalizers() == ["example.org/other"] {
                Ok(())
            } else {
                Err(format!("{:?}", bob.finalizers()))
            }
        })
        .await?;
        let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        workspaces.patch("bob", &PatchParams::default(), &none).await?;
        workspace_is_gone(context, "bob").await?;
        controller.stop().await?;
        unprovision(context, &homes).await
    };
    let case = "workspace::reclaim::held_by_another";
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}

/// The home of a workspace that this version cannot read is not free to take: its desktop may run.
async fn undecodable() -> Result<()> {
    let cluster = Cluster::control_plane("reclaim", &[])?;
    let story = async |context: &Context<'_>| {
        let homes = ["dave".to_owned()];
        provision(context, &homes).await?;
        let _stand_in = NodeStandIn::start(context, false).await?;
        let account = Account::create(&cluster, &context.namespace, "controller").await?;
        let controller = start_resyncing(context, &account).await?;
        running(context, "dave", "Retain").await?;
        make_undecodable(context, "dave").await?;
        let storage = json!({"storage": {
            "storageClassName": class(context), "restoreFrom": {"persistentVolumeClaimName": "dave-home"},
        }});
        apply_desk(context, "erin", &storage).await?;
        let refused =
            wait_for::<VncWorkspace>(context, "erin", ("StorageReady", "False", "InvalidSpec"), wait::SHORT).await?;
        let said = message(&refused, "StorageReady");
        ensure!(said.contains("of another workspace that still exists"), "{said}");
        let home = context.api::<PersistentVolumeClaim>().get("dave-home").await?;
        let dave = context.api::<VncWorkspace>().get_metadata("dave").await?;
        ensure!(
            label::owner_uid(&home.metadata) == dave.metadata.uid.as_deref(),
            "the home was taken"
        );
        // Once its workspace has gone, it is free.
        let workspaces: Api<VncWorkspace> = context.api();
        let objects = context.dynamic(&kube::discovery::ApiResource::erase::<VncWorkspace>(&()));
        objects.delete("dave", &DeleteParams::default()).await?;
        wait_for::<VncWorkspace>(context, "erin", ("Ready", "True", "Running"), wait::LONG).await?;
        workspaces.delete("erin", &DeleteParams::default()).await?;
        wait::gone(&workspaces, "erin", wait::LONG).await?;
        controller.stop().await
    };
    let case = "workspace::reclaim::undecodable";
    Box::pin(with_namespace(&cluster, case, PodSecurity::Restricted, story)).await
}

/// Writes something that only another version of novasphere understands, and waits until the controller says so.
async fn make_undecodable(context: &Context<'_>, name: &str) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    let crd = format!("{}.{}", VncWorkspace::plural(&()), VncWorkspace::group(&()));
    let mut loose = crds.get(&crd).await?;
    for version in &mut loose.spec.versions {
        version.schema = Some(serde_json::from_value(json!({"openAPIV3Schema": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
        }}))?);
        // They point at fields of the schema that is gone.
        version.selectable_fields = None;
    }
    crds.replace(&crd, &PostParams::default(), &loose).await?;
    let objects = context.dynamic(&kube::discovery::ApiResource::erase::<VncWorkspace>(&()));
    let newer = Patch::Merge(json!({"spec": {"display": "as the browser has it"}}));
    wait::until("the apiserver takes what cannot be read", wait::SHORT, || async {
        objects.patch(name, &PatchParams::default(), &newer).await?;
        Ok(Seen::Done(()))
    })
    .await
    .context("a newer object")?;
    wait::until("the controller says that it cannot read it", wait::SHORT, || async {
        let object = objects.get(name).await?;
        let conditions = object.data.pointer("/status/conditions").map(ToString::to_string);
        let conditions = conditions.unwrap_or_default();
        Ok(Seen::some(conditions.contains("Undecodable").then_some(()), conditions))
    })
    .await
}
