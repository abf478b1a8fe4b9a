use serde_json::{Value, json};

use super::*;

fn read(value: &Value) -> RouteGateways {
    RouteGateways::from(serde_json::from_value::<Vec<RouteGateway>>(value.clone()).unwrap())
}

fn traefik(name: &str) -> Value {
    json!({"name": name, "traefik": {"namespace": "kube-system", "service": "traefik"}})
}

fn with(mut gateway: Value, key: &str, value: Value) -> Value {
    gateway[key] = value;
    gateway
}

#[test]
fn a_route_without_a_gateway_goes_to_the_only_one_or_to_the_default() {
    let one = read(&json!([traefik("edge")]));
    assert_eq!(one.find(None).unwrap().name, "edge");
    assert_eq!(one.find(Some("edge")).unwrap().name, "edge");
    assert_eq!(one.find(Some("other")), None);
    let not_by_default = read(&json!([with(traefik("edge"), "default", json!(false))]));
    assert_eq!(not_by_default.find(None), None);
    let two = json!([traefik("a"), with(traefik("b"), "default", json!(true))]);
    assert_eq!(read(&two).find(None).unwrap().name, "b");
    assert_eq!(read(&json!([traefik("a"), traefik("b")])).find(None), None);
}

#[test]
fn what_cannot_work_is_refused_with_its_place() {
    let pool = |second: Value| {
        let pool = json!([{"name": "vnc-0", "port": 5900}, second]);
        json!([with(traefik("edge"), "entryPoints", pool)])
    };
    for (gateways, words) in [
        (json!([traefik("Edge")]), "gateways[0].name"),
        (json!([{"name": "edge"}]), "exactly one of traefik, kong and gatewayApi"),
        (
            json!([with(
                traefik("edge"),
                "kong",
                json!({"namespace": "kong", "service": "kong"})
            )]),
            "exactly one of traefik, kong and gatewayApi",
        ),
        (
            json!([traefik("a"), traefik("a")]),
            "gateways[1].name: a is the name of another",
        ),
        (
            json!([
                with(traefik("a"), "default", json!(true)),
                with(traefik("b"), "default", json!(true))
            ]),
            "two have default: true",
        ),
        (
            pool(json!({"name": "vnc-0", "port": 5901})),
            "gateways[0].entryPoints[1]",
        ),
        (
            pool(json!({"name": "vnc-1", "port": 5900})),
            "gateways[0].entryPoints[1]",
        ),
        (pool(json!({"name": "-", "port": 5901})), "is no name of an entry point"),
        (
            json!([with(traefik("edge"), "allowedHosts", json!(["*.*.example.org"]))]),
            "gateways[0].allowedHosts[0]",
        ),
        (
            json!([with(traefik("edge"), "entryPointsPerNamespace", json!(0))]),
            "gateways[0].entryPointsPerNamespace: write a number from 1 to 1024",
        ),
    ] {
        let refused = read(&gateways).check().unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
    read(&json!([traefik("edge")])).check().unwrap();
}

/// Both would give the entry point to a route, and the host name to a namespace.
#[test]
fn two_names_of_one_gateway_share_no_port() {
    let port = |name: &str, port: u16| json!({"name": name, "port": port});
    let a = with(traefik("a"), "entryPoints", json!([port("vnc-0", 5900)]));
    for (second, words) in [
        (
            port("vnc-0", 5901),
            "gateways[1]: the entry point vnc-0 is one of a as well",
        ),
        (port("other", 5900), "gateways[1]: the port 5900 is one of a as well"),
    ] {
        let b = with(traefik("b"), "tls", second.clone());
        let refused = read(&json!([a.clone(), b])).check().unwrap_err();
        assert!(refused.starts_with(words), "{refused}");
        let elsewhere = json!({"name": "b", "kong": {"namespace": "kong", "service": "proxy"}, "tls": second});
        read(&json!([a.clone(), elsewhere])).check().unwrap();
    }
    let b = with(traefik("b"), "http", port("web", 80));
    read(&json!([a, b])).check().unwrap();
}

/// Kong answers on both for what it gets for one, so one host name would be given to two namespaces.
#[test]
fn two_names_of_one_kong_have_no_two_ports_for_http() {
    let kong = |name: &str, service: &str, field: &str, port: u16| {
        let gateway = json!({"name": name, "kong": {"namespace": "kong", "service": service}});
        with(gateway, field, json!({"name": format!("port-{port}"), "port": port}))
    };
    let refused = |one: &Value, other: Value| read(&json!([one, other])).check();
    for field in ["https", "http"] {
        let first = kong("a", "proxy", field, 443);
        let words = refused(&first, kong("b", "proxy", field, 8443)).unwrap_err();
        assert!(
            words.starts_with(&format!("gateways[1].{field}: a has another port of the same Kong")),
            "{words}"
        );
        refused(&first, kong("b", "other", field, 8443)).unwrap();
        refused(&first, kong("b", "proxy", "tls", 8443)).unwrap();
    }
    refused(&kong("a", "proxy", "https", 443), kong("b", "proxy", "http", 80)).unwrap();
    // Traefik's routes name their entry point.
    let secure = |name: &str, port: u16| {
        with(
            traefik(name),
            "https",
            json!({"name": format!("port-{port}"), "port": port}),
        )
    };
    read(&json!([secure("a", 443), secure("b", 8443)])).check().unwrap();
}

#[test]
fn a_shared_port_is_no_port_of_the_pool() {
    let gateway = with(
        traefik("edge"),
        "entryPoints",
        json!([{"name": "websecure", "port": 5900}]),
    );
    let gateway = with(gateway, "https", json!({"name": "websecure", "port": 443}));
    let refused = read(&json!([gateway])).check().unwrap_err();
    assert!(refused.contains("gateways[0].https"), "{refused}");
}

/// The message stands in the conditions of routes, which tenants read.
#[test]
fn an_address_of_an_api_is_refused_without_its_password() {
    let url = "http://admin:secret@traefik.kube-system:9000";
    let settings = json!({"namespace": "kube-system", "service": "traefik", "apiUrl": url});
    let refused = read(&json!([with(traefik("edge"), "traefik", settings)]))
        .check()
        .unwrap_err();
    assert!(
        refused.starts_with("gateways[0].traefik.apiUrl is not used"),
        "{refused}"
    );
    assert!(!refused.contains("secret"), "{refused}");
}
