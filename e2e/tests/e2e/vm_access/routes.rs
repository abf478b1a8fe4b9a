//! Routes on a control plane with the real definitions of Traefik, Kong and Gateway API: claims of two tenants over restarts and changes
//! of the configuration, and what the definitions say to everything that is written.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
};
use novasphere_controller::config::ControllerConfig;
use novasphere_crd::{RouteStatus, VmAccess};
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::{apply, as_person, change},
        audit,
        cluster::Cluster,
        condition::{message, wait_for},
        controller::{InProcess, config_for},
        event::wait_for_event,
        golden_routes::golden_routes,
        namespace::{Context, PodSecurity, with_namespace},
        vm_access::apply_vm_access,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(CASE, Needs::ControlPlane, definitions)]
}

const CASE: &str = "vm_access::routes::definitions";

/// What both tenants call their object.
const NAME: &str = "web";

/// What the gateways' Service and `Gateway` say of themselves.
const BALANCER: &str = "203.0.113.7";
const GATEWAY_ADDRESS: &str = "203.0.113.8";

/// Definitions that appear are noticed at once, and objects that could not be read before are tried again within 30 s (kube's back-off).
const APPEARED_TIMEOUT: Duration = Duration::from_mins(1);

async fn definitions() -> Result<()> {
    // Without the definitions of any gateway.
    let cluster = Cluster::control_plane("routes", &[])?;
    let story = async |one: &Context<'_>| {
        with_namespace(&cluster, CASE, PodSecurity::Restricted, async |two| {
            Box::pin(told(one, two)).await
        })
        .await
    };
    Box::pin(with_namespace(&cluster, CASE, PodSecurity::Restricted, story)).await
}

async fn told(one: &Context<'_>, two: &Context<'_>) -> Result<()> {
    gateway_service(one).await?;
    let account = Account::create(one.cluster, &one.namespace, "controller").await?;
    everywhere(one, &account).await?;
    let controller = start(one, &account).await?;
    definitions_appear(one, two).await.context("definitions that appear")?;
    let has = claims(one, two).await.context("claims")?;
    controller.kill();
    let controller = restarts(one, two, &account, &has).await.context("a restart")?;
    passed_on(one, two, &has).await.context("a route that is removed")?;
    reconfigured(&controller, one, two)
        .await
        .context("another configuration")?;
    gateway_api(one).await.context("Gateway API")?;
    accepted(one).context("what is written for each product")?;
    controller.stop().await
}

/// The Service of the gateway, with an address.
async fn gateway_service(context: &Context<'_>) -> Result<()> {
    let ports = json!([{"name": "vnc-0", "port": 5900}, {"name": "vnc-1", "port": 5901}]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "traefik"},
        "spec": {"type": "LoadBalancer", "selector": {"app": "traefik"}, "ports": ports},
    });
    apply::<Service>(&context.client, Some(&context.namespace), service, &as_person()).await?;
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": BALANCER}]}}});
    let services: Api<Service> = context.api();
    services
        .patch_status("traefik", &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

/// The controller is for both namespaces; which rights it needs is shown where the chart gives them.
async fn everywhere(context: &Context<'_>, account: &Account) -> Result<()> {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "e2e-routes"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": account.name(), "namespace": account.namespace}],
    });
    apply::<DynamicObject>(&context.client, None, binding, &as_person().force())
        .await
        .map(drop)
}

fn gateways(namespace: &str) -> Value {
    let pool = json!([{"name": "vnc-0", "port": 5900}, {"name": "vnc-1", "port": 5901}]);
    json!([
        {
            "name": "edge", "default": true, "entryPoints": pool,
            "traefik": {"namespace": namespace, "service": "traefik"},
        },
        {"name": "api", "entryPoints": pool, "gatewayApi": {"namespace": namespace, "gateway": "consoles"}},
    ])
}

async fn start(context: &Context<'_>, account: &Account) -> Result<InProcess> {
    let config = ControllerConfig {
        watch_namespace: None,
        ..config_for(&context.namespace)
    };
    InProcess::start_ready_with_gateways(context, account, config, gateways(&context.namespace)).await
}

/// A service to a machine that does not exist, which a Service does not need, and a route to it.
fn spec(rule: &Value) -> Value {
    let mut route = json!({"name": "ssh", "service": "ssh", "port": 22});
    if let (Some(route), Some(rule)) = (route.as_object_mut(), rule.as_object()) {
        route.extend(rule.clone());
    }
    json!({
        "virtualMachine": {"name": "no-such-machine"},
        "services": [{"name": "ssh", "ports": [{"name": "ssh", "port": 22}]}],
        "routes": [route],
    })
}

async fn says(context: &Context<'_>, name: &str, reason: &str, bound: Duration) -> Result<VmAccess> {
    let status = if ["AllReady", "NoRoutes"].contains(&reason) {
        "True"
    } else {
        "False"
    };
    wait_for(context, name, ("RoutesReady", status, reason), bound).await
}

fn route_status(object: &VmAccess) -> Result<RouteStatus> {
    let status = object.status.as_ref().context("no status")?;
    status.routes.first().cloned().context("no status of the route")
}

fn ingress_routes(context: &Context<'_>) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("traefik.io", "v1alpha1", "IngressRouteTCP");
    context.dynamic(&ApiResource::from_gvk_with_plural(&kind, "ingressroutetcps"))
}

async fn definitions_appear(one: &Context<'_>, two: &Context<'_>) -> Result<()> {
    for context in [one, two] {
        apply_vm_access(context, NAME, &spec(&json!({"tcp": {}}))).await?;
        says(context, NAME, "GatewayNotInstalled", wait::SHORT).await?;
    }
    one.cluster.add_crds(&["traefik", "kong", "gateway-api"])?;
    for context in [one, two] {
        says(context, NAME, "AllReady", APPEARED_TIMEOUT).await?;
        let routes = ingress_routes(context).list(&ListParams::default()).await?;
        ensure!(routes.items.len() == 1, "{:?}", routes.items);
    }
    Ok(())
}

/// Two tenants with equal names have an entry point each, and one more is told who has what it asks for. Returns what the first has.
async fn claims(one: &Context<'_>, two: &Context<'_>) -> Result<RouteStatus> {
    let first = route_status(&says(one, NAME, "AllReady", wait::SHORT).await?)?;
    let second = route_status(&says(two, NAME, "AllReady", wait::SHORT).await?)?;
    ensure!(first.entry_point != second.entry_point, "{first:?} {second:?}");
    for route in [&first, &second] {
        let port = if route.entry_point.as_deref() == Some("vnc-0") {
            5900
        } else {
            5901
        };
        let wanted = format!("{BALANCER}:{port}");
        ensure!(route.address.as_ref() == Some(&wanted), "{route:?}");
    }
    apply_vm_access(two, "late", &spec(&json!({"tcp": {"entryPoint": first.entry_point}}))).await?;
    let late = says(two, "late", "EntryPointInUse", wait::SHORT).await?;
    let words = message(&late, "RoutesReady");
    let holder = format!("VmAccess {}/{NAME} has it", one.namespace);
    ensure!(words.contains(&holder), "{words}");
    wait_for_event(two, "late", "reason=EntryPointInUse", &holder).await?;
    for (rule, reason) in [
        (json!({"gateway": "nowhere", "tcp": {}}), "UnknownGateway"),
        (json!({"tcp": {"entryPoint": "vnc-9"}}), "UnknownEntryPoint"),
        (json!({"tls": {"host": "vm.example.org"}}), "NotOffered"),
        (
            json!({"gateway": "api", "tcp": {}, "allowedSourceRanges": ["10.0.0.0/8"]}),
            "SourceRangesNotSupported",
        ),
    ] {
        change::<VmAccess>(two, "late", &spec(&rule)).await?;
        says(two, "late", reason, wait::SHORT).await?;
    }
    let wish = spec(&json!({"tcp": {"entryPoint": first.entry_point}}));
    change::<VmAccess>(two, "late", &wish).await?;
    says(two, "late", "EntryPointInUse", wait::SHORT).await?;
    Ok(first)
}

/// Nothing but the objects says who has what, and a controller that knows nothing else writes nothing.
async fn restarts(one: &Context<'_>, two: &Context<'_>, account: &Account, has: &RouteStatus) -> Result<InProcess> {
    let mark = one.cluster.audit().mark()?;
    let controller = start(one, account).await?;
    // The three objects.
    controller.reconciles_pass(3).await?;
    ensure!(
        route_status(&says(one, NAME, "AllReady", wait::SHORT).await?)? == *has,
        "it has another one"
    );
    says(two, "late", "EntryPointInUse", wait::SHORT).await?;
    let mut writes = one.cluster.audit().by(&account.user(), mark)?;
    writes.retain(|write| write.resource() == "ingressroutetcps");
    ensure!(writes.is_empty(), "written:{}", audit::describe(&writes));
    Ok(controller)
}

async fn passed_on(one: &Context<'_>, two: &Context<'_>, has: &RouteStatus) -> Result<()> {
    change::<VmAccess>(one, NAME, &json!({"routes": []})).await?;
    says(one, NAME, "NoRoutes", wait::SHORT).await?;
    let left = ingress_routes(one).list(&ListParams::default()).await?;
    ensure!(left.items.is_empty(), "{:?}", left.items);
    let late = says(two, "late", "AllReady", wait::SHORT).await?;
    ensure!(route_status(&late)?.entry_point == has.entry_point, "{late:?}");
    Ok(())
}

async fn reconfigured(controller: &InProcess, one: &Context<'_>, two: &Context<'_>) -> Result<()> {
    let before = route_status(&says(two, "late", "AllReady", wait::SHORT).await?)?;
    controller.set_gateways(json!([]))?;
    for name in [NAME, "late"] {
        says(two, name, "NoGatewayConfigured", wait::SHORT).await?;
    }
    wait::until("the routes are gone", wait::SHORT, || async {
        let left = ingress_routes(two).list(&ListParams::default()).await?;
        Ok(Seen::some(
            left.items.is_empty().then_some(()),
            format!("{} are left", left.items.len()),
        ))
    })
    .await?;
    controller.set_gateways(gateways(&one.namespace))?;
    for name in [NAME, "late"] {
        says(two, name, "AllReady", wait::SHORT).await?;
    }
    let after = route_status(&says(two, "late", "AllReady", wait::SHORT).await?)?;
    ensure!(before == after, "{before:?} {after:?}");
    Ok(())
}

/// What a `Gateway` and its implementation say is believed.
async fn gateway_api(context: &Context<'_>) -> Result<()> {
    let listener =
        json!({"name": "vnc-0", "protocol": "TCP", "port": 5900, "allowedRoutes": {"namespaces": {"from": "All"}}});
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "consoles"},
        "spec": {"gatewayClassName": "none", "listeners": [listener]},
    });
    apply::<DynamicObject>(&context.client, Some(&context.namespace), gateway, &as_person()).await?;
    let of = |kind: &str, plural: &str| {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind);
        context.dynamic(&ApiResource::from_gvk_with_plural(&kind, plural))
    };
    let addresses = json!({"status": {"addresses": [{"type": "IPAddress", "value": GATEWAY_ADDRESS}]}});
    of("Gateway", "gateways")
        .patch_status("consoles", &PatchParams::default(), &Patch::Merge(addresses))
        .await?;
    let rule = json!({"gateway": "api", "tcp": {"entryPoint": "vnc-0"}});
    apply_vm_access(context, "api", &spec(&rule)).await?;
    says(context, "api", "RoutePending", APPEARED_TIMEOUT).await?;
    let routes = of("TCPRoute", "tcproutes");
    let route = routes.list(&ListParams::default()).await?;
    let route = route.items.into_iter().next().context("no TCPRoute")?;
    let answered = |status: &str, reason: &str| {
        let condition = json!({
            "type": "Accepted", "status": status, "reason": reason, "message": "said by the test",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": route.metadata.generation,
        });
        let parent = json!({"name": "consoles", "namespace": context.namespace, "sectionName": "vnc-0"});
        let parents = json!([{"parentRef": parent, "controllerName": "example.org/test", "conditions": [condition]}]);
        Patch::Merge(json!({"status": {"parents": parents}}))
    };
    let name = route.name_any();
    let refused = answered("False", "NotAllowedByListeners");
    routes.patch_status(&name, &PatchParams::default(), &refused).await?;
    let object = says(context, "api", "RefusedByGateway", wait::SHORT).await?;
    let words = message(&object, "RoutesReady");
    ensure!(words.contains("NotAllowedByListeners: said by the test"), "{words}");
    let taken = answered("True", "Accepted");
    routes.patch_status(&name, &PatchParams::default(), &taken).await?;
    says(context, "api", "AllReady", wait::SHORT).await?;
    let wanted = format!("{GATEWAY_ADDRESS}:5900");
    let has_address = |object: &VmAccess| match route_status(object) {
        Ok(route) if route.address.as_ref() == Some(&wanted) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    wait::object(
        &context.api::<VmAccess>(),
        "api",
        "its address",
        APPEARED_TIMEOUT,
        has_address,
    )
    .await
    .map(drop)
}

/// The golden snapshots of all products, as the definitions judge them: no unknown field, and no warning but of what Kong itself calls old.
fn accepted(context: &Context<'_>) -> Result<()> {
    let mut tried = 0;
    for (name, object) in golden_routes()? {
        dry_run(context, object).context(name)?;
        tried += 1;
    }
    ensure!(tried >= 20, "{tried} objects were tried");
    Ok(())
}

fn dry_run(context: &Context<'_>, mut object: Value) -> Result<()> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_old = text("kind") == "TCPIngress"
        || text("apiVersion").ends_with("/v1alpha2")
        || text("apiVersion").ends_with("/v1alpha3");
    let metadata = object
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
        .context("no metadata")?;
    metadata.insert("namespace".to_owned(), json!(context.namespace));
    let file = context.output.join("golden.json");
    fs::write(&file, object.to_string())?;
    let file = file.to_str().context("the path is not UTF-8")?;
    let warnings = format!("--warnings-as-errors={}", !is_old);
    context
        .cluster
        .kubectl(&[
            "apply",
            "--server-side",
            "--dry-run=server",
            "--validate=strict",
            &warnings,
            "--filename",
            file,
        ])
        .map(drop)
}
