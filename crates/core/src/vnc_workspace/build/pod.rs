//! The Pod of a desktop. It passes Pod Security `restricted` as it is.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Pod, PodSpec, Volume},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt as _;
use novasphere_crd::{Clipboard, EnvVar, Gpu, VncWorkspaceSpec};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::super::{
    KEY_USER, KEY_WORKSPACE, PASSWORD_KEY, SSH_PORT, VNC_PORT,
    resize::{self, KEY_RESOURCES, without_resizable},
    secret_name,
    validated::ValidatedWorkspace,
};
use crate::{
    label::{Component, KEY_OWNER_UID, Owner},
    name::label_value,
};

/// Annotation of the Pod: what it was created from. A Pod that was created from something else is replaced, because most of its spec is
/// immutable.
pub const TEMPLATE_HASH_ANNOTATION: &str = "novasphere.io/template-hash";

/// Annotation of the Pod: the keys that SSH lets in. The kubelet writes them into a file and keeps that true, so they change
/// without a new Pod, and need no object of their own.
const AUTHORIZED_KEYS: &str = "novasphere.io/authorized-keys";

/// The container with the desktop; overrides find it by this name.
pub const CONTAINER_NAME: &str = "desktop";

/// The user and group of the image contract.
const DESKTOP_UID: i64 = 1000;

/// Where the Pod answers VNC.
pub(super) const VNC_CONTAINER_PORT: i32 = 5901;

/// Where the Pod answers SSH, as a user who may not take port 22.
pub(super) const SSH_CONTAINER_PORT: i32 = 2222;

const CREDENTIALS_PATH: &str = "/run/novasphere/credentials";

const SSH_FILES: &str = "/run/novasphere/ssh";

/// The volume at `/dev/shm`.
const SHARED_MEMORY_VOLUME: &str = "shm";

/// The size of `/dev/shm` when none is asked for. A browser's tabs need some hundred MiB; the 64 of container engines crash them.
const SHARED_MEMORY: &str = "512Mi";

/// What the image reads; see the image contract in `docs/workspace.md`.
const RESERVED_VARIABLES: &[&str] = &[
    "HOME",
    "VNC_PASSWORD_FILE",
    "DISPLAY_WIDTH",
    "DISPLAY_HEIGHT",
    "DISPLAY_DEPTH",
    "DISPLAY_RESIZE",
    "CLIPBOARD",
    "KEYBOARD_LAYOUT",
];

/// Whether a variable is set by novasphere.
pub(in super::super) fn is_reserved(variable: &str) -> bool {
    RESERVED_VARIABLES.contains(&variable)
}

/// The labels by which the Service and the `NetworkPolicy` find the Pod.
pub(super) fn selector(owner: &Owner) -> BTreeMap<String, String> {
    let component: &'static str = Component::Desktop.into();
    BTreeMap::from([
        (KEY_OWNER_UID.to_owned(), owner.uid.clone()),
        ("app.kubernetes.io/component".to_owned(), component.to_owned()),
    ])
}

/// The Pod of a valid workspace.
pub(super) fn build(workspace: &ValidatedWorkspace) -> Pod {
    let owner = &workspace.owner;
    let mut labels = workspace.pod.labels.clone();
    labels.extend(owner.labels(Component::Desktop));
    labels.insert(KEY_WORKSPACE.to_owned(), owner.name.clone());
    let mut annotations = workspace.pod.annotations.clone();
    annotations.insert(TEMPLATE_HASH_ANNOTATION.to_owned(), hash(workspace));
    annotations.extend(resize::annotation(&workspace.pod.spec).map(|asked| (KEY_RESOURCES.to_owned(), asked)));
    if workspace.has_ssh() {
        annotations.insert(AUTHORIZED_KEYS.to_owned(), lines(&workspace.authorized_keys));
    }
    Pod {
        metadata: ObjectMeta {
            name: Some(owner.name.clone()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![owner.reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(workspace.pod.spec.clone()),
        status: None,
    }
}

/// The Pod as it starts with the Secret of this UID. A desktop reads its password when it starts, so a Secret that was deleted
/// and that was made again asks for another Pod.
#[must_use]
pub fn with_secret(mut pod: Pod, uid: &str) -> Pod {
    if let Some(hash) = pod.annotations_mut().get_mut(TEMPLATE_HASH_ANNOTATION) {
        let both = Sha256::new()
            .chain_update(hash.as_bytes())
            .chain_update([0])
            .chain_update(uid);
        *hash = hex(&both.finalize());
    }
    pod
}

/// The Pod as it is wanted beside one that was made before every desktop had shared memory: nobody's programs end because novasphere was
/// updated, the next Pod has it.
#[must_use]
pub fn as_live(desired: &Pod, live: &Pod) -> Pod {
    let volumes = live.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut desired = desired.clone();
    if !volumes.into_iter().any(|volume| volume.name == SHARED_MEMORY_VOLUME) {
        desired.spec = desired.spec.map(without_usual_shared_memory);
    }
    desired
}

/// A spec without shared memory of the size that every desktop gets.
fn without_usual_shared_memory(mut spec: PodSpec) -> PodSpec {
    let is_usual = |volume: &Volume| {
        let memory = volume
            .empty_dir
            .as_ref()
            .filter(|_| volume.name == SHARED_MEMORY_VOLUME);
        memory.is_some_and(|memory| memory.size_limit.as_ref().is_some_and(|size| size.0 == SHARED_MEMORY))
    };
    if spec.volumes.iter().flatten().any(is_usual) {
        spec.volumes
            .iter_mut()
            .for_each(|volumes| volumes.retain(|volume| !is_usual(volume)));
        let mounts = spec
            .containers
            .iter_mut()
            .filter_map(|container| container.volume_mounts.as_mut());
        mounts.for_each(|mounts| {
            mounts.retain(|mount| mount.name != SHARED_MEMORY_VOLUME || mount.mount_path != "/dev/shm");
        });
    }
    spec
}

/// Of the spec, but for what is changed while the Pod runs, and of the rotation: the desktop reads its password when it starts.
fn hash(workspace: &ValidatedWorkspace) -> String {
    let spec = without_usual_shared_memory(without_resizable(&workspace.pod.spec));
    let spec = serde_json::to_vec(&spec).unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update(spec);
    hasher.update([0]);
    hasher.update(workspace.rotation.as_bytes());
    hex(&hasher.finalize())
}

/// Sixteen digits tell apart what one workspace ever asks for.
fn hex(digest: &[u8]) -> String {
    let start: [u8; 8] = std::array::from_fn(|index| digest.get(index).copied().unwrap_or_default());
    format!("{:016x}", u64::from_be_bytes(start))
}

fn lines(keys: &[String]) -> String {
    let mut lines = keys.join("\n");
    lines.push('\n');
    lines
}

/// The Pod's labels and spec as JSON, before overrides.
pub(in super::super) fn template(name: &str, spec: &VncWorkspaceSpec, home: &str) -> Value {
    let has_ssh = spec.ssh.as_ref().is_some_and(|ssh| ssh.enabled);
    let mut volumes = vec![
        json!({"name": "home", "persistentVolumeClaim": {"claimName": home}}),
        json!({"name": "credentials", "secret": {
            "secretName": secret_name(name),
            "items": [{"key": PASSWORD_KEY, "path": PASSWORD_KEY}],
            "defaultMode": 0o440,
        }}),
        json!({"name": "tmp", "emptyDir": {}}),
        json!({"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}),
        json!({"name": SHARED_MEMORY_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory(spec)}}),
    ];
    if has_ssh {
        volumes.push(ssh_files(name));
    }
    json!({
        "metadata": {"labels": {KEY_USER: label_value(&spec.user)}},
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "hostname": name,
            "restartPolicy": "Always",
            // A desktop answers SIGTERM within 2 s.
            "terminationGracePeriodSeconds": 10,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": DESKTOP_UID,
                "runAsGroup": DESKTOP_UID,
                "fsGroup": DESKTOP_UID,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container(spec, has_ssh)],
            "volumes": volumes,
        },
    })
}

/// The size of `/dev/shm`.
fn shared_memory(spec: &VncWorkspaceSpec) -> &str {
    spec.shared_memory.as_ref().map_or(SHARED_MEMORY, |size| &size.0)
}

fn ssh_files(name: &str) -> Value {
    json!({"name": "ssh", "projected": {"defaultMode": 0o440, "sources": [
        {"secret": {
            "name": secret_name(name),
            "items": [{"key": "ssh_host_ed25519_key", "path": "ssh_host_ed25519_key"}],
        }},
        {"downwardAPI": {"items": [{
            "path": "authorized_keys",
            "fieldRef": {"apiVersion": "v1", "fieldPath": format!("metadata.annotations['{AUTHORIZED_KEYS}']")},
        }]}},
    ]}})
}

fn container(spec: &VncWorkspaceSpec, has_ssh: bool) -> Value {
    let mut ports = vec![json!({"name": VNC_PORT, "containerPort": VNC_CONTAINER_PORT, "protocol": "TCP"})];
    let mut mounts = vec![
        json!({"name": "home", "mountPath": spec.storage.mount_path}),
        json!({"name": "credentials", "mountPath": CREDENTIALS_PATH, "readOnly": true}),
        json!({"name": "tmp", "mountPath": "/tmp"}),
        json!({"name": "run", "mountPath": "/run/user"}),
        json!({"name": SHARED_MEMORY_VOLUME, "mountPath": "/dev/shm"}),
    ];
    if has_ssh {
        ports.push(json!({"name": SSH_PORT, "containerPort": SSH_CONTAINER_PORT, "protocol": "TCP"}));
        mounts.push(json!({"name": "ssh", "mountPath": SSH_FILES, "readOnly": true}));
    }
    let probe = json!(["/usr/bin/novasphere-probe"]);
    let mut container = json!({
        "name": CONTAINER_NAME,
        "image": spec.image,
        "env": variables(spec),
        "ports": ports,
        "volumeMounts": mounts,
        // Every second until the first answer, then seldom: the probe is a process in the desktop each time.
        "startupProbe": {"exec": {"command": probe}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 300},
        "readinessProbe": {"exec": {"command": probe}, "periodSeconds": 20, "timeoutSeconds": 5, "failureThreshold": 3},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    });
    if let (Some(resources), Some(container)) = (resources(spec), container.as_object_mut()) {
        container.insert("resources".to_owned(), resources);
    }
    container
}

fn variables(spec: &VncWorkspaceSpec) -> Vec<Value> {
    let display = spec.display;
    let own = [
        ("HOME", spec.storage.mount_path.clone()),
        ("VNC_PASSWORD_FILE", format!("{CREDENTIALS_PATH}/{PASSWORD_KEY}")),
        ("DISPLAY_WIDTH", display.width.to_string()),
        ("DISPLAY_HEIGHT", display.height.to_string()),
        ("DISPLAY_DEPTH", display.depth.to_string()),
    ];
    // Not where they are the image's defaults: a variable would be another template, and restart every desktop that runs.
    let clipboard = spec.console.clipboard;
    let narrower = (clipboard != Clipboard::Both).then(|| clipboard.as_str().to_owned());
    let fixed = (!spec.console.resize).then(|| "false".to_owned());
    let wishes = [
        ("DISPLAY_RESIZE", fixed),
        ("CLIPBOARD", narrower),
        ("LANG", spec.locale.clone()),
        ("TZ", spec.time_zone.clone()),
        ("KEYBOARD_LAYOUT", spec.keyboard.clone()),
    ];
    // A list with one name twice cannot be applied; API admission refuses it too.
    let is_given = |name: &str| spec.env.iter().any(|given| given.name == name);
    let wishes = wishes
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .filter(|(name, _)| !is_given(name));
    let own = own
        .into_iter()
        .chain(wishes)
        .map(|(name, value)| json!({"name": name, "value": value}));
    own.chain(spec.env.iter().map(variable)).collect()
}

fn variable(variable: &EnvVar) -> Value {
    let mut object = Map::from_iter([("name".to_owned(), json!(variable.name))]);
    if let Some(value) = variable.value.as_ref().filter(|value| !value.is_empty()) {
        object.insert("value".to_owned(), json!(value));
    }
    let source = variable.value_from.as_ref();
    let reference = |kind: &str, reference: &novasphere_crd::KeyRef| {
        let mut key = Map::from_iter([
            ("name".to_owned(), json!(reference.name)),
            ("key".to_owned(), json!(reference.key)),
        ]);
        if reference.optional {
            key.insert("optional".to_owned(), json!(true));
        }
        json!({ kind: key })
    };
    let secret = source
        .and_then(|source| source.secret_key_ref.as_ref())
        .map(|key| reference("secretKeyRef", key));
    let map = source
        .and_then(|source| source.config_map_key_ref.as_ref())
        .map(|key| reference("configMapKeyRef", key));
    if let Some(value_from) = secret.or(map) {
        object.insert("valueFrom".to_owned(), value_from);
    }
    Value::Object(object)
}

fn resources(spec: &VncWorkspaceSpec) -> Option<Value> {
    let resources = spec.resources.clone().unwrap_or_default();
    let mut limits = resources.limits;
    if let Some(Gpu { resource_name, count }) = &spec.gpu {
        limits.insert(
            resource_name.clone(),
            k8s_openapi::apimachinery::pkg::api::resource::Quantity(count.to_string()),
        );
    }
    let mut object = Map::new();
    for (key, quantities) in [("requests", resources.requests), ("limits", limits)] {
        if !quantities.is_empty() {
            object.insert(key.to_owned(), json!(quantities));
        }
    }
    (!object.is_empty()).then_some(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{
            samples::{references, workspace},
            validate::validate,
        },
        *,
    };

    fn environment(spec: &Value) -> Vec<(String, Option<String>)> {
        let pod = build(&validate(&workspace(spec), &references()).unwrap());
        let containers = pod.spec.unwrap().containers;
        let variables = containers
            .into_iter()
            .flat_map(|container| container.env.unwrap_or_default());
        variables.map(|variable| (variable.name, variable.value)).collect()
    }

    #[test]
    fn the_desktop_learns_of_a_narrower_clipboard() {
        for policy in ["ToGuest", "FromGuest", "None"] {
            let told = environment(&json!({"console": {"clipboard": policy}}));
            assert!(
                told.contains(&("CLIPBOARD".to_owned(), Some(policy.to_owned()))),
                "{told:?}"
            );
        }
        let told = environment(&json!({"console": {"clipboard": "Both"}}));
        assert_eq!(told, environment(&json!({})));
        assert!(told.iter().all(|(name, _)| name != "CLIPBOARD"));
    }

    #[test]
    fn the_desktop_learns_that_its_screen_keeps_its_size() {
        let told = environment(&json!({"console": {"resize": false}}));
        assert!(
            told.contains(&("DISPLAY_RESIZE".to_owned(), Some("false".to_owned()))),
            "{told:?}"
        );
        let told = environment(&json!({"console": {"resize": true}}));
        assert_eq!(told, environment(&json!({})));
        assert!(told.iter().all(|(name, _)| name != "DISPLAY_RESIZE"));
    }

    #[test]
    fn the_desktop_learns_of_language_time_zone_and_keyboard() {
        let pair = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        let wishes = json!({"locale": "zh_CN.UTF-8", "timeZone": "Asia/Shanghai", "keyboard": "de(neo)"});
        let told = environment(&wishes);
        for expected in [
            pair("LANG", "zh_CN.UTF-8"),
            pair("TZ", "Asia/Shanghai"),
            pair("KEYBOARD_LAYOUT", "de(neo)"),
        ] {
            assert!(told.contains(&expected), "{told:?}");
        }
        let names: Vec<_> = environment(&json!({})).into_iter().map(|(name, _)| name).collect();
        assert!(
            names
                .iter()
                .all(|name| !["LANG", "TZ", "KEYBOARD_LAYOUT"].contains(&name.as_str()))
        );
        let both = json!({"locale": "zh_CN.UTF-8", "env": [{"name": "LANG", "value": "C"}]});
        let told = environment(&both);
        assert!(told.contains(&pair("LANG", "C")) && !told.contains(&pair("LANG", "zh_CN.UTF-8")));
    }

    #[test]
    fn any_user_has_a_label() {
        for user in ["alice", "alice@example.org", "王小明", &"ä".repeat(126)] {
            let valid = validate(&workspace(&json!({"user": user})), &references()).unwrap();
            assert_eq!(build(&valid).labels()[KEY_USER], label_value(user), "{user}");
        }
    }

    #[test]
    fn shared_memory_has_the_size_that_is_asked_for() {
        let size = |spec: &Value| {
            let valid = validate(&workspace(spec), &references()).unwrap();
            let volumes = valid.pod.spec.volumes.unwrap();
            let shm = volumes.into_iter().find(|volume| volume.name == "shm").unwrap();
            let shm = shm.empty_dir.unwrap();
            (shm.medium, shm.size_limit.unwrap().0)
        };
        let memory = Some("Memory".to_owned());
        assert_eq!(size(&json!({})), (memory.clone(), "512Mi".to_owned()));
        assert_eq!(size(&json!({"sharedMemory": "2Gi"})), (memory, "2Gi".to_owned()));
    }

    #[test]
    fn a_pod_without_shared_memory_stays_until_the_next_one() {
        let made = |spec: &Value| build(&validate(&workspace(spec), &references()).unwrap());
        let usual = made(&json!({}));
        let mut old = usual.clone();
        old.spec = old.spec.map(without_usual_shared_memory);
        assert_ne!(old, usual);
        assert_eq!(
            as_live(&usual, &old),
            old,
            "nothing is changed, and the hash is the same"
        );
        assert_eq!(as_live(&usual, &usual), usual);
        let asked = made(&json!({"sharedMemory": "2Gi"}));
        assert_eq!(as_live(&asked, &old), asked);
        assert_ne!(
            asked.annotations()[TEMPLATE_HASH_ANNOTATION],
            usual.annotations()[TEMPLATE_HASH_ANNOTATION]
        );
    }

    #[test]
    fn another_secret_is_another_template() {
        let valid = validate(&workspace(&json!({})), &references()).unwrap();
        let hash = |uid: &str| with_secret(build(&valid), uid).annotations()[TEMPLATE_HASH_ANNOTATION].clone();
        assert_eq!(hash("a"), hash("a"));
        assert_ne!(hash("a"), hash("b"));
    }
}
