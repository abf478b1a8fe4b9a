//! Volumes that CDI makes and fills, as `KubeVirt`'s `dataVolumeTemplates`.

use std::collections::BTreeSet;

use novasphere_crd::{DataVolume, DataVolumeSource, VolumeAccessMode, VolumeMode};
use novasphere_foreign::{CompactJson, kubevirt::VirtualMachine};
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

/// The names of the volumes that `desired` has a template for, and `live` has not.
///
/// `KubeVirt` makes a volume when the machine gets its template, and leaves it when the template goes. So one that is there already has what
/// was written to it before.
#[must_use]
pub fn added(desired: &VirtualMachine, live: &VirtualMachine) -> BTreeSet<String> {
    let wanted = templates(desired);
    if wanted.is_empty() {
        return wanted;
    }
    &wanted - &templates(live)
}

fn templates(machine: &VirtualMachine) -> BTreeSet<String> {
    const TEMPLATES: &str = "dataVolumeTemplates";
    let spec = machine.spec.as_ref().filter(|spec| spec.as_str().contains(TEMPLATES));
    let spec = spec.map(CompactJson::to_value).unwrap_or_default();
    let templates = spec.get(TEMPLATES).and_then(Value::as_array);
    let name = |template: &Value| Some(template.pointer("/metadata/name")?.as_str()?.to_owned());
    templates.into_iter().flatten().filter_map(name).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(templates: &[&str]) -> VirtualMachine {
        let templates: Vec<_> = templates
            .iter()
            .map(|name| json!({"metadata": {"name": name}}))
            .collect();
        serde_json::from_value(json!({"metadata": {"name": "web-1"}, "spec": {"dataVolumeTemplates": templates}}))
            .unwrap()
    }

    #[test]
    fn what_a_machine_gets_a_template_for_is_added() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(
            added(&machine(&["root", "data"]), &machine(&["root"])),
            names(&["data"])
        );
        assert_eq!(added(&machine(&["root"]), &machine(&["root", "data"])), names(&[]));
        let bare =
            serde_json::from_value(json!({"metadata": {"name": "web-1"}, "spec": {"runStrategy": "Manual"}})).unwrap();
        assert_eq!(added(&machine(&["root"]), &bare), names(&["root"]));
        assert_eq!(added(&bare, &machine(&["root"])), names(&[]));
    }
}
