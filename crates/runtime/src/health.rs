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
    /// It is known by which certificate kube-apiserver is recognised.
    FrontProxy,
}

impl ReadinessGate {
    /// The gate's name in `/readyz`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What has to be true before a process may serve, and what must stay true for it to live. Clones share it.
#[derive(Clone, Default)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The reason why each gate is closed; `None` when it is open.
    gates: Mutex<BTreeMap<ReadinessGate, Option<String>>>,
    checks: Mutex<BTreeMap<&'static str, Check>>,
}

impl Health {
    /// A readiness gate, closed until [`GateHandle::ready`]. A second handle of a gate is of the same gate.
    #[must_use = "a gate that nobody opens stays closed for ever"]
    pub fn gate(&self, gate: ReadinessGate) -> GateHandle {
        let mut gates = self.shared.gates.lock();
        gates.entry(gate).or_insert_with(|| Some("not ready yet".to_owned()));
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
        self.shared.gates.lock().values().all(Option::is_none)
    }

    pub(crate) fn readiness(&self) -> HealthReport {
        let gates = self.shared.gates.lock();
        HealthReport::of(gates.iter().map(|(gate, reason)| (gate.name(), reason.clone())))
    }

    pub(crate) fn liveness_report(&self) -> HealthReport {
        let checks = self.shared.checks.lock();
        HealthReport::of(checks.iter().map(|(name, check)| (*name, check().err())))
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
        self.shared.gates.lock().insert(self.gate, None);
    }

    /// Closes the gate; `/readyz` shows `reason`.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.shared.gates.lock().insert(self.gate, Some(reason.into()));
    }
}

/// The list that kube-apiserver writes for `/readyz?verbose`: one line per check, a plus or a minus before it.
#[derive(Debug)]
pub(crate) struct HealthReport {
    pub(crate) text: String,
    pub(crate) good: bool,
}

impl HealthReport {
    fn of(items: impl Iterator<Item = (&'static str, Option<String>)>) -> Self {
        let (mut text, mut good) = (String::new(), true);
        for (name, reason) in items {
            let line = match reason {
                None => format!("[+]{name} ok\n"),
                Some(reason) => {
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
    fn the_names_of_gates_are_those_that_probes_have_always_shown() {
        let names = [
            ReadinessGate::ControllerCaches,
            ReadinessGate::Sessions,
            ReadinessGate::ConsoleListeners,
            ReadinessGate::ApiListener,
            ReadinessGate::FrontProxy,
        ]
        .map(ReadinessGate::name);
        assert_eq!(
            names,
            [
                "controller-caches",
                "sessions",
                "console-listeners",
                "api-listener",
                "front-proxy"
            ]
        );
    }
}
