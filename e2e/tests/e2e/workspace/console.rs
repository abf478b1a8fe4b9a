//! A viewer who connects to a desktop that sleeps wakes it, waits, and sees it, without a second try. No node is there: the test plays
//! the kubelet and the desktop.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use novasphere_crd::{ConsoleSession, VncWorkspace};
use novasphere_e2e::{
    fixtures::{
        account::Account,
        admission_policy::install_policy,
        apiserver::{BASE, with_apiserver},
        cluster::Cluster,
        condition::{has, wait_for},
        console::ANN,
        console_desktop::gateway_account,
        console_session::{Grant, connections, grant_token, open_session, revoke},
        console_socket::{BINARY_SUBPROTOCOL, ConsoleSocket, Entry},
        gateway::Gateway,
        namespace::{Context, PodSecurity, with_namespace},
        rfb::{self, SERVER_INIT},
        rights::{DESKTOP_CONSOLES, allow, client_of},
        sleeping_workspace::{DESK, SleepingDesktop},
        wait::{self, Seen},
        workspace_plane::apply_desk,
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A user with the right to view and not to control.
const WATCHER: &str = "watcher";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace::console::wakes", Needs::ControlPlane, || {
            with_scene("workspace::console::wakes", wakes)
        }),
        Case::new("workspace::console::waits_in_vain", Needs::ControlPlane, || {
            with_scene("workspace::console::waits_in_vain", waits_in_vain)
        }),
        Case::new(
            "workspace::console::aggregated",
            Needs::ControlPlane,
            through_kube_apiserver,
        ),
        Case::new("workspace::console::status_is_ours", Needs::ControlPlane, || {
            with_scene("workspace::console::status_is_ours", status_is_ours)
        }),
    ]
}

/// A desktop that sleeps, and a gateway with the rights of one.
struct Scene<'a> {
    context: &'a Context<'a>,
    sleeper: SleepingDesktop<'a>,
    account: Account,
    gateway: Gateway,
}

async fn with_scene(test: &'static str, story: impl AsyncFn(&Scene<'_>) -> Result<()>) -> Result<()> {
    let cluster = Cluster::plane()?;
    let scene = async |context: &Context<'_>| {
        let sleeper = SleepingDesktop::make(context).await?;
        let account = gateway_account(context).await?;
        let gateway = Gateway::start(context, &account, "g1").await?;
        let scene = Scene {
            context,
            sleeper,
            account,
            gateway,
        };
        story(&scene).await?;
        scene.sleeper.end().await
    };
    Box::pin(with_namespace(cluster, test, PodSecurity::Restricted, scene)).await
}

/// A session of the desktop, and a token of it.
async fn token(context: &Context<'_>, session: &str, uses: u32) -> Result<String> {
    let target = json!({"targetRef": {"kind": "VncWorkspace", "name": DESK}});
    open_session(context, session, target).await?;
    grant_token(
        &context.api(),
        session,
        Grant::to(ANN).within(Duration::from_mins(2)).uses(uses),
    )
    .await
}

async fn wakes(scene: &Scene<'_>) -> Result<()> {
    who_only_views_does_not_wake_it(scene).await?;
    let viewers = a_crowd_wakes_it_once(scene).await?;
    its_sleep_ends_streams(scene, viewers).await?;
    a_stock_viewer_waits(scene).await?;
    nobody_asks_one_that_runs(scene).await
}

async fn who_only_views_does_not_wake_it(scene: &Scene<'_>) -> Result<()> {
    let Scene { context, sleeper, .. } = scene;
    allow(context, WATCHER, DESKTOP_CONSOLES, &["get"]).await?;
    let before = sleeper.asked().await?;
    let target = json!({"targetRef": {"kind": "VncWorkspace", "name": DESK}});
    open_session(context, "look", target).await?;
    let grant = Grant::to(WATCHER).within(Duration::from_mins(2));
    let look = grant_token(&context.api(), "look", grant).await?;
    refused_with(ConsoleSocket::open(scene.gateway.http, &look).await?, 4025).await?;
    ensure!(sleeper.asked().await? == before, "a viewer who may only view woke it");
    Ok(())
}

/// Three viewers of one token at once: one request to wake.
async fn a_crowd_wakes_it_once(scene: &Scene<'_>) -> Result<Vec<ConsoleSocket>> {
    let Scene { context, sleeper, .. } = scene;
    let audit = context.cluster.audit();
    let mark = audit.mark()?;
    let web = token(context, "web", 3).await?;
    let session = context.api::<ConsoleSession>().get("web").await?;
    has(&session, ("TargetReady", "True", "WakesOnConnect")).map_err(anyhow::Error::msg)?;
    let viewers = (0..3).map(|_| ConsoleSocket::enter(scene.gateway.http, &web));
    let wake = async {
        connections(context, "web", 3).await?;
        sleeper.wakes().await
    };
    let (viewers, ()) = tokio::try_join!(futures::future::try_join_all(viewers), wake)?;
    let user = scene.account.user();
    let mut asked = audit.since(mark)?;
    asked.retain(|write| write.user() == user && write.resource().starts_with("vncworkspaces"));
    ensure!(asked.len() == 1, "{} requests to wake one desktop", asked.len());
    println!("workspace::console::wakes: 3 viewers, 1 write to wake");
    Ok(viewers)
}

async fn its_sleep_ends_streams(scene: &Scene<'_>, viewers: Vec<ConsoleSocket>) -> Result<()> {
    scene.sleeper.sleeps().await?;
    scene.sleeper.dies().await?;
    for mut viewer in viewers {
        let (code, word) = viewer.closed(wait::SHORT).await?;
        ensure!((code, word.as_str()) == (4029, "TargetHibernated"), "{code} {word}");
    }
    Ok(())
}

/// It waits for the result of its authentication.
async fn a_stock_viewer_waits(scene: &Scene<'_>) -> Result<()> {
    let context = scene.context;
    let raw = token(context, "raw", 1).await?;
    let user = format!("{}/raw", context.namespace);
    let enter = async {
        let mut stream = rfb::x509_plain(scene.gateway.vnc, &user, &raw).await?;
        stream.write_all(&[1]).await?;
        let mut screen = vec![0; SERVER_INIT.len()];
        stream.read_exact(&mut screen).await?;
        ensure!(screen == SERVER_INIT, "{screen:?}");
        Ok(())
    };
    tokio::try_join!(enter, scene.sleeper.wakes()).map(drop)
}

/// While it runs nobody waits, and nobody asks.
async fn nobody_asks_one_that_runs(scene: &Scene<'_>) -> Result<()> {
    let asked = scene.sleeper.asked().await?;
    let running = token(scene.context, "running", 1).await?;
    ConsoleSocket::enter(scene.gateway.http, &running)
        .await?
        .leave()
        .await?;
    let now = scene.sleeper.asked().await?;
    ensure!(now == asked, "a desktop that runs was asked to wake");
    Ok(())
}

impl Scene<'_> {
    /// A viewer that waits for the desktop in a session of its own.
    async fn waiting(&self, session: &str) -> Result<ConsoleSocket> {
        let token = token(self.context, session, 1).await?;
        let viewer = ConsoleSocket::open(self.gateway.http, &token).await?;
        connections(self.context, session, 1).await?;
        Ok(viewer)
    }
}

async fn waits_in_vain(scene: &Scene<'_>) -> Result<()> {
    let Scene { context, sleeper, .. } = scene;
    // A viewer who leaves gives the place back.
    scene.waiting("left").await?.leave().await?;
    connections(context, "left", 0).await?;

    // A session that ends ends the wait at once.
    let viewer = scene.waiting("revoked").await?;
    revoke(context, "revoked").await?;
    refused_with(viewer, 4001).await?;

    // So does a desktop that cannot start, in its own words.
    let viewer = scene.waiting("invalid").await?;
    let wrong = json!({"console": {"maxViewers": 4}, "podOverrides": {"spec": {"hostNetwork": true}}});
    apply_desk(context, DESK, &wrong).await?;
    wait_for::<VncWorkspace>(context, DESK, ("PodReady", "False", "InvalidSpec"), wait::SHORT).await?;
    refused_with(viewer, 4027).await?;

    // And a workspace that is deleted.
    sleeper.sleeps().await?;
    let viewer = scene.waiting("deleted").await?;
    sleeper.workspaces().delete(DESK, &DeleteParams::default()).await?;
    refused_with(viewer, 4004).await
}

async fn refused_with(mut viewer: ConsoleSocket, code: u16) -> Result<()> {
    match viewer.entry().await? {
        Entry::Closed(found, _) if found == code => Ok(()),
        other => bail!("expected {code}, got {other:?}"),
    }
}

/// Opens a desktop through kube-apiserver and does the handshake up to the screen's size.
async fn enter(client: &Client, path: &str) -> Result<ConsoleSocket> {
    let socket = ConsoleSocket::connect(client, path, BINARY_SUBPROTOCOL).await?;
    socket.entered().await
}

async fn through_kube_apiserver() -> Result<()> {
    Box::pin(with_apiserver(
        "workspace::console::aggregated",
        async |context, _server| {
            let sleeper = SleepingDesktop::make(context).await?;
            let path = format!("{BASE}/namespaces/{}/vncworkspaces/{DESK}/console", context.namespace);
            let nobody = client_of(context, "nobody", &[]).await?;
            let Err((code, status)) = ConsoleSocket::through_kube_apiserver(&nobody, &path, BINARY_SUBPROTOCOL).await?
            else {
                bail!("nobody opens a desktop");
            };
            ensure!(
                code == 403 && status.to_string().contains("vncworkspaces/console"),
                "{code} {status}"
            );
            let ann = client_of(context, ANN, &[]).await?;
            let missing = format!("{BASE}/namespaces/{}/vncworkspaces/none/console", context.namespace);
            let Err((code, _)) = ConsoleSocket::through_kube_apiserver(&ann, &missing, BINARY_SUBPROTOCOL).await?
            else {
                bail!("a desktop that is not there was opened");
            };
            ensure!(code == 404, "{code}");
            let Err((code, status)) =
                ConsoleSocket::through_kube_apiserver(&ann, &format!("{path}?protocol=serial"), BINARY_SUBPROTOCOL)
                    .await?
            else {
                bail!("a desktop has no serial console");
            };
            ensure!(code == 409, "{code} {status}");

            let (viewer, ()) = tokio::try_join!(enter(&ann, &path), sleeper.wakes())?;
            viewer.leave().await?;
            sleeper.end().await
        },
    ))
    .await
}

/// Nobody but novasphere writes the status of a workspace, and a gateway writes no more of it than it must.
async fn status_is_ours(scene: &Scene<'_>) -> Result<()> {
    let Scene { context, sleeper, .. } = scene;
    let accounts = [("controller", &sleeper.account), ("console", &scene.account)];
    install_policy(context, "workspace_status", &accounts).await?;
    let wake = json!({"wakeRequestedAt": "2000-01-01T00:00:00Z"});
    let administrator = sleeper.workspaces();
    let message = wait::until("the policy holds", wait::SHORT, || async {
        let refused = refused(&administrator, &wake).await?;
        Ok(Seen::some(refused, "an administrator may write status"))
    })
    .await?;
    ensure!(message.contains("only novasphere itself"), "{message}");

    // With all rights of RBAC: only the policy stands in the way.
    let gateways = client_of(context, &scene.account.user(), &["system:masters"]).await?;
    let gateways: Api<VncWorkspace> = Api::namespaced(gateways, &context.namespace);
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
        let expected = "nothing of a VncWorkspace but status.wakeRequestedAt";
        ensure!(message.contains(expected), "{message}");
    }
    // What novasphere does goes on.
    let awake = token(context, "policy", 1).await?;
    let (viewer, ()) = tokio::try_join!(ConsoleSocket::enter(scene.gateway.http, &awake), sleeper.wakes())?;
    viewer.leave().await
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
