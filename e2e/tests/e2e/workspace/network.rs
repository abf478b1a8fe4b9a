//! What a desktop reaches and who reaches it, on a network that enforces NetworkPolicies. A Pod of another tenant tries the same, so nothing
//! is closed because nobody is there.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        apply::change,
        cluster::Cluster,
        console_session::apply_session,
        console_socket::{ConsoleSocket, KUBEVIRT_SUBPROTOCOL},
        desktop_image,
        install::{self, node_address},
        installed,
        namespace::{Context, PodSecurity, with_namespace},
        neighbour::{Attempt, MetadataAddress, NEIGHBOUR, address, address_of, start_neighbour, try_connections},
        network::own_address,
        rfb::{self, Security, Viewer},
        rights::{DESKTOP_CONSOLES, client_of},
        ssh::Keys,
        users::{allow_consoles, request_token},
        wait::{self, Seen},
        workspace::{apply_workspace, desktop_answers, exec},
    },
    harness::{Case, Needs},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("workspace::network::enforced", Needs::Node, enforced)]
}

const CASE: &str = "workspace::network::enforced";

/// May control the desktop.
const ALICE: &str = "alice";

const DESK: &str = "desk";

/// Where the kubelet answers, at every address of the node.
const KUBELET_PORT: u16 = 10250;

/// Where CoreDNS says that it is ready, beside its port for names.
const DNS_READY_PORT: u16 = 1081;

/// The ports of a desktop's Pod; its Service has the first one too, and 22 for SSH.
const VNC: u16 = 5901;
const SSH: u16 = 2222;

/// What [`Scene::places`] calls the kubelet.
const KUBELET: &str = "the kubelet";

const WORLD: &str = "the world";

/// A desktop, and Pods of its namespace and of another one.
struct Scene<'a> {
    /// The namespace of the desktop.
    context: &'a Context<'a>,
    /// The other one.
    tenant: &'a Context<'a>,
    /// Parts of the cluster, and a metadata service.
    places: Vec<(&'static str, SocketAddr)>,
    /// Somebody outside.
    world: SocketAddr,
}

async fn enforced() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let story = async |context: &Context<'_>| {
        let undisturbed = installed::undisturbed().await;
        let image = desktop_image::load(cluster, "desktop")?;
        let keys = Keys::make(&context.output, &["person"])?;
        let spec = json!({"ssh": {"authorizedKeys": [keys.public("person")?]}});
        apply_workspace(context, DESK, &image, &spec).await?;
        // In the namespace of the desktop, whose policy lets in gateways alone.
        start_neighbour(context, &image).await?;
        let tenant = async |tenant: &Context<'_>| {
            start_neighbour(tenant, &image).await?;
            desktop_answers(context, DESK).await?;
            let _metadata = MetadataAddress::add(cluster)?;
            // This machine, by an address that is none of the cluster's.
            let world = TcpListener::bind((own_address()?, 0))?;
            let scene = Scene {
                context,
                tenant,
                places: places_of_the_cluster(context).await?,
                world: world.local_addr()?,
            };
            scene.leaves_the_cluster_alone().await.context("egress")?;
            scene.lets_in_gateways_alone().await.context("ingress")?;
            scene.follows_its_own_rules().await.context("rules of its own")
        };
        Box::pin(with_namespace(
            cluster,
            "workspace::network::tenant",
            PodSecurity::Restricted,
            tenant,
        ))
        .await?;
        drop(undisturbed);
        Ok(())
    };
    Box::pin(with_namespace(cluster, CASE, PodSecurity::Restricted, story)).await
}

/// The parts of the cluster that a desktop could talk to, and a metadata service.
async fn places_of_the_cluster(context: &Context<'_>) -> Result<Vec<(&'static str, SocketAddr)>> {
    let services: Api<Service> = Api::namespaced(context.client.clone(), "default");
    let kubernetes = services.get("kubernetes").await?.spec.unwrap_or_default();
    let kubernetes: Ipv4Addr = kubernetes.cluster_ip.context("it has no ClusterIP")?.parse()?;
    let dns = address_of(context, "kube-system", "k8s-app=kube-dns").await?;
    let node = context.cluster.node()?.ip;
    Ok(vec![
        ("kube-apiserver", (kubernetes, 443).into()),
        (KUBELET, (node, KUBELET_PORT).into()),
        ("a Pod", (dns, DNS_READY_PORT).into()),
        ("a metadata service", (MetadataAddress::IP, KUBELET_PORT).into()),
    ])
}

impl Scene<'_> {
    /// By default a desktop reaches the world and resolves names; nothing of the cluster and no metadata service.
    async fn leaves_the_cluster_alone(&self) -> Result<()> {
        let attempts = |is_open: bool| {
            let places = self.places.iter().map(|(what, to)| (*what, *to, is_open));
            places.chain([(WORLD, self.world, true)]).collect::<Vec<_>>()
        };
        try_connections(self.tenant, NEIGHBOUR, &attempts(true)).await?;
        try_connections(self.context, DESK, &attempts(false)).await?;
        resolves_names(self.context, DESK).await
    }

    /// VNC and SSH are for gateways.
    async fn lets_in_gateways_alone(&self) -> Result<()> {
        let context = self.context;
        let desk = self.desk().await?;
        let service = context.api::<Service>().get(DESK).await?.spec.unwrap_or_default();
        let service: Ipv4Addr = service.cluster_ip.context("it has no ClusterIP")?.parse()?;
        let attempts: [Attempt<'_>; 4] = [
            ("VNC", (desk, VNC).into(), false),
            ("SSH", (desk, SSH).into(), false),
            ("VNC by its Service", (service, VNC).into(), false),
            ("SSH by its Service", (service, 22).into(), false),
        ];
        try_connections(self.tenant, NEIGHBOUR, &attempts).await?;
        try_connections(context, NEIGHBOUR, &attempts).await?;
        // Somebody is there: this machine counts as the node, which no policy keeps out.
        for (what, to, _) in attempts {
            let connection = tokio::time::timeout(wait::SHORT, TcpStream::connect(to)).await;
            connection.with_context(|| format!("{what} at {to}"))??;
        }
        through_both_gateways(context).await
    }

    /// What `network` of its spec names is open, and no more.
    async fn follows_its_own_rules(&self) -> Result<()> {
        let context = self.context;
        let node = context.cluster.node()?.ip;
        let network = json!({
            "ingress": "Namespace",
            "egress": [{"cidr": format!("{node}/32"), "ports": [{"port": KUBELET_PORT}]}],
        });
        change::<VncWorkspace>(context, DESK, &json!({ "network": network })).await?;
        let all = self.places.iter().copied().chain([(WORLD, self.world)]);
        let all: Vec<Attempt<'_>> = all.map(|(what, to)| (what, to, what == KUBELET)).collect();
        // When this is open, the network knows the new policy.
        let opened: Vec<_> = all.iter().copied().filter(|(_, _, is_open)| *is_open).collect();
        try_connections(context, DESK, &opened).await?;
        try_connections(context, DESK, &all).await?;
        resolves_names(context, DESK).await?;
        let vnc: SocketAddr = (self.desk().await?, VNC).into();
        try_connections(context, NEIGHBOUR, &[("VNC", vnc, true)]).await?;
        try_connections(self.tenant, NEIGHBOUR, &[("VNC", vnc, false)]).await
    }

    async fn desk(&self) -> Result<Ipv4Addr> {
        address(&self.context.api::<Pod>().get(DESK).await?)
    }
}

async fn resolves_names(context: &Context<'_>, pod: &str) -> Result<()> {
    wait::until(format!("{pod} resolves a name"), wait::SHORT, || async {
        let found = exec(
            context,
            pod,
            "getent ahostsv4 kubernetes.default.svc.cluster.local || true",
        )?;
        Ok(Seen::some((!found.trim().is_empty()).then_some(()), "no address"))
    })
    .await
}

/// The console gateway and the aggregated API.
async fn through_both_gateways(context: &Context<'_>) -> Result<()> {
    allow_consoles(context, ALICE, DESKTOP_CONSOLES, &["get", "update"]).await?;
    let client = client_of(context, ALICE, &[]).await?;
    let path = format!(
        "/apis/subresources.novasphere.io/v1alpha1/namespaces/{}/vncworkspaces/{DESK}/console?protocol=vnc",
        context.namespace
    );
    let socket = ConsoleSocket::connect(&client, &path, KUBEVIRT_SUBPROTOCOL).await?;
    drop(Viewer::enter(socket, Security::None).await.context("aggregated API")?);

    let target = json!({"targetRef": {"kind": "VncWorkspace", "name": DESK}});
    apply_session(context, "stock", target).await?;
    let token = request_token(context, ALICE, "stock").await?;
    let node: Ipv4Addr = node_address(context.cluster)?.parse()?;
    let user = format!("{}/stock", context.namespace);
    let mut stream = rfb::x509_plain((node, install::VNC_PORT).into(), &user, &token.token).await?;
    stream.write_all(&[1]).await?;
    // What comes first of a screen.
    let mut width = [0; 2];
    stream.read_exact(&mut width).await.context("console gateway")?;
    ensure!(u16::from_be_bytes(width) > 0, "the screen has no width");
    Ok(())
}
