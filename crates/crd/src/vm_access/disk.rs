//! Disks of a template, and where their contents come from.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::{dns_label, exactly_one, forbidden, invalid, object_name, plausible_size};

/// The disk that the machine boots from. Exactly one of its sources is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(&["containerDisk", "dataVolume", "persistentVolumeClaim", "ephemeral"]))]
pub struct RootDisk {
    /// How the guest sees the disk. Default `Virtio`.
    #[serde(default)]
    pub bus: DiskBus,

    /// Where the contents come from.
    #[serde(flatten)]
    pub source: DiskSource,
}

/// Where a disk's contents come from. Exactly one is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskSource {
    /// An image from a registry. Changes are lost when the machine stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_disk: Option<ContainerDisk>,

    /// A volume that CDI makes and fills for this disk. It keeps its contents and is deleted with the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_volume: Option<DataVolume>,

    /// An existing claim. Its contents are changed; it is never deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PersistentVolumeClaimDisk>,

    /// An existing claim as a read-only base. Changes are lost when the machine stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<PersistentVolumeClaimDisk>,
}

/// A further disk. Exactly one of its sources is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(&["containerDisk", "dataVolume", "persistentVolumeClaim", "ephemeral", "emptyDisk"]))]
#[x_kube(validation = dns_label("name"))]
#[x_kube(validation = forbidden(
    "!(self.name in ['root', 'cloud-init'])",
    "the names root and cloud-init are taken by the machine's own disks; choose another name"
)
.field_path(".name"))]
#[x_kube(validation = forbidden(
    "self.device != 'CdRom' || !has(self.bus) || self.bus != 'Virtio'",
    "there is no CdRom on the Virtio bus; leave bus out, or set it to Sata, Scsi or Usb"
)
.field_path(".bus"))]
pub struct Disk {
    /// The disk's name: a DNS label of at most 63 characters, not `root` or `cloud-init`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// What kind of drive the guest sees. Default `Disk`.
    #[serde(default)]
    pub device: DiskDevice,

    /// How the guest sees the drive. Default `Virtio`, and `Sata` for a `CdRom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<DiskBus>,

    /// When the guest tries to boot from it: 2 is next after the root disk. From 2 to 16. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 16))]
    pub boot_order: Option<u16>,

    /// The serial number that the guest sees, to find the disk by. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub serial: Option<String>,

    /// Empty scratch space. Its contents are lost when the machine stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_disk: Option<EmptyDisk>,

    /// Where the contents come from.
    #[serde(flatten)]
    pub source: DiskSource,
}

/// How the guest sees a drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DiskBus {
    /// Paravirtual; fast, the guest needs drivers.
    #[default]
    Virtio,
    /// SATA; works without drivers.
    Sata,
    /// SCSI by a paravirtual controller.
    Scsi,
    /// USB.
    Usb,
}

/// A kind of drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DiskDevice {
    /// A hard disk.
    #[default]
    Disk,
    /// A CD drive, read-only.
    CdRom,
}

/// A disk image in a container image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerDisk {
    /// The container image that holds the disk image, such as `quay.io/containerdisks/debian:13`.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,

    /// When the image is pulled. Default: `Always` for the tag `latest`, else `IfNotPresent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,

    /// Secret of type `kubernetes.io/dockerconfigjson` in the same namespace. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pull_secret: Option<String>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// At each start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Never; the node must have it.
    Never,
}

/// A volume that CDI makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = forbidden(
    "self == oldSelf",
    "dataVolume is immutable: the volume is made once; grow its claim itself, or give the contents to another disk"
))]
#[x_kube(validation = plausible_size("size"))]
#[x_kube(validation = object_name("storageClassName"))]
pub struct DataVolume {
    /// What the volume is filled with. Immutable.
    pub source: DataVolumeSource,

    /// The volume's size, such as `20Gi`. Immutable here; the claim itself can be grown.
    pub size: Quantity,

    /// The storage class. Default: the cluster's default class. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// How nodes may mount the volume. Default: what CDI knows to be best for the storage class. Immutable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub access_modes: Vec<VolumeAccessMode>,

    /// Whether the volume is a file system or a block device. Default: what CDI knows to be best for the storage class.
    /// Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mode: Option<VolumeMode>,
}

/// What a volume is filled with. Exactly one is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(&["http", "registry", "pvc", "snapshot", "blank"]))]
pub struct DataVolumeSource {
    /// An image file from a web server: raw, qcow2, ISO or VMDK, also compressed by gzip or xz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,

    /// A disk image in a container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistrySource>,

    /// A copy of a claim in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvc: Option<PvcSource>,

    /// A copy of a `VolumeSnapshot` in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotSource>,

    /// Nothing: an empty disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blank: Option<BlankSource>,
}

/// An image file from a web server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = invalid(
    "isURL(self.url) && url(self.url).getScheme() in ['http', 'https'] && url(self.url).getHost() != ''",
    "url must begin with http:// or https:// and have a host"
)
.field_path(".url"))]
pub struct HttpSource {
    /// The file's URL, `http://` or `https://`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,

    /// Secret in the same namespace with user name and password as `accessKeyId` and `secretKey`, and with the label
    /// `novasphere.io/shared-with-machines: "true"`: it is sent to the server of `url`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,

    /// `ConfigMap` in the same namespace with the certificates to trust. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cert_config_map: Option<String>,
}

/// A disk image in a container image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = invalid(
    "self.url.matches('^(docker|oci-archive)://[^ ]+$')",
    "url must begin with docker:// or oci-archive://, such as docker://quay.io/containerdisks/debian:13"
)
.field_path(".url"))]
pub struct RegistrySource {
    /// The image's URL, `docker://` or `oci-archive://`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,

    /// Secret in the same namespace with user name and password as `accessKeyId` and `secretKey`, and with the label
    /// `novasphere.io/shared-with-machines: "true"`: it is sent to the server of `url`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,

    /// `ConfigMap` in the same namespace with the certificates to trust. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cert_config_map: Option<String>,
}

/// A claim to copy. Only of the same namespace: a copy from another one would be made with the controller's rights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PvcSource {
    /// The claim's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A snapshot to copy. Only of the same namespace, as with a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotSource {
    /// The snapshot's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An empty disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlankSource {}

/// An existing claim in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersistentVolumeClaimDisk {
    /// The claim's name.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
}

/// Scratch space.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = plausible_size("size"))]
pub struct EmptyDisk {
    /// Its size, such as `2Gi`.
    pub size: Quantity,
}

/// How nodes may mount a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum VolumeAccessMode {
    /// One node, reading and writing.
    ReadWriteOnce,
    /// Many nodes, reading.
    ReadOnlyMany,
    /// Many nodes, reading and writing; live migration needs it.
    ReadWriteMany,
    /// One Pod, reading and writing.
    ReadWriteOncePod,
}

/// The form of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum VolumeMode {
    /// A file system that holds an image file.
    Filesystem,
    /// A block device.
    Block,
}
