//! Traefik: `IngressRouteTCP`, `IngressRoute`, `MiddlewareTCP` and `Middleware`.
//!
//! One object per route, because entry points and TLS are of the whole object. A plain TCP route has no `tls` at all: with it, Traefik waits
//! for a TLS greeting, and a client whose server speaks first (VNC, SSH) waits as well.

use novasphere_crd::TlsMode;
use serde_json::{Map, Value, json};

use super::{
    super::{
        gateway::TraefikGateway,
        object::{OLD_TRAEFIK_GROUP, RouteApi, RouteKind, RouteObject, ServedRouteApis},
        plan::http_entry_point,
        problem::RouteProblem,
    },
    Parts,
};

pub(super) const ADVICE: &str =
    "install Traefik with its definitions, or correct the kind of the gateway in the configuration";

/// The field `ingressClassName` is younger than the annotation, which all versions read.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

pub(super) fn objects(
    parts: &Parts<'_>,
    traefik: &TraefikGateway,
    apis: &ServedRouteApis,
) -> Result<Vec<RouteObject>, RouteProblem> {
    let rule = &parts.route.rule;
    let (kind, helper) = match &rule.http {
        Some(_) => (RouteKind::IngressRoute, RouteKind::Middleware),
        None => (RouteKind::IngressRouteTcp, RouteKind::MiddlewareTcp),
    };
    let api = parts.api(kind, apis, ADVICE)?;
    let annotations: Vec<_> = traefik
        .ingress_class
        .iter()
        .map(|class| (CLASS_ANNOTATION, class.clone()))
        .collect();
    let ranges = parts.source_ranges();
    let mut objects = Vec::new();
    if !ranges.is_empty() {
        let field = if api.group == OLD_TRAEFIK_GROUP {
            "ipWhiteList"
        } else {
            "ipAllowList"
        };
        let helper_api = parts.api(helper, apis, ADVICE)?;
        let data = json!({"spec": {field: {"sourceRange": ranges}}});
        objects.push(parts.object(helper, helper_api, &annotations, data));
    }
    let data = json!({ "spec": spec(parts, api) });
    objects.push(parts.object(kind, api, &annotations, data));
    Ok(objects)
}

fn spec(parts: &Parts<'_>, api: RouteApi) -> Value {
    let rule = &parts.route.rule;
    let mut spec = Map::new();
    let mut route = Map::new();
    let mut entry_point = parts.grant.entry_point;
    if let Some(tls) = &rule.tls {
        route.insert("match".to_owned(), sni(&tls.host, api).into());
        let tls = match (tls.mode, &tls.secret_name) {
            (TlsMode::Passthrough, _) => json!({"passthrough": true}),
            (TlsMode::Terminate, Some(secret)) => json!({"secretName": secret}),
            (TlsMode::Terminate, None) => json!({}),
        };
        spec.insert("tls".to_owned(), tls);
    } else if let Some(http) = &rule.http {
        route.insert("kind".to_owned(), "Rule".into());
        route.insert(
            "match".to_owned(),
            request(http.host.as_deref(), &http.path, api).into(),
        );
        if let Some((found, is_secure)) = http_entry_point(parts.grant.gateway) {
            entry_point = found;
            if is_secure {
                let secret = http
                    .tls_secret_name
                    .as_ref()
                    .map(|secret| json!({"secretName": secret}));
                spec.insert("tls".to_owned(), secret.unwrap_or_else(|| json!({})));
            }
        }
    } else {
        route.insert("match".to_owned(), "HostSNI(`*`)".into());
    }
    if !rule.allowed_source_ranges.is_empty() {
        route.insert("middlewares".to_owned(), json!([{"name": parts.name()}]));
    }
    let backend = json!([{"name": parts.backend.service, "port": parts.backend.port}]);
    route.insert("services".to_owned(), backend);
    spec.insert("entryPoints".to_owned(), json!([entry_point.name]));
    spec.insert("routes".to_owned(), json!([route]));
    Value::Object(spec)
}

/// The host by SNI. Versions before 3 write regular expressions in another way.
fn sni(host: &str, api: RouteApi) -> String {
    match host.strip_prefix("*.") {
        None => format!("HostSNI(`{host}`)"),
        Some(parent) if api.group == OLD_TRAEFIK_GROUP => format!("HostSNIRegexp(`{{label:[^.]+}}.{parent}`)"),
        Some(parent) => format!("HostSNIRegexp(`^[^.]+\\.{}$`)", escaped(parent)),
    }
}

/// The requests for a host, `None` for all, below a path. Traefik compares prefixes letter by letter, so `/a` would be one of `/ab`.
fn request(host: Option<&str>, path: &str, api: RouteApi) -> String {
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = (!path.is_empty()).then(|| format!("(Path(`{path}`) || PathPrefix(`{path}/`))"));
    let host = host.map(|host| match host.strip_prefix("*.") {
        None => format!("Host(`{host}`)"),
        Some(parent) if api.group == OLD_TRAEFIK_GROUP => format!("HostRegexp(`{{label:[^.]+}}.{parent}`)"),
        Some(parent) => format!("HostRegexp(`^[^.]+\\.{}$`)", escaped(parent)),
    });
    match (host, path) {
        (Some(host), Some(path)) => format!("{host} && {path}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "PathPrefix(`/`)".to_owned(),
    }
}

/// A DNS name has nothing else that means something in a regular expression.
fn escaped(name: &str) -> String {
    name.replace('.', "\\.")
}
