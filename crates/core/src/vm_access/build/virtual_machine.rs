//! The `VirtualMachine` of a template.
//!
//! Its spec is built as JSON and not as types, because `overrides` may put any field of `KubeVirt`'s into it, and because
//! server-side apply owns exactly the fields that are sent.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use novasphere_crd::{CloudInitType, DeletionPolicy, DiskBus, DiskDevice, ImagePullPolicy};
use novasphere_foreign::{CompactJson, kubevirt::VirtualMachine};
use serde_json::{Map, Value, json};

use super::{
    super::{
        run_strategy,
        validated::{
            Attachment, CloudInitContent, OwnedMachine, Size, Template, ValidatedCloudInit, ValidatedDisk,
            ValidatedDiskSource, ValidatedNetwork,
        },
    },
    data_volume,
};
use crate::{
    label::{Component, Owner},
    merge::merge,
};

/// The name of the cloud-init disk.
const CLOUD_INIT: &str = "cloud-init";

/// The virtual machine `name`.
pub(super) fn build(owner: &Owner, name: &str, machine: &OwnedMachine) -> VirtualMachine {
    let template = &machine.template;
    let mut labels = template.labels.clone();
    labels.extend(owner.labels(Component::VirtualMachine));
    // A machine that stays when its owner goes must not be collected with it. It is found by its name, and known by the
    // label with the owner's UID.
    let owner_references = match machine.deletion_policy {
        DeletionPolicy::Delete => Some(vec![owner.reference()]),
        DeletionPolicy::Orphan => None,
    };
    VirtualMachine {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels),
            annotations: (!template.annotations.is_empty()).then(|| template.annotations.clone()),
            owner_references,
            resource_version: machine.repeated_version.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(CompactJson::from(spec(&owner.namespace, machine))),
        status: None,
    }
}

fn spec(namespace: &str, machine: &OwnedMachine) -> Value {
    let mut spec = wanted_spec(namespace, &machine.template);
    if let Some(fields) = spec.as_object_mut() {
        run_strategy::set(fields, &machine.run_strategy);
    }
    spec
}

/// The spec without its run strategy: what the fields of the template say, and the overrides over it.
pub(in super::super) fn wanted_spec(namespace: &str, template: &Template) -> Value {
    let mut spec = plain_spec(namespace, template);
    merge(&mut spec, &Value::Object(template.overrides.clone()));
    spec
}

/// The same without the overrides.
pub(in super::super) fn plain_spec(namespace: &str, template: &Template) -> Value {
    let data_volumes = template.disks.iter().filter_map(|disk| match &disk.source {
        ValidatedDiskSource::DataVolume(name, volume) => Some(data_volume::build(name.as_str(), namespace, volume)),
        _ => None,
    });
    let data_volumes = data_volumes.collect::<Vec<_>>();
    let instancetype = match &template.size {
        Size::Instancetype(matcher) => Some(json!({"name": matcher.name, "kind": matcher.kind})),
        Size::Explicit { .. } => None,
    };
    let preference = template.preference.as_ref();
    without_absent([
        ("instancetype", instancetype),
        (
            "preference",
            preference.map(|matcher| json!({"name": matcher.name, "kind": matcher.kind})),
        ),
        ("dataVolumeTemplates", not_empty(data_volumes)),
        (
            "template",
            Some(without_absent([
                ("metadata", pod_metadata(template)),
                ("spec", Some(instance_spec(template))),
            ])),
        ),
    ])
}

fn pod_metadata(template: &Template) -> Option<Value> {
    let labels = (!template.labels.is_empty()).then(|| json!(template.labels));
    let annotations = (!template.annotations.is_empty()).then(|| json!(template.annotations));
    let metadata = labels.is_some() || annotations.is_some();
    metadata.then(|| without_absent([("labels", labels), ("annotations", annotations)]))
}

/// The `VirtualMachineInstanceSpec`.
fn instance_spec(template: &Template) -> Value {
    let mut volumes: Vec<_> = template.disks.iter().map(volume).collect();
    volumes.extend(template.cloud_init.as_ref().map(cloud_init_volume));
    without_absent([
        ("domain", Some(domain(template))),
        ("networks", not_empty(template.networks.iter().map(network).collect())),
        ("volumes", not_empty(volumes)),
        (
            "hostname",
            template.hostname.as_ref().map(|hostname| hostname.as_str().into()),
        ),
        (
            "terminationGracePeriodSeconds",
            Some(template.termination_grace_period_seconds.into()),
        ),
        (
            "nodeSelector",
            (!template.node_selector.is_empty()).then(|| json!(template.node_selector)),
        ),
        (
            "tolerations",
            (!template.tolerations.is_empty()).then(|| json!(template.tolerations)),
        ),
        ("affinity", template.affinity.clone()),
        (
            "priorityClassName",
            template.priority_class_name.clone().map(Value::from),
        ),
        ("schedulerName", template.scheduler_name.clone().map(Value::from)),
    ])
}

fn domain(template: &Template) -> Value {
    let (cpu, memory) = match &template.size {
        Size::Instancetype(_) => (None, None),
        Size::Explicit { cpu, memory } => (
            Some(json!({"cores": cpu.cores, "sockets": cpu.sockets, "threads": cpu.threads})),
            memory.as_ref().map(|memory| json!({"guest": memory})),
        ),
    };
    let mut disks: Vec<_> = template.disks.iter().map(disk).collect();
    if template.cloud_init.is_some() {
        // On the bus of the root disk: a guest that boots from it can read from it.
        let root = template.disks.first().map(|root| root.bus).unwrap_or_default();
        disks.push(json!({"name": CLOUD_INIT, "disk": {"bus": bus(root)}}));
    }
    let interfaces = template.networks.iter().map(interface).collect();
    let devices = without_absent([("disks", not_empty(disks)), ("interfaces", not_empty(interfaces))]);
    without_absent([("cpu", cpu), ("memory", memory), ("devices", Some(devices))])
}

fn disk(disk: &ValidatedDisk) -> Value {
    let drive = match disk.device {
        DiskDevice::Disk => "disk",
        DiskDevice::CdRom => "cdrom",
    };
    without_absent([
        ("name", Some(disk.name.as_str().into())),
        (drive, Some(json!({"bus": bus(disk.bus)}))),
        ("bootOrder", disk.boot_order.map(Value::from)),
        ("serial", disk.serial.clone().map(Value::from)),
    ])
}

fn bus(bus: DiskBus) -> &'static str {
    match bus {
        DiskBus::Virtio => "virtio",
        DiskBus::Sata => "sata",
        DiskBus::Scsi => "scsi",
        DiskBus::Usb => "usb",
    }
}

fn volume(disk: &ValidatedDisk) -> Value {
    let (kind, source) = match &disk.source {
        ValidatedDiskSource::ContainerDisk(container) => {
            let policy = container.image_pull_policy.map(|policy| match policy {
                ImagePullPolicy::Always => "Always",
                ImagePullPolicy::IfNotPresent => "IfNotPresent",
                ImagePullPolicy::Never => "Never",
            });
            let source = without_absent([
                ("image", Some(container.image.as_str().into())),
                ("imagePullPolicy", policy.map(Value::from)),
                ("imagePullSecret", container.pull_secret.clone().map(Value::from)),
            ]);
            ("containerDisk", source)
        }
        ValidatedDiskSource::DataVolume(name, _) => ("dataVolume", json!({"name": name.as_str()})),
        ValidatedDiskSource::PersistentVolumeClaim(claim) => ("persistentVolumeClaim", json!({"claimName": claim})),
        ValidatedDiskSource::Ephemeral(claim) => ("ephemeral", json!({"persistentVolumeClaim": {"claimName": claim}})),
        ValidatedDiskSource::EmptyDisk(size) => ("emptyDisk", json!({"capacity": size})),
    };
    json!({"name": disk.name, kind: source})
}

fn cloud_init_volume(cloud_init: &ValidatedCloudInit) -> Value {
    let kind = match cloud_init.format {
        CloudInitType::NoCloud => "cloudInitNoCloud",
        CloudInitType::ConfigDrive => "cloudInitConfigDrive",
    };
    let mut source = Map::new();
    let contents = [
        ("userData", "secretRef", Some(&cloud_init.user_data)),
        ("networkData", "networkDataSecretRef", cloud_init.network_data.as_ref()),
    ];
    for (inline, secret, content) in contents {
        match content {
            Some(CloudInitContent::Inline(text)) => source.insert(inline.to_owned(), text.as_str().into()),
            Some(CloudInitContent::Secret(name)) => source.insert(secret.to_owned(), json!({ "name": name })),
            None => None,
        };
    }
    json!({"name": CLOUD_INIT, kind: source})
}

fn network(network: &ValidatedNetwork) -> Value {
    match &network.attachment {
        Attachment::PodMasquerade | Attachment::PodBridge => json!({"name": network.name, "pod": {}}),
        Attachment::MultusBridge(name) | Attachment::MultusSriov(name) => {
            json!({"name": network.name, "multus": {"networkName": name}})
        }
    }
}

fn interface(network: &ValidatedNetwork) -> Value {
    let binding = match network.attachment {
        Attachment::PodMasquerade => "masquerade",
        Attachment::PodBridge | Attachment::MultusBridge(_) => "bridge",
        Attachment::MultusSriov(_) => "sriov",
    };
    without_absent([
        ("name", Some(network.name.as_str().into())),
        (binding, Some(json!({}))),
        ("macAddress", network.mac_address.clone().map(Value::from)),
    ])
}

/// An object of the fields that are there.
pub(super) fn without_absent<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect())
}

fn not_empty(list: Vec<Value>) -> Option<Value> {
    (!list.is_empty()).then_some(Value::Array(list))
}
