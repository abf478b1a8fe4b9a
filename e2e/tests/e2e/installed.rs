//! The controller that the chart has installed.

use anyhow::{Context as _, Result};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, ResourceExt, api::ListParams};
use novasphere_controller::LEASE_NAME;
use novasphere_e2e::{
    audit::{Mark, Write},
    controller,
    install::{self, NAMESPACE},
    namespace::Context,
    pod,
    wait::{self, Seen},
};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// All cases on the cluster with a node share the controller; one of them kills it.
static CONTROLLER: RwLock<()> = RwLock::const_new(());

/// While this is held, nobody kills the controller.
pub(crate) async fn undisturbed() -> RwLockReadGuard<'static, ()> {
    CONTROLLER.read().await
}

/// The right to kill the controller.
pub(crate) async fn disturbing() -> RwLockWriteGuard<'static, ()> {
    CONTROLLER.write().await
}

/// The user that the audit log knows it as.
pub(crate) fn account() -> String {
    format!("system:serviceaccount:{NAMESPACE}:{}-controller", install::RELEASE)
}

/// What it has written in the namespace of a test.
pub(crate) fn writes(context: &Context<'_>, mark: Mark) -> Result<Vec<Write>> {
    let mut writes = context.cluster.audit().since(mark)?;
    writes.retain(|write| write.user() == account() && write.namespace() == context.namespace);
    Ok(writes)
}

/// The Pod that leads: that of the lease's holder, which says of itself that it
/// leads. A killed one is started again under the same name and does not.
pub(crate) async fn leader(context: &Context<'_>) -> Result<Pod> {
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), NAMESPACE);
    wait::until("a leader among the controller's Pods", wait::LONG, || async {
        let lease = leases.get(LEASE_NAME).await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        let pods = pods.list(&ListParams::default()).await?;
        // The identity is the Pod's name and a random part.
        let pod = pods
            .into_iter()
            .find(|pod| !holder.is_empty() && holder.starts_with(&pod.name_any()));
        let Some(pod) = pod else {
            return Ok(Seen::NotYet(format!("the holder is {holder:?}")));
        };
        let leads = metric(context, &pod, "novasphere_leading").await? == 1;
        Ok(Seen::some(leads.then_some(pod), format!("{holder} does not lead")))
    })
    .await
}

/// How many reconciles this Pod has done.
pub(crate) async fn reconciles(context: &Context<'_>, pod: &Pod) -> Result<u64> {
    metric(context, pod, "novasphere_reconciles_total").await
}

async fn metric(context: &Context<'_>, pod: &Pod, name: &str) -> Result<u64> {
    let path = format!(
        "/api/v1/namespaces/{NAMESPACE}/pods/{}:8080/proxy/metrics",
        pod.name_any()
    );
    let request = http::Request::get(path).body(Vec::new())?;
    let text = context.client.request_text(request).await?;
    Ok(controller::sum(&text, name))
}

/// Ends this Pod's program by SIGKILL.
pub(crate) fn kill(pod: &Pod) -> Result<()> {
    pod::kill(&pod.uid().context("the Pod has no UID")?, "novasphere")
}
