//! Whoever connects to a desktop that sleeps wakes it, waits, and sees it, without a second try. No node is there: the test plays
//! the kubelet and the desktop.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::{
    core::v1::{Pod, Secret},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use novasphere_console::{
    rfb::security::vnc_auth::{CHALLENGE_LENGTH, VncPassword},
    role::rbac,
};
use novasphere_crd::{ConsoleSession, VncWorkspace};
use novasphere_e2e::{
    account::Account,
    apiserver::apply as apply_object,
    controller::InProcess,
    desktop::own_address,
    gateway::{Gateway, SERVER_INIT},
    harness::{Case, Needs},
    namespace::{Context, PodSecurity, with_namespace},
    wait::{self, Seen},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    aggregated_console::{self as aggregated, client_of},
    aggregated_contract::{BASE, with_server},
    console_session_status::{self as policy, impersonating},
    console_stage::{self as stage, ANN, Entry, Viewer, connections},
    console_tokens::native_stream,
    workspace_plane::{self as plane, apply, pod_is_ready, provision, unprovision, wait_for},
    workspace_support::{self, has},
};

/// The workspace of these cases.
const DESK: &str = "desk";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace_console::wakes", Needs::ControlPlane, wakes),
        Case::new("workspace_console::waits_in_vain", Needs::ControlPlane, waits_in_vain),
        Case::new(
            "workspace_console::aggregated",
            Needs::ControlPlane,
            through_kube_apiserver,
        ),
        Case::new("workspace_console::status_is_ours", Needs::ControlPlane, status_is_ours),
    ]
}

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
async fn gateway_account(context: &Context<'_>) -> Result<Account> {
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
struct Sleeper<'a> {
    context: &'a Context<'a>,
    desktop: Desktop,
    account: Account,
    controller: InProcess,
}

impl<'a> Sleeper<'a> {
    async fn make(context: &'a Context<'a>) -> Result<Self> {
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

    fn workspaces(&self) -> Api<VncWorkspace> {
        self.context.api()
    }

    /// Lets it sleep, and waits until it does.
    async fn sleeps(&self) -> Result<()> {
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
    async fn asked(&self) -> Result<Option<String>> {
        let status = self.workspaces().get(DESK).await?.status.unwrap_or_default();
        Ok(status.wake_requested_at.map(|time| time.0.to_string()))
    }

    /// Plays the kubelet: waits for the Pod of a desktop that was woken, and says that it is ready; the endpoints come later.
    async fn wakes(&self) -> Result<()> {
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

    async fn end(self) -> Result<()> {
        self.workspaces().delete(DESK, &DeleteParams::default()).await?;
        workspace_support::nothing_left(self.context, DESK).await?;
        unprovision(self.context, &[DESK.to_owned()]).await?;
        self.controller.stop().await
    }
}

/// A session of the desktop, and a token of it.
async fn token(context: &Context<'_>, session: &str, uses: u32) -> Result<String> {
    let target = json!({"targetRef": {"kind": "VncWorkspace", "name": DESK}});
    stage::session(context, session, target).await?;
    stage::token(context, session, Duration::from_mins(2), uses).await
}

async fn wakes() -> Result<()> {
    let cluster = novasphere_e2e::cluster::Cluster::plane()?;
    let test = "workspace_console::wakes";
    Box::pin(with_namespace(
        cluster,
        test,
        PodSecurity::Restricted,
        async |context| {
            let sleeper = Sleeper::make(context).await?;
            let account = gateway_account(context).await?;
            let gateway = Gateway::start(cluster, &account, "g1", &context.output, None).await?;

            // Three viewers of one token at once: one request to wake.
            let mark = cluster.audit().mark()?;
            let web = token(context, "web", 3).await?;
            let session = context.api::<ConsoleSession>().get("web").await?;
            crate::console_session_support::has(&session, "TargetReady", "True", "WakesOnConnect")
                .map_err(anyhow::Error::msg)?;
            let viewers = (0..3).map(|_| Viewer::enter(gateway.http, &web));
            let wake = async {
                connections(context, "web", 3).await?;
                sleeper.wakes().await
            };
            let (viewers, ()) = tokio::try_join!(futures::future::try_join_all(viewers), wake)?;
            let mut asked = cluster.audit().since(mark)?;
            asked.retain(|write| write.user() == account.user() && write.resource().starts_with("vncworkspaces"));
            ensure!(asked.len() == 1, "{} requests to wake one desktop", asked.len());
            println!("workspace_console::wakes: 3 viewers, 1 write to wake");

            // It goes to sleep under them.
            sleeper.sleeps().await?;
            no_endpoints(context).await?;
            sleeper.desktop.cut();
            for mut viewer in viewers {
                let (code, word) = viewer.closed(wait::SHORT).await?;
                ensure!((code, word.as_str()) == (4029, "TargetHibernated"), "{code} {word}");
            }

            // A stock viewer waits for the result of its authentication.
            let raw = token(context, "raw", 1).await?;
            let user = format!("{}/raw", context.namespace);
            let enter = async {
                let mut stream = match native_stream(gateway.vnc, &user, &raw).await? {
                    Ok(stream) => stream,
                    Err(words) => bail!("refused: {words}"),
                };
                stream.write_all(&[1]).await?;
                let mut screen = vec![0; SERVER_INIT.len()];
                stream.read_exact(&mut screen).await?;
                ensure!(screen == SERVER_INIT, "{screen:?}");
                Ok(())
            };
            tokio::try_join!(enter, sleeper.wakes())?;

            // While it runs nobody waits, and nobody asks.
            let asked = sleeper.asked().await?;
            let running = token(context, "running", 1).await?;
            Viewer::enter(gateway.http, &running).await?.leave().await?;
            ensure!(sleeper.asked().await? == asked, "a desktop that runs was asked to wake");
            sleeper.end().await
        },
    ))
    .await
}

async fn waits_in_vain() -> Result<()> {
    let cluster = novasphere_e2e::cluster::Cluster::plane()?;
    let test = "workspace_console::waits_in_vain";
    Box::pin(with_namespace(
        cluster,
        test,
        PodSecurity::Restricted,
        async |context| {
            let sleeper = Sleeper::make(context).await?;
            let account = gateway_account(context).await?;
            let gateway = Gateway::start(cluster, &account, "g1", &context.output, None).await?;

            // Who leaves gives the place back.
            let left = token(context, "left", 1).await?;
            let viewer = Viewer::open(gateway.http, &left).await?;
            connections(context, "left", 1).await?;
            viewer.leave().await?;
            connections(context, "left", 0).await?;

            // A session that ends ends the wait at once.
            let revoked = token(context, "revoked", 1).await?;
            let mut viewer = Viewer::open(gateway.http, &revoked).await?;
            connections(context, "revoked", 1).await?;
            let revoke = Patch::Merge(json!({"spec": {"revoked": true}}));
            let sessions: Api<ConsoleSession> = context.api();
            sessions.patch("revoked", &PatchParams::default(), &revoke).await?;
            told(&mut viewer, 4001).await?;

            // So does a desktop that cannot start, in its own words.
            let invalid = token(context, "invalid", 1).await?;
            let mut viewer = Viewer::open(gateway.http, &invalid).await?;
            connections(context, "invalid", 1).await?;
            apply(
                context,
                DESK,
                &json!({"console": {"maxViewers": 4}, "podOverrides": {"spec": {"hostNetwork": true}}}),
            )
            .await?;
            wait_for(context, DESK, "PodReady", "False", "InvalidSpec").await?;
            told(&mut viewer, 4027).await?;

            // And a workspace that is deleted.
            sleeper.sleeps().await?;
            let deleted = token(context, "deleted", 1).await?;
            let mut viewer = Viewer::open(gateway.http, &deleted).await?;
            connections(context, "deleted", 1).await?;
            sleeper.workspaces().delete(DESK, &DeleteParams::default()).await?;
            told(&mut viewer, 4004).await?;
            workspace_support::nothing_left(context, DESK).await?;
            unprovision(context, &[DESK.to_owned()]).await?;
            sleeper.controller.stop().await
        },
    ))
    .await
}

async fn told(viewer: &mut Viewer, code: u16) -> Result<()> {
    match viewer.entry().await? {
        Entry::Closed(told, _) if told == code => Ok(()),
        other => bail!("expected {code}, got {other:?}"),
    }
}

async fn through_kube_apiserver() -> Result<()> {
    Box::pin(with_server(
        "workspace_console::aggregated",
        async |context, _server| {
            let sleeper = Sleeper::make(context).await?;
            let path = format!("{BASE}/namespaces/{}/vncworkspaces/{DESK}/console", context.namespace);
            let nobody = client_of(context, "nobody").await?;
            let Err((code, status)) = aggregated::Viewer::open(&nobody, &path).await? else {
                bail!("nobody opens a desktop");
            };
            ensure!(
                code == 403 && status.to_string().contains("vncworkspaces/console"),
                "{code} {status}"
            );
            let ann = client_of(context, ANN).await?;
            let missing = format!("{BASE}/namespaces/{}/vncworkspaces/none/console", context.namespace);
            let Err((code, _)) = aggregated::Viewer::open(&ann, &missing).await? else {
                bail!("a desktop that is not there was opened");
            };
            ensure!(code == 404, "{code}");
            let Err((code, status)) = aggregated::Viewer::open(&ann, &format!("{path}?protocol=serial")).await? else {
                bail!("a desktop has no serial console");
            };
            ensure!(code == 409, "{code} {status}");

            let (viewer, ()) = tokio::try_join!(aggregated::Viewer::enter(&ann, &path), sleeper.wakes())?;
            viewer.leave().await?;
            sleeper.end().await
        },
    ))
    .await
}

/// Nobody but novasphere writes the status of a workspace, and a gateway writes no more of it than it must.
async fn status_is_ours() -> Result<()> {
    let cluster = novasphere_e2e::cluster::Cluster::plane()?;
    let test = "workspace_console::status_is_ours";
    Box::pin(with_namespace(
        cluster,
        test,
        PodSecurity::Restricted,
        async |context| {
            let sleeper = Sleeper::make(context).await?;
            let gateway = gateway_account(context).await?;
            policy::install_policy(
                context,
                "workspace_status",
                &[("controller", &sleeper.account), ("console", &gateway)],
            )
            .await?;
            let wake = json!({"wakeRequestedAt": "2000-01-01T00:00:00Z"});
            let administrator = sleeper.workspaces();
            let message = wait::until("the policy holds", wait::SHORT, || async {
                Ok(Seen::some(
                    refused(&administrator, &wake).await?,
                    "an administrator may write status",
                ))
            })
            .await?;
            ensure!(message.contains("only novasphere itself"), "{message}");

            // With all rights of RBAC: only the policy stands in the way.
            let gateways: Api<VncWorkspace> = impersonating(context, &gateway.user()).await?;
            ensure!(refused(&gateways, &wake).await?.is_none(), "a gateway may not wake");
            for more in [
                json!({"phase": "Running"}),
                json!({"awakeSince": "2000-01-01T00:00:00Z"}),
                json!({"hibernation": null}),
                json!({"hibernation": {"reason": "Idle", "since": "2000-01-01T00:00:00Z"}}),
                json!({"wakeRequestedAt": "2000-01-01T00:00:00Z", "expiresAt": "2100-01-01T00:00:00Z"}),
            ] {
                let message = refused(&gateways, &more).await?;
                let message = message.with_context(|| format!("a gateway may write {more}"))?;
                ensure!(
                    message.contains("nothing of a VncWorkspace but status.wakeRequestedAt"),
                    "{message}"
                );
            }
            // What novasphere does goes on.
            let process = Gateway::start(cluster, &gateway, "g1", &context.output, None).await?;
            let awake = token(context, "policy", 1).await?;
            let (viewer, ()) = tokio::try_join!(Viewer::enter(process.http, &awake), sleeper.wakes())?;
            viewer.leave().await?;
            sleeper.end().await
        },
    ))
    .await
}

/// Tries to write this into the status. Returns the words of the refusal.
async fn refused(workspaces: &Api<VncWorkspace>, status: &Value) -> Result<Option<String>> {
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "status": status }));
    match workspaces.patch_status(DESK, &parameters, &patch).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(refusal)) if refusal.code == 403 => Ok(Some(refusal.message.clone())),
        Err(error) => Err(error.into()),
    }
}
