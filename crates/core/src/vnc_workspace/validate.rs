//! `VncWorkspace` and what it refers to → [`ValidatedWorkspace`], or what a user has to change.

mod error;

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::PodSpec, apimachinery::pkg::api::resource::Quantity};
use novasphere_crd::{ReclaimPolicy, VncWorkspace, VncWorkspaceSpec, WorkspacePort, WorkspaceRoute};
use serde_json::Value;

pub use self::error::{Part, ValidateError};
use super::{
    FINALIZER, KEY_ROTATE, allowed_overrides, allowed_references, build,
    expiry::{asked_end, before_creation},
    lifecycle::ValidatedLifecycle,
    pod_security,
    references::{References, SnapshotApi, home_of},
    schedule::{Cron, time_zone},
    service_name,
    validated::{
        Home, HomeSource, PodTemplate, SnapshotPolicy, ValidatedNetwork, ValidatedService, ValidatedWorkspace,
    },
};
use crate::{
    label::Owner,
    merge::merge_pod,
    routes::{Backend, ValidatedRoute},
    service::{AnnotationRefusal, refused_annotation},
};

/// The size of a new home for which none is given.
const NEW_HOME_SIZE: &str = "10Gi";

/// Checks a workspace.
///
/// # Errors
///
/// The first thing that a user has to change.
pub fn validate(workspace: &VncWorkspace, references: &References) -> Result<ValidatedWorkspace, ValidateError> {
    let spec = &workspace.spec;
    let owner = Owner::of(workspace).ok_or(ValidateError::NoIdentity)?;
    let home = home(workspace, references, &owner)?;
    let backup = backup(spec, references)?;
    let pod = pod(&owner.name, spec, &home.name)?;
    let overrides = Value::Object(spec.pod_overrides.0.clone());
    allowed_overrides::check(&overrides, &pod.spec, &references.settings.allowed_overrides)?;
    allowed_references::check(workspace, &pod.spec, references)?;
    Ok(ValidatedWorkspace {
        pod,
        authorized_keys: authorized_keys(spec),
        service: service(spec, references)?,
        network: network(spec, references)?,
        lifecycle: lifecycle(workspace)?,
        routes: routes(spec, &owner.name),
        rotation: rotation(workspace),
        owner,
        home,
        backup,
    })
}

fn service(spec: &VncWorkspaceSpec, references: &References) -> Result<ValidatedService, ValidateError> {
    let service = &spec.service;
    if let Some((key, refusal)) = refused_annotation(&service.settings, &references.settings.service_annotations) {
        return Err(ValidateError::ServiceAnnotation {
            key: key.to_owned(),
            problem: match refusal {
                AnnotationRefusal::Own => "is novasphere's own; choose another key, such as novasphere.io/x-team",
                AnnotationRefusal::NotAllowed => {
                    "is not allowed for Services; remove it, or ask the administrator to add it to \
                     controller.workspaces.allowedServiceAnnotations in the configuration"
                }
            },
        });
    }
    Ok(ValidatedService {
        service_type: service.r#type,
        vnc_node_port: service.node_ports.and_then(|ports| ports.vnc),
        ssh_node_port: service.node_ports.and_then(|ports| ports.ssh),
        settings: service.settings.clone(),
    })
}

/// What the annotation says that rotates credentials.
fn rotation(workspace: &VncWorkspace) -> String {
    let annotations = workspace.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(KEY_ROTATE))
        .cloned()
        .unwrap_or_default()
}

fn routes(spec: &VncWorkspaceSpec, name: &str) -> Vec<ValidatedRoute> {
    let backend = |port: WorkspacePort| {
        let port = match port {
            // It is novasphere's own page, in another namespace.
            WorkspacePort::Web => return None,
            WorkspacePort::Vnc => build::VNC_SERVICE_PORT,
            WorkspacePort::Ssh => build::SSH_SERVICE_PORT,
        };
        let service = service_name(name);
        Some(Backend { service, port })
    };
    let route = |route: &WorkspaceRoute| ValidatedRoute {
        name: route.name.clone(),
        backend: backend(route.port),
        rule: route.rule.clone(),
    };
    spec.routes.iter().map(route).collect()
}

fn authorized_keys(spec: &VncWorkspaceSpec) -> Vec<String> {
    let ssh = spec.ssh.as_ref().filter(|ssh| ssh.enabled);
    let keys = ssh.into_iter().flat_map(|ssh| &ssh.authorized_keys);
    keys.map(|key| key.trim().to_owned()).collect()
}

fn home(workspace: &VncWorkspace, references: &References, owner: &Owner) -> Result<Home, ValidateError> {
    let storage = &workspace.spec.storage;
    let name = home_of(workspace);
    let from = storage.restore_from.as_ref();
    let claim = from.and_then(|from| from.persistent_volume_claim_name.as_ref());
    let snapshot = from.and_then(|from| from.volume_snapshot_name.as_ref());
    let source = match (claim, snapshot) {
        (Some(claim), _) => {
            let live = references
                .home
                .as_ref()
                .ok_or_else(|| ValidateError::ClaimNotFound(claim.clone()))?;
            let is_other = crate::label::owner_uid(&live.metadata) != Some(&owner.uid);
            if references.home_is_used && is_other {
                return Err(ValidateError::ClaimInUse(claim.clone()));
            }
            HomeSource::Claim
        }
        // Once the home is there, its source may go.
        (None, Some(snapshot)) if references.home.is_none() => match references.snapshot_api {
            SnapshotApi::Missing => {
                return Err(ValidateError::NoSnapshotApi(
                    "spec.storage.restoreFrom.volumeSnapshotName",
                ));
            }
            SnapshotApi::Unlisted if references.restored_snapshot.is_none() => {
                return Err(ValidateError::SnapshotsUnlisted(snapshot.clone()));
            }
            SnapshotApi::Listed if references.restored_snapshot.is_none() => {
                return Err(ValidateError::SnapshotNotFound(snapshot.clone()));
            }
            SnapshotApi::Unlisted | SnapshotApi::Listed => HomeSource::Snapshot(snapshot.clone()),
        },
        (None, Some(snapshot)) => HomeSource::Snapshot(snapshot.clone()),
        (None, None) => HomeSource::Empty,
    };
    Ok(Home {
        name,
        source,
        size: storage.size.clone().unwrap_or_else(|| present_size(references)),
        storage_class_name: storage.storage_class_name.clone(),
        access_modes: storage.access_modes.clone(),
        goes_along: goes_along(&workspace.spec),
    })
}

/// The size of a home for which none is given: what its claim asks for now, so that nobody is asked to change it.
fn present_size(references: &References) -> Quantity {
    let claim = references.home.as_ref().and_then(|home| home.spec.as_ref());
    let requests = claim.and_then(|claim| claim.resources.as_ref()?.requests.as_ref());
    let present = requests.and_then(|requests| requests.get("storage"));
    present.cloned().unwrap_or_else(|| Quantity(NEW_HOME_SIZE.to_owned()))
}

/// The snapshots that a workspace wishes for, whether or not they can be taken.
#[must_use]
pub fn snapshot_policy(spec: &VncWorkspaceSpec) -> SnapshotPolicy {
    let backup = spec.backup.as_ref();
    let ends = spec.lifecycle.expires_at.is_some() || spec.lifecycle.max_lifetime.is_some();
    SnapshotPolicy {
        on_hibernate: backup.is_some_and(|backup| backup.on_hibernate),
        on_expire: backup.is_some_and(|backup| backup.on_expire) && ends,
        on_delete: backup.is_some_and(|backup| backup.on_delete),
        class: backup.and_then(|backup| backup.volume_snapshot_class_name.clone()),
        keep: backup.map(|backup| usize::from(backup.keep).max(1)),
    }
}

fn backup(spec: &VncWorkspaceSpec, references: &References) -> Result<SnapshotPolicy, ValidateError> {
    let backup = snapshot_policy(spec);
    let wishes = [
        (
            spec.storage.reclaim == ReclaimPolicy::Snapshot,
            "spec.storage.reclaim Snapshot",
        ),
        (backup.on_hibernate, "spec.backup.onHibernate"),
        (backup.on_expire, "spec.backup.onExpire"),
        (backup.on_delete, "spec.backup.onDelete"),
        (backup_schedule(spec)?.is_some(), "spec.backup.schedule"),
    ];
    let is_missing = references.snapshot_api == SnapshotApi::Missing;
    if let Some((_, field)) = wishes.iter().find(|(wanted, _)| *wanted && is_missing) {
        return Err(ValidateError::NoSnapshotApi(field));
    }
    Ok(backup)
}

fn network(spec: &VncWorkspaceSpec, references: &References) -> Result<ValidatedNetwork, ValidateError> {
    let rules = spec.network.egress.as_deref().unwrap_or_default();
    let hidden = rules
        .iter()
        .filter_map(|rule| rule.cidr)
        .find(|cidr| build::network_policy::is_metadata(*cidr));
    match hidden {
        Some(cidr) => Err(ValidateError::MetadataAddress(cidr.to_string())),
        None => Ok(ValidatedNetwork {
            ingress: spec.network.ingress,
            egress: spec.network.egress.clone(),
            cluster_ranges: references.settings.cluster_ranges.clone(),
            route_peers: Vec::new(),
        }),
    }
}

/// When a workspace runs, sleeps and ends.
///
/// # Errors
///
/// When its schedule is malformed, or it was over before it was made.
pub fn lifecycle(workspace: &VncWorkspace) -> Result<ValidatedLifecycle, ValidateError> {
    if let Some((expires, made)) = before_creation(workspace) {
        return Err(ValidateError::ExpiresBeforeCreation { expires, made });
    }
    let spec = &workspace.spec.lifecycle;
    let schedule = spec.schedule.as_ref();
    let cron = |field: &'static str, text: Option<&String>| {
        let (Some(text), Some(schedule)) = (text, schedule) else {
            return Ok(None);
        };
        let zone = time_zone(&schedule.time_zone).ok_or_else(|| ValidateError::TimeZone(schedule.time_zone.clone()))?;
        let malformed = || ValidateError::Cron {
            field,
            text: text.clone(),
        };
        Cron::parse(text, zone).ok_or_else(malformed).map(Some)
    };
    Ok(ValidatedLifecycle {
        state: spec.state,
        idle_timeout: spec.idle_timeout.map(novasphere_crd::Duration::get),
        keep_awake_until: spec.keep_awake_until.as_ref().map(|time| time.0),
        ends_at: asked_end(workspace),
        wake: cron("wake", schedule.and_then(|schedule| schedule.wake.as_ref()))?,
        hibernate: cron("hibernate", schedule.and_then(|schedule| schedule.hibernate.as_ref()))?,
    })
}

/// When snapshots are taken by schedule.
///
/// # Errors
///
/// When the schedule is malformed.
pub fn backup_schedule(spec: &VncWorkspaceSpec) -> Result<Option<Cron>, ValidateError> {
    let backup = spec.backup.as_ref();
    let Some((backup, text)) = backup.and_then(|backup| Some((backup, backup.schedule.as_ref()?))) else {
        return Ok(None);
    };
    let zone = time_zone(&backup.time_zone).ok_or_else(|| ValidateError::BackupTimeZone(backup.time_zone.clone()))?;
    match Cron::parse(text, zone) {
        None => Err(ValidateError::BackupSchedule(text.clone())),
        Some(cron) if cron.never_comes() => Err(ValidateError::BackupNeverComes(text.clone())),
        Some(cron) => Ok(Some(cron)),
    }
}

/// Whether a deletion has to wait until the home is saved.
#[must_use]
pub fn needs_finalizer(workspace: &VncWorkspace) -> bool {
    let spec = &workspace.spec;
    spec.storage.reclaim == ReclaimPolicy::Snapshot || snapshot_policy(spec).on_delete
}

/// Whether the home is collected with its workspace. One of which a snapshot is taken first is deleted by the controller.
#[must_use]
pub fn goes_along(spec: &VncWorkspaceSpec) -> bool {
    spec.storage.reclaim == ReclaimPolicy::Delete && !snapshot_policy(spec).on_delete
}

/// Whether a deletion waits for us.
#[must_use]
pub fn has_finalizer(workspace: &VncWorkspace) -> bool {
    let finalizers = workspace.metadata.finalizers.as_deref().unwrap_or_default();
    finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

/// What novasphere decides about the Pod. The rest of its metadata and spec is free.
const DECIDED_FIELDS: &[(&str, &str)] = &[
    ("/metadata/name", "the Pod is named after the workspace; remove it"),
    (
        "/metadata/generateName",
        "the Pod is named after the workspace; remove it",
    ),
    (
        "/metadata/namespace",
        "the Pod lives in the workspace's namespace; remove it",
    ),
    (
        "/metadata/ownerReferences",
        "the Pod belongs to the workspace; remove it",
    ),
    (
        "/metadata/finalizers",
        "the Pod has to go when its desktop sleeps; remove it",
    ),
    (
        "/spec/restartPolicy",
        "a desktop is restarted whenever it ends; remove it",
    ),
    (
        "/spec/serviceAccountName",
        "a desktop has no rights in the cluster; remove it",
    ),
    (
        "/spec/serviceAccount",
        "a desktop has no rights in the cluster; remove it",
    ),
    (
        "/spec/nodeName",
        "a Pod with a node's name is not scheduled, so quotas of devices fail; use nodeSelector or affinity",
    ),
    (
        "/spec/ephemeralContainers",
        "these are added to a running Pod alone; use kubectl debug",
    ),
];

/// The longest time in which a Pod ends, its `preStop` hooks included. A workspace's `NetworkPolicy` goes with the workspace, not with the Pod.
const GRACE_PERIOD_SECONDS_LIMIT: i64 = 300;

/// The Pod of a workspace with its overrides.
///
/// # Errors
///
/// When the overrides make it none, or one that would not run under Pod Security `restricted`.
pub(super) fn pod(name: &str, spec: &VncWorkspaceSpec, home: &str) -> Result<PodTemplate, ValidateError> {
    if let Some(variable) = spec.env.iter().find(|variable| build::pod::is_reserved(&variable.name)) {
        return Err(ValidateError::ReservedVariable(variable.name.clone()));
    }
    if let Some(bytes) = spec.pod_overrides.oversized_bytes() {
        return Err(ValidateError::TooLarge(bytes));
    }
    if let Some(zone) = spec.time_zone.as_ref().filter(|zone| time_zone(zone).is_none()) {
        return Err(ValidateError::DesktopTimeZone(zone.clone()));
    }
    let overrides = Value::Object(spec.pod_overrides.0.clone());
    if let Some((field, problem)) = DECIDED_FIELDS
        .iter()
        .find(|(field, _)| overrides.pointer(field).is_some())
    {
        return Err(ValidateError::Override {
            field: field.trim_start_matches('/').replace('/', "."),
            problem,
        });
    }
    let mut document = build::pod::template(name, spec, home);
    merge_pod(&mut document, &overrides);
    let metadata = |kind: &str| -> Result<BTreeMap<String, String>, ValidateError> {
        let value = document.pointer(&format!("/metadata/{kind}")).cloned();
        let parsed = value.map(serde_json::from_value).transpose();
        parsed
            .map(Option::unwrap_or_default)
            .map_err(|error| ValidateError::NoPod(format!("metadata.{kind}: {error}")))
    };
    let (labels, annotations) = (metadata("labels")?, metadata("annotations")?);
    let wanted = document.get("spec").cloned().unwrap_or_default();
    let pod: PodSpec =
        serde_json::from_value(wanted.clone()).map_err(|error| ValidateError::NoPod(error.to_string()))?;
    let kept = serde_json::to_value(&pod).map_err(|error| ValidateError::NoPod(error.to_string()))?;
    if let Some(lost) = lost("spec", &wanted, &kept) {
        return Err(ValidateError::UnknownField(lost));
    }
    if pod.termination_grace_period_seconds > Some(GRACE_PERIOD_SECONDS_LIMIT) {
        return Err(ValidateError::Override {
            field: "spec.terminationGracePeriodSeconds".to_owned(),
            problem: "a desktop ends within 300 seconds, for nothing guards its Pod once the workspace is deleted; lower it",
        });
    }
    pod_security::check(&pod)?;
    pod_security::check_annotations(&annotations)?;
    Ok(PodTemplate {
        labels,
        annotations,
        spec: pod,
    })
}

/// The first field of `wanted` that `kept` does not have.
fn lost(path: &str, wanted: &Value, kept: &Value) -> Option<String> {
    match (wanted, kept) {
        (Value::Object(wanted), Value::Object(kept)) => wanted.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match kept.get(key) {
                Some(kept) => lost(&path, value, kept),
                None => (!is_empty(value)).then_some(path),
            }
        }),
        (Value::Array(wanted), Value::Array(kept)) => {
            let mut pairs = wanted.iter().zip(kept).enumerate();
            pairs.find_map(|(index, (wanted, kept))| lost(&format!("{path}[{index}]"), wanted, kept))
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
