//! Step 4: makes the cluster have what was built.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use novasphere_core::{
    failure::{Failure, FailureKind},
    label,
    vnc_workspace::{
        build::{Prepared, TEMPLATE_HASH, build, with_secret},
        failure::{end_of, has_ended},
        lifecycle::LifecycleDecision,
        status::Applied,
        validated::{HomeSource, ValidatedWorkspace},
    },
};
use novasphere_runtime::{
    apply::{WriteError, larger_quantity},
    lease::NotLeader,
};
use serde_json::{Value, json};

use super::{
    Look, credentials,
    ends::End,
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
    decision: &LifecycleDecision,
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

    let secret = credentials::ensure(look, valid, &secret).await?;
    let secret = secret
        .map_err(|failure| applied.failures.push(("Secret", failure)))
        .ok();
    applied.home = Some(apply_home(look, valid, &home).await?);
    let policies = &context.caches.network_policies;
    if let Err(failure) = apply_one(&context.applier, &network_policy, policies, &mut look.retry).await? {
        applied.failures.push(("NetworkPolicy", failure));
    }
    applied.service = apply_service(look, valid, decision, service, &mut applied).await?;
    let is_complete = applied.failures.is_empty() && has_home(look, &applied);
    match (pod, secret) {
        (Some(pod), Some(secret)) => apply_pod(look, &with_secret(pod, &secret), is_complete, &mut applied).await?,
        // It cannot be told whether it has the right password, so it stays as it is.
        (Some(_), None) => applied.pod = own_pod(look).map(|pod| Ok(pod.as_ref().clone())),
        (None, _) => applied.pod_is_ending = !end_pod(look).await?,
    }
    Ok(applied)
}

/// Whether there is a home to start with. One that could not be changed, as one that cannot grow, is as good as before.
fn has_home(look: &Look<'_>, applied: &Applied) -> bool {
    let uid = look.workspace.metadata.uid.as_deref();
    match &applied.home {
        None => false,
        Some(Ok(_)) => true,
        Some(Err(_)) => {
            look.references.home.as_deref().is_some_and(|live| {
                label::owner_uid(&live.metadata) == uid && live.metadata.deletion_timestamp.is_none()
            })
        }
    }
}

/// Applies the home; one that another workspace left is taken over.
async fn apply_home(
    look: &mut Look<'_>,
    valid: &ValidatedWorkspace,
    home: &PersistentVolumeClaim,
) -> Result<Result<PersistentVolumeClaim, Failure>, NotLeader> {
    let context = look.context;
    match look.references.home.clone() {
        Some(live) if valid.home.source == HomeSource::Claim => match take_over(look, home, &live).await? {
            Ok(claim) => grow(look, claim, &valid.home.size.0).await,
            refused => Ok(refused),
        },
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
    patch_home(look, live, patch).await
}

/// Lets a home that was taken over grow to `size`. Kubernetes grows claims that are bound, and no others.
async fn grow(
    look: &mut Look<'_>,
    live: PersistentVolumeClaim,
    size: &str,
) -> Result<Result<PersistentVolumeClaim, Failure>, NotLeader> {
    let is_bound = live.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let requests = live
        .spec
        .as_ref()
        .and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let present = requests.and_then(|requests| requests.get("storage"));
    if !is_bound || !present.is_some_and(|present| larger_quantity(size, &present.0)) {
        return Ok(Ok(live));
    }
    let patch = json!({
        "metadata": {"uid": live.uid()},
        "spec": {"resources": {"requests": {"storage": size}}},
    });
    patch_home(look, &live, patch).await
}

async fn patch_home(
    look: &mut Look<'_>,
    live: &PersistentVolumeClaim,
    patch: Value,
) -> Result<Result<PersistentVolumeClaim, Failure>, NotLeader> {
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
        Err(error) => Ok(Err(refused(live, &WriteError::from(error), &mut look.retry)?)),
    }
}

/// Applies the Service. A port of ours that turns out to belong to somebody else is left to him, and another one is taken. While
/// there is no port left it stays as it is: without one, the apiserver would choose any port of the cluster.
async fn apply_service(
    look: &mut Look<'_>,
    valid: &ValidatedWorkspace,
    decision: &LifecycleDecision,
    mut service: Service,
    applied: &mut Applied,
) -> Result<Option<Result<Service, Failure>>, NotLeader> {
    let context = look.context;
    for _ in 0..PORT_TRIES {
        if applied.ports_used_up.is_some() {
            // No event tells that a port is free again.
            look.retry = look.retry.or(Some("NodePortsUsedUp"));
            let live = look.references.service.as_deref();
            let ours = live.filter(|live| label::owner_uid(&live.metadata) == Some(&valid.owner.uid));
            return Ok(ours.cloned().map(Ok));
        }
        let mut retry = None;
        let result = apply_one(&context.applier, &service, &context.caches.services, &mut retry).await?;
        let Err(failure) = &result else { return Ok(Some(result)) };
        let is_port = failure.node_port_in_use().is_some();
        if !is_port || !context.ports.refused(valid, &failure.message) {
            look.retry = look.retry.or(retry);
            return Ok(Some(result));
        }
        let live = look.references.service.as_deref();
        let claimed = context.ports.claim(valid, live, &context.caches);
        applied.ports_used_up = claimed.used_up;
        service = build(valid, decision, claimed.ports, &context.gateway).service;
    }
    look.retry = Some("NodePortInUse");
    let message = "many ports on nodes in a row belong to other Services";
    Ok(Some(Err(Failure::new(FailureKind::Unavailable, message))))
}

/// Applies the Pod. One that has ended, or was made from something else, goes first.
async fn apply_pod(
    look: &mut Look<'_>,
    desired: &Pod,
    is_complete: bool,
    applied: &mut Applied,
) -> Result<(), NotLeader> {
    applied.crash_loop = look
        .context
        .ends
        .recent(&look.workspace.uid().unwrap_or_default(), Instant::now());
    if let Some(live) = own_pod(look) {
        if let Some(why) = why_anew(&live, desired) {
            return replace_pod(look, &live, why, applied).await;
        }
        if has_ended(&live) {
            return follow_ended(look, &live, applied).await;
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
    } else if live.annotations().get(TEMPLATE_HASH) != desired.annotations().get(TEMPLATE_HASH) {
        Some(("Changed", "what it is made from has changed"))
    } else {
        None
    }
}

/// Lets another Pod follow one that has ended by itself: at once when it has lasted, else after a pause.
async fn follow_ended(look: &mut Look<'_>, live: &Pod, applied: &mut Applied) -> Result<(), NotLeader> {
    let context = look.context;
    let created = live.metadata.creation_timestamp.as_ref();
    let lasted = created.map(|created| Timestamp::now().duration_since(created.0));
    let lasted = lasted
        .and_then(|lasted| Duration::try_from(lasted).ok())
        .unwrap_or_default();
    let end = End {
        workspace: look.workspace.uid().unwrap_or_default(),
        pod: live.uid().unwrap_or_default(),
        said: end_of(live),
        lasted,
    };
    let why = format!("it has ended ({})", end.said);
    let exists = |uid: &str| !context.caches.vnc_workspaces.indexed(uid).is_empty();
    let (ended, pause) = context.ends.note(end, Instant::now(), exists);
    applied.crash_loop = ended;
    if !pause.is_zero() {
        look.pause = Some(pause);
        applied.pod = Some(Ok(live.clone()));
        return Ok(());
    }
    replace_pod(look, live, ("Ended", &why), applied).await
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

/// The Pod of the workspace, not one of its name that somebody else made.
pub(super) fn own_pod(look: &Look<'_>) -> Option<Arc<Pod>> {
    let uid = look.workspace.metadata.uid.as_deref();
    let live = look.references.pod.clone();
    live.filter(|live| label::owner_uid(&live.metadata) == uid)
}

/// Deletes the Pod of the workspace; whether there is none any more.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn end_pod(look: &mut Look<'_>) -> Result<bool, NotLeader> {
    let Some(live) = own_pod(look) else {
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
