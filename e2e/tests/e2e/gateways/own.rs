//! The chart's routes to novasphere itself through Envoy Gateway: the page, the WebSocket, and stock viewers, whose addresses novasphere
//! checks itself, because Envoy lets the greeting of a server that speaks first out to everybody.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        condition::wait_for,
        console_session::apply_session,
        desktop_image, doctor, envoy_gateway,
        gateway_api::{self, ABSENT, BARE, CLOSED, ENVOY, HTTPS_LISTENER, VNC_LISTENER, own_host},
        install::{NAMESPACE, RELEASE, node_address},
        namespace::{Context, PodSecurity, with_namespace},
        network::address_towards,
        rfb::{self, RfbRefusal},
        rights::DESKTOP_CONSOLES,
        users::{allow_consoles, request_token},
        wait::{self, Seen},
        workspace::{apply_workspace, delete_workspace},
    },
    harness::{Case, Needs},
};
use serde_json::json;

use super::{asked, first_bytes};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(CASE, Needs::Node, own_routes)]
}

const CASE: &str = "gateways::own::envoy";

const ALICE: &str = "alice";

const DESK: &str = "desk";

async fn own_routes() -> Result<()> {
    let cluster = gateway_api::cluster().await?;
    let vnc_route = format!("{RELEASE}-vnc");
    envoy_gateway::send_proxy_protocol(cluster, NAMESPACE, &vnc_route).await?;
    let client = cluster.client().await?;
    for (kind, name) in [("HTTPRoute", format!("{RELEASE}-http")), ("TCPRoute", vnc_route)] {
        let routes = gateway_api::objects(&client, NAMESPACE, kind);
        gateway_api::says_of_route(&routes, &name, ("Accepted", "True", "Accepted")).await?;
    }
    browsers(cluster).await.context("browsers")?;
    nothing_is_wrong(cluster).context("the doctor")?;
    let story = async |context: &Context<'_>| stock_viewers(context).await;
    Box::pin(with_namespace(cluster, CASE, PodSecurity::Restricted, story)).await
}

/// The doctor has nothing to say against the gateways that work, and tells what the bare one lacks.
fn nothing_is_wrong(cluster: &Cluster) -> Result<()> {
    let (_, errors) = doctor::errors(cluster)?;
    let is_of_bare = |error: &&String| error.starts_with(&format!("{BARE} "));
    let others: Vec<_> = errors.iter().filter(|error| !is_of_bare(error)).collect();
    ensure!(others.is_empty(), "{others:?}");
    for (reason, (entry_point, _)) in [("EntryPointNotFound", ABSENT), ("RoutesNotAllowed", CLOSED)] {
        let wanted = format!("{BARE} {reason} {entry_point}");
        ensure!(errors.contains(&wanted), "no {wanted:?} in {errors:?}");
    }
    Ok(())
}

async fn browsers(cluster: &Cluster) -> Result<()> {
    let host = own_host();
    let page = format!("GET /console/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    // Of a token that opens nothing, the WebSocket itself tells.
    let token = "A".repeat(43);
    let socket = format!(
        "GET /api/v1/console/ws?token={token} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let port = ENVOY.port(HTTPS_LISTENER)?;
    for (what, request, wanted) in [
        ("the page", page, "HTTP/1.1 200"),
        ("the WebSocket", socket, "HTTP/1.1 101"),
    ] {
        wait::until(format!("{what} comes through Envoy"), wait::SHORT, || async {
            let answer = asked(cluster, port, &host, &request).await?;
            Ok(Seen::some(
                answer.starts_with(wanted).then_some(()),
                format!("{answer:?}"),
            ))
        })
        .await?;
    }
    Ok(())
}

/// By the PROXY protocol novasphere knows where a viewer is, and a session lets in whom it names.
async fn stock_viewers(context: &Context<'_>) -> Result<()> {
    let node = node_address(context.cluster)?;
    let at = SocketAddr::new(node.parse()?, ENVOY.port(VNC_LISTENER)?);
    let own = address_towards(&node)?;
    allow_consoles(context, ALICE, DESKTOP_CONSOLES, &["get", "update"]).await?;
    let image = desktop_image::load(context.cluster, "desktop")?;
    apply_workspace(context, DESK, &image, &json!({})).await?;
    // Novasphere says nothing before the header has come, so the greeting shows that the proxy sends it.
    wait::until("the greeting of RFB comes through Envoy", wait::SHORT, || async {
        let greeting = first_bytes(at).await?;
        let is_it = greeting == b"RFB 003.008\n";
        Ok(Seen::some(is_it.then_some(()), format!("{greeting:?}")))
    })
    .await?;
    wait_for::<VncWorkspace>(context, DESK, ("Ready", "True", "Running"), wait::LONG).await?;
    for (session, range) in [("near", format!("{own}/32")), ("far", "192.0.2.0/24".to_owned())] {
        let target = json!({"kind": "VncWorkspace", "name": DESK});
        apply_session(
            context,
            session,
            json!({"targetRef": target, "allowedSourceRanges": [range]}),
        )
        .await?;
        let token = request_token(context, ALICE, session).await?;
        let user = format!("{}/{session}", context.namespace);
        let login = rfb::x509_plain(at, &user, &token.token).await;
        match (session, login) {
            ("near", login) => drop(login.context("a viewer that is named")?),
            (_, Ok(_)) => anyhow::bail!("{own} is let in, and only 192.0.2.0/24 may"),
            (_, Err(error)) => {
                let words = error.downcast_ref::<RfbRefusal>().map(|refusal| refusal.0.as_str());
                let wanted = "The session does not allow connections from your address.";
                ensure!(words == Some(wanted), "{error:#}");
            }
        }
    }
    delete_workspace(context, DESK).await
}
