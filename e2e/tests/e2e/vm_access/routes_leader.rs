//! A hundred routes at once, of which the leader makes some before it is killed; what others gave up; a configuration that cannot be used;
//! and what the doctor says of all that. On a control plane with the definitions of Traefik, by the real program.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use novasphere_controller::config::{ControllerConfig, LeaderElectionConfig};
use novasphere_crd::{RouteStatus, VmAccess};
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::{apply, as_person, change},
        audit::{self, Mark},
        cluster::Cluster,
        condition::{has, message, wait_for},
        controller::Child,
        event::wait_for_event,
        namespace::{Context, PodSecurity, with_namespace},
        vm_access::apply_vm_access,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(CASE, Needs::ControlPlane, story)]
}

const CASE: &str = "vm_access::routes_leader::killed";

const LEASE_SECONDS: u64 = 4;

/// Routes at once, each of an object of its own.
const OBJECTS: u16 = 100;

/// As many of them are made when the leader is killed, at least.
const MADE: usize = 10;

/// Entry points of the pool, with some for what comes after.
const ENTRY_POINTS: u16 = OBJECTS + 4;

/// The first two that the hundred leave free, as all take the first that is.
const FREE: [&str; 2] = ["p-100", "p-101"];

const FIRST_PORT: u16 = 20_000;

/// The port of another gateway, which the configuration names later.
const OTHER_PORT: u16 = 30_000;

/// Requests that were on the wire when the leader was killed may be made again.
const IN_FLIGHT: usize = 8;

async fn story() -> Result<()> {
    let cluster = Cluster::control_plane("routes-leader", &["traefik"])?;
    with_namespace(&cluster, CASE, PodSecurity::Restricted, async |context| {
        Box::pin(told(context)).await
    })
    .await
}

async fn told(context: &Context<'_>) -> Result<()> {
    gateway_service(context).await?;
    let first = account(context, "first").await?;
    let second = account(context, "second").await?;
    let (config, gateways) = (config(context), gateways(context));
    let start = |account: &Account, instance: &str| {
        Child::start_with_gateways(context.cluster, account, &config, &gateways, instance, &context.output)
    };
    let leader = start(&first, "first")?;
    leader.says("this replica leads").await?;
    let mark = context.cluster.audit().mark()?;
    let standby = start(&second, "second")?;
    hundred(context, &leader, mark).await.context("a hundred routes")?;
    given_up(context).await.context("what is given up")?;
    taken_host(context).await.context("a host name")?;
    bad_configuration(context, &standby, &config)
        .await
        .context("a bad configuration")?;
    doctor(context, &standby, &config).context("the doctor")
}

fn config(context: &Context<'_>) -> ControllerConfig {
    ControllerConfig {
        watch_namespace: Some(context.namespace.clone()),
        leader_election: LeaderElectionConfig {
            lease_duration: novasphere_crd::Duration::from_secs(LEASE_SECONDS),
            ..LeaderElectionConfig::default()
        },
        ..ControllerConfig::default()
    }
}

/// With the rights of the chart for gateways, which are shown where the chart gives them.
async fn account(context: &Context<'_>, name: &str) -> Result<Account> {
    let account = Account::create(context.cluster, &context.namespace, name).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": format!("e2e-routes-leader-{name}")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": account.name(), "namespace": account.namespace}],
    });
    apply::<DynamicObject>(&context.client, None, binding, &as_person().force()).await?;
    Ok(account)
}

fn pool() -> Vec<Value> {
    (0..ENTRY_POINTS)
        .map(|index| json!({"name": format!("p-{index}"), "port": FIRST_PORT + index}))
        .collect()
}

fn gateways(context: &Context<'_>) -> Value {
    json!([{
        "name": "edge", "default": true, "entryPoints": pool(), "tls": {"name": "tls", "port": 9443}, "allowedHosts": ["*.example.org"],
        "traefik": {"namespace": context.namespace, "service": "traefik"},
    }])
}

/// The Service of the gateway, which is reached inside the cluster: a port of a node for each entry point is not needed.
async fn gateway_service(context: &Context<'_>) -> Result<()> {
    let mut ports = pool();
    ports.push(json!({"name": "tls", "port": 9443}));
    ports.push(json!({"name": "other", "port": OTHER_PORT}));
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "traefik"},
        "spec": {"selector": {"app": "traefik"}, "ports": ports},
    });
    apply::<Service>(&context.client, Some(&context.namespace), service, &as_person())
        .await
        .map(drop)
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

fn ingress_routes(context: &Context<'_>) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("traefik.io", "v1alpha1", "IngressRouteTCP");
    context.dynamic(&ApiResource::from_gvk_with_plural(&kind, "ingressroutetcps"))
}

/// The objects by the entry point that they use.
async fn users(context: &Context<'_>) -> Result<BTreeMap<String, Vec<String>>> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for route in ingress_routes(context).list(&ListParams::default()).await?.items {
        let used = route.data.pointer("/spec/entryPoints/0").and_then(Value::as_str);
        let used = used.context("a route without an entry point")?.to_owned();
        users.entry(used).or_default().push(route.name_any());
    }
    Ok(users)
}

/// The leader is killed in the middle, and half of the objects come while nobody leads. No entry point carries two routes at any time, and
/// in the end each has its own.
async fn hundred(context: &Context<'_>, leader: &Child, mark: Mark) -> Result<()> {
    let began = Instant::now();
    for number in 0..OBJECTS / 2 {
        apply_vm_access(context, &format!("vm-{number}"), &spec(&json!({"tcp": {}}))).await?;
    }
    wait::until(format!("{MADE} routes are made"), wait::SHORT, || async {
        let made = users(context).await?.len();
        Ok(Seen::some((made >= MADE).then_some(()), format!("{made}")))
    })
    .await?;
    leader.signal("KILL")?;
    for number in OBJECTS / 2..OBJECTS {
        apply_vm_access(context, &format!("vm-{number}"), &spec(&json!({"tcp": {}}))).await?;
    }
    let twice = RefCell::new(None);
    wait::until("all routes are set up", wait::LONG, || async {
        let users = users(context).await?;
        if let Some(user) = users.iter().find(|(_, users)| users.len() > 1) {
            twice.replace(Some(format!("{user:?}")));
        }
        let objects = context.api::<VmAccess>().list(&ListParams::default()).await?;
        let ready = |object: &&VmAccess| has(*object, ("RoutesReady", "True", "AllReady")).is_ok();
        let ready = objects.iter().filter(ready).count();
        let is_done = ready == usize::from(OBJECTS) && users.len() == usize::from(OBJECTS);
        Ok(Seen::some(
            is_done.then_some(()),
            format!("{ready} are ready, {} entry points are used", users.len()),
        ))
    })
    .await?;
    let took: Duration = began.elapsed();
    let twice = twice.into_inner();
    ensure!(twice.is_none(), "an entry point carried two routes: {twice:?}");
    let mut writes = context.cluster.audit().since(mark)?;
    writes.retain(|write| write.resource() == "ingressroutetcps" && write.code() < 300);
    ensure!(
        writes.len() <= usize::from(OBJECTS) + IN_FLIGHT,
        "{} writes of {OBJECTS} routes:{}",
        writes.len(),
        audit::describe(&writes)
    );
    println!(
        "{CASE}: {OBJECTS} routes were set up {took:.1?} after the first, with a leader that was killed, in {} writes",
        writes.len()
    );
    Ok(())
}

async fn says(context: &Context<'_>, name: &str, reason: &str) -> Result<VmAccess> {
    let status = if ["AllReady", "NoRoutes"].contains(&reason) {
        "True"
    } else {
        "False"
    };
    wait_for(context, name, ("RoutesReady", status, reason), wait::SHORT).await
}

fn route_status(object: &VmAccess) -> Result<&RouteStatus> {
    let status = object.status.as_ref().context("no status")?;
    status.routes.first().context("no status of the route")
}

/// A route that moves to another entry point is changed in place, and who waits for the former one gets it.
async fn given_up(context: &Context<'_>) -> Result<()> {
    let [former, other] = FREE;
    let on = |name: &str| spec(&json!({"tcp": {"entryPoint": name}}));
    apply_vm_access(context, "moves", &on(former)).await?;
    says(context, "moves", "AllReady").await?;
    apply_vm_access(context, "waits", &on(former)).await?;
    says(context, "waits", "EntryPointInUse").await?;
    change::<VmAccess>(context, "moves", &on(other)).await?;
    let gets = says(context, "waits", "AllReady").await?;
    ensure!(route_status(&gets)?.entry_point.as_deref() == Some(former), "{gets:?}");
    let moved = says(context, "moves", "AllReady").await?;
    ensure!(route_status(&moved)?.entry_point.as_deref() == Some(other), "{moved:?}");
    Ok(())
}

/// An older object does not get the host of a younger one by a change of its spec, and gets it when that one gives it up.
async fn taken_host(context: &Context<'_>) -> Result<()> {
    let host = |name: &str| spec(&json!({"tls": {"host": format!("{name}.example.org")}}));
    apply_vm_access(context, "old", &host("old")).await?;
    says(context, "old", "AllReady").await?;
    apply_vm_access(context, "young", &host("wanted")).await?;
    let young = says(context, "young", "AllReady").await?;
    ensure!(
        route_status(&young)?.host.as_deref() == Some("wanted.example.org"),
        "{young:?}"
    );
    change::<VmAccess>(context, "old", &host("wanted")).await?;
    let waits = says(context, "old", "HostInUse").await?;
    let holder = format!("belongs to VmAccess {}/young", context.namespace);
    let words = message(&waits, "RoutesReady");
    ensure!(words.contains(&holder), "{words}");
    wait_for_event(context, "old", "reason=HostInUse", &holder).await?;
    says(context, "young", "AllReady").await?;
    change::<VmAccess>(context, "young", &json!({"routes": []})).await?;
    says(context, "old", "AllReady").await.map(drop)
}

/// What cannot be used leaves what was good before, and a good one is used without a restart.
async fn bad_configuration(context: &Context<'_>, controller: &Child, config: &ControllerConfig) -> Result<()> {
    controller.set_configuration(config, &json!([{"name": "edge"}]))?;
    controller
        .says("the changed configuration is not used, the last good one stays")
        .await?;
    apply_vm_access(context, "lost", &spec(&json!({"gateway": "other", "tcp": {}}))).await?;
    let lost = says(context, "lost", "UnknownGateway").await?;
    let words = message(&lost, "RoutesReady");
    ensure!(
        words.contains("The gateways in use are those of before") && words.contains("gateways[0]"),
        "{words}"
    );
    says(context, "vm-0", "AllReady").await?;
    controller.set_configuration(config, &with_other(context))?;
    controller
        .says("the gateways of the configuration file have changed and are in use")
        .await?;
    says(context, "lost", "AllReady").await.map(drop)
}

/// The same gateway, and another one with a port of the same Service.
fn with_other(context: &Context<'_>) -> Value {
    let mut all = gateways(context);
    if let Some(all) = all.as_array_mut() {
        all.push(json!({
            "name": "other", "entryPoints": [{"name": "other", "port": OTHER_PORT}],
            "traefik": {"namespace": context.namespace, "service": "traefik"},
        }));
    }
    all
}

/// The program says what is wrong: here no Traefik runs, and later a port is not exposed.
fn doctor(context: &Context<'_>, controller: &Child, config: &ControllerConfig) -> Result<()> {
    let (code, report) = controller.doctor()?;
    ensure!(code == Some(1), "{code:?} {report}");
    ensure!(
        reasons(&report) == ["edge GatewayNotRunning", "other GatewayNotRunning"],
        "{report}"
    );
    let hidden = json!([{
        "name": "hidden", "entryPoints": [{"name": "p-0", "port": 1}],
        "traefik": {"namespace": context.namespace, "service": "traefik"},
    }]);
    controller.set_configuration(config, &hidden)?;
    let (code, report) = controller.doctor()?;
    ensure!(code == Some(1), "{code:?} {report}");
    let found = reasons(&report);
    ensure!(found.contains(&"hidden EntryPointNotFound".to_owned()), "{report}");
    controller.set_configuration(config, &json!([]))?;
    let (code, report) = controller.doctor()?;
    ensure!(code == Some(0) && reasons(&report).is_empty(), "{code:?} {report}");
    Ok(())
}

fn reasons(report: &Value) -> Vec<String> {
    let findings = report.get("findings").and_then(Value::as_array);
    let text = |finding: &Value, key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let findings = findings.into_iter().flatten();
    findings
        .map(|finding| format!("{} {}", text(finding, "gateway"), text(finding, "reason")))
        .collect()
}
