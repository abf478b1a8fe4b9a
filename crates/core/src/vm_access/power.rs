//! Which call of `KubeVirt`'s power API brings a machine nearer to the wanted state.
//!
//! A machine of ours is started and stopped by its `runStrategy`, which [`build`](super::build) writes; it is paused,
//! unpaused and restarted by calls. An adopted machine's spec belongs to somebody else, so everything goes by calls, and
//! only by those that `KubeVirt` accepts in the present state: a refused call is repeated for ever and mends nothing.
//! What `KubeVirt` accepts is in kubevirt/kubevirt `pkg/virt-api/rest/lifecycle.go`.

use jiff::Timestamp;
use novasphere_foreign::kubevirt::{PowerSubresource, VirtualMachineInstance};

use super::{
    observed::LiveMachine,
    validated::{Machine, ValidatedVmAccess, WantedState},
};

/// What to do about the power of a machine now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The call to make. What it does is seen by a later pass, which decides about the next one.
    pub call: Option<PowerSubresource>,
    /// Why the wanted state cannot be reached, and what to do.
    pub refused: Option<String>,
    /// When to decide again, if nothing else happens before.
    pub next: Option<Timestamp>,
}

impl Decision {
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
pub fn decide(vm_access: &ValidatedVmAccess, live: LiveMachine<'_>, now: Timestamp) -> Decision {
    let (Ok(machine), Some(object)) = (&vm_access.machine, live.machine) else {
        return Decision::wait();
    };
    if object.metadata.deletion_timestamp.is_some() {
        return Decision::wait();
    }
    let run = Run::of(live);
    // KubeVirt takes one start or stop at a time and answers 500 to a second one.
    let is_pending = live
        .status()
        .is_some_and(|status| !status.state_change_requests.is_empty());
    if run == Run::Changing || is_pending {
        return Decision::wait();
    }
    let wanted = vm_access.power.state;
    let is_adopted = matches!(machine, Machine::Adopted);
    let decision = match (wanted, run) {
        (WantedState::Running | WantedState::Paused, Run::None | Run::Ended { .. }) if is_adopted => start(live, run),
        (WantedState::Stopped, _) if is_adopted => stop(live, run),
        (WantedState::Paused, Run::Running) => Decision::call(PowerSubresource::Pause),
        (WantedState::Running, Run::Paused { by_user: true }) => unpause(live),
        _ => Decision::wait(),
    };
    if decision == Decision::wait() {
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
    /// On its way up or down, or not seen yet.
    Changing,
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
            return if is_created || live.printable_status() == "Starting" {
                Self::Changing
            } else {
                Self::None
            };
        };
        let phase = live
            .instance_status()
            .and_then(|status| status.phase.as_deref())
            .unwrap_or_default();
        match phase {
            _ if instance.metadata.deletion_timestamp.is_some() => Self::Changing,
            "Running" => match paused_by(instance) {
                Some(reason) => Self::Paused {
                    by_user: reason == "PausedByUser",
                },
                None => Self::Running,
            },
            "Succeeded" => Self::Ended { failed: false },
            "Failed" => Self::Ended { failed: true },
            _ => Self::Changing,
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
fn start(live: LiveMachine<'_>, run: Run) -> Decision {
    match run_strategy(live).as_str() {
        // KubeVirt starts these by itself and answers 409 to whoever asks for it.
        "Always" => Decision::wait(),
        "RerunOnFailure" if run == (Run::Ended { failed: true }) => Decision::wait(),
        "Once" if run == Run::None => Decision::wait(),
        "Once" => Decision::refused(
            "The machine has run once, and KubeVirt does not start one with runStrategy Once again. Change its runStrategy, or              remove spec.power.",
        ),
        "WaitAsReceiver" => Decision::refused(
            "The machine waits for a migration from elsewhere (runStrategy WaitAsReceiver), and KubeVirt does not start it.              Remove spec.power.",
        ),
        _ => Decision::call(PowerSubresource::Start),
    }
}

/// Stops an adopted machine.
fn stop(live: LiveMachine<'_>, run: Run) -> Decision {
    let lives = matches!(run, Run::Running | Run::Paused { .. });
    match run_strategy(live).as_str() {
        // Also without a run: KubeVirt would start one. It makes the strategy Halted.
        "Always" | "Once" => Decision::call(PowerSubresource::Stop),
        "Manual" | "RerunOnFailure" if lives => Decision::call(PowerSubresource::Stop),
        "WaitAsReceiver" => Decision::refused(
            "The machine waits for a migration from elsewhere (runStrategy WaitAsReceiver), and KubeVirt does not stop it.              Remove spec.power.",
        ),
        _ => Decision::wait(),
    }
}

fn unpause(live: LiveMachine<'_>) -> Decision {
    // KubeVirt answers 409 during a snapshot, and changes the machine's status when it is over.
    let in_snapshot = live
        .status()
        .is_some_and(|status| status.snapshot_in_progress.is_some());
    if in_snapshot {
        Decision::wait()
    } else {
        Decision::call(PowerSubresource::Unpause)
    }
}

/// Restarts a run that began before `restartedAt`, once: the next run begins after it.
///
/// A time to come is waited for. Acting on it at once would restart the new run again, which also begins before it.
fn restart(vm_access: &ValidatedVmAccess, live: LiveMachine<'_>, run: Run, now: Timestamp) -> Decision {
    let Some(restarted_at) = vm_access.power.restarted_at else {
        return Decision::wait();
    };
    if restarted_at > now {
        return Decision {
            next: Some(restarted_at),
            ..Decision::default()
        };
    }
    let began = live
        .instance
        .and_then(|instance| instance.metadata.creation_timestamp.as_ref());
    let is_due = matches!(run, Run::Running | Run::Paused { .. }) && began.is_some_and(|began| began.0 < restarted_at);
    match run_strategy(live).as_str() {
        _ if !is_due => Decision::wait(),
        // It is being stopped.
        "Halted" => Decision::wait(),
        "Once" => Decision::refused(
            "KubeVirt does not restart a machine with runStrategy Once. Change its runStrategy, or remove spec.power.restartedAt.",
        ),
        _ => Decision::call(PowerSubresource::Restart),
    }
}

/// `KubeVirt`'s `VirtualMachine.RunStrategy()` (kubevirt.io/api `core/v1/types.go`).
fn run_strategy(live: LiveMachine<'_>) -> String {
    let spec = live
        .machine
        .and_then(|machine| machine.spec.as_ref())
        .map(novasphere_foreign::CompactJson::to_value);
    let field = |name: &str| spec.as_ref().and_then(|spec| spec.get(name));
    match (
        field("runStrategy").and_then(serde_json::Value::as_str),
        field("running"),
    ) {
        (Some(strategy), _) => strategy.to_owned(),
        (None, Some(serde_json::Value::Bool(true))) => "Always".to_owned(),
        (None, _) => "Halted".to_owned(),
    }
}
