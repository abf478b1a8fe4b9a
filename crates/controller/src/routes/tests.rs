//! Routes against an apiserver that takes what it is sent.

use http::{Method, Request, Response};
use kube::{Client, api::DynamicObject, client::Body};
use novasphere_core::{
    label::KEY_OWNER_UID,
    routes::{
        Backend,
        doctor::{FindingReason, FindingSeverity},
        gateway::{RouteGateway, RouteGateways},
        object::RouteKind,
        status::RoutesOutcome,
    },
};
use novasphere_crd::VmAccess;
use novasphere_runtime::{apply::Applier, metrics::Metrics, optional_api::Served, untyped::Untyped};
use serde_json::{Value, json};

use super::*;
use crate::children::Children;

type Calls = Arc<Mutex<Vec<String>>>;

/// A controller with one Traefik that has the entry points `vnc-0` and `vnc-1`.
struct World {
    routes: Routes,
    caches: Arc<Caches>,
    applier: Applier,
    calls: Calls,
    queues: Queues,
}

fn settings() -> RouteSettings {
    let gateway = json!([{
        "name": "edge", "host": "gw.example.org", "traefik": {"namespace": "kube-system", "service": "traefik"},
        "entryPoints": [{"name": "vnc-0", "port": 5900}, {"name": "vnc-1", "port": 5901}],
    }]);
    RouteSettings {
        gateways: RouteGateways::from(serde_json::from_value::<Vec<RouteGateway>>(gateway).unwrap()),
        rejected: None,
    }
}

/// What is refused: a part of `<method> <path>`, or nothing.
fn world(refused: &'static str) -> World {
    let calls = Calls::default();
    let seen = Arc::clone(&calls);
    let service = tower::service_fn(move |request: Request<Body>| {
        let seen = Arc::clone(&seen);
        async move { Ok::<_, std::convert::Infallible>(answer(request, refused, &seen).await) }
    });
    let client = Client::new(service, "default");
    let of_traefik = |api: &novasphere_runtime::optional_api::OptionalApi| api.group == "traefik.io";
    let served: Served = route_apis().filter(of_traefik).map(|api| (api, "v1alpha1")).collect();
    let routes = Routes::new(watch::channel(Arc::new(settings())).1, OptionalApis::fixed(served));
    let caches = Caches::new();
    routes.want_configured(&caches.routes);
    World {
        routes,
        caches,
        applier: Applier::new(client, "novasphere/test", Metrics::default()).owner_label(KEY_OWNER_UID),
        calls,
        queues: Queues::default(),
    }
}

async fn answer(request: Request<Body>, refused: &str, calls: &Calls) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let (_, path) = parts.uri.path().split_once("/namespaces/a/").unwrap_or_default();
    let what = format!(
        "{} {}",
        if parts.method == Method::PATCH {
            "APPLY"
        } else {
            parts.method.as_str()
        },
        path
    );
    let mut object: Value = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default();
    let (status, answer) = if !refused.is_empty() && what.contains(refused) {
        (
            403,
            json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"}),
        )
    } else {
        object["metadata"]["uid"] = json!(path);
        object["metadata"]["resourceVersion"] = json!("7");
        (200, object)
    };
    calls.lock().push(what);
    let body = Body::from(serde_json::to_vec(&answer).unwrap());
    Response::builder().status(status).body(body).unwrap()
}

fn vm_access(name: &str, created: &str, routes: &Value) -> VmAccess {
    serde_json::from_value(json!({
        "apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess",
        "metadata": {"name": name, "namespace": "a", "uid": format!("{name}-uid"), "creationTimestamp": created},
        "spec": {"virtualMachine": {"name": name}, "routes": routes},
    }))
    .unwrap()
}

impl World {
    /// The watch shows the object, and it is reconciled.
    async fn reconcile(&self, object: &VmAccess) -> RoutesOutcome {
        self.observe(&WatchEvent::Apply(object.clone()));
        self.reconcile_in_hand(object).await
    }

    fn observe(&self, event: &WatchEvent<VmAccess>) {
        self.routes
            .observe("VmAccess", event, ObjectClaims::of_vm_access, &self.queues);
    }

    /// Reconciles an object as it was taken from the cache some time ago.
    async fn reconcile_in_hand(&self, object: &VmAccess) -> RoutesOutcome {
        let owner = Owner::of(object).unwrap();
        let valid = |route: &novasphere_crd::VmRoute| ValidatedRoute {
            name: route.name.clone(),
            backend: Some(Backend {
                service: "web-ssh".to_owned(),
                port: route.port,
            }),
            rule: route.rule.clone(),
        };
        let routes: Vec<_> = object.spec.routes.iter().map(valid).collect();
        let planned = self.routes.plan(&owner, &routes, &self.caches);
        let mut children = Children::new(&self.applier);
        let outcome = self
            .routes
            .apply(planned, &owner, &mut children, &self.caches)
            .await
            .unwrap();
        self.show(&outcome);
        outcome
    }

    /// Has the watch show what was applied.
    fn show(&self, outcome: &RoutesOutcome) {
        for route in &outcome.planned {
            for object in route.objects.iter().flatten() {
                let store = self.caches.routes.of(object.kind, object.api.group).unwrap();
                if let Some(live) = store.cache.get("a", object.name()) {
                    store.cache.observe(&WatchEvent::Apply(live.as_ref().clone()));
                }
            }
        }
    }

    /// Kinds and verbs of what was sent, without names.
    fn calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut *self.calls.lock());
        calls
            .into_iter()
            .map(|call| call.split_once('/').map_or(call.clone(), |(start, _)| start.to_owned()))
            .collect()
    }

    fn live(&self, kind: RouteKind) -> Vec<Arc<Untyped>> {
        self.caches.routes.of(kind, "traefik.io").unwrap().cache.store().state()
    }
}

fn limited() -> Value {
    json!([{"name": "ssh", "service": "ssh", "port": 22, "tcp": {}, "allowedSourceRanges": ["10.0.0.0/8"]}])
}

fn plain(entry_point: &str) -> Value {
    json!([{"name": "ssh", "service": "ssh", "port": 22, "tcp": {"entryPoint": entry_point}}])
}

#[tokio::test]
async fn a_limit_comes_before_its_route_and_goes_after_it_and_a_settled_route_costs_nothing() {
    let world = world("");
    let object = vm_access("web", "2026-01-01T00:00:00Z", &limited());
    world.reconcile(&object).await;
    assert_eq!(world.calls(), ["APPLY middlewaretcps", "APPLY ingressroutetcps"]);
    let again = world.reconcile(&object).await;
    assert_eq!(again.finding("RoutesReady").reason, "AllReady");
    assert_eq!(world.calls(), [""; 0]);
    world
        .reconcile(&vm_access("web", "2026-01-01T00:00:00Z", &plain("vnc-0")))
        .await;
    assert_eq!(world.calls(), ["APPLY ingressroutetcps", "DELETE middlewaretcps"]);
    world
        .reconcile(&vm_access("web", "2026-01-01T00:00:00Z", &json!([])))
        .await;
    // The middleware is still shown by the watch here, and not deleted twice.
    assert_eq!(world.calls()[0], "DELETE ingressroutetcps");
}

#[tokio::test]
async fn a_route_is_not_made_without_its_limit() {
    let world = world("middlewaretcps");
    let outcome = world
        .reconcile(&vm_access("web", "2026-01-01T00:00:00Z", &limited()))
        .await;
    assert_eq!(world.calls(), ["APPLY middlewaretcps"]);
    assert_eq!(outcome.finding("RoutesReady").reason, "Forbidden");
}

#[tokio::test]
async fn an_entry_point_is_not_given_twice_and_is_passed_on_when_its_object_is_gone() {
    let world = world("");
    let first = vm_access("first", "2026-01-02T00:00:00Z", &plain("vnc-0"));
    // It is older, and comes later.
    let second = vm_access("second", "2026-01-01T00:00:00Z", &plain("vnc-0"));
    for event in [
        WatchEvent::Init,
        WatchEvent::InitApply(first.clone()),
        WatchEvent::InitDone,
    ] {
        world
            .routes
            .observe("VmAccess", &event, ObjectClaims::of_vm_access, &world.queues);
    }
    world.reconcile(&first).await;
    let refused = world.reconcile(&second).await.finding("RoutesReady");
    assert_eq!(refused.reason, "EntryPointInUse");
    assert!(
        refused.message.contains("VmAccess a/first has it"),
        "{}",
        refused.message
    );
    assert_eq!(world.calls(), ["APPLY ingressroutetcps"]);

    world.routes.observe(
        "VmAccess",
        &WatchEvent::Delete(first),
        ObjectClaims::of_vm_access,
        &world.queues,
    );
    let still = world.reconcile(&second).await.finding("RoutesReady");
    assert_eq!(still.reason, "EntryPointInUse", "its object is there");
    let [object] = world.live(RouteKind::IngressRouteTcp).try_into().unwrap();
    let store = world
        .caches
        .routes
        .of(RouteKind::IngressRouteTcp, "traefik.io")
        .unwrap();
    store.cache.observe(&WatchEvent::Delete(object.as_ref().clone()));
    assert_eq!(world.reconcile(&second).await.finding("RoutesReady").reason, "AllReady");
}

#[tokio::test]
async fn an_object_that_is_gone_while_it_is_reconciled_takes_nothing() {
    let world = world("");
    let gone = vm_access("gone", "2026-01-01T00:00:00Z", &plain("vnc-0"));
    world.observe(&WatchEvent::Apply(gone.clone()));
    world.observe(&WatchEvent::Delete(gone.clone()));
    let late = world.reconcile_in_hand(&gone).await;
    assert_ne!(late.finding("RoutesReady").reason, "AllReady");
    let next = vm_access("next", "2026-01-02T00:00:00Z", &plain("vnc-0"));
    assert_eq!(world.reconcile(&next).await.finding("RoutesReady").reason, "AllReady");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_keeps_what_it_has() {
    let world = world("");
    let has = vm_access("has", "2026-01-01T00:00:00Z", &plain("vnc-0"));
    // Its claim alone has to hold it, as one to a host name: no live route is shown.
    world.observe(&WatchEvent::Apply(has));
    let unreadable = || {
        WatchEvent::Undecodable(ObjectName {
            namespace: Some("a".to_owned()),
            name: "has".to_owned(),
        })
    };
    world.observe(&unreadable());
    for event in [WatchEvent::Init, unreadable(), WatchEvent::InitDone] {
        world.observe(&event);
    }
    let waits = vm_access("waits", "2026-01-02T00:00:00Z", &plain("vnc-0"));
    assert_eq!(
        world.reconcile(&waits).await.finding("RoutesReady").reason,
        "EntryPointInUse"
    );
}

#[tokio::test]
async fn what_a_gap_of_the_watch_hid_frees_what_it_had() {
    let world = world("");
    let gone = vm_access("gone", "2026-01-01T00:00:00Z", &plain("vnc-0"));
    world.routes.observe(
        "VmAccess",
        &WatchEvent::Apply(gone),
        ObjectClaims::of_vm_access,
        &world.queues,
    );
    let waits = vm_access("waits", "2026-01-02T00:00:00Z", &plain("vnc-0"));
    assert_eq!(
        world.reconcile(&waits).await.finding("RoutesReady").reason,
        "EntryPointInUse"
    );
    for event in [
        WatchEvent::Init,
        WatchEvent::InitApply(waits.clone()),
        WatchEvent::InitDone,
    ] {
        world
            .routes
            .observe("VmAccess", &event, ObjectClaims::of_vm_access, &world.queues);
    }
    assert_eq!(world.reconcile(&waits).await.finding("RoutesReady").reason, "AllReady");
}

/// It is older, gave its entry point up by a change in place, and nothing is deleted.
#[tokio::test]
async fn who_waits_is_looked_at_when_an_object_moves_to_another_entry_point() {
    let world = world("");
    let first = vm_access("first", "2026-01-01T00:00:00Z", &plain("vnc-0"));
    world.reconcile(&first).await;
    let [before] = world.live(RouteKind::IngressRouteTcp).try_into().unwrap();
    let store = || {
        let stores = &world.caches.routes;
        stores.of(RouteKind::IngressRouteTcp, "traefik.io").unwrap()
    };
    assert!(!follow::gives_something_up(&before, store()), "it is the same");
    let mut moved = before.as_ref().clone();
    moved.0.data["spec"]["entryPoints"] = json!(["vnc-1"]);
    assert!(follow::gives_something_up(&moved, store()));
    let mut unknown = moved.clone();
    unknown.0.metadata.name = Some("new".to_owned());
    assert!(!follow::gives_something_up(&unknown, store()), "it had nothing");
}

#[tokio::test]
async fn who_is_deleted_waits_no_more_and_who_is_new_wakes_nobody() {
    let world = world("");
    world
        .reconcile(&vm_access("has", "2026-01-01T00:00:00Z", &plain("vnc-0")))
        .await;
    let waits = vm_access("waits", "2026-01-02T00:00:00Z", &plain("vnc-0"));
    let observe = |event: WatchEvent<VmAccess>| {
        world
            .routes
            .observe("VmAccess", &event, ObjectClaims::of_vm_access, &world.queues);
    };
    observe(WatchEvent::Apply(waits.clone()));
    world.reconcile(&waits).await;
    assert_eq!(world.routes.waiting.lock().len(), 1);
    assert!(world.queues.vm_accesses.is_empty(), "a new object frees nothing");
    observe(WatchEvent::Delete(waits.clone()));
    assert_eq!(world.routes.waiting.lock().len(), 0);
}

/// A gateway that the configuration names since a moment ago may have objects on its entry points that nobody has listed.
#[tokio::test]
async fn nothing_is_given_out_or_deleted_before_the_objects_of_a_gateway_were_listed() {
    let mut world = world("");
    let of_traefik = |api: &novasphere_runtime::optional_api::OptionalApi| api.group == "traefik.io";
    let served: Served = route_apis().filter(of_traefik).map(|api| (api, "v1alpha1")).collect();
    world.routes = Routes::new(watch::channel(Arc::new(settings())).1, OptionalApis::unlisted(served));
    let object = vm_access("web", "2026-01-01T00:00:00Z", &plain("vnc-0"));
    let outcome = world.reconcile(&object).await;
    assert_eq!(outcome.finding("RoutesReady").reason, "RoutePending");
    assert_eq!(world.calls(), [""; 0]);
    assert!(world.routes.pool.lock().knows("VmAccess/a/web"));
}

#[tokio::test]
async fn what_the_api_of_a_gateway_said_holds_while_it_is_started_again() {
    let world = world("");
    let at = |second: i64| {
        let at = Timestamp::from_second(Timestamp::now().as_second() - second).unwrap();
        let entry_points = json!([{"name": "vnc-0"}]);
        Some(Arc::new(TraefikInspection::parse(
            at,
            &entry_points,
            &json!([]),
            &json!([]),
        )))
    };
    assert!(world.routes.set_inspection("edge", at(5)));
    assert!(!world.routes.set_inspection("edge", None));
    assert!(world.routes.has_inspections());
    world.routes.set_inspection("edge", at(120));
    assert!(world.routes.set_inspection("edge", None));
    assert!(!world.routes.has_inspections());
}

#[tokio::test]
async fn the_first_reconciles_wait_for_a_look_at_the_gateways() {
    let world = world("");
    let wait = world.routes.wait_for_gateways();
    tokio::pin!(wait);
    assert!(futures::poll!(&mut wait).is_pending());
    world
        .routes
        .note_look(&AddressSource::Service("other".to_owned(), "traefik".to_owned()));
    assert!(futures::poll!(&mut wait).is_pending());
    world
        .routes
        .note_look(&AddressSource::Service("kube-system".to_owned(), "traefik".to_owned()));
    wait.await;
    // Without gateways there is nothing to wait for.
    Routes::none(OptionalApis::fixed(Served::new()))
        .wait_for_gateways()
        .await;
}

#[tokio::test]
async fn what_is_wrong_with_an_entry_point_is_said_by_its_route() {
    let world = world("");
    let object = vm_access("web", "2026-01-01T00:00:00Z", &plain("vnc-0"));
    world.reconcile(&object).await;
    let finding = |entry_point: &str| GatewayFinding {
        gateway: "edge".to_owned(),
        severity: FindingSeverity::Error,
        entry_point: Some(entry_point.to_owned()),
        reason: FindingReason::EntryPointShared,
        message: "said by the doctor".to_owned(),
    };
    assert!(world.routes.set_findings(vec![finding("vnc-1")]));
    assert_eq!(world.reconcile(&object).await.finding("RoutesReady").reason, "AllReady");
    assert!(world.routes.set_findings(vec![finding("vnc-0")]));
    let found = world.reconcile(&object).await.finding("RoutesReady");
    assert_eq!(found.reason, "EntryPointShared");
    assert!(found.message.contains("said by the doctor"), "{}", found.message);
    let note = GatewayFinding {
        severity: FindingSeverity::Note,
        ..finding("vnc-1")
    };
    assert!(
        !world.routes.set_findings(vec![finding("vnc-0"), note]),
        "no route says anything of it"
    );
    assert!(world.routes.set_findings(Vec::new()));
}

#[tokio::test]
async fn only_what_a_configured_gateway_reads_is_watched_and_waited_for() {
    let (none, caches) = (Routes::none(OptionalApis::fixed(Served::new())), Caches::new());
    none.want_configured(&caches.routes);
    assert_eq!(caches.routes.wanted().count(), 0);
    let world = world("");
    let unfilled = world.caches.unfilled();
    assert!(unfilled.iter().any(|kind| kind == "IngressRouteTCP"), "{unfilled:?}");
    assert!(!unfilled.iter().any(|kind| kind == "TCPRoute"), "{unfilled:?}");
}

#[tokio::test]
async fn an_object_of_ours_tells_what_it_uses() {
    let object: DynamicObject = serde_json::from_value(json!({"metadata": {"name": "x", "namespace": "a", "labels": {
        "novasphere.io/route": "ssh", "novasphere.io/route-gateway": "edge", "novasphere.io/entry-point": "vnc-0",
        "novasphere.io/owner-uid": "u",
    }}}))
    .unwrap();
    let world = world("");
    let store = world
        .caches
        .routes
        .of(RouteKind::IngressRouteTcp, "traefik.io")
        .unwrap();
    store.cache.observe(&WatchEvent::Apply(Untyped(object)));
    let live = world.caches.routes.live_entry_points();
    assert_eq!(
        (live[0].entry_point.as_str(), live[0].route.1.as_str()),
        ("vnc-0", "ssh")
    );
}
