//! The template, with its defaults filled in.

use novasphere_crd::{
    Disk as DiskSpec, DiskBus, DiskDevice, DiskSource as SourceSpec, Network as NetworkSpec, NetworkBinding,
    VirtualMachineTemplate,
};

use super::{
    super::validated::{Attachment, Size, Template, ValidatedDisk, ValidatedDiskSource, ValidatedNetwork},
    ValidateError, cloud_init, overrides,
};
use crate::name::{self, DnsLabel};

/// The field that a template stands in.
pub(in super::super) const TEMPLATE_FIELD: &str = "spec.virtualMachine.template";

/// The name of the root disk.
const ROOT_DISK: &str = "root";

/// How long a guest has to shut down, in seconds, unless the template says so. `KubeVirt`'s own default is 30, which cuts
/// off most Windows guests.
const TERMINATION_GRACE_PERIOD: u64 = 180;

/// Checks a template of the machine `machine`.
pub(in super::super) fn validate(template: &VirtualMachineTemplate, machine: &str) -> Result<Template, ValidateError> {
    let hostname = template.hostname.as_deref().map(DnsLabel::parse).transpose();
    let hostname = hostname.map_err(|source| ValidateError::Name {
        field: format!("{TEMPLATE_FIELD}.hostname").into(),
        source,
    })?;
    let scheduling = template.scheduling.clone().unwrap_or_default();
    for (field, free) in [
        ("overrides", &template.overrides),
        ("scheduling.affinity", &scheduling.affinity),
    ] {
        if let Some(bytes) = free.oversized_bytes() {
            let field = format!("{TEMPLATE_FIELD}.{field}");
            return Err(ValidateError::TooLarge { field, bytes });
        }
    }
    Ok(Template {
        labels: template.labels.clone(),
        annotations: template.annotations.clone(),
        size: size(template)?,
        preference: template.preference.clone(),
        disks: disks(template, machine)?,
        networks: networks(&template.networks)?,
        cloud_init: cloud_init::validate(template)?,
        hostname,
        termination_grace_period_seconds: template
            .termination_grace_period
            .map_or(TERMINATION_GRACE_PERIOD, |period| period.get().as_secs()),
        node_selector: scheduling.node_selector,
        tolerations: scheduling.tolerations,
        affinity: (!scheduling.affinity.is_empty()).then(|| scheduling.affinity.0.into()),
        priority_class_name: scheduling.priority_class_name,
        scheduler_name: scheduling.scheduler_name,
        overrides: overrides::validate(&template.overrides)?,
    })
}

impl Template {
    /// Whether the machine is, or may be by its overrides, on the Pod network.
    pub(super) fn may_have_pod_network(&self) -> bool {
        let is_pod = |network: &ValidatedNetwork| {
            matches!(network.attachment, Attachment::PodMasquerade | Attachment::PodBridge)
        };
        self.networks.iter().any(is_pod) || overrides::touch_networks(&self.overrides)
    }
}

fn size(template: &VirtualMachineTemplate) -> Result<Size, ValidateError> {
    match &template.instancetype {
        None => Ok(Size::Explicit {
            cpu: template.cpu.unwrap_or_default(),
            memory: template.memory.as_ref().map(|memory| memory.0.clone()),
        }),
        Some(instancetype) if template.cpu.is_none() && template.memory.is_none() => {
            Ok(Size::Instancetype(instancetype.clone()))
        }
        Some(_) => Err(ValidateError::Excluded {
            field: format!("{TEMPLATE_FIELD}.instancetype").into(),
            problem: "an instance type says CPUs and memory; remove cpu and memory, or the instance type",
        }),
    }
}

fn disks(template: &VirtualMachineTemplate, machine: &str) -> Result<Vec<ValidatedDisk>, ValidateError> {
    let root = ValidatedDisk {
        name: ROOT_DISK.to_owned(),
        device: DiskDevice::Disk,
        bus: template.root_disk.bus,
        boot_order: Some(1),
        serial: None,
        source: source(&template.root_disk.source, None, machine, ROOT_DISK, || {
            format!("{TEMPLATE_FIELD}.rootDisk")
        })?,
    };
    let further = template.disks.iter().map(|disk| further_disk(disk, machine));
    std::iter::once(Ok(root)).chain(further).collect()
}

fn further_disk(disk: &DiskSpec, machine: &str) -> Result<ValidatedDisk, ValidateError> {
    let empty = disk
        .empty_disk
        .as_ref()
        .map(|empty| ValidatedDiskSource::EmptyDisk(empty.size.0.clone()));
    let source = source(&disk.source, empty, machine, &disk.name, || {
        format!("{TEMPLATE_FIELD}.disks[{}]", disk.name)
    })?;
    let bus = disk.bus.unwrap_or(match disk.device {
        DiskDevice::Disk => DiskBus::Virtio,
        DiskDevice::CdRom => DiskBus::Sata,
    });
    Ok(ValidatedDisk {
        name: disk.name.clone(),
        device: disk.device,
        bus,
        boot_order: disk.boot_order,
        serial: disk.serial.clone(),
        source,
    })
}

/// The one source that is given; `empty` is that of a scratch disk.
fn source(
    spec: &SourceSpec,
    empty: Option<ValidatedDiskSource>,
    machine: &str,
    disk: &str,
    field: impl Fn() -> String,
) -> Result<ValidatedDiskSource, ValidateError> {
    let given = [
        empty,
        spec.container_disk.clone().map(ValidatedDiskSource::ContainerDisk),
        // The hash keeps disk `b-c` of machine `a` from being disk `c` of machine `a-b`.
        spec.data_volume
            .clone()
            .map(|volume| ValidatedDiskSource::DataVolume(name::hashed(&[machine, disk]), Box::new(volume))),
        spec.persistent_volume_claim
            .clone()
            .map(|claim| ValidatedDiskSource::PersistentVolumeClaim(claim.claim_name)),
        spec.ephemeral
            .clone()
            .map(|claim| ValidatedDiskSource::Ephemeral(claim.claim_name)),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(ValidatedDiskSource::DataVolume(_, volume)), None) if !has_one_data_source(&volume.source) => {
            Err(ValidateError::NotExactlyOne {
                field: format!("{}.dataVolume.source", field()),
                options: "http, registry, pvc, snapshot and blank",
            })
        }
        (Some(source), None) => Ok(source),
        _ => Err(ValidateError::NotExactlyOne {
            field: field(),
            options: "containerDisk, dataVolume, persistentVolumeClaim, ephemeral and, but for the root disk, emptyDisk",
        }),
    }
}

fn has_one_data_source(source: &novasphere_crd::DataVolumeSource) -> bool {
    let given = [
        source.http.is_some(),
        source.registry.is_some(),
        source.pvc.is_some(),
        source.snapshot.is_some(),
        source.blank.is_some(),
    ];
    given.into_iter().filter(|given| *given).count() == 1
}

fn networks(networks: &[NetworkSpec]) -> Result<Vec<ValidatedNetwork>, ValidateError> {
    if networks.is_empty() {
        // Written out, because KubeVirt's own default is a bridge, which takes the Pod's address away from the Pod.
        return Ok(vec![ValidatedNetwork {
            name: "default".to_owned(),
            attachment: Attachment::PodMasquerade,
            mac_address: None,
        }]);
    }
    networks.iter().map(network).collect()
}

fn network(network: &NetworkSpec) -> Result<ValidatedNetwork, ValidateError> {
    let excluded = |problem| ValidateError::Excluded {
        field: format!("{TEMPLATE_FIELD}.networks[{}].binding", network.name).into(),
        problem,
    };
    let attachment = match (network.pod, &network.multus, network.binding) {
        (Some(_), None, None | Some(NetworkBinding::Masquerade)) => Attachment::PodMasquerade,
        (Some(_), None, Some(NetworkBinding::Bridge)) => Attachment::PodBridge,
        (Some(_), None, Some(NetworkBinding::Sriov)) => {
            return Err(excluded("Sriov is only for multus; use Masquerade or Bridge"));
        }
        (None, Some(multus), None | Some(NetworkBinding::Bridge)) => {
            Attachment::MultusBridge(multus.network_name.clone())
        }
        (None, Some(multus), Some(NetworkBinding::Sriov)) => Attachment::MultusSriov(multus.network_name.clone()),
        (None, Some(_), Some(NetworkBinding::Masquerade)) => {
            return Err(excluded("Masquerade is only for pod; use Bridge or Sriov"));
        }
        _ => {
            return Err(ValidateError::NotExactlyOne {
                field: format!("{TEMPLATE_FIELD}.networks[{}]", network.name),
                options: "pod and multus",
            });
        }
    };
    Ok(ValidatedNetwork {
        name: network.name.clone(),
        attachment,
        mac_address: network.mac_address.clone(),
    })
}
