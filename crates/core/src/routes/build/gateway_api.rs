//! Gateway API: `TCPRoute`, `TLSRoute` and `HTTPRoute`.
//!
//! A route lies beside the Service that it leads to and names the `Gateway` in its own namespace, so no `ReferenceGrant` is needed; the
//! `Gateway` has to allow routes from other namespaces (`allowedRoutes`).

use serde_json::{Value, json};

use super::{
    super::{
        gateway::GatewayApiGateway,
        object::{GATEWAY_API_GROUP, RouteKind, RouteObject, ServedRouteApis},
        plan::http_entry_point,
        problem::RouteProblem,
    },
    Parts,
};

pub(super) const ADVICE: &str = "install the definitions of Gateway API; those of the standard channel have TLSRoute since 1.5 and TCPRoute since 1.6, \
                      the experimental channel has them since long";

pub(super) fn objects(
    parts: &Parts<'_>,
    gateway: &GatewayApiGateway,
    apis: &ServedRouteApis,
) -> Result<Vec<RouteObject>, RouteProblem> {
    Ok(vec![route(parts, gateway, &[], apis)?])
}

/// The route itself.
pub(super) fn route(
    parts: &Parts<'_>,
    gateway: &GatewayApiGateway,
    annotations: &[(&str, String)],
    apis: &ServedRouteApis,
) -> Result<RouteObject, RouteProblem> {
    let rule = &parts.route.rule;
    let mut listener = parts.grant.entry_point;
    if let Some((found, _)) = http_entry_point(parts.grant.gateway).filter(|_| rule.http.is_some()) {
        listener = found;
    }
    let parents = json!([{
        "group": GATEWAY_API_GROUP, "kind": "Gateway",
        "namespace": gateway.namespace, "name": gateway.gateway, "sectionName": listener.name,
    }]);
    // Defaults are written out: what the apiserver adds inside a list would be a difference.
    let backends = json!([{
        "group": "", "kind": "Service", "name": parts.backend.service, "port": parts.backend.port, "weight": 1,
    }]);
    let (kind, spec): (_, Value) = if let Some(tls) = &rule.tls {
        let spec = json!({"parentRefs": parents, "hostnames": [tls.host], "rules": [{"backendRefs": backends}]});
        (RouteKind::TlsRoute, spec)
    } else if let Some(http) = &rule.http {
        // Without it, implementations end events and long answers after 15 s.
        let timeouts = json!({"request": "0s"});
        let matches = json!([{"path": {"type": "PathPrefix", "value": http.path}}]);
        let rules = json!([{"matches": matches, "timeouts": timeouts, "backendRefs": backends}]);
        let mut spec = json!({"parentRefs": parents, "rules": rules});
        if let (Some(host), Some(fields)) = (&http.host, spec.as_object_mut()) {
            fields.insert("hostnames".to_owned(), json!([host]));
        }
        (RouteKind::HttpRoute, spec)
    } else {
        let spec = json!({"parentRefs": parents, "rules": [{"backendRefs": backends}]});
        (RouteKind::TcpRoute, spec)
    };
    let api = parts.api(kind, apis, ADVICE)?;
    Ok(parts.object(kind, api, annotations, json!({ "spec": spec })))
}
