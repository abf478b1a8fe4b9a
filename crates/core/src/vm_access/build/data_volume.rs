//! Volumes that CDI makes and fills, as `KubeVirt`'s `dataVolumeTemplates`.

use novasphere_crd::{DataVolume, DataVolumeSource, VolumeAccessMode, VolumeMode};
use serde_json::{Value, json};

use super::virtual_machine::without_absent;

/// The template of the data volume `name` in `namespace`.
///
/// `KubeVirt` makes the volume and owns it, so it is deleted with the machine.
pub(super) fn build(name: &str, namespace: &str, volume: &DataVolume) -> Value {
    let storage = without_absent([
        ("resources", Some(json!({"requests": {"storage": volume.size.0}}))),
        ("storageClassName", volume.storage_class_name.clone().map(Value::from)),
        (
            "accessModes",
            (!volume.access_modes.is_empty()).then(|| {
                volume
                    .access_modes
                    .iter()
                    .map(|mode| access_mode(*mode))
                    .collect::<Value>()
            }),
        ),
        ("volumeMode", volume.volume_mode.map(|mode| volume_mode(mode).into())),
    ]);
    // `storage` and not `pvc`: CDI then chooses what is not said by what it knows about the storage class.
    json!({"metadata": {"name": name}, "spec": {"source": source(&volume.source, namespace), "storage": storage}})
}

fn source(source: &DataVolumeSource, namespace: &str) -> Value {
    let web = |url: &str, secret: &Option<String>, certificates: &Option<String>| {
        without_absent([
            ("url", Some(url.into())),
            ("secretRef", secret.clone().map(Value::from)),
            ("certConfigMap", certificates.clone().map(Value::from)),
        ])
    };
    // Validation has made sure that there is exactly one.
    without_absent([
        (
            "http",
            source
                .http
                .as_ref()
                .map(|http| web(&http.url, &http.secret_name, &http.cert_config_map)),
        ),
        (
            "registry",
            source
                .registry
                .as_ref()
                .map(|image| web(&image.url, &image.secret_name, &image.cert_config_map)),
        ),
        (
            "pvc",
            source
                .pvc
                .as_ref()
                .map(|claim| json!({"name": claim.name, "namespace": namespace})),
        ),
        (
            "snapshot",
            source
                .snapshot
                .as_ref()
                .map(|snapshot| json!({"name": snapshot.name, "namespace": namespace})),
        ),
        ("blank", source.blank.map(|_| json!({}))),
    ])
}

fn access_mode(mode: VolumeAccessMode) -> &'static str {
    match mode {
        VolumeAccessMode::ReadWriteOnce => "ReadWriteOnce",
        VolumeAccessMode::ReadOnlyMany => "ReadOnlyMany",
        VolumeAccessMode::ReadWriteMany => "ReadWriteMany",
        VolumeAccessMode::ReadWriteOncePod => "ReadWriteOncePod",
    }
}

fn volume_mode(mode: VolumeMode) -> &'static str {
    match mode {
        VolumeMode::Filesystem => "Filesystem",
        VolumeMode::Block => "Block",
    }
}
