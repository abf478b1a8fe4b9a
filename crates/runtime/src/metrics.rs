//! Metrics of every role. No label ever holds an object's name.

use std::time::Duration;

use prometheus_client::registry::Registry;

/// Counters and histograms shared by all controllers of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    _private: (),
}

impl Metrics {
    /// Makes the metrics and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let _ = registry;
        todo!()
    }

    /// Notes one reconcile. `reason` is `Succeeded` or an error's `reason()`.
    pub fn reconciled(&self, controller: &'static str, reason: &'static str, took: Duration) {
        let _ = (controller, reason, took);
        todo!()
    }

    /// Notes one apply. `outcome` is `Unchanged`, `Created`, `Patched`, `Deleted` or an error's `reason()`.
    pub fn applied(&self, kind: &str, outcome: &'static str) {
        let _ = (kind, outcome);
        todo!()
    }

    /// Notes whether this process leads.
    pub fn leading(&self, leading: bool) {
        let _ = leading;
        todo!()
    }

    /// Notes an object that could not be decoded.
    pub fn undecodable(&self, kind: &str) {
        let _ = kind;
        todo!()
    }
}
