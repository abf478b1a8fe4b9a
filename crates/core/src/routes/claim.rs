//! What objects ask of gateways: entry points and host names, which not everybody can have.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use novasphere_crd::{RouteRule, RouteStatus, VmAccess, VncWorkspace};

/// An object with routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// When it was made: the oldest comes first.
    pub created: Timestamp,
}

impl fmt::Display for Claimant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What one route asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The route's name.
    pub route: String,
    /// Its rule.
    pub rule: RouteRule,
    /// What it has by the object's status.
    pub held: Option<HeldRoute>,
}

/// What a route has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRoute {
    /// The gateway's name.
    pub gateway: String,
    /// The entry point's name.
    pub entry_point: String,
    /// The host name, of a route that shares its entry point: see [`Want::host`].
    pub host: Option<String>,
}

/// What one object asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectClaims {
    /// The object.
    pub claimant: Claimant,
    /// One for each route.
    pub claims: Vec<Claim>,
}

/// What a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want<'a> {
    /// This entry point of the pool, or any.
    EntryPoint(Option<&'a str>),
    /// This host name on the TLS port.
    TlsHost(&'a str),
    /// This host name, or all, and this path on the HTTP port.
    HttpPath(Option<&'a str>, &'a str),
}

impl<'a> Want<'a> {
    /// What `rule` asks for; `None` when it is malformed.
    #[must_use]
    pub fn of(rule: &'a RouteRule) -> Option<Self> {
        match (&rule.tcp, &rule.tls, &rule.http) {
            (Some(tcp), None, None) => Some(Self::EntryPoint(tcp.entry_point.as_deref())),
            (None, Some(tls), None) => Some(Self::TlsHost(&tls.host)),
            (None, None, Some(http)) => Some(Self::HttpPath(http.host.as_deref(), &http.path)),
            _ => None,
        }
    }

    /// The host name that it asks for, `*` for all; `None` for an entry point of its own.
    #[must_use]
    pub const fn host(&self) -> Option<&'a str> {
        match *self {
            Self::EntryPoint(_) => None,
            Self::TlsHost(host) | Self::HttpPath(Some(host), _) => Some(host),
            Self::HttpPath(None, _) => Some("*"),
        }
    }
}

impl ObjectClaims {
    /// What a `VmAccess` asks for; `None` when it has no routes.
    #[must_use]
    pub fn of_vm_access(object: &VmAccess) -> Option<Self> {
        let routes = object.spec.routes.iter().map(|route| (&route.name, &route.rule));
        let status = object.status.as_ref().map(|status| status.routes.as_slice());
        Self::of("VmAccess", &object.metadata, routes, status.unwrap_or_default())
    }

    /// What a `VncWorkspace` asks for; `None` when it has no routes.
    #[must_use]
    pub fn of_workspace(object: &VncWorkspace) -> Option<Self> {
        let routes = object.spec.routes.iter().map(|route| (&route.name, &route.rule));
        let status = object.status.as_ref().map(|status| status.routes.as_slice());
        Self::of("VncWorkspace", &object.metadata, routes, status.unwrap_or_default())
    }

    fn of<'a>(
        kind: &'static str,
        meta: &ObjectMeta,
        routes: impl Iterator<Item = (&'a String, &'a RouteRule)>,
        status: &[RouteStatus],
    ) -> Option<Self> {
        let held = |name: &str| {
            let status = status.iter().find(|status| status.name == name)?;
            Some(HeldRoute {
                gateway: status.gateway.clone()?,
                entry_point: status.entry_point.clone()?,
                host: status.host.clone(),
            })
        };
        let claims: Vec<_> = routes
            .map(|(name, rule)| Claim {
                route: name.clone(),
                rule: rule.clone(),
                held: held(name),
            })
            .collect();
        if claims.is_empty() {
            return None;
        }
        Some(Self {
            claimant: Claimant {
                kind,
                namespace: meta.namespace.clone()?,
                name: meta.name.clone()?,
                uid: meta.uid.clone()?,
                created: meta.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0),
            },
            claims,
        })
    }
}
