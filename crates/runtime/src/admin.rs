//! `/livez`, `/readyz` and `/metrics`.

use std::{net::SocketAddr, sync::Arc};

use prometheus_client::registry::Registry;

use crate::shutdown::Shutdown;

/// What has to be true before a process may serve, and what must stay true for it to live. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    _private: Arc<()>,
}

impl Health {
    /// Adds a named readiness gate, closed until [`Gate::ready`].
    #[must_use = "a gate that is dropped stays closed for ever"]
    pub fn gate(&self, name: &'static str) -> Gate {
        let _ = name;
        todo!()
    }

    /// Adds a named liveness check: `/livez` answers 500 while it returns a reason. It must not block.
    pub fn liveness(&self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        let _ = (name, check);
        todo!()
    }

    /// Whether every gate is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        todo!()
    }
}

/// One readiness gate. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate {
    _private: Arc<()>,
}

impl Gate {
    /// Opens the gate.
    pub fn ready(&self) {
        todo!()
    }

    /// Closes the gate; `reason` is shown by `/readyz`.
    pub fn not_ready(&self, reason: impl Into<String>) {
        let _ = reason.into();
        todo!()
    }
}

/// The bound, not yet running server.
#[derive(Debug)]
pub struct AdminServer {
    _private: (),
}

impl AdminServer {
    /// Takes the address, so that a busy port is an error at start.
    ///
    /// # Errors
    ///
    /// When the address cannot be taken.
    pub async fn bind(address: SocketAddr, health: Health, registry: Registry) -> std::io::Result<Self> {
        let _ = (address, health, registry);
        todo!()
    }

    /// Where it listens (of use when port 0 was asked for).
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        todo!()
    }

    /// Serves until `shutdown`; `/readyz` answers 503 from then on until the process ends.
    pub async fn run(self, shutdown: Shutdown) {
        let _ = shutdown;
        todo!()
    }
}
