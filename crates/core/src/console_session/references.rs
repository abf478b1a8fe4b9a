//! What a session depends on, read from the cluster before validation.

use std::sync::Arc;

use kube::ResourceExt as _;
use novasphere_crd::{ConsoleInput, ConsoleSession, SessionTargetKind, VmAccess, VncWorkspace};
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};

use super::{session::is_started, start::StartCheck};
use crate::{time::creation_order, vm_access};

/// The objects that a session refers to, as the watch caches have them. What was not found is `None`.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// The target, when it is a `VmAccess`.
    pub vm_access: Option<Arc<VmAccess>>,
    /// The target, when it is a `VncWorkspace`.
    pub vnc_workspace: Option<Arc<VncWorkspace>>,
    /// The target, when it is a `VirtualMachine`; else the machine of the `VmAccess`. See [`machine_name`].
    pub virtual_machine: Option<Arc<VirtualMachine>>,
    /// The machine's present run.
    pub virtual_machine_instance: Option<Arc<VirtualMachineInstance>>,
    /// Whether the cluster serves `KubeVirt`'s machines now.
    pub kubevirt: bool,
    /// How many other sessions of the target [are ahead](is_queued_ahead_of). It is used for sessions alone that have not started,
    /// so for others it need not be counted.
    pub sessions_ahead: usize,
    /// Those that hold a place beside a session that [nobody was let into yet](super::start::awaits_entry). It is used for such a session
    /// alone.
    pub start: StartCheck,
}

/// The name of the machine whose console a session opens, in the session's namespace. `vm_access` is its target, when it has
/// one of that kind.
#[must_use]
pub fn machine_name(session: &ConsoleSession, vm_access: Option<&VmAccess>) -> Option<String> {
    let target = &session.spec.target_ref;
    match target.kind {
        SessionTargetKind::VirtualMachine | SessionTargetKind::VirtualMachineInstance => Some(target.name.clone()),
        SessionTargetKind::VmAccess => vm_access.map(vm_access::virtual_machine_name),
        SessionTargetKind::VncWorkspace => None,
    }
}

/// What viewers may do at the consoles of a target whose session asks for nothing else.
#[must_use]
pub fn target_input(vm_access: Option<&VmAccess>, vnc_workspace: Option<&VncWorkspace>) -> ConsoleInput {
    let of_vm = vm_access.map(|vm_access| vm_access.spec.console.input);
    let of_desktop = || vnc_workspace.map(|workspace| workspace.spec.console.input);
    of_vm.or_else(of_desktop).unwrap_or_default()
}

/// Whether both name the same target.
#[must_use]
pub fn is_of_one_target(other: &ConsoleSession, session: &ConsoleSession) -> bool {
    other.namespace() == session.namespace() && other.spec.target_ref == session.spec.target_ref
}

/// Whether `other` counts against `maxConcurrentSessions` before `session` does: it has started, or it waits to start as well and
/// is older. A session whose spec was refused does not count, and one that only views does not count before one with control, so that
/// those who may only look cannot keep out those who work. `input` is that of [`target_input`].
#[must_use]
pub fn is_queued_ahead_of(other: &ConsoleSession, session: &ConsoleSession, input: ConsoleInput) -> bool {
    let is_same = other.metadata.uid == session.metadata.uid;
    if is_same || !is_of_one_target(other, session) {
        return false;
    }
    let is_leaving = other.metadata.deletion_timestamp.is_some() || other.spec.revoked;
    let status = other.status.as_ref();
    if is_leaving || status.is_some_and(|status| status.closed_at.is_some()) {
        return false;
    }
    let (other_views, views) = (only_views(other, input), only_views(session, input));
    if other_views && !views {
        return false;
    }
    if is_started(other) {
        return true;
    }
    let is_refused = status.is_some_and(|status| status.phase == Some(novasphere_crd::SessionPhase::Failed));
    let has_control_first = views && !other_views;
    !is_refused && (has_control_first || creation_order(&other.metadata) < creation_order(&session.metadata))
}

/// Whether the viewers of a session may view and not control, as it was granted or else as it asks.
pub(super) fn only_views(session: &ConsoleSession, of_target: ConsoleInput) -> bool {
    let granted = session.status.as_ref().and_then(|status| status.policy.as_ref());
    let input = granted.map(|policy| policy.input).or(session.spec.input);
    input.unwrap_or(of_target) == ConsoleInput::ViewOnly
}

#[cfg(test)]
mod tests;
