//! The reasons of `RoutesReady`. `docs/vmaccess.md` and `docs/workspace.md` have a row for every value.

use strum::{EnumIter, IntoStaticStr};

/// Reasons of `RoutesReady`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EnumIter, IntoStaticStr)]
pub enum RoutesReason {
    /// All are set up.
    AllReady,
    /// None is wanted.
    NoRoutes,

    /// The gateway has not said yet what it does with the route.
    RoutePending,
    /// The gateway has no address yet.
    AddressPending,

    /// The spec contradicts itself.
    InvalidSpec,
    /// The controller's configuration has no gateway.
    NoGatewayConfigured,
    /// The controller's configuration has no gateway of this name.
    UnknownGateway,
    /// The gateway's pool has no entry point of this name.
    UnknownEntryPoint,
    /// Another route has the entry point.
    EntryPointInUse,
    /// All entry points of the pool are taken.
    EntryPointsUsedUp,
    /// The namespace has as many entry points of the gateway as it may have.
    EntryPointLimitReached,
    /// Another route has the host name.
    HostInUse,
    /// The gateway's configuration does not let routes of this namespace have the host name.
    HostNotAllowed,
    /// The gateway is not configured for such routes.
    NotOffered,
    /// The gateway cannot hold back client addresses on such a route.
    SourceRangesNotSupported,
    /// The gateway's configuration does not let routes name certificates.
    SecretNotAllowed,
    /// The cluster does not serve the API of the gateway.
    GatewayNotInstalled,
    /// The gateway's Service or `Gateway` does not exist.
    GatewayNotFound,
    /// The gateway has no such port or listener.
    EntryPointNotFound,
    /// Something else uses the entry point, too.
    EntryPointShared,
    /// The gateway does not read the route.
    NotWatched,
    /// The gateway does not take the route.
    RefusedByGateway,

    /// An object of this name exists and was not made for this route.
    RouteTaken,
    /// The apiserver refuses an object of a route.
    Rejected,
    /// The controller lacks a right.
    Forbidden,
    /// A quota of the namespace is used up.
    QuotaExceeded,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The apiserver did not answer.
    ApiUnavailable,
}

impl RoutesReason {
    /// Whether it ends by itself.
    #[must_use]
    pub const fn is_progress(self) -> bool {
        matches!(self, Self::RoutePending | Self::AddressPending)
    }
}
