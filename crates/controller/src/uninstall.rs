//! `novasphere prepare-uninstall`, which the chart runs before anything of a release is removed.
//!
//! A workspace whose home has to be saved has a finalizer that the controller alone takes off. Without a controller it would wait for ever, and
//! its namespace and its definition with it. So, in this order:
//!
//! 1. Workspaces that are being deleted get time, while the controller still runs: their homes are being saved.
//! 2. The controller is stopped, because it sets the finalizer again as soon as it misses it.
//! 3. The finalizer goes from the workspaces that stay. Their homes have no owner reference as long as a deletion has to wait
//!    (`core::vnc_workspace::validate::goes_along`), so they stay, too, whatever becomes of the workspaces; and a controller that is installed again
//!    sets the finalizer again.
//!
//! What fails leaves the installation as it was, so that saving goes on: the controller is started again.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::{ObjectMeta, PartialObjectMeta},
};
use novasphere_core::vnc_workspace::FINALIZER;
use novasphere_crd::VncWorkspace;
use novasphere_runtime::namespaced::api_in;
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Between two looks at what is waited for.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How many objects come with one answer.
const PAGE_LIMIT: u32 = 500;

/// How many objects a message names.
const NAMES_LIMIT: usize = 20;

/// Who writes.
const FIELD_MANAGER: &str = "novasphere/uninstall";

/// What is prepared.
#[derive(Clone, Debug)]
pub struct UninstallOptions {
    /// The namespace of the installation.
    pub namespace: String,
    /// The Deployment of the controller.
    pub deployment: String,
    /// The namespace that the controller watches; all when there is none.
    pub watch_namespace: Option<String>,
    /// How long each of the waits may take: for workspaces that are being deleted, for the controller's end, for writes of others.
    pub timeout: Duration,
}

/// Why an installation cannot be removed yet.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// A request failed.
    #[error("cannot {0}; check that kube-apiserver is reachable and the account's rights, and uninstall again")]
    Request(&'static str, #[source] kube::Error),
    /// Homes are being saved.
    #[error(
        "VncWorkspaces {0} are being deleted, and the finalizer novasphere.io/home keeps them until their homes are saved; see that the \
         controller runs, wait until they have gone, or see their condition StorageReady, and uninstall again"
    )]
    Ending(String),
    /// The controller does not stop.
    #[error("Pods {0} of the controller still run; see why they do not end, and uninstall again")]
    Running(String),
    /// Somebody sets the finalizer again.
    #[error(
        "VncWorkspaces {0} have the finalizer novasphere.io/home again; stop the controller that sets it, and uninstall again"
    )]
    Contended(String),
}

/// Does what has to be done before an installation is removed. `tell` gets a line for what was done, and for what is waited for.
///
/// # Errors
///
/// [`UninstallError`]. The controller runs as before then.
pub async fn prepare_uninstall(
    client: &Client,
    options: &UninstallOptions,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<(), UninstallError> {
    let uninstall = Uninstall { client, options, tell };
    uninstall.wait_for_ending().await?;
    let Some(controller) = uninstall.controller().await? else {
        // What is left of an attempt before.
        return uninstall.release_all().await;
    };
    let result = match uninstall.stop(&controller).await {
        Ok(()) => uninstall.release_all().await,
        Err(error) => Err(error),
    };
    if result.is_err() && controller.replicas > 0 {
        uninstall.start_again(&controller).await;
    }
    result
}

/// The controller's Deployment, as it was.
struct ControllerScale {
    replicas: i32,
    /// Which Pods are its own.
    selector: String,
}

struct Uninstall<'a> {
    client: &'a Client,
    options: &'a UninstallOptions,
    tell: &'a (dyn Fn(&str) + Sync),
}

impl Uninstall<'_> {
    /// Waits until the controller has saved the homes of workspaces that are being deleted.
    async fn wait_for_ending(&self) -> Result<(), UninstallError> {
        let deadline = Instant::now() + self.options.timeout;
        let mut told = String::new();
        loop {
            let ending = names(self.held().await?.iter().filter(|held| is_ending(held)));
            let Some(ending) = ending else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(UninstallError::Ending(ending));
            }
            if ending != told {
                (self.tell)(&format!(
                    "waiting for VncWorkspaces {ending}, whose homes are being saved"
                ));
                told = ending;
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// The controller; `None` when it is not there any more.
    async fn controller(&self) -> Result<Option<ControllerScale>, UninstallError> {
        match self.deployments().get_scale(&self.options.deployment).await {
            Ok(scale) => Ok(Some(ControllerScale {
                replicas: scale.spec.and_then(|spec| spec.replicas).unwrap_or_default(),
                selector: scale.status.and_then(|status| status.selector).unwrap_or_default(),
            })),
            Err(error) if is(&error, &[404]) => Ok(None),
            Err(error) => Err(UninstallError::Request("read the scale of the controller", error)),
        }
    }

    /// Stops the controller, and waits until no Pod of it is left: one that is ending may still write.
    async fn stop(&self, controller: &ControllerScale) -> Result<(), UninstallError> {
        self.scale(0)
            .await
            .map_err(|error| UninstallError::Request("stop the controller", error))?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.options.namespace);
        let params = ListParams::default().labels(&controller.selector).limit(PAGE_LIMIT);
        let deadline = Instant::now() + self.options.timeout;
        loop {
            let list = pods.list_metadata(&params).await;
            let list = list.map_err(|error| UninstallError::Request("list the Pods of the controller", error))?;
            let Some(left) = names(list.items.iter().map(|pod| &pod.metadata)) else {
                (self.tell)("the controller is stopped");
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(UninstallError::Running(left));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Starts the controller again. What fails here is told beside the reason for it.
    async fn start_again(&self, controller: &ControllerScale) {
        let (deployment, replicas) = (&self.options.deployment, controller.replicas);
        match self.scale(replicas).await {
            Ok(()) => (self.tell)(&format!("the controller runs again, with {replicas} replicas")),
            Err(error) => (self.tell)(&format!(
                "cannot start the controller again: {error}; run kubectl -n {} scale deployment {deployment} --replicas {replicas}",
                self.options.namespace
            )),
        }
    }

    async fn scale(&self, replicas: i32) -> Result<(), kube::Error> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let deployments = self.deployments();
        let params = params();
        let answer = deployments.patch_scale(&self.options.deployment, &params, &patch);
        answer.await.map(drop)
    }

    /// Takes the finalizer off every workspace. None is being deleted, or the controller has to save its home first.
    async fn release_all(&self) -> Result<(), UninstallError> {
        let deadline = Instant::now() + self.options.timeout;
        loop {
            let held = self.held().await?;
            if let Some(ending) = names(held.iter().filter(|held| is_ending(held))) {
                return Err(UninstallError::Ending(ending));
            }
            let Some(left) = names(held.iter()) else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(UninstallError::Contended(left));
            }
            for workspace in &held {
                self.release(workspace).await?;
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Takes the finalizer off one workspace, unless it has changed since it was read: it may be deleted by now.
    async fn release(&self, held: &ObjectMeta) -> Result<(), UninstallError> {
        let (namespace, name) = (held.namespace.as_deref().unwrap_or_default(), held.name.as_deref());
        let name = name.unwrap_or_default();
        let finalizers = held.finalizers.iter().flatten();
        let others: Vec<&String> = finalizers.filter(|finalizer| *finalizer != FINALIZER).collect();
        let patch = Patch::Merge(json!({"metadata": {
            "uid": held.uid, "resourceVersion": held.resource_version, "finalizers": others,
        }}));
        let workspaces: Api<VncWorkspace> = Api::namespaced(self.client.clone(), namespace);
        match workspaces.patch_metadata(name, &params(), &patch).await {
            Ok(_) => {
                (self.tell)(&format!(
                    "VncWorkspace {namespace}/{name} has no finalizer any more: its home stays when it is deleted, without a snapshot"
                ));
                Ok(())
            }
            // The next list says what has become of it.
            Err(error) if is(&error, &[404, 409]) => Ok(()),
            Err(error) => Err(UninstallError::Request("take the finalizer off a VncWorkspace", error)),
        }
    }

    /// The workspaces with the finalizer, as far as their metadata goes: what else is in them may not be readable for this version.
    async fn held(&self) -> Result<Vec<ObjectMeta>, UninstallError> {
        let workspaces: Api<VncWorkspace> = api_in(self.client.clone(), self.options.watch_namespace.as_deref());
        let mut held = Vec::new();
        let mut params = ListParams::default().limit(PAGE_LIMIT);
        loop {
            let list = match workspaces.list_metadata(&params).await {
                Ok(list) => list,
                // Without a definition there is no workspace.
                Err(error) if is(&error, &[404]) => return Ok(Vec::new()),
                Err(error) => return Err(UninstallError::Request("list VncWorkspaces", error)),
            };
            let next = list.metadata.continue_.clone().filter(|token| !token.is_empty());
            held.extend(list.items.into_iter().filter_map(with_finalizer));
            match next {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(held),
            }
        }
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.options.namespace)
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// The metadata of a workspace that has the finalizer, without who wrote what, which is the most of it.
fn with_finalizer(workspace: PartialObjectMeta<VncWorkspace>) -> Option<ObjectMeta> {
    let has = workspace.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    has.then_some(ObjectMeta {
        managed_fields: None,
        ..workspace.metadata
    })
}

fn is_ending(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_some()
}

/// Whether an API server answered with one of these codes.
fn is(error: &kube::Error, codes: &[u16]) -> bool {
    matches!(error, kube::Error::Api(status) if codes.contains(&status.code))
}

/// The first names of these objects, and how many more there are; `None` without objects.
fn names<'a>(objects: impl Iterator<Item = &'a ObjectMeta>) -> Option<String> {
    let mut all: Vec<String> = objects
        .map(|object| {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            format!("{}/{}", part(&object.namespace), part(&object.name))
        })
        .collect();
    let more = all.len().saturating_sub(NAMES_LIMIT);
    all.truncate(NAMES_LIMIT);
    let text = all.join(", ");
    match (all.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(text),
        (false, more) => Some(format!("{text} and {more} more")),
    }
}

#[cfg(test)]
mod tests;
