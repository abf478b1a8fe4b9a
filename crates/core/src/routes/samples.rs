//! Gateways, objects with routes, and APIs for tests.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use novasphere_crd::RouteRule;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;

use super::{
    Backend, ValidatedRoute,
    claim::{Claim, Claimant, HeldRoute, ObjectClaims, Want},
    gateway::{RouteGateway, RouteGateways},
    object::{RouteApi, RouteKind, ServedRouteApis},
    plan::{PlannedRoute, RouteSurroundings, plan},
    pool::RoutePool,
};
use crate::label::Owner;

/// A gateway of each product: `edge` is Traefik and the default, `kong` is Kong, `api` is a Gateway.
pub(super) fn gateways() -> RouteGateways {
    let ports = json!({
        "entryPoints": [{"name": "vnc-0", "port": 5900}, {"name": "vnc-1", "port": 5901}],
        "tls": {"name": "console-tls", "port": 9443},
        "http": {"name": "web", "port": 80},
        "https": {"name": "websecure", "port": 443},
        "allowedHosts": ["*.{namespace}.example.org", "shared.example.org"],
        "allowSecrets": true,
        "host": "gw.example.org",
    });
    let with = |name: &str, product: &str, settings: Value| {
        let mut gateway = ports.clone();
        gateway["name"] = json!(name);
        gateway[product] = settings;
        gateway["default"] = json!(name == "edge");
        gateway
    };
    let all = json!([
        with(
            "edge",
            "traefik",
            json!({"namespace": "kube-system", "service": "traefik"})
        ),
        with(
            "kong",
            "kong",
            json!({"namespace": "kong", "service": "proxy", "gateway": "kong"})
        ),
        with(
            "api",
            "gatewayApi",
            json!({"namespace": "infra", "gateway": "consoles"})
        ),
    ]);
    let gateways = RouteGateways::from(serde_json::from_value::<Vec<RouteGateway>>(all).unwrap());
    gateways.check().unwrap();
    gateways
}

/// The best API of every kind.
pub(super) fn apis() -> ServedRouteApis {
    let best = |kind: RouteKind| {
        let (group, versions) = kind.apis()[0];
        (
            kind,
            RouteApi {
                group,
                version: versions[0],
            },
        )
    };
    RouteKind::iter().map(best).collect()
}

pub(super) fn rule(value: Value) -> RouteRule {
    serde_json::from_value(value).unwrap()
}

pub(super) fn owner(namespace: &str, name: &str) -> Owner {
    Owner {
        api_version: "novasphere.io/v1alpha1".into(),
        kind: "VmAccess".into(),
        namespace: namespace.into(),
        name: name.into(),
        uid: format!("{namespace}-{name}-uid"),
    }
}

/// An object that was made in this second, with one route `r` for each rule: `r`, `r1`, `r2`, and what it has by its status, with the host
/// that it asks for.
pub(super) fn claims(owner: &Owner, created: i64, rules: &[Value], held: Option<(&str, &str)>) -> ObjectClaims {
    let claim = |(index, value): (usize, &Value)| Claim {
        route: if index == 0 {
            "r".to_owned()
        } else {
            format!("r{index}")
        },
        rule: rule(value.clone()),
        held: held.map(|(gateway, entry_point)| HeldRoute {
            gateway: gateway.to_owned(),
            entry_point: entry_point.to_owned(),
            host: Want::of(&rule(value.clone())).and_then(|want| want.host().map(str::to_owned)),
        }),
    };
    ObjectClaims {
        claimant: Claimant {
            kind: "VmAccess",
            namespace: owner.namespace.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            created: Timestamp::from_second(created).unwrap(),
        },
        claims: rules.iter().enumerate().map(claim).collect(),
    }
}

/// What becomes of one route of `team-a/web` to port 22 of its Service `web-ssh`, when nobody else has any.
pub(super) fn planned(value: Value, apis: &ServedRouteApis) -> PlannedRoute {
    let (gateways, owner) = (gateways(), owner("team-a", "web"));
    let mut pool = RoutePool::default();
    pool.set("web", Some(claims(&owner, 1, std::slice::from_ref(&value), None)));
    let surroundings = RouteSurroundings {
        grants: pool.grants("web", &gateways, &[], &BTreeSet::new()),
        apis,
        gateways: &BTreeMap::new(),
        inspections: &BTreeMap::new(),
        findings: &[],
        node_addresses: &[],
    };
    let route = ValidatedRoute {
        name: "r".to_owned(),
        backend: Some(Backend {
            service: "web-ssh".to_owned(),
            port: 22,
        }),
        rule: rule(value),
    };
    plan(&owner, &[route], &surroundings).remove(0)
}
