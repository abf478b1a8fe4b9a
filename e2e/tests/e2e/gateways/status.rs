//! What Envoy Gateway says of a `Gateway` and of routes is what `RoutesReady` says: no address yet, no such listener, not let in, ready.

use anyhow::{Context as _, Result, ensure};
use novasphere_crd::VmAccess;
use novasphere_e2e::{
    fixtures::{
        apply::change,
        condition::{message, wait_for},
        envoy_gateway,
        gateway_api::{self, ABSENT, BARE, CLOSED, ENVOY, OPEN, objects_of},
        install::node_address,
        namespace::{Context, PodSecurity, with_namespace},
        vm_access::apply_vm_access,
        wait,
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

use super::{address_of, made_for};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(CASE, Needs::Node, read_back)]
}

const CASE: &str = "gateways::status::read_back";

const NAME: &str = "web";

const ROUTE: &str = "ssh";

async fn read_back() -> Result<()> {
    let cluster = gateway_api::cluster().await?;
    let story = async |context: &Context<'_>| told(context).await;
    Box::pin(with_namespace(cluster, CASE, PodSecurity::Restricted, story)).await
}

/// A service to a machine that does not exist, which a Service does not need, and a route to it.
fn spec(entry_point: &str) -> Value {
    json!({
        "virtualMachine": {"name": "no-such-machine"},
        "services": [{"name": ROUTE, "ports": [{"name": ROUTE, "port": 22}]}],
        "routes": [{"name": ROUTE, "service": ROUTE, "port": 22, "gateway": BARE, "tcp": {"entryPoint": entry_point}}],
    })
}

async fn says(context: &Context<'_>, reason: &str) -> Result<VmAccess> {
    let status = if reason == "AllReady" { "True" } else { "False" };
    wait_for(context, NAME, ("RoutesReady", status, reason), wait::SHORT).await
}

async fn told(context: &Context<'_>) -> Result<()> {
    // On a cluster that was kept it has the address of the run before.
    envoy_gateway::set_addresses(context.cluster, ENVOY.namespace, BARE, &[]).await?;
    let pending = ("Programmed", "False", "AddressNotAssigned");
    gateway_api::says(&context.client, ENVOY.namespace, BARE, pending).await?;
    apply_vm_access(context, NAME, &spec(OPEN.0)).await?;
    says(context, "AddressPending").await?;

    change::<VmAccess>(context, NAME, &spec(ABSENT.0)).await?;
    let object = says(context, "EntryPointNotFound").await?;
    let words = message(&object, "RoutesReady");
    ensure!(words.contains("has no listener absent"), "{words}");
    says_of_route(context, ("Accepted", "False", "NoMatchingParent")).await?;

    let node = node_address(context.cluster)?;
    envoy_gateway::set_addresses(context.cluster, ENVOY.namespace, BARE, &[&node]).await?;
    change::<VmAccess>(context, NAME, &spec(CLOSED.0)).await?;
    let object = says(context, "RefusedByGateway").await?;
    let words = message(&object, "RoutesReady");
    ensure!(words.contains("NotAllowedByListeners"), "{words}");

    change::<VmAccess>(context, NAME, &spec(OPEN.0)).await?;
    let object = says(context, "AllReady").await?;
    says_of_route(context, ("Accepted", "True", "Accepted")).await?;
    let routes = object.status.context("no status")?.routes;
    let at = address_of(&routes, ROUTE)?;
    ensure!(at.to_string() == format!("{node}:{}", OPEN.1), "{at}");
    Ok(())
}

async fn says_of_route(context: &Context<'_>, wanted: (&str, &str, &str)) -> Result<()> {
    let name = made_for(context, "TCPRoute", ROUTE).await?;
    gateway_api::says_of_route(&objects_of(context, "TCPRoute"), &name, wanted).await
}
