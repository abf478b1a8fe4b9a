//! What gateways are given for each kind of route, compared with the snapshots beside this file.
//!
//! The inputs are `fixtures/routes.yaml`; `e2e` sends what is built of the same file to a real apiserver with the definitions of Traefik, Kong
//! and Gateway API.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions, and these are their helpers"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use novasphere_core::{
    label::Owner,
    routes::{
        Backend, ValidatedRoute,
        claim::ObjectClaims,
        gateway::{RouteGateway, RouteGateways},
        object::{RouteApi, RouteKind, RouteObject, ServedRouteApis},
        plan::{RouteSurroundings, plan},
        pool::RoutePool,
    },
};
use novasphere_crd::VmAccess;
use serde_json::{Map, Value, json};

fn fixtures() -> Map<String, Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/routes.yaml");
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The best API of every kind; or, as older clusters have it, the last of every kind, and no `TCPIngress`.
fn apis(old: bool) -> ServedRouteApis {
    let api = |kind: RouteKind| {
        let (group, versions) = if old { kind.apis().last() } else { kind.apis().first() }.unwrap();
        let version = if old { versions.last() } else { versions.first() }.unwrap();
        (kind, RouteApi { group, version })
    };
    let mut apis: ServedRouteApis = RouteKind::all().map(api).collect();
    if old {
        apis.remove(&RouteKind::TcpIngress);
    }
    apis
}

fn built(gateways: &RouteGateways, route: &Value) -> Vec<Value> {
    let object: VmAccess = serde_json::from_value(json!({
        "apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess",
        "metadata": {"name": "web", "namespace": "team-a", "uid": "5f0b6a4e-6d0a-4c6e-8f43-0d2f1f3f0c11"},
        "spec": {"virtualMachine": {"name": "web"}, "routes": [merged(&json!({"name": "ssh", "service": "ssh", "port": 22}), &route["rule"])]},
    }))
    .unwrap();
    let mut pool = RoutePool::default();
    pool.set("web", ObjectClaims::of_vm_access(&object));
    let surroundings = RouteSurroundings {
        grants: pool.grants("web", gateways, &[], &BTreeSet::new()),
        apis: &apis(route["apis"] == "old"),
        gateways: &BTreeMap::new(),
        inspections: &BTreeMap::new(),
        findings: &[],
        node_addresses: &[],
    };
    let route = ValidatedRoute {
        name: "ssh".into(),
        backend: Some(Backend {
            service: "web-ssh".into(),
            port: 22,
        }),
        rule: object.spec.routes[0].rule.clone(),
    };
    let planned = plan(&Owner::of(&object).unwrap(), &[route], &surroundings).remove(0);
    planned.objects.unwrap().iter().map(document).collect()
}

fn document(object: &RouteObject) -> Value {
    let RouteApi { group, version } = object.api;
    let head =
        json!({"apiVersion": format!("{group}/{version}"), "kind": object.kind.kind(), "metadata": object.metadata});
    merged(&head, &object.data)
}

fn merged(one: &Value, other: &Value) -> Value {
    let both = [one, other].map(|value| value.as_object().unwrap().clone());
    Value::Object(both.into_iter().flatten().collect())
}

fn all() -> BTreeMap<String, Vec<Value>> {
    let fixtures = fixtures();
    let gateways: Vec<RouteGateway> = serde_json::from_value(fixtures["gateways"].clone()).unwrap();
    let gateways = RouteGateways::from(gateways);
    gateways.check().unwrap();
    let routes = fixtures["routes"].as_object().unwrap();
    routes
        .iter()
        .map(|(name, route)| (name.clone(), built(&gateways, route)))
        .collect()
}

#[test]
fn every_kind_of_route_is_built_as_its_snapshot_says() {
    for (name, objects) in all() {
        insta::assert_yaml_snapshot!(name, objects);
    }
}

/// A snapshot that no fixture writes any more would go unnoticed.
#[test]
fn every_snapshot_has_its_route() {
    let names: BTreeSet<_> = all().keys().map(|name| format!("routes_build__{name}.snap")).collect();
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    for entry in fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let is_ours = file.starts_with("routes_build__");
        assert!(!is_ours || names.contains(&file), "{file} has no route; delete it");
    }
}

/// With `tls`, Traefik waits for a TLS greeting, and a client whose server speaks first waits as well.
#[test]
fn a_plain_route_of_traefik_has_no_tls() {
    let all = all();
    for name in ["traefik-tcp", "traefik-tcp-limited"] {
        let route = all[name].last().unwrap();
        assert!(route["spec"].get("tls").is_none(), "{route}");
        assert_eq!(route["spec"]["routes"][0]["match"], "HostSNI(`*`)");
    }
}

/// Traefik calls what it makes of an object `<namespace>-<name>`.
#[test]
fn objects_of_two_namespaces_do_not_get_names_that_come_out_alike() {
    let owner = |namespace: &str, name: &str, uid: &str| Owner {
        api_version: "novasphere.io/v1alpha1".into(),
        kind: "VmAccess".into(),
        namespace: namespace.into(),
        name: name.into(),
        uid: uid.into(),
    };
    let gateways: Vec<RouteGateway> = serde_json::from_value(fixtures()["gateways"].clone()).unwrap();
    let gateways = RouteGateways::from(gateways);
    let whole_name = |owner: &Owner| {
        let object: VmAccess = serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess",
            "metadata": {"name": owner.name, "namespace": owner.namespace, "uid": owner.uid},
            "spec": {"virtualMachine": {"name": "web"}, "routes": [{"name": "ssh", "service": "ssh", "port": 22, "tcp": {}}]},
        }))
        .unwrap();
        let mut pool = RoutePool::default();
        pool.set("x", ObjectClaims::of_vm_access(&object));
        let surroundings = RouteSurroundings {
            grants: pool.grants("x", &gateways, &[], &BTreeSet::new()),
            apis: &apis(false),
            gateways: &BTreeMap::new(),
            inspections: &BTreeMap::new(),
            findings: &[],
            node_addresses: &[],
        };
        let route = ValidatedRoute {
            name: "ssh".into(),
            backend: Some(Backend {
                service: "web-ssh".into(),
                port: 22,
            }),
            rule: object.spec.routes[0].rule.clone(),
        };
        let objects = plan(owner, &[route], &surroundings).remove(0).objects.unwrap();
        format!("{}-{}", owner.namespace, objects[0].name())
    };
    assert_ne!(whole_name(&owner("a", "b-c", "1")), whole_name(&owner("a-b", "c", "2")));
    assert_ne!(whole_name(&owner("a", "web", "1")), whole_name(&owner("b", "web", "2")));
}
