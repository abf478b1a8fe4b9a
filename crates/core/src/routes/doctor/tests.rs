use serde_json::{Value, json};

use super::{
    super::{
        object::RouteKind,
        reason::RoutesReason,
        samples::{apis, gateways},
    },
    *,
};

/// The arguments of a Traefik that has everything that `edge` of the samples needs.
const GOOD: &[&str] = &[
    "--entrypoints.vnc-0.address=:5900",
    "--entryPoints.vnc-1.address=:5901/tcp",
    "--entrypoints.console-tls.address=:9443",
    "--entrypoints.websecure.address=:8443/tcp",
    "--entrypoints.websecure.asdefault=true",
    "--entrypoints.web.address=:8000/tcp",
    "--providers.kubernetescrd",
];

fn service(more: &Value) -> Value {
    let port = |port: u16| json!({"port": port, "protocol": "TCP"});
    let port_to = |port: u16, target: &Value| json!({"port": port, "protocol": "TCP", "targetPort": target});
    let mut service = json!({
        "metadata": {"name": "traefik", "namespace": "kube-system"},
        "spec": {
            "type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "ports": [port(5900), port(5901), port(9443), port_to(80, &json!(8000)), port_to(443, &json!("websecure"))],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}},
    });
    merge(&mut service, more);
    service
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

fn pod(arguments: &[&str], variables: &Value) -> Value {
    json!({
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{
            "args": arguments, "env": variables, "ports": [{"name": "websecure", "containerPort": 8443}],
        }]},
    })
}

fn traefik(arguments: &[&str]) -> GatewayLook {
    GatewayLook {
        source: ReadOutcome::Found(service(&json!({}))),
        pods: ReadOutcome::Found(vec![pod(arguments, &json!([]))]),
        ..GatewayLook::default()
    }
}

/// The findings about one gateway of the samples, in their lines.
fn told(name: &str, look: GatewayLook) -> Vec<String> {
    told_with(name, look, &apis())
}

fn told_with(name: &str, look: GatewayLook, apis: &ServedRouteApis) -> Vec<String> {
    found(name, look, apis).iter().map(ToString::to_string).collect()
}

fn examine_one(look: GatewayLook) -> Vec<GatewayFinding> {
    found("edge", look, &apis())
}

fn found(name: &str, look: GatewayLook, apis: &ServedRouteApis) -> Vec<GatewayFinding> {
    let one: Vec<_> = gateways()
        .all()
        .iter()
        .filter(|gateway| gateway.name == name)
        .cloned()
        .collect();
    // The samples have an address in the configuration, which stands for any.
    let one: Vec<_> = one
        .into_iter()
        .map(|gateway| RouteGateway { host: None, ..gateway })
        .collect();
    let looks = BTreeMap::from([(name.to_owned(), look)]);
    let surroundings = GatewaySurroundings {
        apis,
        looks: &looks,
        node_addresses: &[],
    };
    examine(&RouteGateways::from(one), &surroundings)
}

/// That the only line begins so and has these words.
#[track_caller]
fn one_line(lines: &[String], start: &str, words: &str) {
    let [line] = lines else { panic!("{lines:?}") };
    assert!(line.starts_with(start) && line.contains(words), "{line}");
}

fn without<'a>(arguments: &[&'a str], part: &str) -> Vec<&'a str> {
    arguments
        .iter()
        .filter(|argument| !argument.contains(part))
        .copied()
        .collect()
}

fn and<'a>(arguments: &[&'a str], more: &'a str) -> Vec<&'a str> {
    arguments.iter().copied().chain([more]).collect()
}

#[test]
fn a_gateway_that_has_everything_has_no_findings() {
    assert_eq!(told("edge", traefik(GOOD)), [""; 0]);
    assert_eq!(told("edge", GatewayLook::default()), [""; 0], "nothing was looked at");
}

#[test]
fn definitions_that_are_missing_are_named() {
    let mut some = apis();
    some.remove(&RouteKind::MiddlewareTcp);
    one_line(
        &told_with("edge", traefik(GOOD), &some),
        "error edge GatewayNotInstalled: the cluster does not serve MiddlewareTCP",
        "install Traefik with its definitions",
    );
    some.remove(&RouteKind::TcpIngress);
    assert_eq!(
        told_with("kong", GatewayLook::default(), &some),
        [""; 0],
        "it has a Gateway"
    );
    some.remove(&RouteKind::TcpRoute);
    assert!(told_with("kong", GatewayLook::default(), &some)[0].contains("does not serve TCPRoute"));
    assert!(told_with("api", GatewayLook::default(), &some)[0].contains("does not serve TCPRoute"));
}

#[test]
fn a_service_that_is_missing_or_lacks_a_port_is_named() {
    let absent = GatewayLook {
        source: ReadOutcome::Missing,
        ..traefik(GOOD)
    };
    one_line(
        &told("edge", absent),
        "error edge GatewayNotFound: the Service kube-system/traefik does not exist",
        "correct its namespace and name",
    );
    let mut fewer = traefik(GOOD);
    let mut object = service(&json!({}));
    object["spec"]["ports"].as_array_mut().unwrap().remove(1);
    fewer.source = ReadOutcome::Found(object);
    one_line(
        &told("edge", fewer),
        "error edge/vnc-1 EntryPointNotFound: the gateway's Service traefik has no port 5901",
        "expose it there",
    );
    let of = |more: Value| GatewayLook {
        source: ReadOutcome::Found(service(&more)),
        ..traefik(GOOD)
    };
    let pending = of(json!({"status": {"loadBalancer": {"ingress": []}}}));
    one_line(&told("edge", pending), "error edge AddressPending: ", "set host");
    let hidden = of(json!({"spec": {"externalTrafficPolicy": "Cluster"}}));
    one_line(
        &told("edge", hidden),
        "warning edge ClientAddressHidden: ",
        "Set it to Local",
    );
    let denied = GatewayLook {
        source: ReadOutcome::Failed("services is forbidden".to_owned()),
        ..traefik(GOOD)
    };
    one_line(&told("edge", denied), "note edge NotChecked: ", "services is forbidden");
}

#[test]
fn an_entry_point_that_traefik_does_not_have_is_named() {
    one_line(
        &told("edge", traefik(&without(GOOD, "vnc-1"))),
        "error edge/vnc-1 EntryPointNotFound: Traefik has no entry point vnc-1; it has vnc-0, console-tls, websecure, web",
        "Add it there",
    );
    let moved: Vec<_> = without(GOOD, "vnc-1");
    one_line(
        &told("edge", traefik(&and(&moved, "--entrypoints.vnc-1.address=:6901"))),
        "error edge/vnc-1 EntryPointNotFound: the port 5901 of the gateway's Service leads to 5901",
        "listens on 6901",
    );
    one_line(
        &told("edge", traefik(&and(&moved, "--entrypoints.vnc-1.address=:5901/udp"))),
        "error edge/vnc-1 WrongProtocol: ",
        "is of UDP",
    );
    one_line(
        &told("edge", traefik(&and(GOOD, "--configfile=/etc/traefik.yaml"))),
        "note edge NotChecked: the entry points of Traefik are not among the arguments",
        "traefik.apiUrl",
    );
}

/// The trap that makes every VNC client hang without a line in any log.
#[test]
fn routes_of_anybody_on_entry_points_of_the_pool_are_told() {
    let none = without(GOOD, "asdefault");
    one_line(
        &told("edge", traefik(&none)),
        "warning edge NoDefaultEntryPoint: ",
        "uses vnc-0, vnc-1 too, and one with TLS there makes VNC and SSH clients hang. Set asDefault: true",
    );
    let other = |kind: RouteKind, spec: Value| {
        let object = json!({"metadata": {"name": "app", "namespace": "team-b"}, "spec": spec});
        OtherRoute::of(kind, &object).unwrap()
    };
    let stray = other(RouteKind::IngressRoute, json!({"routes": [], "tls": {}}));
    let plain = other(RouteKind::IngressRoute, json!({"routes": []}));
    let with = |others: &[OtherRoute], arguments: &[&str]| {
        let look = GatewayLook {
            others: ReadOutcome::Found(others.to_vec()),
            ..traefik(arguments)
        };
        told("edge", look)
    };
    let lines = with(&[stray.clone(), plain.clone()], &none);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0]
            .starts_with("error edge EntryPointShared: IngressRoute team-b/app are on all entry points of the pool"),
        "{lines:?}"
    );
    assert_eq!(with(&[stray], GOOD), [""; 0], "a default entry point keeps it off");
    let named = other(RouteKind::IngressRouteTcp, json!({"entryPoints": ["vnc-0"]}));
    one_line(
        &with(&[named, plain], GOOD),
        "error edge/vnc-0 EntryPointShared: IngressRouteTCP team-b/app name the entry point vnc-0",
        "give them another one",
    );
    one_line(
        &told("edge", traefik(&and(GOOD, "--entrypoints.vnc-0.asDefault=true"))),
        "error edge/vnc-0 EntryPointShared: vnc-0 is a default entry point",
        "take asDefault away",
    );
    one_line(
        &told("edge", traefik(&and(GOOD, "--entrypoints.vnc-0.http.tls=true"))),
        "warning edge/vnc-0 WrongProtocol: all HTTP on the entry point vnc-0 of Traefik has TLS",
        "take it away",
    );
}

#[test]
fn what_novasphere_made_is_nobody_elses() {
    let own = json!({"metadata": {"name": "a", "namespace": "b", "labels": {"novasphere.io/route-gateway": "edge"}}});
    assert_eq!(OtherRoute::of(RouteKind::IngressRouteTcp, &own), None);
}

#[test]
fn the_api_of_traefik_counts_before_its_arguments() {
    let entry_points =
        json!([{"name": "vnc-0"}, {"name": "console-tls"}, {"name": "web"}, {"name": "websecure", "asDefault": true}]);
    let stray = json!([{"name": "app@kubernetescrd", "using": ["vnc-0"], "tls": {}}]);
    let inspection = TraefikInspection::parse(jiff::Timestamp::UNIX_EPOCH, &entry_points, &json!([]), &stray);
    let look = GatewayLook {
        api: ReadOutcome::Found(Arc::new(inspection)),
        ..traefik(GOOD)
    };
    let lines = told("edge", look);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("error edge/vnc-0 EntryPointShared: app@kubernetescrd are on vnc-0"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("error edge/vnc-1 EntryPointNotFound"), "{lines:?}");
    let silent = GatewayLook {
        api: ReadOutcome::Failed("no answer".to_owned()),
        ..traefik(GOOD)
    };
    one_line(
        &told("edge", silent),
        "warning edge NotChecked: Traefik's API does not answer: no answer",
        "apiUrl",
    );
}

#[test]
fn a_class_or_namespaces_that_traefik_does_not_read_are_told() {
    one_line(
        &told(
            "edge",
            traefik(&and(GOOD, "--providers.kubernetesCRD.ingressClass=inside")),
        ),
        "error edge NotWatched: Traefik reads objects of the class inside, and the routes of this gateway get none",
        "traefik.ingressClass",
    );
    one_line(
        &told("edge", traefik(&and(GOOD, "--providers.kubernetescrd.namespaces=a,b"))),
        "warning edge NotWatched: Traefik reads objects of these namespaces alone: a,b",
        "are not set up",
    );
    one_line(
        &told("edge", traefik(&without(GOOD, "providers"))),
        "error edge NotWatched: ",
        "--providers.kubernetescrd",
    );
    let nothing = GatewayLook {
        pods: ReadOutcome::Missing,
        ..traefik(GOOD)
    };
    one_line(
        &told("edge", nothing),
        "error edge GatewayNotRunning: no Pod stands behind",
        "selector",
    );
}

#[test]
fn kong_tells_by_a_variable_where_it_listens() {
    let look = |listens: &str| GatewayLook {
        pods: ReadOutcome::Found(vec![pod(
            &[],
            &json!([{"name": "KONG_STREAM_LISTEN", "value": listens}]),
        )]),
        ..GatewayLook::default()
    };
    assert_eq!(
        told("kong", look("0.0.0.0:5900, [::]:5901 reuseport, 0.0.0.0:9443 ssl")),
        [""; 0]
    );
    one_line(
        &told("kong", look("0.0.0.0:5900, 0.0.0.0:9443 ssl")),
        "error kong/vnc-1 EntryPointNotFound: Kong does not listen on 5901",
        "listenPort",
    );
    one_line(
        &told("kong", look("0.0.0.0:5900 ssl, 0.0.0.0:5901, 0.0.0.0:9443 ssl")),
        "error kong/vnc-0 WrongProtocol: Kong expects TLS on 5900",
        "take `ssl` out",
    );
    one_line(
        &told("kong", look("0.0.0.0:5900, 0.0.0.0:5901, 0.0.0.0:9443")),
        "error kong/console-tls WrongProtocol: ",
        "add `ssl`",
    );
    let unknown = GatewayLook {
        pods: ReadOutcome::Found(vec![pod(&[], &json!([]))]),
        class: ReadOutcome::Missing,
        ..GatewayLook::default()
    };
    let lines = told("kong", unknown);
    assert!(
        lines[0].starts_with("warning kong NotWatched: the cluster has no IngressClass kong"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("note kong NotChecked"), "{lines:?}");
}

fn listeners() -> Vec<Value> {
    let listener = |name: &str, protocol: &str, port: u16| json!({"name": name, "protocol": protocol, "port": port, "allowedRoutes": {"namespaces": {"from": "All"}}});
    vec![
        listener("vnc-0", "TCP", 5900),
        listener("vnc-1", "TCP", 5901),
        listener("console-tls", "TLS", 9443),
        listener("web", "HTTP", 80),
        listener("websecure", "HTTPS", 443),
    ]
}

fn gateway(listeners: &[Value], accepted: &str) -> GatewayLook {
    let condition = json!({"type": "Accepted", "status": accepted, "reason": "Invalid", "message": "said by the test"});
    GatewayLook {
        source: ReadOutcome::Found(json!({
            "metadata": {"name": "consoles", "namespace": "infra"},
            "spec": {"gatewayClassName": "envoy", "listeners": listeners},
            "status": {"addresses": [{"type": "IPAddress", "value": "203.0.113.7"}], "conditions": [condition]},
        })),
        ..GatewayLook::default()
    }
}

#[test]
fn the_listeners_of_a_gateway_have_to_fit_their_routes() {
    assert_eq!(told("api", gateway(&listeners(), "True")), [""; 0]);
    let with = |index: usize, pointer: &str, value: Value| {
        let mut listeners = listeners();
        *listeners[index].pointer_mut(pointer).unwrap() = value;
        told("api", gateway(&listeners, "True"))
    };
    one_line(
        &with(0, "/protocol", json!("TLS")),
        "error api/vnc-0 WrongProtocol: the listener vnc-0 has the protocol TLS, and its routes need TCP",
        "Correct the listener",
    );
    one_line(
        &with(2, "/allowedRoutes/namespaces/from", json!("Same")),
        "error api/console-tls RoutesNotAllowed: the listener console-tls lets in no routes of other namespaces",
        "set it to All or Selector",
    );
    one_line(
        &with(
            1,
            "/allowedRoutes",
            json!({"namespaces": {"from": "All"}, "kinds": [{"kind": "UDPRoute"}]}),
        ),
        "error api/vnc-1 RoutesNotAllowed: the listener vnc-1 lets in no TCPRoute",
        "add it",
    );
    one_line(
        &with(1, "/port", json!(6901)),
        "error api/vnc-1 EntryPointNotFound: the listener vnc-1 has port 6901",
        "correct one of the two",
    );
}

#[test]
fn a_gateway_that_nobody_takes_is_told() {
    one_line(
        &told("api", gateway(&listeners(), "False")),
        "error api RefusedByGateway: the Gateway infra/consoles is not Accepted: Invalid: said by the test",
        "Correct it",
    );
    one_line(
        &told("api", gateway(&listeners(), "Unknown")),
        "warning api GatewayNotRunning: no controller has said anything",
        "has to run",
    );
    let classless = GatewayLook {
        class: ReadOutcome::Missing,
        ..gateway(&listeners(), "True")
    };
    one_line(
        &told("api", classless),
        "error api GatewayNotRunning: the GatewayClass envoy of the Gateway does not exist",
        "Install",
    );
}

#[test]
fn a_right_that_the_controller_lacks_is_named() {
    let look = GatewayLook {
        missing_rights: ReadOutcome::Found(vec!["create ingressroutetcps.traefik.io".to_owned()]),
        ..traefik(GOOD)
    };
    one_line(
        &told("edge", look),
        "error edge Forbidden: the controller may not create ingressroutetcps.traefik.io",
        "config/gateway",
    );
}

#[test]
fn two_gateways_that_give_out_one_port_are_told() {
    let two: Vec<_> = gateways().all().iter().take(2).cloned().collect();
    let pool = |gateway: RouteGateway| RouteGateway {
        host: None,
        tls: None,
        http: None,
        https: None,
        entry_points: gateway.entry_points.into_iter().take(1).collect(),
        ..gateway
    };
    let two = RouteGateways::from(two.into_iter().map(pool).collect::<Vec<_>>());
    let look = || GatewayLook {
        source: ReadOutcome::Found(service(&json!({}))),
        ..GatewayLook::default()
    };
    let looks = BTreeMap::from([("edge".to_owned(), look()), ("kong".to_owned(), look())]);
    let apis = apis();
    let surroundings = GatewaySurroundings {
        apis: &apis,
        looks: &looks,
        node_addresses: &[],
    };
    let lines: Vec<_> = examine(&two, &surroundings).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "error edge/vnc-0 PortClaimedTwice: kong/vnc-0 has the port 5900 of the same address, and both would give it out; name it in one \
             of the two.",
            "error kong/vnc-0 PortClaimedTwice: edge/vnc-0 has the port 5900 of the same address, and both would give it out; name it in one \
             of the two.",
        ]
    );
}

#[test]
fn a_route_is_told_what_concerns_its_entry_point() {
    let finding = |severity, entry_point: Option<&str>, reason| GatewayFinding {
        gateway: "edge".to_owned(),
        severity,
        entry_point: entry_point.map(str::to_owned),
        reason,
        message: "m".to_owned(),
    };
    let (error, warning) = (FindingSeverity::Error, FindingSeverity::Warning);
    let shared = finding(error, Some("vnc-0"), FindingReason::EntryPointShared);
    assert_eq!(shared.lack("vnc-0").unwrap().0, RoutesReason::EntryPointShared);
    assert_eq!(shared.lack("vnc-1"), None);
    assert!(finding(error, None, FindingReason::NotWatched).lack("vnc-1").is_some());
    assert_eq!(finding(warning, None, FindingReason::NotWatched).lack("vnc-1"), None);
    // The route itself says so.
    assert_eq!(finding(error, None, FindingReason::AddressPending).lack("vnc-1"), None);
}

#[test]
fn the_output_for_programs_has_these_fields() {
    let finding = GatewayFinding {
        gateway: "edge".to_owned(),
        severity: FindingSeverity::Error,
        entry_point: Some("vnc-0".to_owned()),
        reason: FindingReason::EntryPointShared,
        message: "m".to_owned(),
    };
    let wanted = json!({
        "gateway": "edge", "severity": "error", "entryPoint": "vnc-0", "reason": "EntryPointShared", "message": "m",
    });
    assert_eq!(serde_json::to_value(finding).unwrap(), wanted);
}

#[test]
fn the_report_counts_what_was_found_and_says_when_that_is_nothing() {
    let found = examine_one(GatewayLook {
        source: ReadOutcome::Missing,
        ..traefik(&without(GOOD, "asdefault"))
    });
    assert!(has_errors(&found));
    let text = text_report(&found, 1);
    assert!(
        text.contains("error edge GatewayNotFound") && text.contains("warning edge NoDefault"),
        "{text}"
    );
    assert!(text.ends_with("1 error and 1 warning in 1 gateway.\n"), "{text}");
    let json: Value = serde_json::from_str(&json_report(&found)).unwrap();
    assert_eq!(json["findings"][0]["reason"], "GatewayNotFound");
    assert!(!has_errors(&[]));
    assert_eq!(text_report(&[], 2), "Nothing is wrong with 2 gateways.\n");
    assert_eq!(
        text_report(&[], 0),
        "The configuration names no gateway (section gateways).\n"
    );
}

#[test]
fn every_reason_has_a_row_in_the_documentation() {
    let page = include_str!("../../../../../docs/gateways.md");
    for reason in <FindingReason as strum::IntoEnumIterator>::iter() {
        let name: &str = reason.into();
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}
