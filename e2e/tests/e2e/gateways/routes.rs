//! Desktops of two tenants through both implementations at once: TCP to RFB, whose server speaks first, and TLS told apart by host names. A
//! route that is removed, or that its gateway could not filter, carries nobody.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::api::ListParams;
use novasphere_crd::{RouteStatus, VncWorkspace};
use novasphere_e2e::{
    fixtures::{
        apply::change,
        condition::wait_for,
        desktop_image,
        gateway_api::{self, DOMAIN, ENVOY, GatewayImplementation, TLS_LISTENER, TRAEFIK, objects_of},
        namespace::{Context, PodSecurity, with_namespace},
        rfb::{Security, Viewer},
        vnc,
        wait::{self, Seen},
        workspace::{apply_workspace, delete_workspace, desktop_answers, lets_in, password},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{address_of, carries_nothing, connect_tls, made_for};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(CASE, Needs::Node, both)]
}

const CASE: &str = "gateways::routes::both";

/// The desktops of both tenants, and their routes, have one name.
const NAME: &str = "web";

const IMPLEMENTATIONS: [GatewayImplementation; 2] = [ENVOY, TRAEFIK];

/// A login, from the first byte to the screen's size.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);

async fn both() -> Result<()> {
    let cluster = gateway_api::cluster().await?;
    let story = async |one: &Context<'_>| {
        with_namespace(cluster, CASE, PodSecurity::Restricted, async |two| {
            let routes = two_tenants(one, two).await.context("two tenants")?;
            removed(one, &routes).await.context("routes that are removed")?;
            not_filtered(one, &routes).await.context("source ranges")?;
            for context in [one, two] {
                delete_workspace(context, NAME).await?;
            }
            Ok(())
        })
        .await
    };
    Box::pin(with_namespace(cluster, CASE, PodSecurity::Restricted, story)).await
}

fn tcp_name(implementation: GatewayImplementation) -> String {
    implementation.name.to_owned()
}

fn tls_name(implementation: GatewayImplementation) -> String {
    format!("{}-tls", implementation.name)
}

fn host(context: &Context<'_>) -> String {
    format!("{NAME}.{}.{DOMAIN}", context.namespace)
}

/// A route of each kind by an implementation.
fn routes_by(context: &Context<'_>, implementation: GatewayImplementation) -> [Value; 2] {
    let gateway = implementation.name;
    [
        json!({"name": tcp_name(implementation), "port": "Vnc", "gateway": gateway, "tcp": {}}),
        json!({"name": tls_name(implementation), "port": "Vnc", "gateway": gateway, "tls": {"host": host(context)}}),
    ]
}

async fn routes_ready(context: &Context<'_>) -> Result<Vec<RouteStatus>> {
    let object: VncWorkspace = wait_for(context, NAME, ("RoutesReady", "True", "AllReady"), wait::LONG).await?;
    Ok(object.status.context("no status")?.routes)
}

/// Each of four routes leads to the desktop of its own tenant. Returns those of the first.
async fn two_tenants(one: &Context<'_>, two: &Context<'_>) -> Result<Vec<RouteStatus>> {
    let image = desktop_image::load(one.cluster, "desktop")?;
    for context in [one, two] {
        let routes = IMPLEMENTATIONS
            .map(|implementation| routes_by(context, implementation))
            .concat();
        apply_workspace(context, NAME, &image, &json!({ "routes": routes })).await?;
    }
    for context in [one, two] {
        let routes = routes_ready(context).await?;
        desktop_answers(context, NAME).await?;
        let own = password(context, NAME).await?;
        for implementation in IMPLEMENTATIONS {
            let place = format!("{} in {}", implementation.name, context.namespace);
            let at = address_of(&routes, &tcp_name(implementation))?;
            lets_in(at, &own).await.with_context(|| format!("TCP by {place}"))?;
            let by_name = lets_in_by_name(context, implementation, &own).await;
            by_name.with_context(|| format!("TLS by {place}"))?;
            let accepted = ("Accepted", "True", "Accepted");
            for (kind, name) in [
                ("TCPRoute", tcp_name(implementation)),
                ("TLSRoute", tls_name(implementation)),
            ] {
                let route = made_for(context, kind, &name).await?;
                gateway_api::says_of_route(&objects_of(context, kind), &route, accepted).await?;
            }
        }
    }
    let routes = routes_ready(one).await?;
    let foreign = password(two, NAME).await?;
    for implementation in IMPLEMENTATIONS {
        vnc::refuses(address_of(&routes, &tcp_name(implementation))?, &foreign).await?;
    }
    Ok(routes)
}

async fn lets_in_by_name(context: &Context<'_>, implementation: GatewayImplementation, password: &str) -> Result<()> {
    let (port, host) = (implementation.port(TLS_LISTENER)?, host(context));
    wait::until(
        format!("the desktop lets a viewer in as {host}"),
        wait::SHORT,
        || async {
            let login = async {
                let stream = connect_tls(context.cluster, port, &host).await?;
                Viewer::enter(stream, Security::Password(password)).await
            };
            timeout(LOGIN_TIMEOUT, login).await??;
            Ok(Seen::Done(()))
        },
    )
    .await
}

/// Without the routes by Envoy Gateway nobody comes through there, and its objects are gone; those by Traefik go on.
async fn removed(context: &Context<'_>, before: &[RouteStatus]) -> Result<()> {
    let left = routes_by(context, TRAEFIK);
    change::<VncWorkspace>(context, NAME, &json!({ "routes": left })).await?;
    let routes = routes_ready(context).await?;
    ensure!(routes.len() == left.len(), "{routes:?}");
    carries_nothing(address_of(before, &tcp_name(ENVOY))?).await?;
    for kind in ["TCPRoute", "TLSRoute"] {
        let all = objects_of(context, kind).list(&ListParams::default()).await?;
        ensure!(all.items.len() == 1, "{:?}", all.items);
    }
    let own = password(context, NAME).await?;
    lets_in(address_of(&routes, &tcp_name(TRAEFIK))?, &own)
        .await
        .map(drop)?;
    lets_in_by_name(context, TRAEFIK, &own).await?;
    change::<VncWorkspace>(context, NAME, &json!({"routes": []})).await?;
    wait_for::<VncWorkspace>(context, NAME, ("RoutesReady", "True", "NoRoutes"), wait::SHORT).await?;
    carries_nothing(address_of(&routes, &tcp_name(TRAEFIK))?).await
}

/// Gateway API has no rule for addresses, and what Envoy has of its own lets the greeting of the desktop out to everybody: such a route is not
/// made.
async fn not_filtered(context: &Context<'_>, before: &[RouteStatus]) -> Result<()> {
    let routes = IMPLEMENTATIONS.map(|implementation| {
        json!({
            "name": tcp_name(implementation), "port": "Vnc", "gateway": implementation.name, "tcp": {},
            "allowedSourceRanges": ["192.0.2.0/24"],
        })
    });
    change::<VncWorkspace>(context, NAME, &json!({ "routes": routes })).await?;
    let refused = ("RoutesReady", "False", "SourceRangesNotSupported");
    wait_for::<VncWorkspace>(context, NAME, refused, wait::SHORT).await?;
    let all = objects_of(context, "TCPRoute").list(&ListParams::default()).await?;
    ensure!(all.items.is_empty(), "{:?}", all.items);
    for implementation in IMPLEMENTATIONS {
        carries_nothing(address_of(before, &tcp_name(implementation))?).await?;
    }
    Ok(())
}
