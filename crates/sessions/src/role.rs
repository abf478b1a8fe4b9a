//! What every role that carries streams is given.

use novasphere_core::console_session::endpoints::Endpoints;
use novasphere_runtime::{health::Health, metrics::Metrics, shutdown::Shutdown};

use crate::SessionGateway;

/// What such a role is given from outside, with its own section `C` of the configuration file.
pub struct ServingOptions<C> {
    /// Its section.
    pub config: C,
    /// Where viewers reach novasphere.
    pub endpoints: Endpoints,
    /// The sessions and their streams. Its client does everything that the role's table of rights lists.
    pub gateway: SessionGateway,
    /// The process's own namespace.
    pub namespace: String,
    /// Where readiness is reported.
    pub health: Health,
    /// Shows what the role's listeners use.
    pub metrics: Metrics,
    /// When to stop.
    pub shutdown: Shutdown,
}
