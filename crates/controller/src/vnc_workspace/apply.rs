//! Step 4: makes the cluster have what was built.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use novasphere_core::{
    label,
    vm_access::failure::{Failure, FailureKind},
    vnc_workspace::{
        build::{Prepared, TEMPLATE_HASH, build},
        failure::has_ended,
        lifecycle::Decision,
        status::Applied,
        validated::{HomeSource, ValidatedWorkspace},
    },
};
use novasphere_runtime::{apply::ApplyError, lease::NotLeader};
use serde_json::json;

use super::{
    Look, credentials,
    resize::{Resized, resize},
};
use crate::{
    applying::{apply_one, refused},
    run::VNC_WORKSPACE_MANAGER,
};

/// So many ports that turn out to be somebody else's are tried at once.
const PORT_TRIES: usize = 8;

/// Applies the objects, the Pod last: it needs the Secret and the home, and nobody may reach it before the policy is there.
/// One failure does not stop the others.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn apply(
    look: &mut Look<'_>,
    valid: &ValidatedWorkspace,
    decision: &Decision,
) -> Result<Applied, NotLeader> {
    let context = look.context;
    let mut applied = Applied::default();
    let claimed = context
        .ports
        .claim(valid, look.references.service.as_deref(), &context.caches);
    applied.ports_used_up = claimed.used_up;
    let Prepared {
        secret,
        home,
        network_policy,
        service,
        pod,
    } = build(valid, decision, claimed.ports, &context.gateway);

    if let Err(failure) = credentials::ensure(look, valid, &secret).await? {
        applied.failures.push(("Secret", failure));
    }
    applied.home = Some(apply_home(look, valid, &home).await?);
    let policies = &context.caches.network_policies;
    if let Err(failure) = apply_one(&context.applier, &network_policy, policies, &mut look.retry).await? {
        applied.failures.push(("NetworkPolicy", failure));
    }
    applied.service = Some(apply_service(look, valid, decision, service).await?);
    let is_complete = applied.failures.is_empty() && matches!(applied.home, Some(Ok(_)));
    match pod {
        Some(pod) => apply_pod(look, &pod, is_complete, &mut applied).await?,
        None => applied.pod_is_ending = !end_pod(look).await?,
    }
    Ok(applied)
}

/// Applies the home; one that another workspace left is taken over.
async fn apply_home(
    look: &mut Look<'_>,
    valid: &ValidatedWorkspace,
    home: &PersistentVolumeClaim,
) -> Result<Result<PersistentVolumeClaim, Failure>, NotLeader> {
    let context = look.context;
    match look.references.home.clone() {
        Some(live) if valid.home.source == HomeSource::Claim => take_over(look, home, &live).await,
        _ => apply_one(&context.applier, home, &context.caches.claims, &mut look.retry).await,
    }
}

/// Makes a claim that was left have our labels and owner, at the version that was seen: two workspaces that want it do not both
/// get it.
///
/// Not by server-side apply: the former workspace applied the claim's spec under the same manager's name, and an apply without
/// that spec would take it away, which is refused.
async fn take_over(
    look: &mut Look<'_>,
    wanted: &PersistentVolumeClaim,
    live: &PersistentVolumeClaim,
) -> Result<Result<PersistentVolumeClaim, Failure>, NotLeader> {
    let is_labelled = wanted
        .labels()
        .iter()
        .all(|(key, value)| live.labels().get(key) == Some(value));
    if is_labelled && wanted.owner_references() == live.owner_references() {
        return Ok(Ok(live.clone()));
    }
    let patch = json!({"metadata": {
        "uid": live.uid(),
        "resourceVersion": live.resource_version(),
        "labels": wanted.labels(),
        "ownerReferences": wanted.owner_references(),
    }});
    let parameters = PatchParams {
        field_manager: Some(VNC_WORKSPACE_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let namespace = live.namespace().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(look.context.client.clone(), &namespace);
    match claims.patch(&live.name_any(), &parameters, &Patch::Merge(patch)).await {
        Ok(mut claim) => {
            claim.metadata.managed_fields = None;
            look.context.caches.claims.written(claim.clone());
            Ok(Ok(claim))
        }
        Err(error) => Ok(Err(refused(live, &ApplyError::from(error), &mut look.retry)?)),
    }
}

/// Applies the Service. A port of ours that turns out to belong to somebody else is left to him, and another one is taken.
async fn apply_service(
    look: &mut Look<'_>,
    valid: &ValidatedWorkspace,
    decision: &Decision,
    mut service: Service,
) -> Result<Result<Service, Failure>, NotLeader> {
    let context = look.context;
    for _ in 0..PORT_TRIES {
        let mut retry = None;
        let result = apply_one(&context.applier, &service, &context.caches.services, &mut retry).await?;
        let Err(failure) = &result else { return Ok(result) };
        let is_port =
            failure.kind == FailureKind::Rejected && failure.message.contains("provided port is already allocated");
        if !is_port || !context.ports.refused(valid, &failure.message) {
            look.retry = look.retry.or(retry);
            return Ok(result);
        }
        let live = look.references.service.as_deref();
        let claimed = context.ports.claim(valid, live, &context.caches);
        service = build(valid, decision, claimed.ports, &context.gateway).service;
    }
    look.retry = Some("NodePortInUse");
    let message = "many ports on nodes in a row belong to other Services";
    Ok(Err(Failure::new(FailureKind::Unavailable, message)))
}

/// Applies the Pod. One that has ended, or was made from something else, goes first.
async fn apply_pod(
    look: &mut Look<'_>,
    desired: &Pod,
    is_complete: bool,
    applied: &mut Applied,
) -> Result<(), NotLeader> {
    let live = look.references.pod.clone();
    let ours = live.filter(|live| label::owner_uid(&live.metadata) == label::owner_uid(&desired.metadata));
    if let Some(live) = ours {
        if let Some(why) = why_anew(&live, desired) {
            return replace_pod(look, &live, why, applied).await;
        }
        match resize(look, &live, desired).await? {
            Resized::Done => {}
            Resized::Impossible(obstacle, why) => {
                let why = format!("its resources cannot be changed while it runs ({why})");
                return replace_pod(look, &live, (obstacle.into(), &why), applied).await;
            }
            Resized::Refused(failure) => {
                let note = format!("The desktop keeps its resources: {}", failure.message);
                let about = look.workspace.object_ref(&());
                look.context
                    .reporter
                    .warning(&about, "ResizeRefused", "Reconcile", &note)
                    .await;
                applied.resize = Some(failure);
                applied.pod = Some(Ok(live.as_ref().clone()));
                return Ok(());
            }
        }
    } else if !is_complete {
        // Without its Secret or home it would only wait.
        return Ok(());
    }
    let context = look.context;
    applied.pod = Some(apply_one(&context.applier, desired, &context.caches.pods, &mut look.retry).await?);
    Ok(())
}

/// Why a Pod cannot stay, whatever its resources: in one word and in a sentence.
fn why_anew(live: &Pod, desired: &Pod) -> Option<(&'static str, &'static str)> {
    if live.metadata.deletion_timestamp.is_some() {
        Some(("Deleted", "it is being deleted"))
    } else if has_ended(live) {
        Some(("Ended", "it has ended"))
    } else if live.annotations().get(TEMPLATE_HASH) != desired.annotations().get(TEMPLATE_HASH) {
        Some(("Changed", "what it is made from has changed"))
    } else {
        None
    }
}

/// Deletes a Pod that another one follows, and says why.
async fn replace_pod(
    look: &mut Look<'_>,
    live: &Pod,
    (word, why): (&'static str, &str),
    applied: &mut Applied,
) -> Result<(), NotLeader> {
    applied.pod_is_ending = true;
    let is_asked_already = live.metadata.deletion_timestamp.is_some();
    end_pod(look).await?;
    if !is_asked_already {
        let about = look.workspace.object_ref(&());
        // Events of one reason and action are counted as one, which keeps its words: the action tells them apart.
        let note = format!("The Pod is made anew, because {why}.");
        look.context.reporter.normal(&about, "PodReplaced", word, &note).await;
    }
    Ok(())
}

/// Deletes the Pod of the workspace; whether there is none any more.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn end_pod(look: &mut Look<'_>) -> Result<bool, NotLeader> {
    let uid = look.workspace.metadata.uid.as_deref();
    let live = look.references.pod.clone();
    let Some(live) = live.filter(|live| label::owner_uid(&live.metadata) == uid) else {
        return Ok(true);
    };
    match look.context.applier.delete(live.as_ref()).await {
        Ok(_) => Ok(false),
        Err(error) => {
            refused(live.as_ref(), &error, &mut look.retry)?;
            Ok(false)
        }
    }
}
