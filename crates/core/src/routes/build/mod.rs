//! The objects of a route, for each product. Nothing here can fail but for an API that the cluster does not serve.

mod gateway_api;
mod kong;
mod traefik;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

pub use self::kong::service_annotations as kong_service_annotations;
use super::{
    Backend, KEY_ENTRY_POINT, KEY_ROUTE, KEY_ROUTE_GATEWAY, ValidatedRoute,
    claim::Want,
    gateway::GatewayKind,
    object::{RouteApi, RouteKind, RouteObject, ServedRouteApis},
    pool::RouteGrant,
    problem::RouteProblem,
};
use crate::{
    label::{Component, Owner},
    name,
};

/// What an object of a route is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The object whose route it is.
    pub owner: &'a Owner,
    /// The route.
    pub route: &'a ValidatedRoute,
    /// Where it leads.
    pub backend: &'a Backend,
    /// What it got of the gateway.
    pub grant: &'a RouteGrant<'a>,
}

/// The objects of a route, the route itself last.
///
/// # Errors
///
/// When the cluster does not serve the API of the gateway.
pub fn objects(parts: &Parts<'_>, apis: &ServedRouteApis) -> Result<Vec<RouteObject>, RouteProblem> {
    match parts.grant.gateway.kind() {
        Some(GatewayKind::Traefik(traefik)) => traefik::objects(parts, traefik, apis),
        Some(GatewayKind::Kong(kong)) => kong::objects(parts, kong, apis),
        Some(GatewayKind::GatewayApi(gateway)) => gateway_api::objects(parts, gateway, apis),
        None => Err(RouteProblem::NoGateway),
    }
}

/// How the definitions of a product come into the cluster.
#[must_use]
pub const fn install_advice(kind: GatewayKind<'_>) -> &'static str {
    match kind {
        GatewayKind::Traefik(_) => traefik::ADVICE,
        GatewayKind::Kong(_) => kong::ADVICE,
        GatewayKind::GatewayApi(_) => gateway_api::ADVICE,
    }
}

impl Parts<'_> {
    /// The API of a kind.
    fn api(&self, kind: RouteKind, apis: &ServedRouteApis, advice: &'static str) -> Result<RouteApi, RouteProblem> {
        apis.get(&kind).copied().ok_or_else(|| RouteProblem::NotInstalled {
            gateway: self.grant.gateway.name.clone(),
            kind: kind.kind(),
            advice,
        })
    }

    /// The name of the route's objects.
    ///
    /// It ends in a hash of namespace and UID: Traefik calls what it makes of an object `<namespace>-<name>`, so two namespaces could make
    /// up the same, and one would take the place of the other.
    fn name(&self) -> String {
        let (owner, route) = (self.owner, self.route.name.as_str());
        name::hashed_with(&[&owner.name, route], &[&owner.namespace, &owner.uid, &owner.kind]).to_string()
    }

    fn object(&self, kind: RouteKind, api: RouteApi, annotations: &[(&str, String)], data: Value) -> RouteObject {
        let mut labels = self.owner.labels(Component::Route);
        labels.insert(KEY_ROUTE.to_owned(), self.route.name.clone());
        labels.insert(KEY_ROUTE_GATEWAY.to_owned(), self.grant.gateway.name.clone());
        if matches!(Want::of(&self.route.rule), Some(Want::EntryPoint(_))) && !kind.is_helper() {
            labels.insert(KEY_ENTRY_POINT.to_owned(), self.grant.entry_point.name.clone());
        }
        let annotations: BTreeMap<_, _> = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        RouteObject {
            kind,
            api,
            metadata: ObjectMeta {
                name: Some(self.name()),
                namespace: Some(self.owner.namespace.clone()),
                labels: Some(labels),
                annotations: (!annotations.is_empty()).then_some(annotations),
                owner_references: Some(vec![self.owner.reference()]),
                ..ObjectMeta::default()
            },
            data,
        }
    }

    /// The ranges that are let in.
    fn source_ranges(&self) -> Vec<String> {
        let ranges = &self.route.rule.allowed_source_ranges;
        ranges.iter().map(ToString::to_string).collect()
    }
}
