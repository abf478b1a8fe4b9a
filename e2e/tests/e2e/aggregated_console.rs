//! Consoles and tokens through kube-apiserver, under the rights of different users.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Event;
use kube::{Api, Client, ResourceExt, api::ListParams, client::Body};
use novasphere_crd::{CloseReason, ConsoleSession, SessionPhase, Transport};
use novasphere_e2e::{
    apiserver::{apply, at, text},
    audit::{self, Mark},
    gateway::SERVER_INIT,
    harness::{Case, Needs},
    namespace::Context,
    wait::{self, Seen},
};
use serde_json::{Value, json};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::client::generate_key, protocol::Role},
};

use crate::{
    aggregated_contract::{BASE, PUBLIC_URL, with_server},
    console_stage::{self as stage, Entry, Stage, TARGET},
};

/// RFB messages of a viewer: the key `a` is pressed; an update of 8 x 4 pixels is asked for.
const KEY: &[u8] = &[4, 1, 0, 0, 0, 0, 0, 0x61];
const REQUEST: &[u8] = &[3, 0, 0, 0, 0, 0, 0, 8, 0, 4];

/// What the desktop shows: `FramebufferUpdate` with one raw rectangle of 1 x 1.
const PICTURE: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];

/// Writes in the life of one session.
const MAX_WRITES: usize = 6;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("aggregated_console::rights", Needs::ControlPlane, rights),
        Case::new("aggregated_console::tokens", Needs::ControlPlane, tokens),
    ]
}

/// A client that acts as this user.
pub(crate) async fn client_of(context: &Context<'_>, user: &str) -> Result<Client> {
    let mut config = context.cluster.config("person").await?;
    config.auth_info.impersonate = Some(user.to_owned());
    Ok(Client::try_from(config)?)
}

/// Lets a user do this with sessions of the namespace.
async fn allow(context: &Context<'_>, user: &str, verb: &str, resource: &str) -> Result<()> {
    let name = format!("{user}-{}", resource.replace('/', "-"));
    let (group, namespace) = ("rbac.authorization.k8s.io", Some(context.namespace.as_str()));
    let rule = json!({"apiGroups": ["subresources.novasphere.io"], "resources": [resource], "verbs": [verb]});
    apply(context, group, "Role", namespace, &name, json!({"rules": [rule]})).await?;
    let binding = json!({
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    });
    apply(context, group, "RoleBinding", namespace, &name, binding).await
}

/// A viewer whose WebSocket goes through kube-apiserver.
pub(crate) struct Viewer {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    buffer: Vec<u8>,
}

impl Viewer {
    /// Opens the WebSocket; the error is the status that came in its place.
    pub(crate) async fn open(client: &Client, path: &str) -> Result<Result<Self, (u16, Value)>> {
        let request = Request::get(path)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, generate_key())
            .header(header::SEC_WEBSOCKET_PROTOCOL, "binary")
            .body(Body::empty())?;
        let response = client.send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let code = response.status().as_u16();
            let body = response.into_body().collect_bytes().await?;
            return Ok(Err((code, serde_json::from_slice(&body).unwrap_or_default())));
        }
        let protocol = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        ensure!(
            protocol.is_some_and(|protocol| protocol == "binary"),
            "the subprotocol is {protocol:?}"
        );
        let upgraded = hyper::upgrade::on(response).await?;
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
        Ok(Ok(Self {
            socket,
            buffer: Vec::new(),
        }))
    }

    /// Opens it and does the handshake up to the screen's size.
    pub(crate) async fn enter(client: &Client, path: &str) -> Result<Self> {
        let mut viewer = match Self::open(client, path).await? {
            Ok(viewer) => viewer,
            Err((code, status)) => bail!("{path}: {code} {status}"),
        };
        for (expected, answer) in [
            (&b"RFB 003.008\n"[..], &b"RFB 003.008\n"[..]),
            (&[1, 1], &[1]),
            (&[0; 4], &[1]),
        ] {
            viewer.expect(expected).await?;
            viewer.send(answer).await?;
        }
        viewer.expect(SERVER_INIT).await?;
        Ok(viewer)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.send(Message::binary(bytes.to_vec())).await?)
    }

    async fn expect(&mut self, bytes: &[u8]) -> Result<()> {
        while self.buffer.len() < bytes.len() {
            let message = tokio::time::timeout(wait::SHORT, self.socket.next()).await;
            match message.context("nothing came")?.context("the socket was closed")?? {
                Message::Binary(more) => self.buffer.extend(more),
                Message::Close(frame) => bail!("closed: {frame:?}"),
                _ => {}
            }
        }
        let seen: Vec<u8> = self.buffer.drain(..bytes.len()).collect();
        ensure!(seen == bytes, "expected {bytes:?}, read {seen:?}");
        Ok(())
    }

    /// Waits for the end and returns its code.
    async fn closed(&mut self, bound: Duration) -> Result<u16> {
        let end = async {
            while let Some(message) = self.socket.next().await {
                if let Message::Close(Some(frame)) = message? {
                    return Ok(frame.code.into());
                }
            }
            bail!("closed without a word")
        };
        tokio::time::timeout(bound, end)
            .await
            .context("the stream is still open")?
    }

    /// Sees the picture, presses a key, and says whether the key reached the desktop.
    async fn drives(&mut self, stage: &Stage) -> Result<bool> {
        let _ = stage.vnc.take();
        stage.vnc.send(PICTURE);
        self.expect(PICTURE).await.context("the picture")?;
        self.send(KEY).await?;
        // What comes after the key has arrived, so the key would have as well.
        self.send(REQUEST).await?;
        let seen = parking_lot::Mutex::new(Vec::new());
        wait::until("the request for an update reaches the desktop", wait::SHORT, || async {
            let mut seen = seen.lock();
            seen.extend(stage.vnc.take());
            let arrived = seen.ends_with(REQUEST);
            Ok(Seen::some(arrived.then_some(()), format!("{seen:?}")))
        })
        .await?;
        let seen = seen.into_inner();
        Ok(seen.windows(KEY.len()).any(|window| window == KEY))
    }

    pub(crate) async fn leave(mut self) -> Result<()> {
        Ok(self.socket.close(None).await?)
    }
}

/// A request as this client sends it.
async fn ask(client: &Client, request: http::request::Builder, body: &str) -> Result<(u16, Value)> {
    let response = client.send(request.body(Body::from(body.as_bytes().to_vec()))?).await?;
    let code = response.status().as_u16();
    let body = response.into_body().collect_bytes().await?;
    Ok((code, serde_json::from_slice(&body).unwrap_or_default()))
}

fn policy() -> Value {
    json!({"protocols": ["vnc"], "maxViewers": 8, "maxConcurrentSessions": 100, "maxSessionDuration": "2h"})
}

async fn rights() -> Result<()> {
    with_server("aggregated_console::rights", async |context, _server| {
        let stage = Stage::set(context, policy()).await?;
        let path = format!("{BASE}/namespaces/{}/vmaccesses/{TARGET}/console", context.namespace);
        stage::allow(context, "looker", &["get"]).await?;
        stage::allow(context, "driver", &["get", "update"]).await?;

        let nobody = client_of(context, "nobody").await?;
        let Err((code, status)) = Viewer::open(&nobody, &path).await? else {
            bail!("a user without rights has a console");
        };
        let message = text(&status, "/message");
        ensure!(
            code == 403 && message.contains("get") && message.contains("vmaccesses/console"),
            "{code}: {message}"
        );

        let looker = client_of(context, "looker").await?;
        let mut viewer = Viewer::enter(&looker, &path).await.context("looker")?;
        ensure!(
            !viewer.drives(&stage).await?,
            "the key of a user who may only look reached the desktop"
        );
        viewer.leave().await?;

        let mark = context.cluster.audit().mark()?;
        let driver = client_of(context, "driver").await?;
        let mut viewer = Viewer::enter(&driver, &path).await.context("driver")?;
        ensure!(
            viewer.drives(&stage).await?,
            "the key of a user who may drive did not reach the desktop"
        );
        life_of_a_session(context, mark, "driver", viewer).await?;

        let mut viewer = Viewer::enter(&driver, &format!("{path}?input=ViewOnly&protocol=vnc")).await?;
        ensure!(!viewer.drives(&stage).await?, "input=ViewOnly lets a key through");
        viewer.leave().await?;
        refusals(&driver, &path).await?;
        nothing_is_left_open(context).await?;
        join(context, &stage, &driver).await
    })
    .await
}

/// The session that was made for a viewer: who, how, its end, and what it cost.
async fn life_of_a_session(context: &Context<'_>, mark: Mark, user: &str, viewer: Viewer) -> Result<()> {
    let sessions: Api<ConsoleSession> = context.api();
    let list = sessions
        .list(&ListParams::default().labels("novasphere.io/made-for=console"))
        .await?;
    let is_own = |session: &ConsoleSession| {
        let status = session.status.clone().unwrap_or_default();
        session.spec.users == [user.to_owned()] && status.phase == Some(SessionPhase::Active)
    };
    let session = list.into_iter().find(is_own).context("no open session of the user")?;
    let status = session.status.clone().unwrap_or_default();
    let connection = status.connections.first().context("no connection")?;
    ensure!(
        connection.user == user && connection.transport == Transport::KubeApiserver,
        "{connection:?}"
    );
    viewer.leave().await?;
    let name = session.name_any();
    wait::object(&sessions, &name, "it is closed", wait::SHORT, |session| {
        let status = session.status.clone().unwrap_or_default();
        if status.close_reason == Some(CloseReason::Finished) && status.connections.is_empty() {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await?;
    let mut writes = context.cluster.audit().since(mark)?;
    writes.retain(|write| write.resource().starts_with("consolesessions") && write.name() == name);
    // Its making names no object: the name is generated.
    let count = writes.len() + 1;
    println!("aggregated_console: {count} writes in the life of a session");
    ensure!(count <= MAX_WRITES, "{count} writes:{}", audit::describe(&writes));
    Ok(())
}

async fn refusals(driver: &Client, path: &str) -> Result<()> {
    let other = path.replace(TARGET, "no-such");
    for (path, code) in [
        (format!("{path}?input=viewonly"), 400),
        (format!("{path}?inputs=ViewOnly"), 400),
        (format!("{path}?protocol=serial"), 409),
        (other, 404),
    ] {
        let Err((found, status)) = Viewer::open(driver, &path).await? else {
            bail!("{path} opens a console");
        };
        ensure!(
            found == code && at(&status, "/kind") == "Status",
            "{path}: {found} {status}"
        );
    }
    let (code, status) = ask(driver, Request::get(path), "").await?;
    ensure!(code == 400, "no WebSocket: {code} {status}");
    Ok(())
}

/// Those who were refused, and those who left, keep no session open.
async fn nothing_is_left_open(context: &Context<'_>) -> Result<()> {
    let sessions: Api<ConsoleSession> = context.api();
    wait::until("every session is closed", wait::SHORT, || async {
        let list = sessions.list(&ListParams::default()).await?;
        let open: Vec<_> = list
            .into_iter()
            .filter(|session| session.status.as_ref().is_none_or(|status| status.closed_at.is_none()))
            .map(|session| session.name_any())
            .collect();
        Ok(Seen::some(open.is_empty().then_some(()), format!("open: {open:?}")))
    })
    .await
}

/// `consolesessions/connect`, and what ends it.
async fn join(context: &Context<'_>, stage: &Stage, driver: &Client) -> Result<()> {
    stage::session(context, "shared", json!({})).await?;
    let path = format!("{BASE}/namespaces/{}/consolesessions/shared/connect", context.namespace);
    let Err((code, _)) = Viewer::open(driver, &path).await? else {
        bail!("a session is joined without the right to it");
    };
    ensure!(code == 403, "{code}");
    allow(context, "driver", "get", "consolesessions/connect").await?;
    let viewer = wait::until("the right is known", wait::SHORT, || async {
        Ok(Seen::some(Viewer::enter(driver, &path).await.ok(), "not yet"))
    });
    let mut viewer = viewer.await?;
    ensure!(
        viewer.drives(stage).await?,
        "the key of a session's viewer did not reach the desktop"
    );
    let sessions: Api<ConsoleSession> = context.api();
    let revoke = json!({"spec": {"revoked": true}});
    let parameters = kube::api::PatchParams::default();
    sessions
        .patch("shared", &parameters, &kube::api::Patch::Merge(&revoke))
        .await?;
    let code = viewer.closed(Duration::from_secs(2)).await?;
    ensure!(code == 4001, "revoked, and closed with {code}");
    let Err((code, status)) = Viewer::open(driver, &path).await? else {
        bail!("a revoked session is joined");
    };
    ensure!(code == 409, "{code} {status}");
    Ok(())
}

async fn tokens() -> Result<()> {
    with_server("aggregated_console::tokens", async |context, _server| {
        let stage = Stage::set(context, policy()).await?;
        let gateways = stage.gateways(context, &["g1"]).await?;
        let gateway = gateways.first().context("no gateway")?.http;
        stage::allow(context, "keeper", &["get"]).await?;
        allow(context, "keeper", "create", "consolesessions/token").await?;
        allow(context, "blind", "create", "consolesessions/token").await?;
        let keeper = client_of(context, "keeper").await?;
        let path = |name: &str| format!("{BASE}/namespaces/{}/consolesessions/{name}/token", context.namespace);

        // A session that was just made: the request waits until it is ready.
        let sessions: Api<ConsoleSession> = context.api();
        let fresh = json!({"metadata": {"name": "fresh"}, "spec": {"targetRef": {"name": TARGET}}});
        let fresh: ConsoleSession = serde_json::from_value(fresh)?;
        sessions.create(&kube::api::PostParams::default(), &fresh).await?;
        let (code, answer) = ask(&keeper, Request::post(path("fresh")), "").await?;
        ensure!(code == 201 && at(&answer, "/kind") == "ConsoleToken", "{code} {answer}");
        check_answer(context, &answer)?;
        let token = at(&answer, "/token").as_str().context("no token")?;
        let viewer = stage::Viewer::enter(gateway, token)
            .await
            .context("the token opens the console")?;
        viewer.leave().await?;
        let entry = stage::Viewer::open(gateway, token).await?.entry().await?;
        ensure!(
            entry == Entry::Closed(4040, "TokenRefused".to_owned()) || matches!(entry, Entry::Closed(4040, _)),
            "{entry:?}"
        );
        token_is_kept_nowhere(context, token).await?;
        event_says_who_got_it(context).await?;

        let wish = r#"{"expirationSeconds": 300, "uses": 2}"#;
        let (code, answer) = ask(
            &keeper,
            Request::post(path("fresh")).header("content-type", "application/json"),
            wish,
        )
        .await?;
        ensure!(
            code == 201 && at(&answer, "/uses") == 2 && at(&answer, "/expirationSeconds") == 300,
            "{code} {answer}"
        );

        // As in docs/aggregated-api.md.
        let printed = context
            .cluster
            .kubectl(&["create", "--raw", &path("fresh"), "--filename", "/dev/null"])?;
        let printed: Value = serde_json::from_str(&printed)?;
        ensure!(text(&printed, "/token").len() == 43, "kubectl prints {printed}");

        token_refusals(context, &keeper).await
    })
    .await
}

fn check_answer(context: &Context<'_>, answer: &Value) -> Result<()> {
    let token = at(answer, "/token").as_str().context("no token")?;
    ensure!(token.len() == 43, "{} characters", token.len());
    let urls = at(answer, "/urls");
    let page = format!(
        "{PUBLIC_URL}/console/#token={token}&protocol=vnc&session={}/fresh&input=ViewOnly",
        context.namespace
    );
    ensure!(text(urls, "/browser") == page, "{urls}");
    ensure!(
        at(urls, "/websocket") == "wss://vms.example.org/api/v1/console/ws",
        "{urls}"
    );
    let until: jiff::Timestamp = at(answer, "/expirationTimestamp")
        .as_str()
        .context("no time")?
        .parse()?;
    let left = until.duration_since(jiff::Timestamp::now()).as_secs();
    ensure!((30..=60).contains(&left), "{left} s left");
    Ok(())
}

async fn event_says_who_got_it(context: &Context<'_>) -> Result<()> {
    let events: Api<Event> = context.api();
    let about = ListParams::default().fields("involvedObject.name=fresh,reason=Granted");
    let note = wait::until("the event of a token", wait::SHORT, || async {
        let found = events.list(&about).await?.items.pop();
        Ok(Seen::some(found.and_then(|event| event.message), "there is none"))
    })
    .await?;
    ensure!(
        note.contains("keeper") && note.contains("one stream within 60 s"),
        "{note}"
    );
    Ok(())
}

async fn token_is_kept_nowhere(context: &Context<'_>, token: &str) -> Result<()> {
    let sessions: Api<ConsoleSession> = context.api();
    let object = serde_json::to_string(&sessions.get("fresh").await?)?;
    ensure!(!object.contains(token), "the token is in the session object");
    for file in ["apiserver.log", "apiserver.audit.log", "g1.log", "g1.audit.log"] {
        let text = std::fs::read_to_string(context.output.join(file)).unwrap_or_default();
        ensure!(!text.contains(token), "the token is in {file}");
    }
    Ok(())
}

async fn token_refusals(context: &Context<'_>, keeper: &Client) -> Result<()> {
    let path = |name: &str| format!("{BASE}/namespaces/{}/consolesessions/{name}/token", context.namespace);
    let post = |name: &str| Request::post(path(name)).header("content-type", "application/json");
    for (request, body, code) in [
        (post("fresh"), "{", 400),
        (post("fresh"), r#"{"use": 1}"#, 400),
        (post("fresh"), r#"{"uses": 0}"#, 422),
        (post("fresh"), r#"{"expirationSeconds": 1}"#, 422),
        (
            Request::post(path("fresh")).header("content-type", "application/yaml"),
            "uses: 1",
            415,
        ),
        (
            post("fresh").header("accept", "application/vnd.kubernetes.protobuf"),
            "",
            406,
        ),
        (post("no-such"), "", 404),
    ] {
        let (found, status) = ask(keeper, request, body).await?;
        ensure!(
            found == code && at(&status, "/kind") == "Status",
            "{body}: {found} {status}"
        );
        ensure!(
            at(&status, "/code") == code && at(&status, "/message").is_string(),
            "{body}: {status}"
        );
    }
    let (code, status) = ask(&context.client, Request::get(path("fresh")), "").await?;
    ensure!(code == 405, "GET: {code} {status}");

    for (user, named) in [("nobody", "consolesessions/token"), ("blind", "get vmaccesses/console")] {
        let client = client_of(context, user).await?;
        let (code, status) = ask(&client, post("fresh"), "").await?;
        let message = text(&status, "/message");
        ensure!(
            code == 403 && message.contains(named) && message.contains(user),
            "{user}: {code} {status}"
        );
    }
    stage::session(context, "private", json!({"users": ["somebody"]})).await?;
    let (code, status) = ask(keeper, post("private"), "").await?;
    ensure!(code == 403, "a session of somebody else: {code} {status}");

    // It never becomes ready: the request gives up, and says why.
    let sessions: Api<ConsoleSession> = context.api();
    let waits = json!({"metadata": {"name": "waits"}, "spec": {"targetRef": {"name": "not-yet"}}});
    sessions
        .create(&kube::api::PostParams::default(), &serde_json::from_value(waits)?)
        .await?;
    let (code, status) = ask(keeper, post("waits"), "").await?;
    let message = text(&status, "/message");
    ensure!(
        code == 403 || (code == 409 && message.contains("not-yet")),
        "{code} {status}"
    );

    let revoke = json!({"spec": {"revoked": true}});
    let parameters = kube::api::PatchParams::default();
    sessions
        .patch("fresh", &parameters, &kube::api::Patch::Merge(&revoke))
        .await?;
    stage::session_is(context, "fresh", SessionPhase::Closed).await?;
    let (code, status) = ask(keeper, post("fresh"), "").await?;
    ensure!(code == 409, "a revoked session: {code} {status}");
    Ok(())
}
