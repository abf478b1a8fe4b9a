//! A guest through both implementations, and what Envoy would cut: an answer that goes on for longer than 15 s.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use kube::api::{DeleteParams, DynamicObject};
use novasphere_crd::VmAccess;
use novasphere_e2e::{
    fixtures::{
        apply::{apply, as_person},
        condition::wait_for,
        gateway_api::{self, DOMAIN, ENVOY, GROUP, GatewayImplementation, HTTPS_LISTENER, TRAEFIK, objects_of},
        install::node_address,
        namespace::{Context, PodSecurity, with_namespace},
        network::{add_endpoint, address_towards},
        vm_access::{GUEST_PORT, apply_vm_access, echo_service, template},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::{address_of, connect_tls, first_bytes, made_for};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(CASE, Needs::Node, routes)]
}

const CASE: &str = "gateways::guest::routes";

const NAME: &str = "guest";

/// The route for browsers.
const PAGE: &str = "page";

/// What answers slowly: its Service, port and host name.
const SLOW: &str = "slow";

/// The first and the last event of the slow answer.
const FIRST: &str = "data: first\n\n";
const LAST: &str = "data: last\n\n";

/// Between both. Envoy ends an answer after 15 s unless the route says otherwise.
const ANSWER_LENGTH: Duration = Duration::from_secs(17);

async fn routes() -> Result<()> {
    let cluster = gateway_api::cluster().await?;
    let story = async |context: &Context<'_>| reached(context).await;
    Box::pin(with_namespace(cluster, CASE, PodSecurity::Privileged, story)).await
}

fn host(context: &Context<'_>, name: &str) -> String {
    format!("{name}.{}.{DOMAIN}", context.namespace)
}

async fn reached(context: &Context<'_>) -> Result<()> {
    let plain = |implementation: GatewayImplementation| {
        let name = implementation.name;
        json!({"name": name, "service": "echo", "port": GUEST_PORT, "gateway": name, "tcp": {}})
    };
    let page = json!({
        "name": PAGE, "service": "echo", "port": GUEST_PORT, "gateway": ENVOY.name, "http": {"host": host(context, PAGE)},
    });
    let routes = [plain(ENVOY), plain(TRAEFIK), page];
    let spec = json!({
        "virtualMachine": {"template": template()},
        "power": {"state": "Running"},
        "services": [echo_service()],
        "routes": routes,
    });
    apply_vm_access(context, NAME, &spec).await?;
    let object: VmAccess = wait_for(context, NAME, ("RoutesReady", "True", "AllReady"), wait::LONG).await?;
    let routes = object.status.context("no status")?.routes;
    // While the guest boots.
    goes_on(context).await.context("a long answer")?;
    wait_for::<VmAccess>(context, NAME, ("Ready", "True"), wait::LONG).await?;
    for implementation in [ENVOY, TRAEFIK] {
        let at = address_of(&routes, implementation.name)?;
        let what = format!("the guest answers by {}", implementation.name);
        wait::until(what, wait::SHORT, || async {
            let line = String::from_utf8(first_bytes(at).await?)?;
            Ok(Seen::some((line.trim() == "tiny-guest guest").then_some(()), line))
        })
        .await?;
    }
    let objects = context.api::<VmAccess>();
    objects.delete(NAME, &DeleteParams::background()).await?;
    wait::gone(&objects, NAME, wait::LONG).await
}

/// The rule that the controller writes for browsers, before a server that takes its time. The guest of the test bed speaks no HTTP.
async fn goes_on(context: &Context<'_>) -> Result<()> {
    let listener = TcpListener::bind((address_towards(&node_address(context.cluster)?)?, 0)).await?;
    let at = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_slowly(stream));
        }
    });
    lead_to(context, at).await?;
    let accepted = ("Accepted", "True", "Accepted");
    let http_routes = objects_of(context, "HTTPRoute");
    gateway_api::says_of_route(&http_routes, SLOW, accepted).await?;
    let answer = wait::until("the slow server answers by Envoy", wait::LONG, || async {
        let answer = timeout(ANSWER_LENGTH * 2, whole_answer(context)).await??;
        // Before Envoy knows the route, it says 404.
        let is_there = answer.contains(FIRST);
        let found = is_there.then(|| answer.clone());
        Ok(Seen::some(found, format!("{answer:?}")))
    })
    .await?;
    ensure!(answer.contains(LAST), "it was cut: {answer:?}");
    Ok(())
}

/// A route like that of the controller, which leads to this machine.
async fn lead_to(context: &Context<'_>, at: SocketAddr) -> Result<()> {
    let name = made_for(context, "HTTPRoute", PAGE).await?;
    let made = objects_of(context, "HTTPRoute").get(&name).await?;
    let mut spec = made.data.get("spec").cloned().context("no spec")?;
    let mut set = |pointer: &str, value: Value| -> Result<()> {
        *spec.pointer_mut(pointer).with_context(|| pointer.to_owned())? = value;
        Ok(())
    };
    set("/hostnames", json!([host(context, SLOW)]))?;
    set("/rules/0/backendRefs/0/name", json!(SLOW))?;
    set("/rules/0/backendRefs/0/port", json!(8080))?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": SLOW},
        "spec": {"ports": [{"name": SLOW, "port": 8080}]},
    });
    let route = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "HTTPRoute", "metadata": {"name": SLOW}, "spec": spec,
    });
    for object in [service, route] {
        apply::<DynamicObject>(&context.client, Some(&context.namespace), object, &as_person()).await?;
    }
    add_endpoint(context, SLOW, SLOW, at).await
}

async fn whole_answer(context: &Context<'_>) -> Result<String> {
    let host = host(context, SLOW);
    let mut stream = connect_tls(context.cluster, ENVOY.port(HTTPS_LISTENER)?, &host).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // An end without a farewell of TLS is one as well.
    let _ = stream.read_to_end(&mut answer).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Two events, and a wait between them that is what the case is about.
async fn answer_slowly(mut stream: TcpStream) -> Result<()> {
    let mut request = [0; 4096];
    let _length = stream.read(&mut request).await?;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{head}{FIRST}").as_bytes()).await?;
    sleep(ANSWER_LENGTH).await;
    stream.write_all(LAST.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}
