//! A desktop that sleeps until somebody connects. No node is there: these play the kubelet and the desktop.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    core::v1::{Pod, Secret},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use novasphere_console::rbac;
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    account::Account, apiserver::apply as apply_object, controller::InProcess, desktop::own_address,
    gateway::SERVER_INIT, namespace::Context, wait,
};
use novasphere_wire::rfb::security::vnc_auth::{CHALLENGE_LENGTH, VncPassword};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    console_stage::ANN,
    workspace_plane::{self as plane, apply, pod_is_ready, provision, unprovision, wait_for},
    workspace_support::{self, has},
};

/// The workspace.
pub(crate) const DESK: &str = "desk";

/// The VNC server of a desktop, with the password of its workspace.
struct Desktop {
    address: SocketAddr,
    /// Counts how often all connections were cut, as by the end of a Pod.
    cuts: watch::Sender<u32>,
}

impl Desktop {
    async fn start(context: &Context<'_>) -> Result<Self> {
        let listener = TcpListener::bind((own_address()?, 0)).await?;
        let address = listener.local_addr()?;
        let cuts = watch::Sender::new(0);
        let (ends, secrets) = (cuts.subscribe(), context.api::<Secret>());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut ended, secrets) = (ends.clone(), secrets.clone());
                tokio::spawn(async move {
                    ended.mark_unchanged();
                    tokio::select! {
                        served = serve(stream, &secrets) => served,
                        _ = ended.changed() => Ok(()),
                    }
                });
            }
        });
        Ok(Self { address, cuts })
    }

    /// Ends all connections.
    fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }
}

/// The handshake of a server with `VncAuth`, and then nothing but what shows the screen's size.
async fn serve(mut stream: TcpStream, secrets: &Api<Secret>) -> Result<()> {
    stream.write_all(b"RFB 003.008\n").await?;
    stream.read_exact(&mut [0; 12]).await?;
    stream.write_all(&[1, 2]).await?;
    stream.read_exact(&mut [0; 1]).await?;
    let challenge = [7; CHALLENGE_LENGTH];
    stream.write_all(&challenge).await?;
    let mut answer = [0; CHALLENGE_LENGTH];
    stream.read_exact(&mut answer).await?;
    let data = secrets.get(&format!("{DESK}-credentials")).await?.data;
    let password = data.and_then(|mut data| data.remove("vnc-password"));
    let password = password.context("the Secret has no password")?;
    ensure!(
        answer == VncPassword::new(&password.0).answer(challenge),
        "the password is wrong"
    );
    stream.write_all(&[0; 4]).await?;
    stream.read_exact(&mut [0; 1]).await?;
    stream.write_all(SERVER_INIT).await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Says where the desktop is, as the endpoints controller does for a Pod that is ready.
async fn endpoints(context: &Context<'_>, address: SocketAddr) -> Result<()> {
    let name = format!("{DESK}-e2e");
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/service-name": DESK,
            "endpointslice.kubernetes.io/managed-by": "novasphere-e2e",
        }},
        "addressType": "IPv4",
        "ports": [{"name": "vnc", "port": address.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
    });
    let slices: Api<EndpointSlice> = context.api();
    let parameters = PatchParams::apply("novasphere-e2e").force();
    slices.patch(&name, &parameters, &Patch::Apply(slice)).await?;
    Ok(())
}

async fn no_endpoints(context: &Context<'_>) -> Result<()> {
    let slices: Api<EndpointSlice> = context.api();
    slices.delete(&format!("{DESK}-e2e"), &DeleteParams::default()).await?;
    Ok(())
}

/// Lets a user do this with the desktops of the namespace.
async fn allow(context: &Context<'_>, user: &str, verbs: &[&str]) -> Result<()> {
    let (group, namespace) = ("rbac.authorization.k8s.io", Some(context.namespace.as_str()));
    let name = format!("desktops-{user}");
    let rule =
        json!({"apiGroups": ["subresources.novasphere.io"], "resources": ["vncworkspaces/console"], "verbs": verbs});
    apply_object(context, group, "Role", namespace, &name, json!({"rules": [rule]})).await?;
    let binding = json!({
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    });
    apply_object(context, group, "RoleBinding", namespace, &name, binding).await
}

/// The rights of a gateway that may read the passwords of desktops.
pub(crate) async fn gateway_account(context: &Context<'_>) -> Result<Account> {
    let rules = [rbac::CLUSTER_RULES, rbac::PASSWORD_RULES].concat();
    Account::with_rules(
        context.cluster,
        &context.namespace,
        "console",
        &rules,
        rbac::NAMESPACE_RULES,
    )
    .await
}

/// A desktop that sleeps because its spec says so, and how it wakes and sleeps.
pub(crate) struct Sleeper<'a> {
    context: &'a Context<'a>,
    desktop: Desktop,
    /// The controller's.
    pub(crate) account: Account,
    controller: InProcess,
}

impl<'a> Sleeper<'a> {
    pub(crate) async fn make(context: &'a Context<'a>) -> Result<Self> {
        let account = Account::create(context.cluster, &context.namespace, "controller").await?;
        let controller = plane::start(context, &account).await?;
        provision(context, &[DESK.to_owned()]).await?;
        let this = Self {
            context,
            desktop: Desktop::start(context).await?,
            account,
            controller,
        };
        this.sleeps().await?;
        allow(context, ANN, &["get", "update"]).await?;
        Ok(this)
    }

    pub(crate) fn workspaces(&self) -> Api<VncWorkspace> {
        self.context.api()
    }

    /// Lets it sleep, and waits until it does.
    pub(crate) async fn sleeps(&self) -> Result<()> {
        for (state, is, reason) in [("Running", "False", "Awake"), ("Hibernated", "True", "Asked")] {
            let spec = json!({
                "console": {"maxViewers": 4, "maxConcurrentSessions": 20},
                "lifecycle": {"state": state},
            });
            apply(self.context, DESK, &spec).await?;
            wait_for(self.context, DESK, "Hibernated", is, reason).await?;
        }
        wait::gone(&self.context.api::<Pod>(), DESK, wait::SHORT).await
    }

    /// When somebody asked for it last.
    pub(crate) async fn asked(&self) -> Result<Option<String>> {
        let status = self.workspaces().get(DESK).await?.status.unwrap_or_default();
        Ok(status.wake_requested_at.map(|time| time.0.to_string()))
    }

    /// Plays the kubelet: waits for the Pod of a desktop that was woken, and says that it is ready; the endpoints come later.
    pub(crate) async fn wakes(&self) -> Result<()> {
        wait::object(
            &self.workspaces(),
            DESK,
            "woken",
            wait::SHORT,
            |workspace: &VncWorkspace| has(workspace, "PodReady", "False", "Starting"),
        )
        .await?;
        pod_is_ready(self.context, DESK).await?;
        wait_for(self.context, DESK, "PodReady", "True", "Running").await?;
        endpoints(self.context, self.desktop.address).await
    }

    /// Ends all connections to it, as the end of its Pod does.
    pub(crate) async fn dies(&self) -> Result<()> {
        no_endpoints(self.context).await?;
        self.desktop.cut();
        Ok(())
    }

    /// Deletes it, unless that was done, and waits until nothing of it is left.
    pub(crate) async fn end(self) -> Result<()> {
        match self.workspaces().delete(DESK, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            deleted => drop(deleted?),
        }
        workspace_support::nothing_left(self.context, DESK).await?;
        unprovision(self.context, &[DESK.to_owned()]).await?;
        self.controller.stop().await
    }
}
