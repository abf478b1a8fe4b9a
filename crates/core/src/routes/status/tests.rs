use serde_json::json;

use super::{
    super::{
        problem::RouteProblem,
        samples::{apis, planned},
    },
    *,
};

fn outcome(rule: Value, outcome: ChildOutcome<DynamicObject>) -> RoutesOutcome {
    RoutesOutcome {
        planned: vec![planned(rule, &apis())],
        applied: vec![AppliedRoute {
            name: "r".to_owned(),
            outcome,
        }],
        note: None,
    }
}

fn live(status: &Value) -> ChildOutcome<DynamicObject> {
    let object = json!({"metadata": {"name": "x", "generation": 2}, "status": status});
    ChildOutcome::Applied(serde_json::from_value(object).unwrap())
}

fn told(outcome: &RoutesOutcome) -> String {
    let found = outcome.finding("RoutesReady");
    let status: &str = found.status.into();
    format!("{status} {}: {}", found.reason, found.message)
}

#[test]
fn a_route_of_traefik_is_ready_when_its_object_is_there() {
    let ready = outcome(json!({"tcp": {}}), live(&json!({})));
    assert_eq!(told(&ready), "True AllReady: All routes are set up.");
    let details = ready.details(&[]);
    assert_eq!(details[0].address.as_deref(), Some("gw.example.org:5900"));
    assert_eq!(details[0].entry_point.as_deref(), Some("vnc-0"));
    let not_yet = outcome(json!({"tcp": {}}), ChildOutcome::NotTried);
    assert!(told(&not_yet).starts_with("False ApiUnavailable: Route r: it was not applied yet."));
    assert_eq!(not_yet.details(&[])[0].address, None);
    assert_eq!(RoutesOutcome::default().finding("RoutesReady").reason, "NoRoutes");
}

#[test]
fn a_gateway_of_gateway_api_is_believed() {
    let rule = || json!({"gateway": "api", "tcp": {}});
    let parents = |conditions: Value| live(&json!({"parents": [{"controllerName": "x", "conditions": conditions}]}));
    let accepted = json!([{"type": "Accepted", "status": "True", "observedGeneration": 2}]);
    assert!(told(&outcome(rule(), parents(accepted))).starts_with("True"));
    let refused = json!([
        {"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "message": "not this namespace", "observedGeneration": 2}
    ]);
    let words = told(&outcome(rule(), parents(refused)));
    assert!(
        words.starts_with(
            "False RefusedByGateway: Route r: the gateway does not take it: NotAllowedByListeners: not this namespace."
        ),
        "{words}"
    );
    let without_endpoints = json!([
        {"type": "Accepted", "status": "True", "observedGeneration": 2},
        {"type": "ResolvedRefs", "status": "False", "reason": "EndpointsNotFound", "message": "none", "observedGeneration": 2}
    ]);
    let words = told(&outcome(rule(), parents(without_endpoints)));
    assert!(words.starts_with("True"), "a machine may be off: {words}");
    let of_before = json!([{"type": "Accepted", "status": "True", "observedGeneration": 1}]);
    assert!(told(&outcome(rule(), parents(of_before))).starts_with("False RoutePending"));
    assert!(told(&outcome(rule(), live(&json!({})))).starts_with("False RoutePending"));
}

#[test]
fn kong_tells_by_the_addresses_that_it_writes() {
    let rule = || json!({"gateway": "kong", "tcp": {}});
    let published = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}});
    assert!(told(&outcome(rule(), live(&published))).starts_with("True"));
    assert!(told(&outcome(rule(), live(&json!({})))).starts_with("False RoutePending: Route r: Kong has not written"));
}

#[test]
fn a_failure_comes_before_what_ends_by_itself() {
    let mut both = outcome(json!({"gateway": "kong", "tcp": {}}), live(&json!({})));
    let mut refused = planned(json!({"gateway": "nowhere", "tcp": {}}), &apis());
    refused.name = "second".to_owned();
    both.planned.push(refused);
    let words = told(&both);
    assert!(words.starts_with("False UnknownGateway: Route r: Kong"), "{words}");
    assert!(words.contains("Route second: "), "{words}");
}

#[test]
fn only_what_a_user_has_to_change_is_stalled() {
    let refused = Failure::new(FailureKind::Rejected, "spec.routes[0].match: Invalid value");
    let stalled = outcome(json!({"tcp": {}}), ChildOutcome::Failed(refused))
        .stalled()
        .unwrap();
    assert_eq!(stalled.0, "Rejected");
    let unknown = outcome(json!({"gateway": "nowhere", "tcp": {}}), ChildOutcome::NotTried);
    assert_eq!(unknown.stalled(), None);
}

#[test]
fn an_address_stays_until_the_gateway_was_read() {
    let mut starting = outcome(json!({"tcp": {}}), live(&json!({})));
    let before = starting.details(&[]);
    starting.planned[0].address = None;
    assert!(starting.planned[0].is_unread, "nothing has read it");
    assert_eq!(starting.details(&before), before);
    assert_eq!(starting.details(&[])[0].address, None);
    // Another entry point is another address.
    let mut other = before.clone();
    other[0].entry_point = Some("vnc-9".to_owned());
    assert_eq!(starting.details(&other)[0].address, None);
    starting.planned[0].is_unread = false;
    assert_eq!(starting.details(&before)[0].address, None);
}

#[test]
fn a_route_keeps_what_it_has_while_the_objects_of_its_gateway_are_listed() {
    let mut listing = outcome(json!({"tcp": {}}), live(&json!({})));
    let before = listing.details(&[]);
    listing.applied.clear();
    listing.planned[0].gateway = None;
    listing.planned[0].entry_point = None;
    listing.planned[0].objects = Err(RouteProblem::NotListed {
        gateway: "edge".to_owned(),
    });
    assert_eq!(listing.details(&before), before);
    assert!(told(&listing).starts_with("False RoutePending"), "{}", told(&listing));
    assert_eq!(listing.details(&[])[0].entry_point, None);
}

#[test]
fn the_status_says_which_host_a_route_has() {
    let host = |rule: Value| outcome(rule, live(&json!({}))).details(&[])[0].host.clone();
    let tls = json!({"tls": {"host": "vm.team-a.example.org"}});
    assert_eq!(host(tls).as_deref(), Some("vm.team-a.example.org"));
    assert_eq!(host(json!({"tcp": {}})), None);
}

#[test]
fn what_the_gateway_lacks_is_told_although_the_route_is_there() {
    let mut lacking = outcome(json!({"tcp": {}}), live(&json!({})));
    lacking.planned[0].lack = Some((RoutesReason::EntryPointNotFound, "no port 5900".to_owned()));
    assert_eq!(told(&lacking), "False EntryPointNotFound: Route r: no port 5900.");
}
