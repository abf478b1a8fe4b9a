//! Routes against an apiserver that takes what it is sent.

use http::{Method, Request, Response};
use kube::{Client, ResourceExt, api::DynamicObject, client::Body};
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
        self.routes.observe(
            "VmAccess",
            event,
            ObjectClaims::of_vm_access,
            &self.caches,
            &self.queues,
        );
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
        world.routes.observe(
            "VmAccess",
            &event,
            ObjectClaims::of_vm_access,
            &world.caches,
            &world.queues,
        );
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
        &world.caches,
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
        &world.caches,
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
        world.routes.observe(
            "VmAccess",
            &event,
            ObjectClaims::of_vm_access,
            &world.caches,
            &world.queues,
        );
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
        world.routes.observe(
            "VmAccess",
            &event,
            ObjectClaims::of_vm_access,
            &world.caches,
            &world.queues,
        );
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
    world.routes.set_inspection("edge", at(5));
    world.routes.set_inspection("edge", None);
    assert!(world.routes.inspection("edge").is_some());
    world.routes.set_inspection("edge", at(120));
    world.routes.set_inspection("edge", None);
    assert!(world.routes.inspection("edge").is_none());
}

/// A thousand routes that are well must not be looked at every minute because of one.
#[tokio::test]
async fn what_the_api_of_a_gateway_says_wakes_the_routes_that_it_is_about() {
    let world = world("");
    for (name, entry_point) in [("web", "vnc-0"), ("other", "vnc-1")] {
        world
            .reconcile(&vm_access(name, "2026-01-01T00:00:00Z", &plain(entry_point)))
            .await;
    }
    let routers: Vec<_> = world.live(RouteKind::IngressRouteTcp).iter().map(router_of).collect();
    let said = |routers: &[Value]| {
        let entry_points = json!([{"name": "vnc-0"}, {"name": "vnc-1"}]);
        TraefikInspection::parse(Timestamp::now(), &entry_points, &json!(routers), &json!([]))
    };
    let settings = settings();
    let gateway = &settings.gateways.all()[0];
    let woken = |before: Option<&TraefikInspection>, now: TraefikInspection| {
        world.routes.set_inspection("edge", Some(Arc::new(now)));
        world
            .routes
            .enqueue_inspected(gateway, before, &world.caches, &world.queues);
        world.queues.vm_accesses.len()
    };
    let good = said(&routers);
    assert_eq!(woken(None, good.clone()), 0, "all is well");
    assert_eq!(woken(Some(&good), said(&routers)), 0, "it says the same");
    let mut broken = routers.clone();
    broken[0]["error"] = json!(["it has no service"]);
    assert_eq!(woken(Some(&good), said(&broken)), 1);
}

fn router_of(object: &Arc<Untyped>) -> Value {
    let (name, entry_points) = (object.name_any(), &object.0.data["spec"]["entryPoints"]);
    json!({"name": format!("a-{name}-0123456789@kubernetescrd"), "using": entry_points})
}

/// A tenant with many objects that wait must not be able to have all of them looked at again and again.
#[tokio::test]
async fn what_is_given_up_wakes_the_one_that_gets_it() {
    let world = world("");
    for (name, second) in [("first", 1), ("second", 2), ("third", 3), ("fourth", 4), ("fifth", 5)] {
        let any = json!([{"name": "ssh", "service": "ssh", "port": 22, "tcp": {}}]);
        world
            .reconcile(&vm_access(name, &format!("2026-01-01T00:00:0{second}Z"), &any))
            .await;
    }
    assert_eq!(world.routes.waiting.lock().len(), 3);
    assert!(world.queues.vm_accesses.is_empty());
    let first = vm_access("first", "2026-01-01T00:00:01Z", &json!([]));
    world.observe(&WatchEvent::Apply(first));
    assert!(world.queues.vm_accesses.is_empty(), "its object is still there");
    let store = world
        .caches
        .routes
        .of(RouteKind::IngressRouteTcp, "traefik.io")
        .unwrap();
    let live = world.live(RouteKind::IngressRouteTcp);
    let gone = live
        .iter()
        .find(|object| object.name_any().starts_with("first-"))
        .unwrap();
    let event = WatchEvent::Delete(gone.as_ref().clone());
    world.routes.observe_live(&event, store, &world.caches, &world.queues);
    assert_eq!(world.queues.vm_accesses.len(), 1, "the oldest of those that wait");
}

/// Its route may not be the only one there any more.
#[tokio::test]
async fn who_has_an_entry_point_is_woken_when_an_object_of_another_owner_comes_to_it() {
    let world = world("");
    let web = vm_access("web", "2026-01-01T00:00:00Z", &plain("vnc-0"));
    world.reconcile(&web).await;
    let [own] = world.live(RouteKind::IngressRouteTcp).try_into().unwrap();
    let store = world
        .caches
        .routes
        .of(RouteKind::IngressRouteTcp, "traefik.io")
        .unwrap();
    let observe = |object: Untyped| {
        let event = WatchEvent::Apply(object);
        world.routes.observe_live(&event, store, &world.caches, &world.queues);
        world.queues.vm_accesses.len()
    };
    assert_eq!(observe(own.as_ref().clone()), 0, "it is the same");
    let mut foreign = own.as_ref().clone();
    foreign.0.metadata.name = Some("foreign".to_owned());
    foreign.0.metadata.owner_references = None;
    foreign
        .0
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .insert(KEY_OWNER_UID.to_owned(), "other-uid".to_owned());
    assert_eq!(observe(foreign), 1);
}

/// The definitions of another product are missing a right, and this one's routes have nothing to do with that.
#[tokio::test]
async fn a_gateway_that_cannot_be_listed_holds_back_no_route_of_another() {
    let mut world = world("");
    let mut both = serde_json::to_value(settings().gateways.all()).unwrap();
    both[0]["default"] = json!(true);
    let kong = json!({"name": "kong", "host": "kong.example.org", "kong": {"namespace": "kong", "service": "proxy"},
        "entryPoints": [{"name": "vnc-0", "port": 5900}]});
    both.as_array_mut().unwrap().push(kong);
    let both = RouteSettings {
        gateways: RouteGateways::from(serde_json::from_value::<Vec<RouteGateway>>(both).unwrap()),
        rejected: None,
    };
    let is_listed = |api: &novasphere_runtime::optional_api::OptionalApi| api.group == "traefik.io";
    let of_today = route_apis().filter(|api| api.group != "traefik.containo.us");
    let served: Served = of_today.map(|api| (api, api.versions[0])).collect();
    let apis = OptionalApis::listed_where(served, is_listed);
    world.routes = Routes::new(watch::channel(Arc::new(both)).1, apis);
    let mut routes = plain("vnc-0");
    let held = json!({"name": "kong", "service": "ssh", "port": 22, "gateway": "kong", "tcp": {}});
    routes.as_array_mut().unwrap().push(held);
    let outcome = world
        .reconcile(&vm_access("web", "2026-01-01T00:00:00Z", &routes))
        .await;
    assert_eq!(world.calls(), ["APPLY ingressroutetcps"]);
    let finding = outcome.finding("RoutesReady");
    assert_eq!(finding.reason, "RoutePending");
    assert!(finding.message.contains("the gateway kong"), "{}", finding.message);
    assert!(!finding.message.contains("Route ssh"), "{}", finding.message);
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
