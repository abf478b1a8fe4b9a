//! Real implementations of Gateway API, Envoy Gateway and Traefik's provider, beside each other. `make test-gateways` runs these cases, and
//! a run without a filter does not: Envoy Gateway takes minutes to build.

pub(crate) mod guest;
pub(crate) mod own;
pub(crate) mod routes;
pub(crate) mod status;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use kube::{ResourceExt, api::ListParams};
use novasphere_core::routes::KEY_ROUTE;
use novasphere_crd::RouteStatus;
use novasphere_e2e::fixtures::{
    cluster::Cluster,
    gateway_api::objects_of,
    install::node_address,
    namespace::Context,
    tls,
    wait::{self, Seen},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Gateways accept connections before they know where to lead them, and then say nothing.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(3);

/// What a server sends first; nothing when it says nothing or the connection ends.
async fn first_bytes(at: SocketAddr) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(at).await?;
    let mut bytes = vec![0; 1024];
    let read = timeout(FIRST_BYTES_TIMEOUT, stream.read(&mut bytes)).await;
    // A reset is an end as well.
    bytes.truncate(read.unwrap_or(Ok(0)).unwrap_or_default());
    Ok(bytes)
}

/// Waits until nothing answers there any more.
async fn carries_nothing(at: SocketAddr) -> Result<()> {
    wait::until(format!("nobody is led on at {at}"), wait::SHORT, || async {
        // A port that is closed carries nothing, too.
        let bytes = first_bytes(at).await.unwrap_or_default();
        Ok(Seen::some(bytes.is_empty().then_some(()), format!("{bytes:?}")))
    })
    .await
}

/// Where a route of an object is reached.
fn address_of(routes: &[RouteStatus], name: &str) -> Result<SocketAddr> {
    let route = routes.iter().find(|route| route.name == name);
    let route = route.with_context(|| format!("no status of the route {name} in {routes:?}"))?;
    let address = route.address.as_ref();
    let address = address.with_context(|| format!("the route {name} has no address: {route:?}"))?;
    address.parse::<SocketAddr>().with_context(|| address.clone())
}

/// TLS with the gateway at this port of the node, for a host name. The certificate is not what this is about.
async fn connect_tls(cluster: &Cluster, port: u16, host: &str) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect((node_address(cluster)?, port)).await?;
    let connector = TlsConnector::from(Arc::new(tls::trusting_any_certificate()?));
    let name = ServerName::try_from(host.to_owned())?;
    // For a host that it does not know, Traefik says nothing.
    let connected = timeout(FIRST_BYTES_TIMEOUT, connector.connect(name, stream)).await;
    Ok(connected.with_context(|| format!("no TLS for {host}"))??)
}

/// What comes of a request to the gateway, up to the end or to the first pause.
async fn asked(cluster: &Cluster, port: u16, host: &str, request: &str) -> Result<String> {
    let mut stream = connect_tls(cluster, port, host).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = vec![0; 1024];
    let read = timeout(FIRST_BYTES_TIMEOUT, stream.read(&mut bytes)).await;
    bytes.truncate(read.unwrap_or(Ok(0))?);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The name of the object that the controller has made for a route.
async fn made_for(context: &Context<'_>, kind: &str, route: &str) -> Result<String> {
    let labelled = ListParams::default().labels(&format!("{KEY_ROUTE}={route}"));
    let all = objects_of(context, kind).list(&labelled).await?;
    let found = all.items.first().map(ResourceExt::name_any);
    found.with_context(|| format!("no {kind} of the route {route}"))
}
