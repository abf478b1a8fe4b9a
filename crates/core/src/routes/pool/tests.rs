use serde_json::{Value, json};

use super::{
    super::samples::{claims, gateways, owner, rule},
    *,
};
use crate::label::Owner;

const ANY: fn() -> Value = || json!({"tcp": {}});

fn wish(name: &str) -> Value {
    json!({"tcp": {"entryPoint": name}})
}

/// What the route `r` of an object got: the entry point, or the reason.
fn got(pool: &mut RoutePool, key: &str, live: &[LiveEntryPoint]) -> String {
    let gateways = gateways();
    match pool.grants(key, &gateways, live, &BTreeSet::new()).remove("r").unwrap() {
        Ok(grant) => grant.entry_point.name.clone(),
        Err(problem) => format!("{:?}: {problem}", problem.reason()),
    }
}

fn live(owner: &Owner, entry_point: &str) -> LiveEntryPoint {
    LiveEntryPoint {
        gateway: "edge".to_owned(),
        entry_point: entry_point.to_owned(),
        namespace: owner.namespace.clone(),
        route: (owner.uid.clone(), "r".to_owned()),
    }
}

/// A pool that knows these objects: name, second of creation, rule, what the status says.
fn pool(objects: &[(&str, i64, Value, Option<&str>)]) -> RoutePool {
    let mut pool = RoutePool::default();
    for (name, created, rule, held) in objects {
        let held = held.map(|held| ("edge", held));
        let claims = claims(&owner("team", name), *created, std::slice::from_ref(rule), held);
        pool.set(name, Some(claims));
    }
    pool
}

#[test]
fn the_oldest_objects_get_what_is_free() {
    let mut pool = pool(&[
        ("young", 3, ANY(), None),
        ("old", 1, ANY(), None),
        ("middle", 2, ANY(), None),
    ]);
    assert_eq!(got(&mut pool, "middle", &[]), "vnc-1");
    assert_eq!(got(&mut pool, "old", &[]), "vnc-0");
    let words = got(&mut pool, "young", &[]);
    assert!(
        words.starts_with("EntryPointsUsedUp: all 2 entry points of the gateway edge"),
        "{words}"
    );
}

#[test]
fn of_two_objects_of_one_second_the_uid_decides() {
    let mut pool = pool(&[("b", 1, wish("vnc-0"), None), ("a", 1, wish("vnc-0"), None)]);
    assert_eq!(got(&mut pool, "a", &[]), "vnc-0");
    assert!(got(&mut pool, "b", &[]).contains("VmAccess team/a has it"));
}

#[test]
fn a_wish_is_not_taken_by_one_that_takes_any() {
    let mut pool = pool(&[("any", 1, ANY(), None), ("wish", 2, wish("vnc-0"), None)]);
    assert_eq!(got(&mut pool, "any", &[]), "vnc-1");
    assert_eq!(got(&mut pool, "wish", &[]), "vnc-0");
}

#[test]
fn who_has_an_entry_point_keeps_it_also_from_an_older_object() {
    let objects = [("young", 9, ANY(), None), ("old", 1, wish("vnc-0"), None)];
    let young = owner("team", "young");
    let mut by_object = pool(&objects);
    assert!(got(&mut by_object, "old", &[live(&young, "vnc-0")]).contains("VmAccess team/young has it"));
    // After a restart, nothing but the objects is known: here the definitions are gone, and the status is left.
    let mut by_status = pool(&[("young", 9, ANY(), Some("vnc-0")), ("old", 1, wish("vnc-0"), None)]);
    assert!(got(&mut by_status, "old", &[]).contains("VmAccess team/young has it"));
    assert_eq!(got(&mut by_status, "young", &[]), "vnc-0");
    // What this process gave out is not in the caches yet.
    let mut by_memory = pool(&objects[..1]);
    assert_eq!(got(&mut by_memory, "young", &[]), "vnc-0");
    by_memory.set("old", Some(claims(&owner("team", "old"), 1, &[wish("vnc-0")], None)));
    assert!(got(&mut by_memory, "old", &[]).contains("VmAccess team/young has it"));
}

#[test]
fn of_two_that_have_the_same_the_older_keeps_it() {
    let mut pool = pool(&[("young", 9, ANY(), None), ("old", 1, ANY(), None)]);
    let both = [
        live(&owner("team", "young"), "vnc-0"),
        live(&owner("team", "old"), "vnc-0"),
    ];
    assert_eq!(got(&mut pool, "young", &both), "vnc-1");
    assert_eq!(got(&mut pool, "old", &both), "vnc-0");
}

#[test]
fn what_is_given_up_is_free_when_its_object_is_gone() {
    let mut pool = pool(&[("first", 1, wish("vnc-0"), None), ("second", 2, wish("vnc-0"), None)]);
    assert_eq!(got(&mut pool, "first", &[]), "vnc-0");
    assert!(got(&mut pool, "second", &[]).starts_with("EntryPointInUse"));
    pool.set("first", None);
    let leaving = [live(&owner("team", "first"), "vnc-0")];
    assert!(got(&mut pool, "second", &leaving).contains("a route that is being removed has it"));
    assert_eq!(got(&mut pool, "second", &[]), "vnc-0");
}

#[test]
fn an_object_that_is_not_known_keeps_its_entry_point() {
    // Its VmAccess cannot be read by this version.
    let mut pool = pool(&[("other", 1, ANY(), None)]);
    assert_eq!(
        got(&mut pool, "other", &[live(&owner("team", "unread"), "vnc-0")]),
        "vnc-1"
    );
}

#[test]
fn an_owner_may_move_an_entry_point_from_one_route_to_another() {
    let mut pool = pool(&[("web", 1, wish("vnc-0"), None)]);
    let mut own = live(&owner("team", "web"), "vnc-0");
    own.route.1 = "former".to_owned();
    assert_eq!(got(&mut pool, "web", &[own]), "vnc-0");
}

#[test]
fn a_route_that_cannot_be_set_up_takes_nothing() {
    let filtered = json!({"gateway": "api", "tcp": {"entryPoint": "vnc-0"}, "allowedSourceRanges": ["10.0.0.0/8"]});
    let mut pool = pool(&[
        ("filtered", 1, filtered, None),
        (
            "other",
            2,
            json!({"gateway": "api", "tcp": {"entryPoint": "vnc-0"}}),
            None,
        ),
    ]);
    assert!(got(&mut pool, "filtered", &[]).starts_with("SourceRangesNotSupported"));
    assert_eq!(got(&mut pool, "other", &[]), "vnc-0");
}

#[test]
fn what_is_not_configured_is_named_with_what_is() {
    let mut pool = pool(&[
        ("name", 1, json!({"gateway": "nowhere", "tcp": {}}), None),
        ("port", 1, wish("vnc-9"), None),
    ]);
    let words = got(&mut pool, "name", &[]);
    assert!(words.contains("no gateway nowhere; it has edge, kong, api"), "{words}");
    let words = got(&mut pool, "port", &[]);
    assert!(
        words.contains("no entry point vnc-9 in its pool; name one of vnc-0, vnc-1"),
        "{words}"
    );
}

#[test]
fn a_host_belongs_to_one_namespace_and_there_each_path_to_one_target() {
    let http = |path: &str| json!({"http": {"host": "shared.example.org", "path": path}});
    let mut pool = RoutePool::default();
    for (key, namespace, created, rule) in [
        ("a", "team-a", 1, http("/a")),
        ("b", "team-a", 2, http("/b")),
        ("again", "team-a", 3, http("/a")),
        ("other", "team-b", 4, http("/c")),
        ("tls", "team-b", 5, json!({"tls": {"host": "shared.example.org"}})),
    ] {
        pool.set(key, Some(claims(&owner(namespace, key), created, &[rule], None)));
    }
    assert_eq!(got(&mut pool, "a", &[]), "websecure");
    assert_eq!(got(&mut pool, "b", &[]), "websecure");
    assert!(
        got(&mut pool, "again", &[]).contains("shared.example.org of the gateway edge belongs to VmAccess team-a/a")
    );
    assert!(got(&mut pool, "other", &[]).contains("belongs to VmAccess team-a/"));
    assert_eq!(
        got(&mut pool, "tls", &[]),
        "console-tls",
        "another port, another namespace"
    );
}

#[test]
fn a_host_stays_with_who_has_it() {
    let rule = json!({"tls": {"host": "shared.example.org"}});
    let mut pool = RoutePool::default();
    let young = claims(
        &owner("team-b", "young"),
        9,
        std::slice::from_ref(&rule),
        Some(("edge", "console-tls")),
    );
    pool.set("young", Some(young));
    pool.set("old", Some(claims(&owner("team-a", "old"), 1, &[rule], None)));
    assert!(got(&mut pool, "old", &[]).contains("belongs to VmAccess team-b/young"));
    assert_eq!(got(&mut pool, "young", &[]), "console-tls");
}

/// An older object could else take the host of another namespace by a change of its spec.
#[test]
fn who_had_another_host_has_no_claim_to_one_that_is_taken() {
    let tls = |host: &str| json!({"tls": {"host": host}});
    let mut pool = RoutePool::default();
    let held = Some(("edge", "console-tls"));
    let young = owner("team-b", "young");
    pool.set("young", Some(claims(&young, 9, &[tls("shared.example.org")], held)));
    let old = owner("team-a", "old");
    let mut moves = claims(&old, 1, &[tls("vm.team-a.example.org")], held);
    pool.set("old", Some(moves.clone()));
    assert_eq!(got(&mut pool, "old", &[]), "console-tls");
    // Its status still says what it had before.
    moves.claims[0].rule = rule(tls("shared.example.org"));
    pool.set("old", Some(moves));
    assert!(got(&mut pool, "old", &[]).contains("belongs to VmAccess team-b/young"));
    assert_eq!(got(&mut pool, "young", &[]), "console-tls");
}

#[test]
fn a_host_that_was_given_a_moment_ago_stays_given() {
    let rule = json!({"tls": {"host": "shared.example.org"}});
    let mut pool = RoutePool::default();
    let young = owner("team-b", "young");
    pool.set("young", Some(claims(&young, 9, std::slice::from_ref(&rule), None)));
    assert_eq!(got(&mut pool, "young", &[]), "console-tls");
    // Older, and seen later; the status of the first is not written yet.
    pool.set("old", Some(claims(&owner("team-a", "old"), 1, &[rule], None)));
    assert!(got(&mut pool, "old", &[]).contains("belongs to VmAccess team-b/young"));
    pool.set("young", None);
    assert_eq!(got(&mut pool, "old", &[]), "console-tls");
}

/// Else an older object could take what a younger one got after it was given up, by asking for it again: two would have it.
#[test]
fn who_gave_something_up_has_no_claim_to_it_any_more() {
    for (first, meanwhile) in [
        (wish("vnc-0"), json!({"tls": {"host": "vm.team.example.org"}})),
        (wish("vnc-0"), json!({"gateway": "nowhere", "tcp": {}})),
        (json!({"tls": {"host": "shared.example.org"}}), ANY()),
        (
            json!({"tls": {"host": "shared.example.org"}}),
            json!({"tls": {"host": "not.allowed.example.com"}}),
        ),
    ] {
        let (old, young) = (owner("team", "old"), owner("other", "young"));
        let asks =
            |owner: &Owner, created: i64, rule: &Value| Some(claims(owner, created, std::slice::from_ref(rule), None));
        let mut pool = RoutePool::default();
        pool.set("old", asks(&old, 1, &first));
        let given = got(&mut pool, "old", &[]);
        pool.set("young", asks(&young, 9, &first));
        assert!(got(&mut pool, "young", &[]).contains("VmAccess team/old"), "{first}");
        pool.set("old", asks(&old, 1, &meanwhile));
        got(&mut pool, "old", &[]);
        assert_eq!(got(&mut pool, "young", &[]), given);
        pool.set("old", asks(&old, 1, &first));
        let words = got(&mut pool, "old", &[]);
        assert!(words.contains("VmAccess other/young"), "{first}, {meanwhile}: {words}");
        assert_eq!(got(&mut pool, "young", &[]), given);
    }
}

#[test]
fn a_slash_at_the_end_makes_no_other_path() {
    let http = |path: &str| json!({"http": {"host": "shared.example.org", "path": path}});
    let mut pool = RoutePool::default();
    pool.set("a", Some(claims(&owner("team-a", "a"), 1, &[http("/x")], None)));
    pool.set("b", Some(claims(&owner("team-a", "b"), 2, &[http("/x/")], None)));
    assert_eq!(got(&mut pool, "a", &[]), "websecure");
    assert!(got(&mut pool, "b", &[]).starts_with("HostInUse"));
}

/// Everybody who may write routes of the gateway can put the UID of an object of another namespace there.
#[test]
fn an_object_of_another_namespace_with_the_same_uid_moves_nobody() {
    let mut pool = pool(&[("web", 1, ANY(), Some("vnc-0"))]);
    let mut forged = live(&owner("team", "web"), "vnc-1");
    forged.namespace = "other".to_owned();
    assert_eq!(got(&mut pool, "web", std::slice::from_ref(&forged)), "vnc-0");
    let mut wishes = RoutePool::default();
    wishes.set("web", Some(claims(&owner("team", "web"), 1, &[wish("vnc-1")], None)));
    assert!(got(&mut wishes, "web", &[forged]).contains("a route that is being removed has it"));
}

/// A thousand objects that wait must not be looked at again for each one more.
#[test]
fn only_what_gives_something_up_is_a_reason_to_look_at_those_who_wait() {
    let web = owner("team", "web");
    let mut pool = RoutePool::default();
    let asks = |rule: Value, held| Some(claims(&web, 1, &[rule], held));
    assert_eq!(pool.set("web", asks(ANY(), None)), None, "it is new");
    assert_eq!(pool.set("web", asks(ANY(), Some(("edge", "vnc-0")))), None);
    assert!(pool.set("web", asks(wish("vnc-1"), None)).is_some());
    assert!(pool.set("web", None).is_some());
    assert_eq!(pool.set("web", None), None);
}

/// Has the pool say what it says of objects, as a reconcile does, and returns those of them that wait.
fn waiting(pool: &mut RoutePool, keys: &[&str], live: &[LiveEntryPoint]) -> BTreeMap<String, WaitingRoutes> {
    let gateways = gateways();
    let mut waiting = BTreeMap::new();
    for key in keys {
        let grants = pool.grants(key, &gateways, live, &BTreeSet::new());
        let refused = grants
            .into_iter()
            .filter_map(|(route, grant)| Some((route, grant.err()?)));
        let routes: WaitingRoutes = refused.filter(|(_, problem)| problem.waits_for_another()).collect();
        if !routes.is_empty() {
            waiting.insert((*key).to_owned(), routes);
        }
    }
    waiting
}

/// Each of them would look at all claims, for nothing.
#[test]
fn what_is_released_wakes_those_alone_that_get_it() {
    let mut pool = pool(&[
        ("has-0", 1, ANY(), None),
        ("has-1", 2, ANY(), None),
        ("next", 3, ANY(), None),
        ("after", 4, ANY(), None),
        ("last", 5, ANY(), None),
    ]);
    let host = |name: &str| json!({"tls": {"host": format!("{name}.team.example.org")}});
    for (key, created, rule) in [
        ("host", 6, host("a")),
        ("same-host", 7, host("a")),
        ("other-host", 8, host("b")),
        ("same-other-host", 9, host("b")),
    ] {
        pool.set(key, Some(claims(&owner("team", key), created, &[rule], None)));
    }
    let keys: Vec<String> = pool.keys().map(str::to_owned).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let all = waiting(&mut pool, &keys, &[]);
    assert_eq!(
        all.keys().collect::<Vec<_>>(),
        ["after", "last", "next", "same-host", "same-other-host"]
    );
    let in_use = live(&owner("team", "has-1"), "vnc-1");
    let released = pool.set("has-1", None).unwrap();
    // Its object is still there, and one more wakes nobody either.
    let live = [in_use];
    let none: [&str; 0] = [];
    assert_eq!(pool.concerned(&all, &released, &gateways(), &live), none);
    let gone = Released::of_live("edge");
    assert_eq!(pool.concerned(&all, &gone, &gateways(), &[]), ["next"]);
    assert_eq!(pool.concerned(&all, &Released::of_live("kong"), &gateways(), &[]), none);
    let released = pool.set("host", None).unwrap();
    assert_eq!(pool.concerned(&all, &released, &gateways(), &live), ["same-host"]);
}

/// What is said of them has the name of who has it.
#[test]
fn those_to_whom_another_holder_is_to_be_told_are_woken_too() {
    let mut pool = pool(&[
        ("has", 1, wish("vnc-0"), None),
        ("next", 2, wish("vnc-0"), None),
        ("after", 3, wish("vnc-0"), None),
        ("any", 4, ANY(), None),
        ("too-many", 5, ANY(), None),
    ]);
    let all = waiting(&mut pool, &["has", "next", "after", "any", "too-many"], &[]);
    assert_eq!(all.keys().collect::<Vec<_>>(), ["after", "next", "too-many"]);
    let released = pool.set("has", None).unwrap();
    assert_eq!(pool.concerned(&all, &released, &gateways(), &[]), ["after", "next"]);
}

#[test]
fn an_entry_point_knows_who_has_it() {
    let mut pool = pool(&[
        ("given", 1, ANY(), None),
        ("by-status", 2, wish("vnc-1"), Some("vnc-1")),
        ("none", 3, ANY(), None),
    ]);
    assert_eq!(got(&mut pool, "given", &[]), "vnc-0");
    assert_eq!(pool.holders("edge", "vnc-0").collect::<Vec<_>>(), ["given"]);
    assert_eq!(pool.holders("edge", "vnc-1").collect::<Vec<_>>(), ["by-status"]);
    assert_eq!(pool.holders("kong", "vnc-0").count(), 0);
}

/// What live objects of another gateway use is known.
#[test]
fn a_gateway_that_is_not_listed_holds_back_its_own_routes_alone() {
    let mut pool = RoutePool::default();
    let rules = [ANY(), json!({"gateway": "kong", "tcp": {}})];
    pool.set("web", Some(claims(&owner("team", "web"), 1, &rules, None)));
    let gateways = gateways();
    let unlisted = BTreeSet::from(["kong".to_owned()]);
    let grants = pool.grants("web", &gateways, &[], &unlisted);
    assert_eq!(grants["r"].as_ref().unwrap().entry_point.name, "vnc-0");
    assert!(matches!(grants["r1"], Err(RouteProblem::NotListed { .. })));
    assert_eq!(pool.holders("kong", "vnc-0").count(), 0, "nothing of it is given out");
    // What was given before stays given while it is listed again.
    assert!(pool.grants("web", &gateways, &[], &BTreeSet::new())["r1"].is_ok());
    assert!(pool.grants("web", &gateways, &[], &unlisted)["r1"].is_err());
    assert_eq!(pool.holders("kong", "vnc-0").collect::<Vec<_>>(), ["web"]);
}

/// A pool of four, of which a namespace gets two.
fn limited() -> RouteGateways {
    let ports: Vec<_> = (0..4)
        .map(|index| json!({"name": format!("vnc-{index}"), "port": 5900 + index}))
        .collect();
    let gateway = json!([{
        "name": "edge", "traefik": {"namespace": "n", "service": "s"}, "entryPoints": ports, "entryPointsPerNamespace": 2,
    }]);
    let gateways = RouteGateways::from(serde_json::from_value::<Vec<RouteGateway>>(gateway).unwrap());
    gateways.check().unwrap();
    gateways
}

fn got_of(pool: &mut RoutePool, key: &str, gateways: &RouteGateways) -> String {
    let grant = pool.grants(key, gateways, &[], &BTreeSet::new()).remove("r").unwrap();
    grant.map_or_else(
        |problem| format!("{:?}: {problem}", problem.reason()),
        |grant| grant.entry_point.name.clone(),
    )
}

#[test]
fn a_namespace_gets_no_more_than_its_limit_and_leaves_the_rest_to_others() {
    let mut pool = RoutePool::default();
    // Of the greedy namespace, all are older, and two name the entry points that are left.
    for (key, created, rule) in [
        ("g1", 1, ANY()),
        ("g2", 2, ANY()),
        ("g3", 3, wish("vnc-2")),
        ("g4", 4, wish("vnc-3")),
        ("g5", 5, ANY()),
    ] {
        pool.set(key, Some(claims(&owner("greedy", key), created, &[rule], None)));
    }
    for (key, created) in [("a", 6), ("b", 7), ("c", 8)] {
        pool.set(key, Some(claims(&owner(key, key), created, &[ANY()], None)));
    }
    let gateways = limited();
    let mut got = |key: &str| got_of(&mut pool, key, &gateways);
    assert_eq!(got("g1"), "vnc-0");
    assert_eq!(got("g2"), "vnc-1");
    for key in ["g3", "g4", "g5"] {
        let words = got(key);
        assert!(
            words.starts_with(
                "EntryPointLimitReached: the routes of this namespace have 2 entry points of the gateway edge"
            ),
            "{words}"
        );
    }
    assert_eq!(got("a"), "vnc-2");
    assert_eq!(got("b"), "vnc-3");
    assert!(got("c").starts_with("EntryPointsUsedUp"));
}

/// A limit that comes later cuts nobody off, and a route that goes makes room.
#[test]
fn what_a_namespace_has_above_its_limit_it_keeps() {
    let mut pool = RoutePool::default();
    for index in 0..3 {
        let key = format!("vm{index}");
        let held = format!("vnc-{index}");
        let has = claims(&owner("team", &key), index, &[ANY()], Some(("edge", &held)));
        pool.set(&key, Some(has));
    }
    pool.set("more", Some(claims(&owner("team", "more"), 9, &[ANY()], None)));
    let gateways = limited();
    for index in 0..3 {
        assert_eq!(
            got_of(&mut pool, &format!("vm{index}"), &gateways),
            format!("vnc-{index}")
        );
    }
    assert!(got_of(&mut pool, "more", &gateways).starts_with("EntryPointLimitReached"));
    let mut all = BTreeMap::new();
    let refused = pool
        .grants("more", &gateways, &[], &BTreeSet::new())
        .remove("r")
        .unwrap();
    all.insert(
        "more".to_owned(),
        WaitingRoutes::from([("r".to_owned(), refused.unwrap_err())]),
    );
    let released = pool.set("vm0", None).unwrap();
    assert!(
        pool.concerned(&all, &released, &gateways, &[]).is_empty(),
        "two are left"
    );
    let released = pool.set("vm1", None).unwrap();
    assert_eq!(pool.concerned(&all, &released, &gateways, &[]), ["more"]);
    assert_eq!(got_of(&mut pool, "more", &gateways), "vnc-0");
}

/// All of a thousand objects, each for the first time, as after a start.
#[test]
fn a_thousand_routes_are_given_out_without_double_use() {
    let ports: Vec<_> = (0..1000)
        .map(|index| json!({"name": format!("p{index}"), "port": 10000 + index}))
        .collect();
    let gateway = json!([{"name": "edge", "traefik": {"namespace": "n", "service": "s"}, "entryPoints": ports}]);
    let gateways = RouteGateways::from(serde_json::from_value::<Vec<RouteGateway>>(gateway).unwrap());
    let mut pool = RoutePool::default();
    for index in 0..200 {
        let name = format!("vm-{index}");
        pool.set(&name, Some(claims(&owner("team", &name), index, &[ANY()], None)));
    }
    let mut seen = BTreeSet::new();
    for index in (0..200).rev() {
        let grant = pool
            .grants(&format!("vm-{index}"), &gateways, &[], &BTreeSet::new())
            .remove("r")
            .unwrap()
            .unwrap();
        assert!(
            seen.insert(grant.entry_point.name.clone()),
            "{}",
            grant.entry_point.name
        );
    }
}
