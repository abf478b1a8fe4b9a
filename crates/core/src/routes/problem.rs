//! What stands in the way of a route.

use super::reason::RoutesReason;

/// Why a route is not set up. Each message says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteProblem {
    /// The rule is malformed. The schema refuses that; the object may be older than the rule.
    #[error("{0}")]
    Invalid(&'static str),
    /// There is no gateway at all.
    #[error(
        "no gateway is configured for the controller, so it leads nowhere; remove it and use a Service of type NodePort or LoadBalancer, \
         or have the administrator configure one (section gateways of the configuration)"
    )]
    NoGateway,
    /// There is no gateway of this name.
    #[error("the controller's configuration has no gateway {asked}; it has {known}")]
    UnknownGateway {
        /// The name, or that there is no default.
        asked: String,
        /// The names that it has.
        known: String,
    },
    /// The pool has no such entry point.
    #[error(
        "the gateway {gateway} has no entry point {entry_point} in its pool; name one of {known}, or none to get any free one"
    )]
    UnknownEntryPoint {
        /// The gateway.
        gateway: String,
        /// The name that is asked for.
        entry_point: String,
        /// The names that it has.
        known: String,
    },
    /// Somebody else has the entry point.
    #[error(
        "the entry point {entry_point} of the gateway {gateway} carries one route, and {holder} has it; name another one, or none to get \
         any free one"
    )]
    EntryPointInUse {
        /// The gateway.
        gateway: String,
        /// The entry point.
        entry_point: String,
        /// Who has it.
        holder: String,
    },
    /// The pool is used up.
    #[error(
        "all {count} entry points of the gateway {gateway} are taken; it gets the first that is free again, or ask the administrator for \
         more"
    )]
    EntryPointsUsedUp {
        /// The gateway.
        gateway: String,
        /// How many it has.
        count: usize,
    },
    /// The namespace has as many as it may have.
    #[error(
        "the routes of this namespace have {limit} entry points of the gateway {gateway}, and may not have more; remove one of them, use tls \
         or http, or ask the administrator (entryPointsPerNamespace of the gateway)"
    )]
    EntryPointLimitReached {
        /// The gateway.
        gateway: String,
        /// How many a namespace may have.
        limit: u16,
    },
    /// Somebody else has the host.
    #[error("the host {host} of the gateway {gateway} belongs to {holder}; choose another one")]
    HostInUse {
        /// The gateway.
        gateway: String,
        /// The host.
        host: String,
        /// Who has it.
        holder: String,
    },
    /// The administrator does not allow the host.
    #[error(
        "objects of this namespace may not have the host {host} at the gateway {gateway}; {allowed}, or ask the administrator \
         (allowedHosts of the gateway)"
    )]
    HostNotAllowed {
        /// The gateway.
        gateway: String,
        /// The host.
        host: String,
        /// What is allowed.
        allowed: String,
    },
    /// The gateway does not carry such routes.
    #[error("the gateway {gateway} is not configured for routes with {what}; {advice}")]
    NotOffered {
        /// The gateway.
        gateway: String,
        /// `tcp`, `tls` or `http`.
        what: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The target is not to be reached in this way.
    #[error("{0}")]
    NoBackend(&'static str),
    /// The gateway cannot filter.
    #[error(
        "the gateway {gateway} cannot hold back client addresses on {what}, so it is not set up; remove allowedSourceRanges, or use \
         another gateway"
    )]
    SourceRangesNotSupported {
        /// The gateway.
        gateway: String,
        /// Which routes.
        what: &'static str,
    },
    /// The administrator does not allow certificates of tenants.
    #[error(
        "routes of the gateway {gateway} may not name certificates of their own; remove {field}, or ask the administrator (allowSecrets \
         of the gateway)"
    )]
    SecretNotAllowed {
        /// The gateway.
        gateway: String,
        /// The field that names one.
        field: &'static str,
    },
    /// Its API is not served.
    #[error("the cluster does not serve {kind}, which the gateway {gateway} reads; {advice}")]
    NotInstalled {
        /// The gateway.
        gateway: String,
        /// The kind that is missing.
        kind: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// What live objects use is not known yet, so nothing is given out.
    #[error(
        "the objects that the gateway {gateway} reads were not listed yet; it is set up when they are, which needs the controller's \
         ClusterRole for this gateway"
    )]
    NotListed {
        /// The gateway.
        gateway: String,
    },
}

impl RouteProblem {
    /// One word for the condition and the event.
    #[must_use]
    pub const fn reason(&self) -> RoutesReason {
        match self {
            Self::Invalid(_) => RoutesReason::InvalidSpec,
            Self::NoGateway => RoutesReason::NoGatewayConfigured,
            Self::UnknownGateway { .. } => RoutesReason::UnknownGateway,
            Self::UnknownEntryPoint { .. } => RoutesReason::UnknownEntryPoint,
            Self::EntryPointInUse { .. } => RoutesReason::EntryPointInUse,
            Self::EntryPointsUsedUp { .. } => RoutesReason::EntryPointsUsedUp,
            Self::EntryPointLimitReached { .. } => RoutesReason::EntryPointLimitReached,
            Self::HostInUse { .. } => RoutesReason::HostInUse,
            Self::HostNotAllowed { .. } => RoutesReason::HostNotAllowed,
            Self::NotOffered { .. } | Self::NoBackend(_) => RoutesReason::NotOffered,
            Self::SourceRangesNotSupported { .. } => RoutesReason::SourceRangesNotSupported,
            Self::SecretNotAllowed { .. } => RoutesReason::SecretNotAllowed,
            Self::NotInstalled { .. } => RoutesReason::GatewayNotInstalled,
            Self::NotListed { .. } => RoutesReason::RoutePending,
        }
    }

    /// Whether another route has what this one asks for, so that it may get it later.
    #[must_use]
    pub const fn waits_for_another(&self) -> bool {
        matches!(
            self,
            Self::EntryPointInUse { .. }
                | Self::EntryPointsUsedUp { .. }
                | Self::EntryPointLimitReached { .. }
                | Self::HostInUse { .. }
        )
    }
}
