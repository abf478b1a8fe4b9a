//! What people leave behind when an installation is removed: workspaces whose homes a controller would have to save. They wait for none that is
//! gone, and their homes stay.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{ResourceExt, api::DeleteParams};
use novasphere_core::vnc_workspace::FINALIZER;
use novasphere_crd::VncWorkspace;
use novasphere_e2e::fixtures::{
    audit::{Mark, describe},
    install::{NAMESPACE, RELEASE},
    namespace::Context,
    wait::{self, Seen},
    workspace::{CSI, apply_workspace, home},
};
use serde_json::json;

/// The workspace that is deleted afterwards, and the one that its namespace takes with it.
const DELETED: &str = "deleted";
const KEPT: &str = "kept";

/// Workspaces in a namespace of their own.
pub(super) struct LeftBehind<'a> {
    place: Context<'a>,
    /// The UID of the home of [`DELETED`].
    home: Option<String>,
}

fn home_of(name: &str) -> String {
    format!("{name}-home")
}

impl<'a> LeftBehind<'a> {
    /// Makes them, and waits until their deletion would wait for the controller. They sleep, so that nothing but their homes is there.
    pub(super) async fn make(context: &Context<'a>) -> Result<Self> {
        let place = Context {
            cluster: context.cluster,
            client: context.client.clone(),
            namespace: format!("{}-left", context.namespace),
            output: context.output.clone(),
        };
        place.cluster.kubectl(&["create", "namespace", &place.namespace])?;
        let spec = json!({
            "lifecycle": {"state": "Hibernated"}, "storage": {"storageClassName": CSI, "reclaim": "Snapshot", "size": "1Gi"},
        });
        for name in [DELETED, KEPT] {
            apply_workspace(&place, name, "localhost/novasphere-desktop:e2e", &spec).await?;
            wait::until(format!("{name} has a home, and its finalizer"), wait::SHORT, || async {
                home(&place, &home_of(name)).await?;
                let workspace = place.api::<VncWorkspace>().get(name).await?;
                let has = workspace.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
                Ok(Seen::some(has.then_some(()), "it has a home and no finalizer"))
            })
            .await?;
        }
        let home = home(&place, &home_of(DELETED)).await?.uid();
        Ok(Self { place, home })
    }

    /// After the uninstallation: nothing of what prepared it is left, workspaces and their namespace go, and a home stays until its namespace goes.
    pub(super) async fn goes(self, mark: Mark) -> Result<()> {
        let place = &self.place;
        self.controller_stopped_first(mark)?;
        let prepared = place.cluster.kubectl(&[
            "get",
            "job,pod,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding",
            "--all-namespaces",
            "--selector",
            "app.kubernetes.io/component=uninstall",
            "--output",
            "name",
        ])?;
        // The garbage collector takes the Pod a moment after its Job.
        let left: Vec<&str> = prepared.lines().filter(|line| !line.starts_with("pod/")).collect();
        ensure!(left.is_empty(), "what prepared the uninstallation is left: {left:?}");

        let workspaces = place.api::<VncWorkspace>();
        for name in [DELETED, KEPT] {
            let finalizers = workspaces.get(name).await?.metadata.finalizers.unwrap_or_default();
            ensure!(finalizers.is_empty(), "{name} has {finalizers:?}");
        }
        workspaces.delete(DELETED, &DeleteParams::foreground()).await?;
        wait::gone(&workspaces, DELETED, wait::SHORT).await?;
        let home = home(place, &home_of(DELETED)).await.context("the home has gone")?;
        ensure!(
            home.uid() == self.home && home.metadata.deletion_timestamp.is_none(),
            "the home goes with its workspace: {:?}",
            home.metadata
        );
        ensure!(home.owner_references().is_empty(), "{:?}", home.owner_references());
        place
            .cluster
            .kubectl(&["delete", "namespace", &place.namespace, "--timeout=120s"])?;
        wait::gone(&place.api::<PersistentVolumeClaim>(), &home_of(DELETED), wait::SHORT).await
    }

    /// A controller that still runs would set the finalizer again.
    fn controller_stopped_first(&self, mark: Mark) -> Result<()> {
        let account = format!("system:serviceaccount:{NAMESPACE}:{RELEASE}-uninstall");
        let writes = self.place.cluster.audit().by(&account, mark)?;
        let position = |resource: &str| writes.iter().position(|write| write.resource() == resource);
        let (stopped, released) = (position("deployments/scale"), position("vncworkspaces"));
        ensure!(
            stopped.is_some() && released.is_some() && stopped < released,
            "the uninstallation wrote:\n{}",
            describe(&writes)
        );
        Ok(())
    }
}
