//! What became of the routes of an object: `RoutesReady` and `status.routes`.

use kube::core::DynamicObject;
use novasphere_crd::RouteStatus;
use serde_json::Value;

use super::{
    object::{RouteKind, RouteObject},
    plan::PlannedRoute,
    reason::RoutesReason,
};
use crate::{
    child::ChildOutcome,
    condition::NewCondition,
    failure::{Failure, FailureKind},
};

/// The reason of Envoy Gateway for a Service behind which nobody answers (envoyproxy/gateway#6315, from 1.5 on). The route is in place: a
/// machine that is off has no endpoints, and the gateway leads to it once it runs.
const NO_READY_ENDPOINTS: &str = "EndpointsNotFound";

/// What was planned for the routes of an object, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct RoutesOutcome {
    /// In the order of the spec.
    pub planned: Vec<PlannedRoute>,
    /// What became of the objects of each, by the route's name.
    pub applied: Vec<AppliedRoute>,
    /// Why the controller's configuration may not be what its file says.
    pub note: Option<String>,
}

/// What became of the objects of a route.
#[derive(Clone, Debug)]
pub struct AppliedRoute {
    /// The route's name.
    pub name: String,
    /// The object that is the route itself, or why one of its objects could not be applied.
    pub outcome: ChildOutcome<DynamicObject>,
}

impl RoutesOutcome {
    /// `RoutesReady`.
    #[must_use]
    pub fn finding(&self, type_: &'static str) -> NewCondition {
        if self.planned.is_empty() {
            return NewCondition::new_true(type_, RoutesReason::NoRoutes, "No route is wanted.");
        }
        let problems: Vec<_> = self
            .planned
            .iter()
            .filter_map(|route| Some((route, self.problem(route)?)))
            .collect();
        let worst = problems
            .iter()
            .find(|(_, (reason, _))| !reason.is_progress())
            .or_else(|| problems.first());
        let Some((_, (reason, _))) = worst else {
            return NewCondition::new_true(type_, RoutesReason::AllReady, "All routes are set up.");
        };
        let mut messages: Vec<_> = problems
            .iter()
            .map(|(route, (_, message))| format!("Route {}: {}.", route.name, message.trim_end_matches('.')))
            .collect();
        let note = self.note.as_ref();
        messages.extend(
            note.map(|note| {
                format!("The gateways in use are those of before: the configuration cannot be used: {note}.")
            }),
        );
        NewCondition::new_false(type_, *reason, messages.join(" "))
    }

    /// `status.routes`. What stood there before holds until it was looked at: a start takes no address away, and a list of a gateway's objects
    /// nothing that a route has.
    #[must_use]
    pub fn details(&self, before: &[RouteStatus]) -> Vec<RouteStatus> {
        self.planned.iter().map(|route| self.detail(route, before)).collect()
    }

    fn detail(&self, route: &PlannedRoute, before: &[RouteStatus]) -> RouteStatus {
        let before = before.iter().find(|before| before.name == route.name);
        if let Some(before) = before.filter(|_| route.is_not_listed()) {
            return before.clone();
        }
        let address_before = || {
            let before = before?;
            let is_same = (&before.gateway, &before.entry_point, &before.host)
                == (&route.gateway, &route.entry_point, &route.host);
            before.address.clone().filter(|_| route.is_unread && is_same)
        };
        let address = route.address.clone().or_else(address_before);
        RouteStatus {
            name: route.name.clone(),
            gateway: route.gateway.clone(),
            entry_point: route.entry_point.clone(),
            host: route.host.clone(),
            address: address.filter(|_| self.is_carried(route)),
        }
    }

    /// What only a change of the spec mends, with the condition's reason.
    #[must_use]
    pub fn stalled(&self) -> Option<(&'static str, String)> {
        let refused = self.applied.iter().find_map(|applied| {
            let failure = applied
                .outcome
                .failure()
                .filter(|failure| failure.needs_spec_change())?;
            Some((&applied.name, of_failure(failure)))
        });
        let invalid = || {
            self.planned.iter().find_map(|route| {
                let problem = route.objects.as_ref().err()?;
                let is_invalid = problem.reason() == RoutesReason::InvalidSpec;
                is_invalid.then(|| (&route.name, (problem.reason(), problem.to_string())))
            })
        };
        let (name, (reason, message)) = refused.or_else(invalid)?;
        Some((reason.into(), format!("Route {name}: {message}")))
    }

    fn outcome(&self, name: &str) -> Option<&ChildOutcome<DynamicObject>> {
        let applied = self.applied.iter().find(|applied| applied.name == name)?;
        Some(&applied.outcome)
    }

    fn is_carried(&self, route: &PlannedRoute) -> bool {
        self.outcome(&route.name)
            .is_some_and(|outcome| outcome.applied().is_some())
    }

    fn problem(&self, route: &PlannedRoute) -> Option<(RoutesReason, String)> {
        let objects = match &route.objects {
            Ok(objects) => objects,
            Err(problem) => return Some((problem.reason(), problem.to_string())),
        };
        let live = match self.outcome(&route.name) {
            None | Some(ChildOutcome::NotTried) => {
                return Some((RoutesReason::ApiUnavailable, "it was not applied yet".to_owned()));
            }
            Some(ChildOutcome::Failed(failure)) => return Some(of_failure(failure)),
            Some(ChildOutcome::Applied(live)) => live,
        };
        let inspected = || {
            let made = live.metadata.creation_timestamp.as_ref().map(|time| time.0);
            let namespace = live.metadata.namespace.as_deref().unwrap_or_default();
            let inspection = route.inspection.as_ref()?;
            inspection.answer(namespace, objects.last()?.name(), made)
        };
        route
            .lack
            .clone()
            .or_else(inspected)
            .or_else(|| answer(objects.last()?, live))
    }
}

fn of_failure(failure: &Failure) -> (RoutesReason, String) {
    let said = &failure.message;
    match failure.kind {
        FailureKind::NotOwned => (RoutesReason::RouteTaken, said.clone()),
        FailureKind::Rejected | FailureKind::NodePortInUse(_) => (
            RoutesReason::Rejected,
            format!("it was refused: {said}. Change the entry in spec.routes as it says"),
        ),
        FailureKind::QuotaExceeded => (
            RoutesReason::QuotaExceeded,
            format!("a quota of the namespace is used up: {said}. Raise it, or make room; it is tried again"),
        ),
        FailureKind::Forbidden => (
            RoutesReason::Forbidden,
            format!(
                "the controller may not do this: {said}. Check its ClusterRole for gateways, and the namespaces that it is installed for"
            ),
        ),
        FailureKind::NamespaceTerminating => (RoutesReason::NamespaceTerminating, said.clone()),
        FailureKind::Unavailable => (
            RoutesReason::ApiUnavailable,
            format!("the API server did not do it: {said}. It is tried again"),
        ),
    }
}

/// What the gateway says of a route that it does not carry (yet). Traefik says nothing in its objects.
fn answer(route: &RouteObject, live: &DynamicObject) -> Option<(RoutesReason, String)> {
    match route.kind {
        RouteKind::TcpRoute | RouteKind::TlsRoute | RouteKind::HttpRoute => of_parents(live),
        RouteKind::TcpIngress | RouteKind::Ingress => {
            let ingress = live
                .data
                .pointer("/status/loadBalancer/ingress")
                .and_then(Value::as_array);
            ingress.is_none_or(Vec::is_empty).then(|| {
                (
                    RoutesReason::RoutePending,
                    format!(
                        "Kong has not written the status of {} {} yet. It does so when it runs, watches the class, and publishes its \
                         Service (publish-service)",
                        route.kind.kind(),
                        route.name()
                    ),
                )
            })
        }
        RouteKind::IngressRoute
        | RouteKind::IngressRouteTcp
        | RouteKind::Middleware
        | RouteKind::MiddlewareTcp
        | RouteKind::KongPlugin => None,
    }
}

/// What the implementation of a `Gateway` says: see `RouteParentStatus` of Gateway API. A condition of an older generation says nothing
/// about this one.
fn of_parents(live: &DynamicObject) -> Option<(RoutesReason, String)> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let parents = live.data.pointer("/status/parents").and_then(Value::as_array);
    let conditions = parents
        .into_iter()
        .flatten()
        .filter_map(|parent| parent.get("conditions")?.as_array())
        .flatten();
    let current: Vec<_> = conditions
        .filter(|condition| {
            let observed = condition.get("observedGeneration").and_then(Value::as_i64);
            observed.is_none() || observed >= live.metadata.generation
        })
        .collect();
    let refused = current.iter().find(|condition| {
        let type_ = text(condition, "type");
        ["Accepted", "ResolvedRefs", "Programmed"].contains(&type_.as_str())
            && text(condition, "status") == "False"
            && text(condition, "reason") != NO_READY_ENDPOINTS
    });
    if let Some(condition) = refused {
        return Some((
            RoutesReason::RefusedByGateway,
            format!(
                "the gateway does not take it: {}: {}",
                text(condition, "reason"),
                text(condition, "message")
            ),
        ));
    }
    let is_accepted = current
        .iter()
        .any(|condition| text(condition, "type") == "Accepted" && text(condition, "status") == "True");
    (!is_accepted).then(|| {
        (
            RoutesReason::RoutePending,
            "the gateway has not said anything about it yet. Its controller has to run, and its Gateway to allow routes of this namespace \
             (allowedRoutes)"
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests;
