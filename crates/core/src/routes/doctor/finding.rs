//! What the doctor says.

use std::fmt;

use serde::Serialize;
use strum::{EnumIter, IntoStaticStr};

use super::super::reason::RoutesReason;

/// Something that is wrong with a gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayFinding {
    /// The gateway's name in the configuration.
    pub gateway: String,
    /// How bad it is.
    pub severity: FindingSeverity,
    /// The entry point that it is about; that of the gateway as a whole where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_point: Option<String>,
    /// In one word.
    pub reason: FindingReason,
    /// What is wrong, where, and what to do.
    pub message: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, EnumIter, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum FindingSeverity {
    /// Routes do not work.
    Error,
    /// Routes may not work, or do not do all that they should.
    Warning,
    /// It could not be found out.
    Note,
}

/// What is wrong, in one word. `docs/gateways.md` has a row for every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, EnumIter, IntoStaticStr)]
pub enum FindingReason {
    /// The cluster does not serve the API of the gateway.
    GatewayNotInstalled,
    /// Its Service or `Gateway` does not exist.
    GatewayNotFound,
    /// It has no address.
    AddressPending,
    /// It has no such port, listener or entry point.
    EntryPointNotFound,
    /// The port carries something else than what it is configured for.
    WrongProtocol,
    /// Something else uses an entry point of the pool.
    EntryPointShared,
    /// Two gateways give out the same port of the same address.
    PortClaimedTwice,
    /// Routes of anybody that name no entry point use those of the pool.
    NoDefaultEntryPoint,
    /// The gateway does not read what novasphere writes.
    NotWatched,
    /// Nothing stands behind the gateway: no Pod, or no controller.
    GatewayNotRunning,
    /// The gateway's controller refuses it.
    RefusedByGateway,
    /// Its listeners do not let routes of other namespaces in.
    RoutesNotAllowed,
    /// It does not see the addresses of clients.
    ClientAddressHidden,
    /// The controller lacks a right.
    Forbidden,
    /// It could not be found out.
    NotChecked,
}

impl FindingSeverity {
    /// All, the worst first.
    pub fn all() -> impl Iterator<Item = Self> {
        <Self as strum::IntoEnumIterator>::iter()
    }
}

impl GatewayFinding {
    /// Whether a route says anything of it.
    #[must_use]
    pub fn concerns_routes(&self) -> bool {
        self.lack(self.entry_point.as_deref().unwrap_or_default()).is_some()
    }

    /// What it means for a route on this entry point, `None` when that works all the same or says so itself.
    #[must_use]
    pub fn lack(&self, entry_point: &str) -> Option<(RoutesReason, String)> {
        let is_about = self.entry_point.as_deref().is_none_or(|name| name == entry_point);
        let reason = match self.reason {
            FindingReason::EntryPointNotFound | FindingReason::WrongProtocol => RoutesReason::EntryPointNotFound,
            FindingReason::EntryPointShared | FindingReason::PortClaimedTwice => RoutesReason::EntryPointShared,
            FindingReason::NotWatched => RoutesReason::NotWatched,
            // What it means is said by the route itself, or ends by itself.
            _ => return None,
        };
        (is_about && self.severity == FindingSeverity::Error).then(|| (reason, self.message.clone()))
    }
}

impl FindingReason {
    /// Of what a route would say.
    pub(super) const fn of_lack(reason: RoutesReason) -> Self {
        match reason {
            RoutesReason::AddressPending => Self::AddressPending,
            RoutesReason::GatewayNotFound => Self::GatewayNotFound,
            RoutesReason::EntryPointNotFound => Self::EntryPointNotFound,
            RoutesReason::Forbidden => Self::Forbidden,
            _ => Self::NotChecked,
        }
    }
}

/// One line: how bad, where, what.
impl fmt::Display for GatewayFinding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity: &str = self.severity.into();
        let reason: &str = self.reason.into();
        write!(formatter, "{severity} {}", self.gateway)?;
        if let Some(entry_point) = &self.entry_point {
            write!(formatter, "/{entry_point}")?;
        }
        write!(formatter, " {reason}: {}.", self.message.trim_end_matches('.'))
    }
}
