//! The console gateway behind a Service of type LoadBalancer, as the chart makes it.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use novasphere_e2e::fixtures::{
    install::{self, NAMESPACE, RELEASE, node_address},
    namespace::Context,
    tls,
    wait::{self, Seen},
};
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::upgraded::aside;

/// The ports of the Service, for browsers and for stock viewers, with the chart's defaults.
const WEB_PORT: u16 = 443;
const VNC_PORT: u16 = 5900;

const VALUES: &[&str] = &["--set", "console.service.type=LoadBalancer"];

/// The page and the greeting of RFB come from the balancer's address.
pub(super) async fn serves(context: &Context<'_>) -> Result<()> {
    let node = node_address(context.cluster)?;
    // Helm waits until the Service has an address, so it gets one meanwhile.
    let upgrade = aside(context, |cluster| install::upgrade(cluster, VALUES));
    let (upgraded, balanced) = tokio::join!(upgrade, balance(context, &node));
    balanced?;
    upgraded?;
    wait::until("the page comes from the balancer's address", wait::SHORT, || async {
        let answer = page(&node).await?;
        let is_it = answer.starts_with("HTTP/1.1 200") && answer.contains("text/html");
        Ok(Seen::some(is_it.then_some(()), answer))
    })
    .await?;
    wait::until("so does the greeting of RFB", wait::SHORT, || async {
        let mut greeting = [0; 12];
        TcpStream::connect((node.as_str(), VNC_PORT))
            .await?
            .read_exact(&mut greeting)
            .await?;
        let is_it = greeting == *b"RFB 003.008\n";
        Ok(Seen::some(is_it.then_some(()), format!("{greeting:?}")))
    })
    .await
}

/// Plays the load balancer, which the test bed has not: kube-proxy serves what the status says.
async fn balance(context: &Context<'_>, node: &str) -> Result<()> {
    let services: Api<Service> = Api::namespaced(context.client.clone(), NAMESPACE);
    let name = format!("{RELEASE}-console");
    let is_balanced = |service: &Service| {
        let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
        match kind {
            Some("LoadBalancer") => Ok(()),
            other => Err(format!("it is of type {other:?}")),
        }
    };
    let service = wait::object(&services, &name, "its type", wait::LONG, is_balanced).await?;
    let ports = service.spec.context("no spec")?.ports.unwrap_or_default();
    let numbers: Vec<i32> = ports.iter().map(|port| port.port).collect();
    ensure!(numbers == [i32::from(WEB_PORT), i32::from(VNC_PORT)], "{numbers:?}");
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": node}]}}});
    services
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

/// The answer to a request for the page. Who signed its certificate, other cases look at.
async fn page(node: &str) -> Result<String> {
    let stream = TcpStream::connect((node, WEB_PORT)).await?;
    let mut stream = TlsConnector::from(Arc::new(tls::trusting_any_certificate()?))
        .connect(ServerName::try_from("localhost")?, stream)
        .await?;
    let request = format!("GET /console/ HTTP/1.1\r\nHost: {node}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await?;
    answer.truncate(read);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
