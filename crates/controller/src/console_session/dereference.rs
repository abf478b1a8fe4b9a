//! Step 1: what a session refers to, from the caches.

use kube::ResourceExt;
use novasphere_core::console_session::{
    references::{References, is_queued_ahead_of, machine_name},
    session::is_started,
};
use novasphere_crd::{ConsoleSession, SessionTargetKind};

use super::Context;
use crate::watches::has_kubevirt;

/// Reads only memory, so it cannot fail; a watch that lags is answered by the next event.
pub(super) fn dereference(session: &ConsoleSession, context: &Context) -> References {
    let caches = &context.caches;
    let namespace = session.namespace().unwrap_or_default();
    let target = &session.spec.target_ref;
    let vm_access = match target.kind {
        SessionTargetKind::VmAccess => caches.vm_accesses.get(&namespace, &target.name),
        SessionTargetKind::VirtualMachine | SessionTargetKind::VncWorkspace => None,
    };
    let machine = machine_name(session, vm_access.as_deref());
    let sessions_ahead = if is_started(session) {
        0
    } else {
        let others = caches.sessions_of(&namespace, target.kind, &target.name);
        others.iter().filter(|other| is_queued_ahead_of(other, session)).count()
    };
    References {
        virtual_machine: machine
            .as_deref()
            .and_then(|name| caches.virtual_machines.get(&namespace, name)),
        virtual_machine_instance: machine
            .as_deref()
            .and_then(|name| caches.virtual_machine_instances.get(&namespace, name)),
        vm_access,
        vnc_workspace: match target.kind {
            SessionTargetKind::VncWorkspace => caches.vnc_workspaces.get(&namespace, &target.name),
            SessionTargetKind::VmAccess | SessionTargetKind::VirtualMachine => None,
        },
        kubevirt: has_kubevirt(&context.apis),
        sessions_ahead,
    }
}
