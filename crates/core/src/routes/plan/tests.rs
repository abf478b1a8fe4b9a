use serde_json::{Value, json};

use super::{
    super::{
        object::{RouteApi, RouteKind},
        samples::{apis, planned},
    },
    *,
};

fn problem(rule: Value) -> String {
    let problem = planned(rule, &apis()).objects.unwrap_err();
    format!("{:?}: {problem}", problem.reason())
}

#[test]
fn the_address_is_what_a_client_is_given() {
    let address = |rule: Value| planned(rule, &apis()).address.unwrap();
    assert_eq!(address(json!({"tcp": {}})), "gw.example.org:5900");
    assert_eq!(
        address(json!({"tls": {"host": "vm.team-a.example.org"}})),
        "vm.team-a.example.org:9443"
    );
    assert_eq!(
        address(json!({"tls": {"host": "*.team-a.example.org"}})),
        "gw.example.org:9443"
    );
    let http = json!({"http": {"host": "vm.team-a.example.org", "path": "/x"}});
    assert_eq!(address(http), "https://vm.team-a.example.org/x");
}

#[test]
fn what_the_administrator_does_not_allow_is_refused() {
    for (rule, words) in [
        (
            json!({"tls": {"host": "vm.team-b.example.org"}}),
            "HostNotAllowed: objects of this namespace may not have the host vm.team-b.example.org at the gateway edge; choose one of \
             *.team-a.example.org, shared.example.org",
        ),
        (json!({"http": {"path": "/"}}), "HostNotAllowed"),
        (
            json!({"tls": {"host": "10.0.0.1"}}),
            "InvalidSpec: host must be a DNS name",
        ),
        (
            json!({"http": {"host": "shared.example.org", "path": "/a`) || Host(`b"}}),
            "InvalidSpec: http.path",
        ),
        (
            json!({"http": {"host": "shared.example.org", "path": "/a/.."}}),
            "InvalidSpec: http.path",
        ),
        (
            json!({"gateway": "kong", "http": {"host": "shared.example.org", "path": "/a(b"}}),
            "NotOffered: the gateway kong is not configured for routes with a path that has one of $ ( ) * +",
        ),
        (
            json!({"tcp": {}, "tls": {"host": "shared.example.org"}}),
            "InvalidSpec: give exactly one",
        ),
        (
            json!({"gateway": "api", "tcp": {}, "allowedSourceRanges": ["10.0.0.0/8"]}),
            "SourceRangesNotSupported",
        ),
        (
            json!({
                "gateway": "kong", "tls": {"host": "shared.example.org", "mode": "Passthrough"},
                "allowedSourceRanges": ["10.0.0.0/8"],
            }),
            "SourceRangesNotSupported",
        ),
        (
            json!({"gateway": "api", "tls": {"host": "shared.example.org", "secretName": "own"}}),
            "NotOffered",
        ),
    ] {
        let found = problem(rule);
        assert!(found.starts_with(words), "{found}");
    }
}

/// A tenant could stop all changes of the gateway's routes.
#[test]
fn a_host_of_tls_that_kong_refuses_is_not_written() {
    let tls = |gateway: &str| json!({"gateway": gateway, "tls": {"host": "*.team-a.example.org"}});
    let found = problem(tls("kong"));
    assert!(
        found.starts_with(
            "NotOffered: the gateway kong is not configured for routes with tls and a host that begins with *."
        ),
        "{found}"
    );
    assert!(planned(tls("edge"), &apis()).objects.is_ok());
    assert!(planned(tls("api"), &apis()).objects.is_ok());
    let http = json!({"gateway": "kong", "http": {"host": "*.team-a.example.org", "path": "/"}});
    assert!(planned(http, &apis()).objects.is_ok(), "an Ingress may have it");
}

/// A tenant could stop all changes of the gateway's routes.
#[test]
fn a_path_that_kong_refuses_is_not_written() {
    let http =
        |gateway: &str, path: &str| json!({"gateway": gateway, "http": {"host": "shared.example.org", "path": path}});
    for path in ["/~a", "/~", "/%zz", "/%41", "/a/./b", "/a/."] {
        let found = problem(http("kong", path));
        assert!(found.starts_with("NotOffered: the gateway kong"), "{path}: {found}");
        assert!(planned(http("edge", path), &apis()).objects.is_ok(), "{path}");
    }
    for path in ["/", "/a~b", "/a/~b", "/a.b/.c"] {
        assert!(planned(http("kong", path), &apis()).objects.is_ok(), "{path}");
    }
}

#[test]
fn an_api_that_is_missing_keeps_the_entry_point() {
    let mut some = apis();
    some.remove(&RouteKind::IngressRouteTcp);
    let route = planned(json!({"tcp": {"entryPoint": "vnc-1"}}), &some);
    assert_eq!(route.entry_point.as_deref(), Some("vnc-1"));
    let problem = route.objects.unwrap_err().to_string();
    assert!(
        problem.contains("does not serve IngressRouteTCP, which the gateway edge reads"),
        "{problem}"
    );
}

#[test]
fn a_limit_that_cannot_be_set_up_leaves_no_open_route() {
    let mut some = apis();
    some.remove(&RouteKind::MiddlewareTcp);
    let route = planned(json!({"tcp": {}, "allowedSourceRanges": ["10.0.0.0/8"]}), &some);
    assert!(route.objects.unwrap_err().to_string().contains("MiddlewareTCP"));
}

#[test]
fn kong_gets_its_time_outs_on_the_service() {
    let route = planned(json!({"gateway": "kong", "tcp": {}}), &apis());
    let annotations = service_annotations(&[route], "web-ssh");
    assert_eq!(annotations["konghq.com/read-timeout"], "86400000");
    let route = planned(json!({"gateway": "kong", "tcp": {}}), &apis());
    assert!(service_annotations(&[route], "web-other").is_empty());
    let route = planned(json!({"tcp": {}}), &apis());
    assert!(service_annotations(&[route], "web-ssh").is_empty());
}

#[test]
fn the_version_that_is_served_is_written() {
    let mut old = apis();
    let alpha = RouteApi {
        group: "gateway.networking.k8s.io",
        version: "v1alpha2",
    };
    old.insert(RouteKind::TcpRoute, alpha);
    let route = planned(json!({"gateway": "api", "tcp": {}}), &old);
    assert_eq!(route.objects.unwrap()[0].api, alpha);
}
