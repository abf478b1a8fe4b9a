//! Whether a process is ready and alive: gates that its roles open, and checks.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What has to be done before a process is ready. A process declares the gates of its roles before it serves `/readyz`, so that
/// it is not found ready before they have begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ReadinessGate {
    /// The controller's watch caches are filled.
    ControllerCaches,
    /// The caches of what carries streams are filled, and it has its lease.
    Sessions,
    /// The console's addresses are listened on.
    ConsoleListeners,
    /// The aggregated API's address is listened on.
    ApiListener,
    /// The REST API listens, and knows logins and lists.
    RestListener,
    /// It is known by which certificate kube-apiserver is recognised.
    FrontProxy,
    /// Never closed: says in `/readyz` when the cluster is too old.
    KubernetesVersion,
}

impl ReadinessGate {
    /// The gate's name in `/readyz`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What a gate says.
#[derive(Clone, Debug)]
enum GateState {
    Open,
    /// Open, although something is wrong.
    OpenDespite(String),
    Closed(String),
}

/// What has to be true before a process may serve, and what must stay true for it to live. Clones share it.
#[derive(Clone, Default)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    gates: Mutex<BTreeMap<ReadinessGate, GateState>>,
    checks: Mutex<BTreeMap<&'static str, Check>>,
}

impl Health {
    /// A readiness gate, closed until [`GateHandle::ready`]. A second handle of a gate is of the same gate.
    #[must_use = "a gate that nobody opens stays closed for ever"]
    pub fn gate(&self, gate: ReadinessGate) -> GateHandle {
        let mut gates = self.shared.gates.lock();
        gates
            .entry(gate)
            .or_insert_with(|| GateState::Closed("not ready yet".to_owned()));
        GateHandle {
            shared: Arc::clone(&self.shared),
            gate,
        }
    }

    /// Adds a named liveness check: `/livez` answers 500 while it returns a reason. It must not block.
    pub fn liveness(&self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.shared.checks.lock().insert(name, Box::new(check));
    }

    /// Whether every gate is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let gates = self.shared.gates.lock();
        !gates.values().any(|state| matches!(state, GateState::Closed(_)))
    }

    pub(crate) fn readiness(&self) -> HealthReport {
        let gates = self.shared.gates.lock();
        HealthReport::of(gates.iter().map(|(gate, state)| (gate.name(), state.clone())))
    }

    pub(crate) fn liveness_report(&self) -> HealthReport {
        let checks = self.shared.checks.lock();
        let states = checks.iter().map(|(name, check)| {
            let state = check().map_or_else(GateState::Closed, |()| GateState::Open);
            (*name, state)
        });
        HealthReport::of(states)
    }
}

/// Opens and closes one readiness gate. Clones share it.
#[derive(Clone)]
pub struct GateHandle {
    shared: Arc<Shared>,
    gate: ReadinessGate,
}

impl GateHandle {
    /// Opens the gate.
    pub fn ready(&self) {
        self.shared.gates.lock().insert(self.gate, GateState::Open);
    }

    /// Opens the gate; `/readyz` shows `fault` all the same. For what a process can serve without, better than not at all.
    pub fn ready_despite(&self, fault: impl Into<String>) {
        let state = GateState::OpenDespite(fault.into());
        self.shared.gates.lock().insert(self.gate, state);
    }

    /// Closes the gate; `/readyz` shows `reason`.
    pub fn not_ready(&self, reason: impl Into<String>) {
        let state = GateState::Closed(reason.into());
        self.shared.gates.lock().insert(self.gate, state);
    }
}

/// The list that kube-apiserver writes for `/readyz?verbose`: one line per check, a plus or a minus before it.
#[derive(Debug)]
pub(crate) struct HealthReport {
    pub(crate) text: String,
    pub(crate) good: bool,
}

impl HealthReport {
    fn of(items: impl Iterator<Item = (&'static str, GateState)>) -> Self {
        let (mut text, mut good) = (String::new(), true);
        for (name, state) in items {
            let line = match state {
                GateState::Open => format!("[+]{name} ok\n"),
                GateState::OpenDespite(fault) => format!("[+]{name} ok, but: {fault}\n"),
                GateState::Closed(reason) => {
                    good = false;
                    format!("[-]{name} failed: {reason}\n")
                }
            };
            text.push_str(&line);
        }
        text.push_str(if good { "check passed\n" } else { "check failed\n" });
        Self { text, good }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_closes_nothing_is_shown() {
        let health = Health::default();
        let gate = health.gate(ReadinessGate::Sessions);
        assert!(!health.is_ready());
        gate.ready_despite("may not watch VirtualMachine");
        let report = health.readiness();
        assert!(health.is_ready() && report.good);
        assert_eq!(
            report.text,
            "[+]sessions ok, but: may not watch VirtualMachine\ncheck passed\n"
        );
        gate.not_ready("stopping");
        assert!(!health.is_ready() && !health.readiness().good);
    }

    #[test]
    fn the_names_of_gates_are_those_that_probes_have_always_shown() {
        let names = [
            ReadinessGate::ControllerCaches,
            ReadinessGate::Sessions,
            ReadinessGate::ConsoleListeners,
            ReadinessGate::ApiListener,
            ReadinessGate::FrontProxy,
            ReadinessGate::KubernetesVersion,
        ]
        .map(ReadinessGate::name);
        assert_eq!(
            names,
            [
                "controller-caches",
                "sessions",
                "console-listeners",
                "api-listener",
                "front-proxy",
                "kubernetes-version"
            ]
        );
    }
}
