//! Reads what surrounds the gateways of the configuration. What is wrong with it, `novasphere_core::routes::doctor` says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    authorization::v1::{
        ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
        SubjectAccessReviewSpec,
    },
    core::v1::{Node, Pod, Service},
    networking::v1::IngressClass,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    core::GroupVersionKind,
};
use novasphere_core::{
    node,
    routes::{
        doctor::{GatewayFinding, GatewayLook, GatewaySurroundings, OtherRoute, ReadOutcome, examine},
        gateway::{AddressSource, GatewayKind, RouteGateway, RouteGateways},
        inspection::TraefikInspection,
        object::{GATEWAY_API_GROUP, RouteKind, ServedRouteApis},
    },
};
use novasphere_runtime::{metrics::Metrics, optional_api::OptionalApis, shutdown::Shutdown};
use serde_json::Value;
use tokio::time::timeout;

use super::{inspect::ask, stores::served};
use crate::{
    rbac::{GATEWAY_RULES, GatewayRules},
    watches::OPTIONAL_APIS,
};

/// How many Pods of a gateway are looked at. All are started alike.
const PODS_LIMIT: u32 = 20;

/// How many routes of others are read, of each kind.
const OTHERS_LIMIT: usize = 5000;

/// How many of them come with one answer.
const PAGE_LIMIT: u32 = 500;

/// How long the API of a gateway may take to answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a process may take that is asked to stop; nothing here does.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// What the doctor is told beside the configuration.
#[derive(Clone, Debug, Default)]
pub struct DoctorOptions {
    /// The namespace that the controller watches; all when there is none.
    pub watch_namespace: Option<String>,
    /// The service account of the controller, as namespace and name, whose rights are looked at; those of the client where there is none.
    pub account: Option<(String, String)>,
}

/// Everything that is wrong with the gateways of a configuration, looked at once.
///
/// # Errors
///
/// When the cluster does not answer.
pub async fn examine_gateways(
    client: &Client,
    gateways: &RouteGateways,
    options: &DoctorOptions,
) -> Result<Vec<GatewayFinding>, kube::Error> {
    let shutdown = Shutdown::new(SHUTDOWN_GRACE);
    let apis = OptionalApis::watch(client.clone(), &OPTIONAL_APIS, Metrics::default(), shutdown.clone()).await?;
    shutdown.trigger();
    let apis = served(&apis);
    let mut looks = BTreeMap::new();
    for gateway in gateways.all() {
        let mut found = look(client, gateway).await;
        found.api = inspected(gateway).await;
        found.others = others(client, gateway, &apis).await;
        found.missing_rights = reading(
            missing_rights(client, gateway, options, &apis)
                .await
                .map_err(|error| told(&error)),
        );
        looks.insert(gateway.name.clone(), found);
    }
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await;
    // Without them, the address of a Service of type NodePort is not known.
    let nodes = nodes.map(|list| list.items).unwrap_or_default();
    let surroundings = GatewaySurroundings {
        apis: &apis,
        looks: &looks,
        node_addresses: &node::addresses(nodes.iter()),
    };
    Ok(examine(gateways, &surroundings))
}

/// What surrounds one gateway, without what others wrote, its own API, and rights.
pub(super) async fn look(client: &Client, gateway: &RouteGateway) -> GatewayLook {
    let mut found = GatewayLook::default();
    let Some(source) = gateway.address_source() else {
        return found;
    };
    found.source = match &source {
        AddressSource::Service(namespace, name) => {
            let services = Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<Service>(&()));
            get(&services, name).await
        }
        AddressSource::Gateway(namespace, name) => {
            let resource = of_gateway_api("Gateway", "gateways");
            get(&Api::namespaced_with(client.clone(), namespace, &resource), name).await
        }
    };
    if let (AddressSource::Service(namespace, _), ReadOutcome::Found(service)) = (&source, &found.source) {
        found.pods = pods(client, namespace, service).await;
    }
    found.class = class(client, gateway, &found.source).await;
    found
}

/// The Pods that a Service selects and that are not about to go.
async fn pods(client: &Client, namespace: &str, service: &Value) -> ReadOutcome<Vec<Value>> {
    let Some(selector) = service.pointer("/spec/selector").and_then(Value::as_object) else {
        return ReadOutcome::NotAsked;
    };
    let labels: Vec<_> = selector
        .iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    let params = ListParams::default().labels(&labels.join(",")).limit(PODS_LIMIT);
    let pods: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<Pod>(&()));
    let list = match pods.list(&params).await {
        Ok(list) => list,
        Err(error) => return ReadOutcome::Failed(told(&error)),
    };
    let stays = |pod: &DynamicObject| pod.metadata.deletion_timestamp.is_none();
    let pods: Vec<_> = list.items.into_iter().filter(stays).filter_map(value).collect();
    if pods.is_empty() {
        ReadOutcome::Missing
    } else {
        ReadOutcome::Found(pods)
    }
}

async fn class(client: &Client, gateway: &RouteGateway, source: &ReadOutcome<Value>) -> ReadOutcome<Value> {
    match gateway.kind() {
        Some(GatewayKind::Kong(kong)) => {
            let resource = ApiResource::erase::<IngressClass>(&());
            get(&Api::all_with(client.clone(), &resource), &kong.ingress_class).await
        }
        Some(GatewayKind::GatewayApi(_)) => {
            let named = source
                .found()
                .and_then(|gateway| gateway.pointer("/spec/gatewayClassName")?.as_str());
            let Some(named) = named else {
                return ReadOutcome::NotAsked;
            };
            let resource = of_gateway_api("GatewayClass", "gatewayclasses");
            get(&Api::all_with(client.clone(), &resource), named).await
        }
        Some(GatewayKind::Traefik(_)) | None => ReadOutcome::NotAsked,
    }
}

/// What the API of a Traefik says, where the configuration has one.
async fn inspected(gateway: &RouteGateway) -> ReadOutcome<Arc<TraefikInspection>> {
    let Some(GatewayKind::Traefik(traefik)) = gateway.kind() else {
        return ReadOutcome::NotAsked;
    };
    let Some(url) = &traefik.api_url else {
        return ReadOutcome::NotAsked;
    };
    match timeout(ANSWER_TIMEOUT, ask(url, Timestamp::now())).await {
        Ok(answer) => reading(answer.map(Arc::new)),
        Err(_) => ReadOutcome::Failed(format!("no answer from {url} within {ANSWER_TIMEOUT:?}")),
    }
}

/// Routes of Traefik that novasphere did not make.
async fn others(client: &Client, gateway: &RouteGateway, apis: &ServedRouteApis) -> ReadOutcome<Vec<OtherRoute>> {
    if !matches!(gateway.kind(), Some(GatewayKind::Traefik(_))) {
        return ReadOutcome::NotAsked;
    }
    let mut found = Vec::new();
    for kind in [RouteKind::IngressRouteTcp, RouteKind::IngressRoute] {
        let Some(api) = apis.get(&kind) else { continue };
        let gvk = GroupVersionKind::gvk(api.group, api.version, kind.kind());
        let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural());
        match all_of(&Api::all_with(client.clone(), &resource)).await {
            Ok(objects) => found.extend(objects.iter().filter_map(|object| OtherRoute::of(kind, object))),
            Err(error) => return ReadOutcome::Failed(told(&error)),
        }
    }
    ReadOutcome::Found(found)
}

/// All objects, page by page, up to a limit.
async fn all_of(api: &Api<DynamicObject>) -> Result<Vec<Value>, kube::Error> {
    let mut found: Vec<Value> = Vec::new();
    let mut params = ListParams::default().limit(PAGE_LIMIT);
    loop {
        let list = api.list(&params).await?;
        let next = list.metadata.continue_.clone().filter(|token| !token.is_empty());
        found.extend(list.items.into_iter().filter_map(value));
        match next {
            Some(token) if found.len() < OTHERS_LIMIT => params = params.continue_token(&token),
            _ => return Ok(found),
        }
    }
}

/// What the controller may not do of what it needs for a gateway: `<verb> <resource>.<group>`.
async fn missing_rights(
    client: &Client,
    gateway: &RouteGateway,
    options: &DoctorOptions,
    apis: &ServedRouteApis,
) -> Result<Vec<String>, kube::Error> {
    let mut missing = Vec::new();
    for right in needed_rights(gateway, options.watch_namespace.as_deref(), apis) {
        if !is_allowed(client, &right, options).await? {
            let text = |part: &Option<String>| part.clone().unwrap_or_default();
            let group = right.group.as_deref().filter(|group| !group.is_empty());
            let group = group.map(|group| format!(".{group}")).unwrap_or_default();
            missing.push(format!("{} {}{group}", text(&right.verb), text(&right.resource)));
        }
    }
    Ok(missing)
}

/// The rights that the table gives for this kind of gateway, of the groups that the cluster serves.
fn needed_rights(
    gateway: &RouteGateway,
    watch_namespace: Option<&str>,
    apis: &ServedRouteApis,
) -> Vec<ResourceAttributes> {
    let Some(rules) = rules_of(gateway) else {
        return Vec::new();
    };
    let is_served = |group: &str| apis.values().any(|api| api.group == group);
    let mut rights = Vec::new();
    for rule in rules.rules.iter().filter(|rule| is_served(rule.group)) {
        for (resource, verb) in rule
            .resources
            .iter()
            .flat_map(|resource| rule.verbs.iter().map(move |verb| (resource, verb)))
        {
            rights.push(ResourceAttributes {
                group: Some(rule.group.to_owned()),
                resource: Some((*resource).to_owned()),
                verb: Some((*verb).to_owned()),
                namespace: watch_namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            });
        }
    }
    let (group, resources, _) = rules.address_source;
    let Some(AddressSource::Service(namespace, name) | AddressSource::Gateway(namespace, name)) =
        gateway.address_source()
    else {
        return rights;
    };
    for (resource, verb) in resources
        .iter()
        .flat_map(|resource| ["get", "list", "watch"].map(|verb| (resource, verb)))
    {
        rights.push(ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some((*resource).to_owned()),
            verb: Some(verb.to_owned()),
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            ..ResourceAttributes::default()
        });
    }
    rights
}

fn rules_of(gateway: &RouteGateway) -> Option<&'static GatewayRules> {
    let field = match gateway.kind()? {
        GatewayKind::Traefik(_) => "traefik",
        GatewayKind::Kong(_) => "kong",
        GatewayKind::GatewayApi(_) => "gatewayApi",
    };
    GATEWAY_RULES.iter().find(|rules| rules.field == field)
}

async fn is_allowed(client: &Client, right: &ResourceAttributes, options: &DoctorOptions) -> Result<bool, kube::Error> {
    let params = PostParams::default();
    let status = match &options.account {
        None => {
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(right.clone()),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            Api::all(client.clone()).create(&params, &review).await?.status
        }
        Some((namespace, name)) => {
            let review = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    user: Some(format!("system:serviceaccount:{namespace}:{name}")),
                    groups: Some(vec![
                        "system:serviceaccounts".to_owned(),
                        format!("system:serviceaccounts:{namespace}"),
                        "system:authenticated".to_owned(),
                    ]),
                    resource_attributes: Some(right.clone()),
                    ..SubjectAccessReviewSpec::default()
                },
                ..SubjectAccessReview::default()
            };
            Api::all(client.clone()).create(&params, &review).await?.status
        }
    };
    Ok(status.is_some_and(|status| status.allowed))
}

async fn get(api: &Api<DynamicObject>, name: &str) -> ReadOutcome<Value> {
    match api.get_opt(name).await {
        Ok(found) => found.and_then(value).map_or(ReadOutcome::Missing, ReadOutcome::Found),
        Err(error) => ReadOutcome::Failed(told(&error)),
    }
}

fn value(object: DynamicObject) -> Option<Value> {
    serde_json::to_value(object).ok()
}

fn of_gateway_api(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GATEWAY_API_GROUP, "v1", kind), plural)
}

fn reading<T>(answer: Result<T, String>) -> ReadOutcome<T> {
    match answer {
        Ok(found) => ReadOutcome::Found(found),
        Err(why) => ReadOutcome::Failed(why),
    }
}

/// The apiserver's own sentence, where it answered.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use novasphere_core::routes::object::RouteApi;
    use serde_json::json;

    use super::*;

    fn gateway(product: &str, settings: Value) -> RouteGateway {
        let mut gateway = json!({"name": "edge"});
        gateway[product] = settings;
        serde_json::from_value(gateway).unwrap()
    }

    #[test]
    fn the_rights_are_those_of_the_table_for_what_is_served() {
        let traefik = gateway("traefik", json!({"namespace": "kube-system", "service": "traefik"}));
        let api = RouteApi {
            group: "traefik.io",
            version: "v1alpha1",
        };
        let apis = ServedRouteApis::from([(RouteKind::IngressRouteTcp, api)]);
        let rights = needed_rights(&traefik, Some("team"), &apis);
        let text = |right: &ResourceAttributes| {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            format!(
                "{} {} in {} {}",
                part(&right.verb),
                part(&right.resource),
                part(&right.namespace),
                part(&right.name)
            )
        };
        let texts: Vec<_> = rights.iter().map(text).collect();
        assert!(
            texts.contains(&"create ingressroutetcps in team ".to_owned()),
            "{texts:?}"
        );
        assert!(
            texts.contains(&"watch services in kube-system traefik".to_owned()),
            "{texts:?}"
        );
        // Four kinds with six verbs each, of the one group that is served, and three for the Service.
        assert_eq!(rights.len(), 4 * 6 + 3, "{texts:?}");
        let none = needed_rights(&traefik, None, &ServedRouteApis::new());
        assert_eq!(none.len(), 3, "{none:?}");
    }

    /// A cluster with a Traefik, and a Kong that may not be looked at.
    fn answer(path: &str) -> (u16, Value) {
        let status = |code: u16, reason: &str| {
            (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason}),
            )
        };
        let pod = |name: &str, deleted: Value| json!({"metadata": {"name": name, "deletionTimestamp": deleted}});
        match path {
            "/api/v1/namespaces/kube-system/services/traefik" => (
                200,
                json!({
                    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "traefik"},
                    "spec": {"selector": {"app": "traefik"}},
                }),
            ),
            "/api/v1/namespaces/kube-system/pods" => (
                200,
                json!({
                    "apiVersion": "v1", "kind": "PodList", "metadata": {},
                    "items": [pod("stays", Value::Null), pod("goes", json!("2026-01-01T00:00:00Z"))],
                }),
            ),
            "/api/v1/namespaces/kong/services/proxy" => status(403, "Forbidden"),
            _ => status(404, "NotFound"),
        }
    }

    fn client() -> Client {
        let service = tower::service_fn(|request: Request<Body>| async move {
            let (status, body) = answer(request.uri().path());
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(body).unwrap())
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn what_surrounds_a_gateway_is_read_as_far_as_that_is_allowed() {
        let traefik = gateway("traefik", json!({"namespace": "kube-system", "service": "traefik"}));
        let found = look(&client(), &traefik).await;
        assert!(found.source.found().is_some());
        let pods = found.pods.found().unwrap();
        assert_eq!((pods.len(), &pods[0]["metadata"]["name"]), (1, &json!("stays")));
        assert_eq!(found.class, ReadOutcome::NotAsked);

        let kong = gateway("kong", json!({"namespace": "kong", "service": "proxy"}));
        let denied = look(&client(), &kong).await;
        assert!(
            matches!(&denied.source, ReadOutcome::Failed(why) if why.contains("Forbidden")),
            "{:?}",
            denied.source
        );
        assert_eq!(
            (denied.pods, denied.class),
            (ReadOutcome::NotAsked, ReadOutcome::Missing)
        );

        let absent = gateway("gatewayApi", json!({"namespace": "infra", "gateway": "consoles"}));
        assert_eq!(look(&client(), &absent).await.source, ReadOutcome::Missing);
    }

    #[test]
    fn every_product_has_its_rights() {
        for gateway in [
            gateway("traefik", json!({"namespace": "a", "service": "b"})),
            gateway("kong", json!({"namespace": "a", "service": "b"})),
            gateway("gatewayApi", json!({"namespace": "a", "gateway": "b"})),
        ] {
            assert!(rules_of(&gateway).is_some(), "{gateway:?}");
        }
    }
}
