//! Kong: `TCPIngress`, or `TCPRoute` and `TLSRoute` where it is gone; `Ingress`; `KongPlugin`.

use std::collections::BTreeMap;

use novasphere_crd::TlsMode;
use serde_json::{Value, json};

use super::{
    super::{
        gateway::{GatewayApiGateway, KongGateway},
        object::{RouteKind, RouteObject, ServedRouteApis},
        plan::http_entry_point,
        problem::RouteProblem,
    },
    Parts, gateway_api,
};

pub(super) const ADVICE: &str = "install Kong's ingress controller with its definitions; where it has no TCPIngress any more, name its Gateway \
                      (kong.gateway of the gateway in the configuration)";

/// `TCPIngress` has no field for it.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The plugins of a route, by name.
const PLUGINS_ANNOTATION: &str = "konghq.com/plugins";

/// How Kong takes what comes.
const PROTOCOLS_ANNOTATION: &str = "konghq.com/protocols";

/// A day. Kong's default closes a console after a minute in which nobody moves anything.
const STREAM_TIMEOUT_MILLISECONDS: &str = "86400000";

/// What Kong needs on a Service whose streams are to last.
#[must_use]
pub fn service_annotations() -> BTreeMap<String, String> {
    ["konghq.com/read-timeout", "konghq.com/write-timeout"]
        .map(|key| (key.to_owned(), STREAM_TIMEOUT_MILLISECONDS.to_owned()))
        .into()
}

pub(super) fn objects(
    parts: &Parts<'_>,
    kong: &KongGateway,
    apis: &ServedRouteApis,
) -> Result<Vec<RouteObject>, RouteProblem> {
    let rule = &parts.route.rule;
    let mut objects = Vec::new();
    let mut annotations = vec![(CLASS_ANNOTATION, kong.ingress_class.clone())];
    let ranges = parts.source_ranges();
    if !ranges.is_empty() {
        let api = parts.api(RouteKind::KongPlugin, apis, ADVICE)?;
        let protocols = if rule.http.is_some() {
            json!(["http", "https"])
        } else {
            json!(["tcp", "tls"])
        };
        let data = json!({"plugin": "ip-restriction", "protocols": protocols, "config": {"allow": ranges}});
        objects.push(parts.object(RouteKind::KongPlugin, api, &annotations, data));
        annotations.push((PLUGINS_ANNOTATION, parts.name()));
    }
    if rule.http.is_some() {
        objects.push(ingress(parts, kong, &annotations, apis)?);
        return Ok(objects);
    }
    if let Ok(api) = parts.api(RouteKind::TcpIngress, apis, ADVICE) {
        if rule.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::Passthrough) {
            annotations.push((PROTOCOLS_ANNOTATION, "tls_passthrough".to_owned()));
        }
        objects.push(parts.object(RouteKind::TcpIngress, api, &annotations, tcp_ingress(parts)));
        return Ok(objects);
    }
    let Some(gateway) = &kong.gateway else {
        // Says which kind is missing.
        return parts.api(RouteKind::TcpIngress, apis, ADVICE).map(|_| objects);
    };
    let gateway = GatewayApiGateway {
        namespace: kong.namespace.clone(),
        gateway: gateway.clone(),
    };
    // The class of a route is that of its Gateway.
    annotations.retain(|(key, _)| *key != CLASS_ANNOTATION);
    objects.push(gateway_api::route(parts, &gateway, &annotations, apis)?);
    Ok(objects)
}

fn tcp_ingress(parts: &Parts<'_>) -> Value {
    let backend = json!({"serviceName": parts.backend.service, "servicePort": parts.backend.port});
    let port = parts.grant.entry_point.listen_port();
    let Some(tls) = &parts.route.rule.tls else {
        return json!({"spec": {"rules": [{"port": port, "backend": backend}]}});
    };
    let mut certificate = json!({"hosts": [tls.host]});
    if let (Some(secret), Some(fields)) = (&tls.secret_name, certificate.as_object_mut()) {
        fields.insert("secretName".to_owned(), json!(secret));
    }
    json!({"spec": {
        "rules": [{"port": port, "host": tls.host, "backend": backend}],
        "tls": [certificate],
    }})
}

/// HTTP is what Kong reads of Kubernetes' own kind.
fn ingress(
    parts: &Parts<'_>,
    kong: &KongGateway,
    annotations: &[(&str, String)],
    apis: &ServedRouteApis,
) -> Result<RouteObject, RouteProblem> {
    let api = parts.api(
        RouteKind::Ingress,
        apis,
        "the apiserver should serve it: look at its flags",
    )?;
    let is_secure = http_entry_point(parts.grant.gateway).is_some_and(|(_, is_secure)| is_secure);
    let http = parts.route.rule.http.clone().unwrap_or_default();
    let mut annotations: Vec<_> = annotations
        .iter()
        .filter(|(key, _)| *key != CLASS_ANNOTATION)
        .cloned()
        .collect();
    annotations.push((
        PROTOCOLS_ANNOTATION,
        if is_secure { "https" } else { "http" }.to_owned(),
    ));
    annotations.push(("konghq.com/strip-path", "false".to_owned()));
    let backend = json!({"service": {"name": parts.backend.service, "port": {"number": parts.backend.port}}});
    let mut rule = json!({"http": {"paths": [{"path": http.path, "pathType": "Prefix", "backend": backend}]}});
    if let (Some(host), Some(fields)) = (&http.host, rule.as_object_mut()) {
        fields.insert("host".to_owned(), json!(host));
    }
    let mut spec = json!({"ingressClassName": kong.ingress_class, "rules": [rule]});
    if let (Some(secret), Some(fields)) = (&http.tls_secret_name, spec.as_object_mut()) {
        let hosts: Vec<_> = http.host.iter().collect();
        fields.insert("tls".to_owned(), json!([{"hosts": hosts, "secretName": secret}]));
    }
    Ok(parts.object(RouteKind::Ingress, api, &annotations, json!({ "spec": spec })))
}
