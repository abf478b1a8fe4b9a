//! Makes the cluster have what was built.

mod home;
mod pod;
mod resize;
mod secret;
mod service;

use std::time::Instant;

use novasphere_core::{
    child::ChildOutcome,
    label,
    vnc_workspace::{
        applied::{Applied, PodOutcome},
        build::{Prepared, with_secret},
        plan::{InvalidPod, SyncPlan},
    },
};
use novasphere_runtime::lease::NotLeader;

pub(super) use self::pod::delete_pod;
use super::{Desired, Reconciliation, reclaim};
use crate::children::Children;

/// Applies the objects, the Pod last: it needs the Secret and the home, and nobody may reach it before the policy is there.
/// One failure does not stop the others.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn apply(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    desired: Desired<'_>,
) -> Result<Applied, NotLeader> {
    let Desired {
        valid,
        ports,
        prepared,
        routes,
    } = desired;
    let Prepared {
        secret,
        home,
        network_policy,
        service,
        pod,
    } = prepared;
    let secret = secret::ensure(of, children, valid, &secret).await?;
    let home = home::apply(of, children, valid, &home).await?;
    let policies = &of.context.caches.network_policies;
    let network_policy = children.apply(&network_policy, policies).await?;
    let service = service::apply(of, children, valid, service, ports).await?;
    let caches = &of.context.caches;
    let routes = of.context.routes.apply(routes, &valid.owner, children, caches).await?;
    let failures = [
        ("Secret", secret.failure().cloned()),
        ("NetworkPolicy", network_policy.failure().cloned()),
    ];
    let failures: Vec<_> = failures
        .into_iter()
        .filter_map(|(kind, failure)| Some((kind, failure?)))
        .collect();
    let is_complete = failures.is_empty() && home::is_usable(of, &home);
    let is_awake = pod.is_some();
    let pod = match (pod, secret) {
        (Some(pod), ChildOutcome::Applied(secret)) => {
            pod::apply(of, children, &with_secret(pod, &secret), is_complete).await?
        }
        // Whether it has the right password is not known, so it stays as it is.
        (Some(_), _) => pod_as_it_is(of),
        (None, _) => delete_own_pod(of, children).await?,
    };
    let key = label::own_key(&of.workspace.metadata).unwrap_or_default();
    Ok(Applied {
        home: reclaim::sync_home_owner(of, children, home).await?,
        service,
        pod,
        crash_loop: of
            .context
            .crash_backoff
            .current(&key, Instant::now())
            .filter(|_| is_awake),
        failures,
        snapshot: None,
        backup: None,
        routes,
    })
}

/// The same for an invalid spec: nothing is created or changed, but the desktop hibernates, and its home stays or goes, for which the
/// rest of the spec does not matter.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn apply_invalid(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    plan: &SyncPlan,
) -> Result<Applied, NotLeader> {
    Ok(Applied {
        home: reclaim::sync_home_owner(of, children, ChildOutcome::NotTried).await?,
        pod: match plan.invalid_pod {
            InvalidPod::Keep => pod_as_it_is(of),
            InvalidPod::Delete => delete_own_pod(of, children).await?,
        },
        ..Applied::default()
    })
}

fn pod_as_it_is(of: Reconciliation<'_>) -> PodOutcome {
    of.own_pod().cloned().map_or(PodOutcome::Absent, PodOutcome::present)
}

async fn delete_own_pod(of: Reconciliation<'_>, children: &mut Children<'_>) -> Result<PodOutcome, NotLeader> {
    let Some(live) = of.own_pod() else {
        return Ok(PodOutcome::Absent);
    };
    delete_pod(children, live).await?;
    Ok(PodOutcome::Ending)
}
