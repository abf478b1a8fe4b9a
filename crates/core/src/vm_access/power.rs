//! Which call of `KubeVirt`'s power API brings a machine nearer to the wanted state.
//!
//! A machine of ours is started and stopped by its `runStrategy`, which [`build`](super::build) writes; it is paused,
//! unpaused and restarted by calls. An adopted machine's spec is not ours, so everything goes by calls, and
//! only by those that `KubeVirt` accepts in the present state: a refused call would be repeated for ever and change nothing.
//! What `KubeVirt` accepts is in kubevirt/kubevirt `pkg/virt-api/rest/lifecycle.go`.

use jiff::Timestamp;
use novasphere_foreign::kubevirt::{PowerSubresource, VirtualMachineInstance};

use super::{
    observed::LiveMachine,
    run_strategy,
    validated::{Machine, ValidatedVmAccess, WantedState},
};

/// What to do about the power of a machine now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PowerDecision {
    /// The call to make. What it does is seen by a later pass, which decides about the next one.
    pub call: Option<PowerSubresource>,
    /// Why the wanted state cannot be reached, and what to do.
    pub refused: Option<String>,
    /// When to decide again, if nothing else happens before.
    pub next: Option<Timestamp>,
    /// What the call takes away for good.
    pub warning: Option<&'static str>,
}

impl PowerDecision {
    fn call(call: PowerSubresource) -> Self {
        Self {
            call: Some(call),
            ..Self::default()
        }
    }

    fn refused(why: impl Into<String>) -> Self {
        Self {
            refused: Some(why.into()),
            ..Self::default()
        }
    }

    fn wait() -> Self {
        Self::default()
    }
}

/// What to do about the power of the machine now. `now` is compared with `restartedAt` alone.
#[must_use]
pub fn decide(vm_access: &ValidatedVmAccess, live: LiveMachine<'_>, now: Timestamp) -> PowerDecision {
    let (Ok(machine), Some(object)) = (&vm_access.machine, live.machine) else {
        return PowerDecision::wait();
    };
    if object.metadata.deletion_timestamp.is_some() || vm_access.power_conflict.is_some() {
        return PowerDecision::wait();
    }
    let run = Run::of(live);
    // KubeVirt takes one start or stop at a time and answers 500 to a second one.
    let is_pending = live
        .status()
        .is_some_and(|status| !status.state_change_requests.is_empty());
    if is_pending {
        return PowerDecision::wait();
    }
    let wanted = vm_access.power.state;
    let is_adopted = matches!(machine, Machine::Adopted);
    let decision = match (wanted, run) {
        (WantedState::Running | WantedState::Paused, Run::None | Run::Ended { .. }) if is_adopted => start(live, run),
        (WantedState::Stopped, _) if is_adopted => stop(live, run),
        (WantedState::Paused, Run::Running) => PowerDecision::call(PowerSubresource::Pause),
        (WantedState::Running, Run::Paused { by_user: true }) => unpause(live),
        _ => PowerDecision::wait(),
    };
    if decision == PowerDecision::wait() {
        restart(vm_access, live, run, now)
    } else {
        decision
    }
}

/// What the present run of a machine is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// There is none.
    None,
    /// There is one that the watch has not shown yet.
    Unseen,
    /// On its way up, or waiting for a node, an image or a volume.
    Starting,
    /// On its way down.
    Ending,
    /// It runs.
    Running,
    /// Its CPUs are stopped: by a person, or by `KubeVirt` because of a disk error or during a migration, which is not
    /// ours to undo.
    Paused { by_user: bool },
    /// The guest has ended, and the instance is still there.
    Ended { failed: bool },
}

impl Run {
    fn of(live: LiveMachine<'_>) -> Self {
        let Some(instance) = live.instance else {
            // The two are watched apart: the machine may know of an instance that we have not seen yet.
            let is_created = live.status().is_some_and(|status| status.created);
            let lives = ["Starting", "Running", "Paused", "Migrating", "Stopping"].contains(&live.printable_status());
            return if is_created || lives { Self::Unseen } else { Self::None };
        };
        let phase = live
            .instance_status()
            .and_then(|status| status.phase.as_deref())
            .unwrap_or_default();
        match phase {
            _ if instance.metadata.deletion_timestamp.is_some() => Self::Ending,
            "Running" => match paused_by(instance) {
                Some(reason) => Self::Paused {
                    by_user: reason == "PausedByUser",
                },
                None => Self::Running,
            },
            "Succeeded" => Self::Ended { failed: false },
            "Failed" => Self::Ended { failed: true },
            _ => Self::Starting,
        }
    }
}

fn paused_by(instance: &VirtualMachineInstance) -> Option<&str> {
    let conditions = &instance.status.as_ref()?.conditions;
    let paused = conditions
        .iter()
        .find(|condition| condition.type_ == "Paused" && condition.status == "True")?;
    Some(paused.reason.as_deref().unwrap_or_default())
}

/// Starts an adopted machine that has no live run.
fn start(live: LiveMachine<'_>, run: Run) -> PowerDecision {
    match run_strategy::effective(live.machine).as_str() {
        // KubeVirt starts these by itself and answers 409 to a request to start them.
        "Always" => PowerDecision::wait(),
        "RerunOnFailure" if run == (Run::Ended { failed: true }) => PowerDecision::wait(),
        "Once" if run == Run::None => PowerDecision::wait(),
        "Once" => PowerDecision::refused(
            "The machine has run once, and KubeVirt does not start one with runStrategy Once again. Change its runStrategy, or \
             remove spec.power.",
        ),
        "WaitAsReceiver" => PowerDecision::refused(
            "The machine waits for a migration from elsewhere (runStrategy WaitAsReceiver), and KubeVirt does not start it. \
             Remove spec.power.",
        ),
        _ => PowerDecision::call(PowerSubresource::Start),
    }
}

/// Stops an adopted machine.
fn stop(live: LiveMachine<'_>, run: Run) -> PowerDecision {
    let lives = matches!(run, Run::Starting | Run::Running | Run::Paused { .. });
    match run_strategy::effective(live.machine).as_str() {
        // Also without a run: KubeVirt would start one. It makes the strategy Halted, and Always with the next start.
        "Always" => PowerDecision::call(PowerSubresource::Stop),
        "Once" => PowerDecision {
            warning: Some(
                "To stop it KubeVirt changes its runStrategy from Once to Halted, and a later start makes it Always: it is started again then \
                 whenever its guest ends. To have it run once again, set its runStrategy yourself and remove spec.power",
            ),
            ..PowerDecision::call(PowerSubresource::Stop)
        },
        "Manual" | "RerunOnFailure" if lives => PowerDecision::call(PowerSubresource::Stop),
        "WaitAsReceiver" => PowerDecision::refused(
            "The machine waits for a migration from elsewhere (runStrategy WaitAsReceiver), and KubeVirt does not stop it. \
             Remove spec.power.",
        ),
        _ => PowerDecision::wait(),
    }
}

fn unpause(live: LiveMachine<'_>) -> PowerDecision {
    // KubeVirt answers 409 during a snapshot, and changes the machine's status when it is over.
    let in_snapshot = live
        .status()
        .is_some_and(|status| status.snapshot_in_progress.is_some());
    if in_snapshot {
        PowerDecision::wait()
    } else {
        PowerDecision::call(PowerSubresource::Unpause)
    }
}

/// Restarts a run that began before `restartedAt`, once: the next run begins after it.
///
/// A time to come is waited for. Acting on it at once would restart the new run again, which also begins before it.
fn restart(vm_access: &ValidatedVmAccess, live: LiveMachine<'_>, run: Run, now: Timestamp) -> PowerDecision {
    let Some(restarted_at) = vm_access.power.restarted_at else {
        return PowerDecision::wait();
    };
    if restarted_at > now {
        return PowerDecision {
            next: Some(restarted_at),
            ..PowerDecision::default()
        };
    }
    let began = live
        .instance
        .and_then(|instance| instance.metadata.creation_timestamp.as_ref());
    // One that cannot start as it is may be able to after a change of the spec, which only the next run takes up.
    let is_due = matches!(run, Run::Starting | Run::Running | Run::Paused { .. })
        && began.is_some_and(|began| began.0 < restarted_at);
    match run_strategy::effective(live.machine).as_str() {
        _ if !is_due => PowerDecision::wait(),
        // It is being stopped.
        "Halted" => PowerDecision::wait(),
        "Once" => PowerDecision::refused(
            "KubeVirt does not restart a machine with runStrategy Once. Change its runStrategy, or remove spec.power.restartedAt.",
        ),
        _ => PowerDecision::call(PowerSubresource::Restart),
    }
}

#[cfg(test)]
mod tests;
