//! Which field of a template a field of the machine's spec comes from.

use super::super::validated::{Template, ValidatedDiskSource};

/// The field of the template that `path` of the spec was made from.
pub(super) fn in_template(path: &str, template: &Template) -> String {
    if let Some(field) = path
        .strip_suffix("networkDataSecretRef")
        .map(|_| "cloudInit.networkDataSecretRef")
        .or_else(|| path.ends_with(".secretRef").then_some("cloudInit.secretRef"))
        && path.starts_with("template.spec.volumes[")
    {
        return field.to_owned();
    }
    if let Some((volume, rest)) = element(path, "template.spec.volumes[") {
        return format!("{}{rest}", disk(volume));
    }
    if let Some((volume, rest)) = element(path, "dataVolumeTemplates[") {
        let is_of = |source: &ValidatedDiskSource| matches!(source, ValidatedDiskSource::DataVolume(name, _) if name.as_str() == volume);
        let of = template.disks.iter().find(|disk| is_of(&disk.source));
        let rest = rest.trim_start_matches(".spec").replace("secretRef", "secretName");
        return format!("{}.dataVolume{rest}", disk(of.map_or(volume, |disk| &disk.name)));
    }
    for (start, instead) in [
        ("template.metadata.", ""),
        ("template.spec.networks", "networks"),
        ("template.spec.", "scheduling."),
    ] {
        if let Some(rest) = path.strip_prefix(start) {
            return format!("{instead}{rest}");
        }
    }
    path.to_owned()
}

/// The name of the element in a path that begins with `list`, and what follows.
fn element<'a>(path: &'a str, list: &str) -> Option<(&'a str, &'a str)> {
    path.strip_prefix(list)?.split_once(']')
}

fn disk(name: &str) -> String {
    if name == "root" {
        "rootDisk".to_owned()
    } else {
        format!("disks[{name}]")
    }
}
