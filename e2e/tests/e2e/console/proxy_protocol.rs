//! A stock viewer through a real Traefik that sends the PROXY protocol: the gateway sees the viewer's own address. The gateway has an
//! admission of the test's own, which notes it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, ensure};
use kube::api::DynamicObject;
use novasphere_dataplane::{
    admission::{Admission, AdmissionRequest, Admitted},
    gateway::Gateway,
    limits::{ConnectionLimiter, Limits},
    listener::rfb_tcp,
    registry::{StreamInfo, Transport},
};
use novasphere_e2e::{
    fixtures::{
        apply::{apply, as_person},
        cluster::Cluster,
        install::node_address,
        namespace::{Context, PodSecurity, with_namespace},
        network::{add_endpoint, address_towards},
        rfb, traefik,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use novasphere_wire::close::{EndReason, StreamEnd};
use parking_lot::Mutex;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::json;
use tokio::{net::TcpListener, time::timeout};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(CASE, Needs::Node, through_traefik)]
}

const CASE: &str = "console::proxy_protocol::traefik";

/// The Service, its port and the objects of Traefik.
const NAME: &str = "vnc";

/// Traefik accepts connections before it knows where to lead them, and then says nothing.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Lets nobody in, and notes where they come from.
#[derive(Clone, Default)]
struct AddressNotes(Arc<Mutex<Vec<IpAddr>>>);

impl Admission for AddressNotes {
    type TargetView = ();

    async fn admit(&self, request: &AdmissionRequest) -> Result<Admitted, StreamEnd> {
        self.0.lock().push(request.client);
        Err(EndReason::TokenRefused.into())
    }

    async fn explain(&self, _: &StreamInfo) -> Option<StreamEnd> {
        None
    }
}

async fn through_traefik() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    traefik::start(cluster).await?;
    let story = async |context: &Context<'_>| known_by_address(context).await;
    Box::pin(with_namespace(cluster, CASE, PodSecurity::Restricted, story)).await
}

async fn known_by_address(context: &Context<'_>) -> Result<()> {
    let node = node_address(context.cluster)?;
    let own = address_towards(&node)?;
    let notes = AddressNotes::default();
    let listener = TcpListener::bind((own, 0)).await?;
    let gateway_at = listener.local_addr()?;
    serve(listener, &notes)?;
    route(context, gateway_at).await?;
    let at = SocketAddr::new(node.parse()?, traefik::FREE_ENTRY_POINT.1);
    let seen = wait::until("a viewer comes through Traefik", wait::SHORT, || async {
        let login = timeout(LOGIN_TIMEOUT, rfb::x509_plain(at, "team/a", &"A".repeat(43))).await;
        let last = notes.0.lock().last().copied();
        Ok(Seen::some(last, format!("{:?}", login.map(Result::err))))
    })
    .await?;
    ensure!(seen == own, "the viewer at {own} is taken to be at {seen}");
    Ok(())
}

/// A gateway that believes whoever connects, because the address of Traefik's Pod is not known before.
fn serve(listener: TcpListener, notes: &AddressNotes) -> Result<()> {
    let limits = Limits {
        trusted_proxies: vec!["0.0.0.0/0".parse()?],
        proxy_protocol: vec![Transport::Rfb],
        ..Limits::default()
    };
    let gateway = Gateway::new(notes.clone(), Vec::new(), ConnectionLimiter::new(limits));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    tokio::spawn(async move { rfb_tcp::serve(listener, &tls, gateway, std::future::pending()).await });
    Ok(())
}

/// Leads the entry point to the gateway, with a header of version 2 first.
async fn route(context: &Context<'_>, gateway: SocketAddr) -> Result<()> {
    let objects = [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
            "spec": {"ports": [{"name": NAME, "port": 5900}]},
        }),
        json!({
            "apiVersion": "traefik.io/v1alpha1", "kind": "ServersTransportTCP", "metadata": {"name": NAME},
            "spec": {"proxyProtocol": {"version": 2}},
        }),
        json!({
            "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRouteTCP", "metadata": {"name": NAME},
            "spec": {
                "entryPoints": [traefik::FREE_ENTRY_POINT.0],
                "routes": [{
                    "match": "HostSNI(`*`)",
                    "services": [{"name": NAME, "port": 5900, "serversTransport": NAME}],
                }],
            },
        }),
    ];
    for object in objects {
        apply::<DynamicObject>(&context.client, Some(&context.namespace), object, &as_person()).await?;
    }
    add_endpoint(context, NAME, NAME, gateway).await
}
