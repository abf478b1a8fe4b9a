//! What Traefik's own API says. Its objects have no status, so nothing else tells whether it took a route, or who else uses an entry point.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{gateway::EntryPoint, observed::Lack, pool::listed, reason::RoutesReason};

/// How long Traefik may take to read an object before its silence means something. It collects changes for 2 s by default.
const READ_TIMEOUT_SECONDS: i64 = 15;

/// What the API of a Traefik has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraefikInspection {
    /// When it was asked.
    pub at: Timestamp,
    /// The names of its entry points, and whether each is a default one.
    entry_points: Vec<(String, bool)>,
    /// By their names: every route looks for its own, and there are as many as routes.
    routers: Vec<Router>,
    /// Those that make a difference to a plain TCP route, by entry point: HTTP without TLS is looked at after it, so it never comes to its
    /// turn.
    users: BTreeMap<String, Vec<usize>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Router {
    /// Such as `team-a-web-ssh-1a2b3c4d-673acf455cb2dab0b43a@kubernetescrd`.
    name: String,
    entry_points: Vec<String>,
    is_http: bool,
    has_tls: bool,
    errors: Vec<String>,
}

impl TraefikInspection {
    /// Reads the answers of `/api/entrypoints`, `/api/tcp/routers` and `/api/http/routers`.
    #[must_use]
    pub fn parse(at: Timestamp, entry_points: &Value, tcp_routers: &Value, http_routers: &Value) -> Self {
        let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let entry_point = |value: &Value| {
            let is_default = value.get("asDefault").and_then(Value::as_bool).unwrap_or_default();
            (text(value, "name"), is_default)
        };
        let tcp = items(tcp_routers).into_iter().map(|value| Router::parse(&value, false));
        let http = items(http_routers).into_iter().map(|value| Router::parse(&value, true));
        let mut routers: Vec<_> = tcp.chain(http).collect();
        routers.sort_by(|one, other| one.name.cmp(&other.name));
        let mut users: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let differing = routers.iter().enumerate();
        for (index, router) in differing.filter(|(_, router)| router.has_tls || !router.is_http) {
            for entry_point in &router.entry_points {
                users.entry(entry_point.clone()).or_default().push(index);
            }
        }
        Self {
            at,
            entry_points: items(entry_points).iter().map(entry_point).collect(),
            routers,
            users,
        }
    }

    /// Its entry points alone. What is on them changes with every route, and [`lack`](Self::lack) tells.
    #[must_use]
    pub fn without_routers(&self) -> Self {
        Self {
            at: self.at,
            entry_points: self.entry_points.clone(),
            routers: Vec::new(),
            users: BTreeMap::new(),
        }
    }

    /// What it says of a route that was made at this time, and of its entry point where this is for it alone.
    #[must_use]
    pub fn says(
        &self,
        entry_point: Option<&EntryPoint>,
        namespace: &str,
        name: &str,
        made: Option<Timestamp>,
    ) -> Option<Lack> {
        let lack = entry_point.and_then(|entry_point| self.lack(entry_point, namespace, name));
        lack.or_else(|| self.answer(namespace, name, made))
    }

    /// What is wrong with an entry point of the pool, whose route has an object `name` in `namespace`.
    #[must_use]
    pub fn lack(&self, entry_point: &EntryPoint, namespace: &str, name: &str) -> Option<Lack> {
        let names = self.entry_points.iter().map(|(name, _)| name.as_str());
        if !names.clone().any(|name| name == entry_point.name) {
            return Some((
                RoutesReason::EntryPointNotFound,
                format!(
                    "Traefik has no entry point {}; it has {}. Add it there, or correct the controller's configuration",
                    entry_point.name,
                    listed(names)
                ),
            ));
        }
        let (own, others): (Vec<_>, Vec<_>) = self
            .users(&entry_point.name)
            .partition(|router| router.is_of(namespace, name));
        // Before Traefik has read the route, it may still have a former one there.
        own.first()?;
        let other = others.iter().find(|router| router.has_tls).or_else(|| others.first())?;
        let what = if other.has_tls {
            "has TLS there, so that clients whose server speaks first hang"
        } else {
            "takes its connections as well"
        };
        Some((
            RoutesReason::EntryPointShared,
            format!(
                "another route of Traefik uses the entry point {}: {} {what}. Name entryPoints in that route; with asDefault on the entry \
                 points for HTTP, routes that name none keep off this one",
                entry_point.name, other.name
            ),
        ))
    }

    /// What Traefik says of the object of a route that was made at this time.
    #[must_use]
    pub fn answer(&self, namespace: &str, name: &str, made: Option<Timestamp>) -> Option<Lack> {
        let mut routers = self.routers_of(namespace, name).peekable();
        if routers.peek().is_none() {
            let is_due = made.is_some_and(|made| self.at.as_second() - made.as_second() > READ_TIMEOUT_SECONDS);
            return is_due.then(|| {
                (
                    RoutesReason::NotWatched,
                    "Traefik does not know it. It may watch other namespaces, or a class alone (ingressClass of the gateway in the \
                     controller's configuration)"
                        .to_owned(),
                )
            });
        }
        let error = routers.flat_map(|router| &router.errors).next()?;
        Some((
            RoutesReason::RefusedByGateway,
            format!("Traefik does not take it: {}", shortened(error)),
        ))
    }

    /// Its entry points, and whether each is a default one.
    pub(super) fn entry_points(&self) -> impl Iterator<Item = (&str, bool)> {
        self.entry_points
            .iter()
            .map(|(name, is_default)| (name.as_str(), *is_default))
    }

    /// The names of the routers that are in the way of a plain TCP route on an entry point: those with TLS, and those of TCP.
    pub(super) fn routers_on(&self, entry_point: &str) -> impl Iterator<Item = (&str, bool)> {
        self.users(entry_point)
            .map(|router| (router.name.as_str(), router.has_tls))
    }

    fn users(&self, entry_point: &str) -> impl Iterator<Item = &Router> {
        let indices = self.users.get(entry_point).into_iter().flatten();
        indices.filter_map(|index| self.routers.get(*index))
    }

    /// Those that are made of the object of this name.
    fn routers_of(&self, namespace: &str, name: &str) -> impl Iterator<Item = &Router> {
        let begin = |separator: char| format!("{namespace}{separator}{name}");
        let of_begin = |begin: String| {
            let start = self.routers.partition_point(|router| router.name < begin);
            let rest = self.routers.iter().skip(start);
            rest.take_while(move |router| router.name.starts_with(&begin))
        };
        let named = ['-', '_'].map(begin).into_iter().flat_map(of_begin);
        named.filter(move |router| router.is_of(namespace, name))
    }
}

impl Router {
    fn parse(value: &Value, is_http: bool) -> Self {
        let texts = |key: &str| -> Vec<String> {
            let list = value.get(key).and_then(Value::as_array);
            let texts = list.into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        // What it uses is told apart from what it asked for, which may be nothing.
        let using = texts("using");
        Self {
            name: text(value, "name"),
            entry_points: if using.is_empty() { texts("entryPoints") } else { using },
            is_http,
            has_tls: value.get("tls").is_some_and(Value::is_object),
            errors: texts("error"),
        }
    }

    /// Whether it is made of the object of this name.
    ///
    /// Traefik calls the routers of an object `<namespace>-<name>-<hash of the rule>@kubernetescrd` (`makeServiceKey` in its
    /// `pkg/provider/kubernetes/crd`), with `_` for the first `-` where `safeNaming` is set. Our names end in a hash, so none is the
    /// beginning of another.
    fn is_of(&self, namespace: &str, name: &str) -> bool {
        let separated = |text: &str| text.starts_with(['-', '_']);
        let rest = self.name.strip_prefix(namespace).filter(|rest| separated(rest));
        let rest = rest
            .and_then(|rest| rest.get(1..))
            .and_then(|rest| rest.strip_prefix(name));
        rest.is_some_and(separated)
    }
}

/// The longest error of Traefik that is passed on; it quotes what tenants wrote.
const ERROR_LENGTH_LIMIT: usize = 300;

fn shortened(error: &str) -> String {
    error.chars().take(ERROR_LENGTH_LIMIT).collect()
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NAME: &str = "web-ssh-44f500c0";

    fn inspected(tcp: &Value, http: &Value) -> TraefikInspection {
        let entry_points =
            json!([{"name": "vnc-0", "address": ":5900"}, {"name": "web", "address": ":8000", "asDefault": true}]);
        TraefikInspection::parse(Timestamp::from_second(100).unwrap(), &entry_points, tcp, http)
    }

    fn entry_point(name: &str) -> EntryPoint {
        EntryPoint {
            name: name.to_owned(),
            port: 5900,
            listen_port: None,
        }
    }

    fn own(error: &Value) -> Value {
        let name = format!("team-a-{NAME}-673acf455cb2dab0b43a@kubernetescrd");
        json!({"name": name, "status": "enabled", "using": ["vnc-0"], "entryPoints": ["vnc-0"], "error": error})
    }

    fn lack(inspection: &TraefikInspection, name: &str) -> String {
        let lack = inspection.lack(&entry_point(name), "team-a", NAME);
        lack.map_or_else(String::new, |(reason, message)| format!("{reason:?}: {message}"))
    }

    #[test]
    fn an_entry_point_with_its_route_alone_is_good() {
        let good = inspected(
            &json!([own(&json!(null))]),
            &json!([{"name": "x@y", "using": ["web"], "tls": {}}]),
        );
        assert_eq!(lack(&good, "vnc-0"), "");
        assert_eq!(good.without_routers(), inspected(&json!([]), &json!([])));
        assert_eq!(good.answer("team-a", NAME, Timestamp::from_second(0).ok()), None);
    }

    #[test]
    fn an_entry_point_that_is_missing_or_shared_is_told() {
        let inspection = inspected(&json!([own(&json!(null))]), &json!([]));
        assert!(
            lack(&inspection, "vnc-9")
                .starts_with("EntryPointNotFound: Traefik has no entry point vnc-9; it has vnc-0, web")
        );
        // A route that names none uses all.
        let stray =
            json!([{"name": "other-app@kubernetescrd", "using": ["vnc-0", "web"], "tls": {"options": "default"}}]);
        let shared = inspected(&json!([own(&json!(null))]), &stray);
        let words = lack(&shared, "vnc-0");
        assert!(
            words.starts_with("EntryPointShared") && words.contains("other-app@kubernetescrd has TLS there"),
            "{words}"
        );
        // Without TLS, HTTP comes after TCP, and nobody notices.
        let plain = json!([{"name": "other-app@kubernetescrd", "using": ["vnc-0", "web"]}]);
        assert_eq!(lack(&inspected(&json!([own(&json!(null))]), &plain), "vnc-0"), "");
        let second = json!([own(&json!(null)), {"name": "other-tcp@kubernetescrd", "using": ["vnc-0"]}]);
        assert!(
            lack(&inspected(&second, &json!([])), "vnc-0").contains("other-tcp@kubernetescrd takes its connections")
        );
        // It has not read the route yet, and knows the one that had the entry point before.
        let former = json!([{"name": "other-tcp@kubernetescrd", "using": ["vnc-0"]}]);
        assert_eq!(lack(&inspected(&former, &json!([])), "vnc-0"), "");
    }

    #[test]
    fn what_traefik_refuses_or_does_not_read_is_told() {
        let error = json!(["the service \"x\" does not exist"]);
        let (reason, message) = inspected(&json!([own(&error)]), &json!([]))
            .answer("team-a", NAME, None)
            .unwrap();
        assert_eq!(reason, RoutesReason::RefusedByGateway);
        assert!(message.contains("does not exist"), "{message}");
        let silent = inspected(&json!([]), &json!([]));
        let made = |second| Timestamp::from_second(second).ok();
        assert_eq!(
            silent.answer("team-a", NAME, made(95)),
            None,
            "it may not have read it yet"
        );
        assert_eq!(
            silent.answer("team-a", NAME, made(10)).unwrap().0,
            RoutesReason::NotWatched
        );
    }

    #[test]
    fn routers_are_found_by_either_way_of_naming() {
        let named = |name: &str| json!([{"name": name, "using": ["vnc-0"], "error": ["broken"]}]);
        let is_own = |name: &str| {
            inspected(&named(name), &json!([]))
                .answer("team-a", NAME, None)
                .is_some()
        };
        assert!(is_own(&format!("team-a-{NAME}-673acf455cb2dab0b43a@kubernetescrd")));
        assert!(is_own(&format!("team-a_{NAME}-673acf455cb2dab0b43a@kubernetescrd")));
        assert!(!is_own(&format!("team-b-{NAME}-673acf455cb2dab0b43a@kubernetescrd")));
        assert!(!is_own(&format!("team-a-{NAME}1-673acf455cb2dab0b43a@kubernetescrd")));
        assert!(!is_own("team-a"));
    }

    #[test]
    fn a_route_finds_its_router_among_many() {
        let mut all: Vec<_> = (0..500)
            .map(|index| json!({"name": format!("team-a-vm{index}-ssh-44f500c0-x@kubernetescrd"), "using": ["vnc-1"]}))
            .collect();
        all.insert(250, own(&json!(["broken"])));
        all.insert(
            10,
            json!({"name": "team-a_web-other-44f500c0-x@kubernetescrd", "using": ["vnc-0"]}),
        );
        let many = inspected(&json!(all), &json!([]));
        assert_eq!(
            many.answer("team-a", NAME, None).unwrap().0,
            RoutesReason::RefusedByGateway
        );
        let (reason, message) = many.says(Some(&entry_point("vnc-0")), "team-a", NAME, None).unwrap();
        assert_eq!(reason, RoutesReason::EntryPointShared);
        assert!(message.contains("team-a_web-other-44f500c0"), "{message}");
        assert_eq!(many.says(None, "team-a", "vm7-ssh-44f500c0", None), None);
        assert_eq!(many.says(None, "team-b", NAME, None), None);
    }

    #[test]
    fn an_error_of_traefik_is_cut() {
        let long = json!(["x".repeat(10_000)]);
        let (_, message) = inspected(&json!([own(&long)]), &json!([]))
            .answer("team-a", NAME, None)
            .unwrap();
        assert!(message.len() < 400, "{}", message.len());
    }
}
