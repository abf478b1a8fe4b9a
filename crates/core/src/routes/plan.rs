//! The routes of an object → the objects that its gateways read, or what stands in the way.

use std::{collections::BTreeMap, sync::Arc};

use novasphere_crd::{HttpRoute, RouteRule, TlsMode, TlsRoute};

use super::{
    ValidatedRoute, build,
    claim::Want,
    doctor::GatewayFinding,
    gateway::{EntryPoint, GatewayKind, RouteGateway},
    host::is_host,
    inspection::TraefikInspection,
    object::{RouteObject, ServedRouteApis},
    observed::{Lack, ObservedGateway, address},
    pool::{RouteGrant, listed},
    problem::RouteProblem,
};
use crate::label::Owner;

/// What else the routes of an object depend on.
#[derive(Clone, Debug)]
pub struct RouteSurroundings<'a> {
    /// What each route got, by its name: see [`RoutePool::grants`](super::pool::RoutePool::grants).
    pub grants: BTreeMap<String, Result<RouteGrant<'a>, RouteProblem>>,
    /// The APIs that the cluster serves.
    pub apis: &'a ServedRouteApis,
    /// What is known of the gateways, by their names.
    pub gateways: &'a BTreeMap<String, ObservedGateway>,
    /// What the API of a gateway says, by its name, where it has one.
    pub inspections: &'a BTreeMap<String, Arc<TraefikInspection>>,
    /// What is wrong with gateways, whatever routes they carry.
    pub findings: &'a [GatewayFinding],
    /// Addresses of nodes, from [`addresses`](crate::node::addresses).
    pub node_addresses: &'a [String],
}

/// A route with what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRoute {
    /// Its name.
    pub name: String,
    /// The gateway that carries it.
    pub gateway: Option<String>,
    /// The entry point or listener that it has there.
    pub entry_point: Option<String>,
    /// The host name that it has there, where it shares the entry point.
    pub host: Option<String>,
    /// Where clients connect.
    pub address: Option<String>,
    /// Whether what has the gateway's addresses was not read yet, so that the address of the status holds.
    pub is_unread: bool,
    /// Its objects, the one that is the route itself last; those before it only limit it.
    pub objects: Result<Vec<RouteObject>, RouteProblem>,
    /// What the gateway lacks. The objects are made all the same.
    pub lack: Option<Lack>,
    /// What the gateway's API says.
    pub inspection: Option<Arc<TraefikInspection>>,
    /// The Service that it leads to, where the gateway needs annotations on it.
    pub annotated_service: Option<String>,
}

impl PlannedRoute {
    /// Whether it waits for the list of what its gateway reads.
    #[must_use]
    pub fn is_not_listed(&self) -> bool {
        matches!(self.objects, Err(RouteProblem::NotListed { .. }))
    }
}

/// Plans the routes of one object, in the order of its spec.
#[must_use]
pub fn plan(owner: &Owner, routes: &[ValidatedRoute], surroundings: &RouteSurroundings<'_>) -> Vec<PlannedRoute> {
    routes.iter().map(|route| planned(owner, route, surroundings)).collect()
}

/// The annotations that the gateways of `planned` need on a Service.
#[must_use]
pub fn service_annotations(planned: &[PlannedRoute], service: &str) -> BTreeMap<String, String> {
    let is_concerned = planned
        .iter()
        .any(|route| route.objects.is_ok() && route.annotated_service.as_deref() == Some(service));
    if is_concerned {
        build::kong_service_annotations()
    } else {
        BTreeMap::new()
    }
}

fn planned(owner: &Owner, route: &ValidatedRoute, surroundings: &RouteSurroundings<'_>) -> PlannedRoute {
    let mut planned = PlannedRoute {
        name: route.name.clone(),
        gateway: None,
        entry_point: None,
        host: None,
        address: None,
        is_unread: false,
        objects: Err(RouteProblem::NoGateway),
        lack: None,
        inspection: None,
        annotated_service: None,
    };
    let grant = match surroundings.grants.get(&route.name) {
        Some(Ok(grant)) => grant,
        Some(Err(problem)) => {
            planned.objects = Err(problem.clone());
            return planned;
        }
        // Before the pool has heard of the route.
        None => return planned,
    };
    let (gateway, entry_point) = (grant.gateway, grant.entry_point);
    planned.gateway = Some(gateway.name.clone());
    planned.entry_point = Some(entry_point.name.clone());
    planned.host = Want::of(&route.rule).and_then(|want| want.host().map(str::to_owned));
    let unread = ObservedGateway::default();
    let observed = surroundings.gateways.get(&gateway.name).unwrap_or(&unread);
    planned.is_unread = matches!(observed, ObservedGateway::Unread);
    let host = gateway.host.as_deref();
    match address(observed, host, entry_point, surroundings.node_addresses) {
        Ok(at) => planned.address = at.map(|(host, port)| told(&route.rule, gateway, &host, port)),
        Err(lack) => planned.lack = Some(lack),
    }
    planned.objects = match &route.backend {
        Some(backend) => build::objects(
            &build::Parts {
                owner,
                route,
                backend,
                grant,
            },
            surroundings.apis,
        ),
        None => Err(RouteProblem::NoBackend(
            "no Service of this namespace has the page of novasphere; remove the route, and give novasphere itself a route \
             (docs/gateways.md)",
        )),
    };
    planned.inspection = surroundings.inspections.get(&gateway.name).cloned();
    if planned.lack.is_none() && matches!(Want::of(&route.rule), Some(Want::EntryPoint(_))) {
        planned.lack = inspected(&planned, owner, entry_point);
    }
    if planned.lack.is_none() {
        planned.lack = found(surroundings, &gateway.name, &entry_point.name);
    }
    if matches!(gateway.kind(), Some(GatewayKind::Kong(_))) {
        planned.annotated_service = route.backend.as_ref().map(|backend| backend.service.clone());
    }
    planned
}

/// What a look at the gateway found that concerns this entry point.
fn found(surroundings: &RouteSurroundings<'_>, gateway: &str, entry_point: &str) -> Option<Lack> {
    let findings = surroundings.findings.iter();
    let mut of_gateway = findings.filter(|finding| finding.gateway == gateway);
    of_gateway.find_map(|finding| finding.lack(entry_point))
}

/// What the gateway's own API says of an entry point that is for one route alone.
fn inspected(planned: &PlannedRoute, owner: &Owner, entry_point: &EntryPoint) -> Option<Lack> {
    let route = planned.objects.as_ref().ok()?.last()?;
    let inspection = planned.inspection.as_ref()?;
    inspection.lack(entry_point, &owner.namespace, route.name())
}

/// The address as a person uses it: a URL for HTTP, `host:port` else. `host` is the gateway's own.
fn told(rule: &RouteRule, gateway: &RouteGateway, host: &str, port: u16) -> String {
    let named = |asked: Option<&str>| {
        asked
            .filter(|asked| !asked.starts_with("*."))
            .unwrap_or(host)
            .to_owned()
    };
    if let Some(HttpRoute { host: asked, path, .. }) = &rule.http {
        let (scheme, usual) = if gateway.https.is_some() {
            ("https", 443)
        } else {
            ("http", 80)
        };
        let host = bracketed(&named(asked.as_deref()));
        return if port == usual {
            format!("{scheme}://{host}{path}")
        } else {
            format!("{scheme}://{host}:{port}{path}")
        };
    }
    let host = match &rule.tls {
        Some(TlsRoute { host: asked, .. }) => named(Some(asked)),
        None => host.to_owned(),
    };
    format!("{}:{port}", bracketed(&host))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// What stands in the way of a rule at a gateway, whatever else there is in the cluster. A route with such a problem has nothing.
#[must_use]
pub fn static_problem(gateway: &RouteGateway, rule: &RouteRule, namespace: &str) -> Option<RouteProblem> {
    let kind = gateway.kind()?;
    match Want::of(rule) {
        None => return Some(RouteProblem::Invalid("give exactly one of tcp, tls and http")),
        Some(Want::EntryPoint(_)) if gateway.entry_points.is_empty() => {
            return Some(not_offered(
                gateway,
                "tcp",
                "ask the administrator for entryPoints, or use tls or http",
            ));
        }
        Some(Want::EntryPoint(_)) => {}
        Some(Want::TlsHost(host)) => {
            if gateway.tls.is_none() {
                return Some(not_offered(
                    gateway,
                    "tls",
                    "ask the administrator for a tls port, or use tcp",
                ));
            }
            if let Some(problem) = host_problem(gateway, namespace, Some(host)) {
                return Some(problem);
            }
        }
        Some(Want::HttpPath(host, path)) => {
            if gateway.https.is_none() && gateway.http.is_none() {
                return Some(not_offered(
                    gateway,
                    "http",
                    "ask the administrator for an http or https port, or use tcp",
                ));
            }
            if !is_path(path) {
                return Some(RouteProblem::Invalid(
                    "http.path must begin with '/' and have no empty or '..' segments, spaces, quotes, '?' or '#'",
                ));
            }
            if let Some(problem) = host_problem(gateway, namespace, host) {
                return Some(problem);
            }
        }
    }
    kong_problem(gateway, kind, rule)
        .or_else(|| secret_problem(gateway, kind, rule))
        .or_else(|| source_range_problem(gateway, kind, rule))
}

/// What Kong refuses, and with it all of its configuration, of anybody.
fn kong_problem(gateway: &RouteGateway, kind: GatewayKind<'_>, rule: &RouteRule) -> Option<RouteProblem> {
    let GatewayKind::Kong(_) = kind else { return None };
    match Want::of(rule)? {
        // Its schema takes whole names alone (`validate_sni` in its `typedefs.lua`).
        Want::TlsHost(host) if host.starts_with("*.") => Some(not_offered(
            gateway,
            "tls and a host that begins with *.",
            "name the whole host: Kong refuses such a one, and with it all changes of its routes",
        )),
        Want::HttpPath(_, path) if path.contains(EXPRESSION_CHARACTERS) => Some(not_offered(
            gateway,
            "a path that has one of $ ( ) * +",
            "choose another path: Kong reads it as a regular expression, and one that is none stops all changes of its routes",
        )),
        Want::HttpPath(_, path) if !is_path_of_kong(path) => Some(not_offered(
            gateway,
            "a path that begins with /~ or has a % or a segment '.'",
            "choose another path: Kong refuses such a one, and with it all changes of its routes",
        )),
        Want::EntryPoint(_) | Want::TlsHost(_) | Want::HttpPath(..) => None,
    }
}

fn not_offered(gateway: &RouteGateway, what: &'static str, advice: &'static str) -> RouteProblem {
    RouteProblem::NotOffered {
        gateway: gateway.name.clone(),
        what,
        advice,
    }
}

fn host_problem(gateway: &RouteGateway, namespace: &str, host: Option<&str>) -> Option<RouteProblem> {
    if host.is_some_and(|host| !is_host(host)) {
        return Some(RouteProblem::Invalid(
            "host must be a DNS name in lower case, such as vm1.example.org or *.example.org, and no address",
        ));
    }
    if gateway.allows_host(namespace, host) {
        return None;
    }
    let allowed: Vec<_> = gateway
        .allowed_hosts
        .iter()
        .map(|pattern| pattern.replace("{namespace}", namespace))
        .collect();
    Some(RouteProblem::HostNotAllowed {
        gateway: gateway.name.clone(),
        host: host.unwrap_or("*").to_owned(),
        allowed: if allowed.is_empty() {
            "it allows none".to_owned()
        } else {
            format!("choose one of {}", listed(allowed.iter().map(String::as_str)))
        },
    })
}

fn secret_problem(gateway: &RouteGateway, kind: GatewayKind<'_>, rule: &RouteRule) -> Option<RouteProblem> {
    let of_tls = rule
        .tls
        .as_ref()
        .and_then(|tls| tls.secret_name.as_ref())
        .map(|_| "tls.secretName");
    let of_http = rule.http.as_ref().and_then(|http| http.tls_secret_name.as_ref());
    let field = of_tls.or(of_http.map(|_| "http.tlsSecretName"))?;
    if matches!(kind, GatewayKind::GatewayApi(_)) {
        return Some(not_offered(
            gateway,
            "certificates of their own",
            "remove the name of the Secret: with Gateway API, the listener has the certificate",
        ));
    }
    if rule.http.is_some() && gateway.https.is_none() {
        return Some(not_offered(
            gateway,
            "certificates",
            "remove http.tlsSecretName, or ask for an https port",
        ));
    }
    (!gateway.allow_secrets).then(|| RouteProblem::SecretNotAllowed {
        gateway: gateway.name.clone(),
        field,
    })
}

/// A gateway that cannot filter must not carry what is to be filtered.
fn source_range_problem(gateway: &RouteGateway, kind: GatewayKind<'_>, rule: &RouteRule) -> Option<RouteProblem> {
    if rule.allowed_source_ranges.is_empty() {
        return None;
    }
    let is_passed_through = rule.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::Passthrough);
    let what = match kind {
        GatewayKind::GatewayApi(_) => "any route, because Gateway API has no such rule",
        // The protocols of a KongPlugin do not know tls_passthrough.
        GatewayKind::Kong(_) if is_passed_through => "a TLS route with mode Passthrough",
        GatewayKind::Kong(_) | GatewayKind::Traefik(_) => return None,
    };
    Some(RouteProblem::SourceRangesNotSupported {
        gateway: gateway.name.clone(),
        what,
    })
}

/// What means something in a regular expression, of the characters that a path may have; a `.` there does no harm. Kong's controller
/// makes `~/path$` of a path of the type `Prefix`, without escaping it, and Kong takes none of its configuration when one expression is
/// malformed: a tenant could stop the gateway for everybody.
const EXPRESSION_CHARACTERS: &[char] = &['$', '(', ')', '*', '+'];

/// Whether Kong takes a path. Its controller makes `~`, Kong's mark of a regular expression, of `/~` at the beginning
/// (`MaybePrependRegexPrefix`), and such an expression has to begin with `/`; Kong refuses what is not percent-encoded properly
/// (`validate_path` in its `typedefs.lua`) or is not in its normal form. It takes nothing of its configuration then, of anybody.
fn is_path_of_kong(path: &str) -> bool {
    !path.starts_with("/~") && !path.contains('%') && path.split('/').all(|segment| segment != ".")
}

/// What the schema asks of a path. It stands between backticks in a rule of Traefik.
fn is_path(path: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&()*+,;=:@%/".contains(&byte);
    path.starts_with('/')
        && path.bytes().all(is_allowed)
        && !path.contains("//")
        && path.split('/').all(|segment| segment != "..")
}

/// The port of a gateway for a route with HTTP.
#[must_use]
pub(super) fn http_entry_point(gateway: &RouteGateway) -> Option<(&EntryPoint, bool)> {
    let secure = gateway.https.as_ref().map(|entry_point| (entry_point, true));
    secure.or_else(|| gateway.http.as_ref().map(|entry_point| (entry_point, false)))
}

#[cfg(test)]
mod tests;
