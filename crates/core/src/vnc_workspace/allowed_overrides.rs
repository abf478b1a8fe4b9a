//! What of a Pod the author of a workspace may set.
//!
//! They may lack the right to make Pods, so what a Pod's maker could do beyond a desktop is closed: to join the Services and network
//! policies of others by labels, to leave the network by annotations of its plugins, to evict others by a priority, to run where a taint
//! keeps Pods away, to have a driver mount what it likes. Administrators open what their cluster needs in the configuration.

use k8s_openapi::api::core::v1::{PodSpec, Volume};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::validate::ValidateError;
use crate::allowed_names::{FREE_KEYS, stands_for};

/// What novasphere and its objects are found by.
const OWN_PREFIXES: &[&str] = &["novasphere.io/", "app.kubernetes.io/"];

/// The fields of a Pod's spec that are open to the author of a workspace. Those that Pod Security looks at are checked by
/// [`pod_security`](super::pod_security), volumes and what they mount by [`allowed_references`](super::allowed_references) and here.
const OPEN_FIELDS: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "hostname",
    "imagePullSecrets",
    "initContainers",
    "nodeSelector",
    "os",
    "readinessGates",
    "resources",
    "securityContext",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "topologySpreadConstraints",
    "volumes",
];

/// What `podOverrides` of workspaces may set beside what every author may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AllowedOverrides {
    /// Fields of the Pod's spec, of these: `priorityClassName`, `preemptionPolicy`, `tolerations`, `schedulerName`, `schedulingGates`,
    /// `runtimeClassName`, `resourceClaims` and `volumes.csi`. Default: none of them.
    #[schemars(length(max = 16))]
    pub fields: Vec<OverridableField>,

    /// Keys of the Pod's labels, such as `team.example.org/name`; one that ends in `*` stands for all that begin so. With a label, a
    /// desktop joins every Service and network policy that selects it. Default: none but `novasphere.io/x-*`, which is always allowed.
    #[schemars(length(max = 64), inner(length(min = 1, max = 317)))]
    pub labels: Vec<String>,

    /// Keys of the Pod's annotations, in the same way. Default: none but `novasphere.io/x-*`.
    #[schemars(length(max = 64), inner(length(min = 1, max = 317)))]
    pub annotations: Vec<String>,
}

/// A field of a Pod that the administrator may open to authors of workspaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr)]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum OverridableField {
    /// `priorityClassName`: it may evict others.
    PriorityClassName,
    /// `preemptionPolicy`.
    PreemptionPolicy,
    /// `tolerations`: it may run on nodes that a taint keeps Pods away from, such as those of the control plane.
    Tolerations,
    /// `schedulerName`.
    SchedulerName,
    /// `schedulingGates`.
    SchedulingGates,
    /// `runtimeClassName`.
    RuntimeClassName,
    /// `resourceClaims`: devices by dynamic resource allocation.
    ResourceClaims,
    /// Volumes of type `csi`: the driver may get a token of the Pod's account, and mounts what it is told to.
    #[serde(rename = "volumes.csi")]
    #[strum(serialize = "volumes.csi")]
    InlineCsi,
}

/// All of them, for messages.
const OVERRIDABLE_FIELDS: &[OverridableField] = &[
    OverridableField::PriorityClassName,
    OverridableField::PreemptionPolicy,
    OverridableField::Tolerations,
    OverridableField::SchedulerName,
    OverridableField::SchedulingGates,
    OverridableField::RuntimeClassName,
    OverridableField::ResourceClaims,
    OverridableField::InlineCsi,
];

impl OverridableField {
    fn name(self) -> &'static str {
        self.into()
    }
}

/// What is said of a field, label or annotation that the administrator may open.
const CLOSED: &str =
    "the administrator has not opened it (controller.workspaces.allowedOverrides of the configuration); remove it";

/// Refuses overrides that set what is not open. `pod` is the Pod with them.
pub(super) fn check(overrides: &Value, pod: &PodSpec, allowed: &AllowedOverrides) -> Result<(), ValidateError> {
    let metadata = fields(overrides, "/metadata");
    if let Some(key) = names(&metadata).find(|key| !["labels", "annotations"].contains(key)) {
        let problem = "of the metadata only labels and annotations may be set; remove it";
        return refuse(format!("metadata.{key}"), problem);
    }
    keys("labels", &fields(overrides, "/metadata/labels"), &allowed.labels)?;
    keys(
        "annotations",
        &fields(overrides, "/metadata/annotations"),
        &allowed.annotations,
    )?;
    if let Some(key) = names(&fields(overrides, "")).find(|key| !["metadata", "spec"].contains(key)) {
        return Err(ValidateError::UnknownField(key.to_owned()));
    }
    for name in names(&fields(overrides, "/spec")).filter(|name| !OPEN_FIELDS.contains(name)) {
        let Some(field) = OVERRIDABLE_FIELDS.iter().find(|field| field.name() == name) else {
            return refuse(format!("spec.{name}"), "a desktop does not set it; remove it");
        };
        open(*field, format!("spec.{name}"), allowed)?;
    }
    for volume in pod.volumes.iter().flatten() {
        of_volume(volume, allowed)?;
    }
    Ok(())
}

fn of_volume(volume: &Volume, allowed: &AllowedOverrides) -> Result<(), ValidateError> {
    let place = format!("spec.volumes[{}]", volume.name);
    if volume.csi.is_some() {
        open(OverridableField::InlineCsi, format!("{place}.csi"), allowed)?;
    }
    // The claim that the kubelet's controller makes of it would look like one of ours.
    let template = volume
        .ephemeral
        .as_ref()
        .and_then(|ephemeral| ephemeral.volume_claim_template.as_ref());
    let metadata = template.and_then(|template| template.metadata.as_ref());
    let all = metadata
        .into_iter()
        .flat_map(|metadata| [&metadata.labels, &metadata.annotations]);
    let mut keys = all.flatten().flat_map(|keys| keys.keys());
    match keys.find(|key| is_own(key)) {
        Some(key) => refuse(
            format!("{place}.ephemeral.volumeClaimTemplate.metadata[{key}]"),
            "novasphere finds its objects by these; use another key",
        ),
        None => Ok(()),
    }
}

fn open(field: OverridableField, place: String, allowed: &AllowedOverrides) -> Result<(), ValidateError> {
    if allowed.fields.contains(&field) {
        return Ok(());
    }
    refuse(place, CLOSED)
}

fn keys(kind: &str, keys: &Map<String, Value>, allowed: &[String]) -> Result<(), ValidateError> {
    for (key, value) in keys {
        let place = || format!("metadata.{kind}[{key}]");
        // Nor may one be taken away.
        if is_own(key) {
            return refuse(place(), "novasphere finds the Pod by these; use another key");
        }
        let mut open = allowed.iter().map(String::as_str).chain([FREE_KEYS]);
        if !value.is_null() && !open.any(|written| stands_for(written, key)) {
            return refuse(place(), CLOSED);
        }
    }
    Ok(())
}

/// Whether a key is novasphere's own.
fn is_own(key: &str) -> bool {
    !stands_for(FREE_KEYS, key) && OWN_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// The fields of the object at this place.
fn fields(overrides: &Value, pointer: &str) -> Map<String, Value> {
    overrides
        .pointer(pointer)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

/// The names of fields that are set. `null` takes away what is not there.
fn names(fields: &Map<String, Value>) -> impl Iterator<Item = &str> {
    fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, _)| name.as_str())
}

fn refuse(field: String, problem: &'static str) -> Result<(), ValidateError> {
    Err(ValidateError::Override { field, problem })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::{
        super::{
            references::{References, WorkspaceSettings},
            samples::{references, workspace},
            validate::validate,
        },
        *,
    };

    fn with(allowed: Value) -> References {
        let settings = WorkspaceSettings {
            allowed_overrides: serde_json::from_value(allowed).unwrap(),
            ..WorkspaceSettings::default()
        };
        References {
            settings: Arc::new(settings),
            ..references()
        }
    }

    /// The overrides, the field that is named, and what opens it.
    fn closed() -> Vec<(Value, &'static str, Value)> {
        let field = |name: &str| json!({"fields": [name]});
        let volume = |source: Value| {
            let mut volume = json!({"name": "v"});
            volume
                .as_object_mut()
                .unwrap()
                .extend(source.as_object().unwrap().clone());
            json!({"spec": {"volumes": [volume]}})
        };
        vec![
            (
                json!({"metadata": {"labels": {"app": "victim"}}}),
                "metadata.labels[app]",
                json!({"labels": ["app"]}),
            ),
            (
                json!({"metadata": {"labels": {"team.example.org/a": "b"}}}),
                "metadata.labels[team.example.org/a]",
                json!({"labels": ["team.example.org/*"]}),
            ),
            (
                json!({"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "other"}}}),
                "metadata.annotations[k8s.v1.cni.cncf.io/networks]",
                json!({"annotations": ["*"]}),
            ),
            (
                json!({"spec": {"priorityClassName": "system-node-critical"}}),
                "spec.priorityClassName",
                field("priorityClassName"),
            ),
            (
                json!({"spec": {"preemptionPolicy": "Never"}}),
                "spec.preemptionPolicy",
                field("preemptionPolicy"),
            ),
            (
                json!({"spec": {"tolerations": [{"operator": "Exists"}]}}),
                "spec.tolerations",
                field("tolerations"),
            ),
            (
                json!({"spec": {"schedulerName": "mine"}}),
                "spec.schedulerName",
                field("schedulerName"),
            ),
            (
                json!({"spec": {"schedulingGates": [{"name": "a"}]}}),
                "spec.schedulingGates",
                field("schedulingGates"),
            ),
            (
                json!({"spec": {"runtimeClassName": "kata"}}),
                "spec.runtimeClassName",
                field("runtimeClassName"),
            ),
            (
                json!({"spec": {"resourceClaims": [{"name": "a", "resourceClaimName": "b"}]}}),
                "spec.resourceClaims",
                field("resourceClaims"),
            ),
            (
                volume(json!({"csi": {"driver": "d"}})),
                "spec.volumes[v].csi",
                field("volumes.csi"),
            ),
        ]
    }

    #[test]
    fn what_goes_beyond_a_desktop_is_the_administrators_to_open() {
        for (overrides, field, opening) in closed() {
            let workspace = workspace(&json!({"podOverrides": overrides}));
            let said = validate(&workspace, &references()).unwrap_err().to_string();
            assert!(
                said.starts_with(&format!(
                    "spec.podOverrides.{field}: the administrator has not opened it"
                )),
                "{said}"
            );
            let opened = validate(&workspace, &with(opening));
            assert!(opened.is_ok(), "{field}: {opened:?}");
        }
    }

    #[test]
    fn what_is_novaspheres_or_nobodys_stays_closed() {
        let all = json!({"labels": ["*"], "annotations": ["*"]});
        let labelled = json!({"labels": {"novasphere.io/owner-uid": "bob-1"}});
        for (overrides, field) in [
            (
                json!({"metadata": {"labels": {"novasphere.io/owner-uid": "a"}}}),
                "metadata.labels[novasphere.io/owner-uid]",
            ),
            (
                json!({"metadata": {"annotations": {"app.kubernetes.io/a": "a"}}}),
                "metadata.annotations[app.kubernetes.io/a]",
            ),
            (
                json!({"metadata": {"labels": {"novasphere.io/user": null}}}),
                "metadata.labels[novasphere.io/user]",
            ),
            (json!({"metadata": {"generation": 5}}), "metadata.generation"),
            (json!({"spec": {"overhead": {"cpu": "1"}}}), "spec.overhead"),
            (json!({"spec": {"priority": 5}}), "spec.priority"),
            (json!({"stages": {}}), "stages"),
            (
                json!({"spec": {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {
                    "metadata": labelled,
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                }}}]}}),
                "spec.volumes[v].ephemeral.volumeClaimTemplate.metadata[novasphere.io/owner-uid]",
            ),
        ] {
            let workspace = workspace(&json!({"podOverrides": overrides}));
            let said = validate(&workspace, &with(all.clone())).unwrap_err().to_string();
            assert!(said.starts_with(&format!("spec.podOverrides.{field}: ")), "{said}");
        }
    }

    #[test]
    fn a_desktop_has_what_it_needs_without_the_administrator() {
        let overrides = json!({
            "metadata": {"labels": {"novasphere.io/x-team": "a"}, "annotations": {"novasphere.io/x-note": "a"}, "creationTimestamp": null},
            "spec": {
                "nodeSelector": {"disk": "ssd"}, "hostNetwork": false, "tolerations": null,
                "volumes": [{"name": "v", "emptyDir": {}}],
            },
        });
        validate(&workspace(&json!({"podOverrides": overrides})), &references()).unwrap();
    }
}
