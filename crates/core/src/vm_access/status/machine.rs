//! `VirtualMachineReady` and `status.virtualMachine`.

use novasphere_crd::{InterfaceStatus, VmAccessMachineStatus, condition as types};
use novasphere_foreign::kubevirt::{GuestOsInfo, PowerSubresource};
use serde_json::Value;

use super::{
    super::{
        failure::of_virtual_machine,
        observed::{LiveMachine, NO_STATUS},
        reason::VirtualMachineReason as Reason,
        validate::Part,
        validated::WantedState,
    },
    Observed, advice, invalid, progress,
};
use crate::{condition::NewCondition, failure::FailureKind};

/// How many interfaces the status has at most.
const INTERFACES_LIMIT: usize = 32;

/// How many addresses of an interface the status has at most.
const ADDRESSES_LIMIT: usize = 32;

/// `VirtualMachineReady`.
pub(super) fn finding(observed: &Observed<'_>, live: LiveMachine<'_>) -> NewCondition {
    let type_ = types::VIRTUAL_MACHINE_READY;
    let vm_access = match observed.validated {
        Err(error) => return invalid(type_, error, Part::VirtualMachine, Reason::InvalidSpec),
        Ok(vm_access) => vm_access,
    };
    if let Err(unavailable) = &vm_access.machine {
        return NewCondition::new_false(type_, unavailable.reason, unavailable.message.clone());
    }
    if is_going(live) {
        return NewCondition::new_false(type_, Reason::Terminating, progress::terminating(observed, live));
    }
    let failure = observed.applied.and_then(|applied| applied.virtual_machine.failure());
    if let Some(failure) = failure {
        let (reason, message) = of_virtual_machine(failure);
        return NewCondition::new_false(type_, reason, message);
    }
    if let Some((reason, message)) = trouble(observed, live) {
        return NewCondition::new_false(type_, reason, message);
    }
    match state(vm_access.power.state, observed, live) {
        State::AsWanted(reason, message) => NewCondition::new_true(type_, reason, message + &restart_required(live)),
        State::NotAsWanted(reason, message) => {
            NewCondition::new_false(type_, reason, message + &restart_required(live))
        }
    }
}

/// Nothing is applied to such a machine, so what came of that says nothing.
fn is_going(live: LiveMachine<'_>) -> bool {
    live.machine
        .is_some_and(|machine| machine.metadata.deletion_timestamp.is_some())
}

/// What keeps the machine from its wanted state, whatever that is.
fn trouble(observed: &Observed<'_>, live: LiveMachine<'_>) -> Option<(Reason, String)> {
    if live.machine.is_none() {
        return Some((Reason::Pending, "The VirtualMachine is not there yet.".into()));
    }
    if let Some(failure) = live.condition("Failure").filter(|failure| failure.status == "True") {
        let said = said(failure.reason.as_deref(), failure.message.as_deref());
        let message = format!(
            "KubeVirt cannot carry out the machine's spec: {said}. {}.",
            advice::of_refusal(&said)
        );
        return Some((Reason::KubeVirtFailure, message));
    }
    if let Some(failure) = observed.power_failure {
        let (reason, _) = of_virtual_machine(failure);
        let said = &failure.message;
        return Some(match failure.kind {
            FailureKind::Rejected => (
                Reason::PowerRefused,
                format!("KubeVirt refuses to change the power state: {said}"),
            ),
            _ => (
                reason,
                format!("The power state could not be changed, it is tried again: {said}"),
            ),
        });
    }
    if let Some(why) = observed.validated.ok().and_then(|valid| valid.power_conflict.as_ref()) {
        return Some((Reason::PowerTaken, why.clone()));
    }
    if let Some(why) = &observed.power.refused {
        return Some((Reason::PowerRefused, why.clone()));
    }
    observed.power.call.map(|call| {
        let asked = match call {
            PowerSubresource::Start => "start",
            PowerSubresource::Stop => "stop",
            PowerSubresource::Restart => "restart",
            PowerSubresource::Pause => "pause",
            PowerSubresource::Unpause => "unpause",
        };
        (
            Reason::ChangingPower,
            format!(
                "KubeVirt was asked to {asked} the machine.{}",
                progress::changing_power(observed, live)
            ),
        )
    })
}

enum State {
    AsWanted(Reason, String),
    NotAsWanted(Reason, String),
}

/// `KubeVirt`'s status of the machine, compared with what is wanted.
fn state(wanted: WantedState, observed: &Observed<'_>, live: LiveMachine<'_>) -> State {
    use State::{AsWanted, NotAsWanted};
    let printed = live.printable_status();
    match (printed, wanted) {
        ("Running" | "Migrating", WantedState::Any | WantedState::Running) => {
            if live.status().is_some_and(|status| status.ready) {
                AsWanted(Reason::Running, "The machine runs.".into())
            } else {
                let why = words(live, &["Ready"]);
                NotAsWanted(Reason::NotReady, format!("The machine runs and is not ready: {why}."))
            }
        }
        ("Stopped", WantedState::Any) => AsWanted(
            Reason::Stopped,
            "The machine is stopped. Start it with `virtctl start`, or set spec.power.state to Running.".into(),
        ),
        ("Stopped", WantedState::Stopped) => AsWanted(Reason::Stopped, "The machine is stopped, as wanted.".into()),
        ("Paused", WantedState::Any | WantedState::Running) if !is_paused_by_user(live) => {
            let paused = live.condition("Paused");
            let why = paused.map_or_else(String::new, |paused| {
                said(paused.reason.as_deref(), paused.message.as_deref())
            });
            NotAsWanted(
                Reason::NotReady,
                format!("KubeVirt has paused the machine: {why}. It goes on when the cause is gone."),
            )
        }
        ("Paused", WantedState::Any) => AsWanted(
            Reason::Paused,
            "The machine is paused. `virtctl unpause vm` lets it go on.".into(),
        ),
        ("Paused", WantedState::Paused) => AsWanted(Reason::Paused, "The machine is paused, as wanted.".into()),
        ("Running" | "Migrating" | "Stopped" | "Paused", _) => NotAsWanted(
            Reason::ChangingPower,
            format!(
                "The machine is {printed}, and {} is wanted; KubeVirt is at work on it.{}",
                name(wanted),
                progress::changing_power(observed, live)
            ),
        ),
        _ => {
            let (reason, message) = on_the_way(printed, observed, live);
            NotAsWanted(reason, message)
        }
    }
}

fn name(wanted: WantedState) -> &'static str {
    match wanted {
        WantedState::Any => "any state",
        WantedState::Running => "Running",
        WantedState::Stopped => "Stopped",
        WantedState::Paused => "Paused",
    }
}

/// A status in which no machine stays, or which is an error, with what `KubeVirt` says about it.
fn on_the_way(printed: &str, observed: &Observed<'_>, live: LiveMachine<'_>) -> (Reason, String) {
    let why = |types: &[&str]| words(live, types);
    match printed {
        NO_STATUS => (
            Reason::Pending,
            "KubeVirt has not looked at the VirtualMachine yet. If this lasts, check that virt-controller runs.".into(),
        ),
        "Starting" => progress::starting(observed, live),
        "Stopping" => (Reason::Stopping, progress::stopping(observed, live)),
        "Terminating" => (Reason::Terminating, progress::terminating(observed, live)),
        "Provisioning" => (
            Reason::Provisioning,
            format!("The disks are being filled: {}.", why(&["DataVolumesReady", "Ready"])),
        ),
        "WaitingForVolumeBinding" => (
            Reason::WaitingForVolumeBinding,
            format!(
                "A disk waits for its volume: {}. If this lasts, `kubectl describe pvc` says why; often the storage class does \
                 not exist.",
                why(&["DataVolumesReady", "PodScheduled", "Ready"])
            ),
        ),
        "WaitingForReceiver" => (
            Reason::WaitingForReceiver,
            progress::waiting_for_receiver(observed, live),
        ),
        "ErrorUnschedulable" => (
            Reason::ErrorUnschedulable,
            unschedulable(&why(&["PodScheduled", "Ready"])),
        ),
        "ErrImagePull" | "ImagePullBackOff" => (
            if printed == "ErrImagePull" {
                Reason::ErrImagePull
            } else {
                Reason::ImagePullBackOff
            },
            format!(
                "The image of a disk cannot be pulled: {}. Correct the image or its pullSecret.",
                why(&["Synchronized", "Ready"])
            ),
        ),
        "ErrorPvcNotFound" => (
            Reason::ErrorPvcNotFound,
            format!(
                "A claim that a disk uses does not exist: {}. Make it, or correct its name.",
                why(&["Synchronized", "Failure", "Ready"])
            ),
        ),
        "DataVolumeError" => (
            Reason::DataVolumeError,
            format!(
                "A disk could not be filled: {}. `kubectl describe datavolume` says why; correct its source.",
                why(&["DataVolumesReady", "Ready"])
            ),
        ),
        "CrashLoopBackOff" => (Reason::CrashLoopBackOff, crash_loop(live)),
        other => (
            Reason::UnknownStatus,
            format!("KubeVirt says {other:?}: {}.", why(&["Ready"])),
        ),
    }
}

fn unschedulable(why: &str) -> String {
    format!(
        "No node can take the machine: {why}. {}.",
        advice::of_unschedulable(why)
    )
}

fn crash_loop(live: LiveMachine<'_>) -> String {
    let failure = live.status().and_then(|status| status.start_failure.as_ref());
    let count = failure.map_or(0, |failure| failure.consecutive_fail_count);
    let retry = failure.and_then(|failure| failure.retry_after_timestamp.as_ref());
    let retry = retry.map_or_else(String::new, |time| format!(" KubeVirt tries again at {}.", time.0));
    let why = words(live, &["Synchronized", "Ready"]);
    format!(
        "The machine ended right after {count} starts in a row: {why}.{retry} Its serial console and events say more."
    )
}

/// What the first of these conditions that is not `True` says.
fn words(live: LiveMachine<'_>, types: &[&str]) -> String {
    let conditions = types
        .iter()
        .filter_map(|type_| live.condition(type_))
        .filter(|condition| condition.status != "True");
    let mut texts = conditions.map(|condition| said(condition.reason.as_deref(), condition.message.as_deref()));
    texts
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| "KubeVirt gives no reason".into())
}

/// Somebody else's reason and message, without the full stop that our sentence adds.
pub(super) fn said(reason: Option<&str>, message: Option<&str>) -> String {
    let texts = [reason, message]
        .into_iter()
        .flatten()
        .map(|text| text.trim().trim_end_matches('.'));
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
}

fn is_paused_by_user(live: LiveMachine<'_>) -> bool {
    live.condition("Paused")
        .is_none_or(|paused| paused.reason.as_deref().is_none_or(|reason| reason == "PausedByUser"))
}

/// `KubeVirt`'s note that a change of the spec waits for the next start.
fn restart_required(live: LiveMachine<'_>) -> String {
    match live
        .condition("RestartRequired")
        .filter(|condition| condition.status == "True")
    {
        None => String::new(),
        Some(condition) => format!(
            " A change of its spec waits for a restart (set spec.power.restartedAt, or `virtctl restart`): {}.",
            said(None, condition.message.as_deref())
        ),
    }
}

/// `status.virtualMachine`.
pub(super) fn details(observed: &Observed<'_>, live: LiveMachine<'_>) -> Option<VmAccessMachineStatus> {
    let machine = live.machine?;
    let spec = machine
        .spec
        .as_ref()
        .map(novasphere_foreign::CompactJson::to_value)
        .unwrap_or_default();
    let instance = live.instance_status();
    let interfaces = instance
        .map(|instance| instance.interfaces.as_slice())
        .unwrap_or_default();
    let printed = live.printable_status();
    Some(VmAccessMachineStatus {
        name: observed.references.virtual_machine_name.clone(),
        uid: machine.metadata.uid.clone(),
        printable_status: (printed != NO_STATUS).then(|| printed.to_owned()),
        node_name: instance
            .and_then(|instance| instance.node_name.clone())
            .filter(|node| !node.is_empty()),
        cpu: cpu(&spec, live),
        memory: memory(&spec, live),
        image: image(&spec),
        guest_os: instance.and_then(|instance| guest_os(instance.guest_os_info.as_ref()?)),
        interfaces: interfaces
            .iter()
            .take(INTERFACES_LIMIT)
            .map(|interface| InterfaceStatus {
                name: interface.name.clone(),
                mac_address: interface.mac.clone(),
                ip_addresses: interface.ip_addresses.iter().take(ADDRESSES_LIMIT).cloned().collect(),
            })
            .collect(),
    })
}

fn cpu(spec: &Value, live: LiveMachine<'_>) -> Option<u32> {
    let now = live
        .instance_status()
        .and_then(|instance| instance.current_cpu_topology);
    let asked = || live.instance.and_then(|instance| instance.spec.as_ref()?.domain.cpu);
    let wanted = || serde_json::from_value(spec.pointer("/template/spec/domain/cpu")?.clone()).ok();
    now.or_else(asked)
        .or_else(wanted)
        .map(|topology: novasphere_foreign::kubevirt::CpuTopology| topology.vcpus())
}

fn memory(spec: &Value, live: LiveMachine<'_>) -> Option<String> {
    let now = live
        .instance_status()
        .and_then(|instance| instance.memory.as_ref()?.guest_current.clone());
    let asked = || {
        live.instance
            .and_then(|instance| instance.spec.as_ref()?.domain.memory.as_ref()?.guest.clone())
    };
    let wanted = || {
        let domain = spec.pointer("/template/spec/domain")?;
        let memory = domain
            .pointer("/memory/guest")
            .or_else(|| domain.pointer("/resources/requests/memory"))?;
        memory.as_str().map(str::to_owned)
    };
    now.or_else(asked).or_else(wanted)
}

/// Where the disk that the machine boots from comes from. Without disks `KubeVirt` attaches every volume, in the order of the spec
/// (kubevirt/kubevirt `pkg/defaults/defaults.go`, `setDefaultVolumeDisk`).
fn image(spec: &Value) -> Option<String> {
    let template = spec.pointer("/template/spec")?;
    let disks = template.pointer("/domain/devices/disks").and_then(Value::as_array);
    let order = |disk: &&Value| disk.get("bootOrder").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let boot = disks.into_iter().flatten().min_by_key(order);
    let boot = boot.and_then(|disk| disk.get("name"));
    let volume = template
        .get("volumes")?
        .as_array()?
        .iter()
        .find(|volume| boot.is_none_or(|boot| volume.get("name") == Some(boot)))?;
    let text = |path: &str| volume.pointer(path).and_then(Value::as_str);
    let plain = [
        "/containerDisk/image",
        "/persistentVolumeClaim/claimName",
        "/ephemeral/persistentVolumeClaim/claimName",
    ];
    match text("/dataVolume/name") {
        Some(name) => Some(data_volume_source(spec, name).unwrap_or(name).to_owned()),
        None => plain.into_iter().find_map(text).map(str::to_owned),
    }
}

/// What a data volume of the machine is filled with.
fn data_volume_source<'a>(spec: &'a Value, name: &str) -> Option<&'a str> {
    let templates = spec.get("dataVolumeTemplates")?.as_array()?;
    let template = templates
        .iter()
        .find(|template| template.pointer("/metadata/name").and_then(Value::as_str) == Some(name))?;
    let source = template.pointer("/spec/source")?;
    let known = ["/http/url", "/registry/url", "/pvc/name", "/snapshot/name"];
    known
        .into_iter()
        .find_map(|path| source.pointer(path))
        .and_then(Value::as_str)
}

fn guest_os(info: &GuestOsInfo) -> Option<String> {
    let plain = || {
        let name = info.name.as_deref().filter(|name| !name.is_empty())?;
        Some(
            info.version
                .as_deref()
                .map_or_else(|| name.to_owned(), |version| format!("{name} {version}")),
        )
    };
    info.pretty_name.clone().filter(|name| !name.is_empty()).or_else(plain)
}
