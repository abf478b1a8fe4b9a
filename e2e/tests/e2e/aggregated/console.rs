//! Consoles and tokens through kube-apiserver, under the rights of different users.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http::Request;
use k8s_openapi::api::core::v1::Event;
use kube::{Api, Client, ResourceExt, api::ListParams, client::Body};
use novasphere_crd::{CloseReason, ConsoleSession, SessionPhase, Transport};
use novasphere_e2e::{
    fixtures::{
        apiserver::{Apiserver, BASE, PUBLIC_URL, at, text, with_apiserver},
        audit::{self, Mark},
        console::ConsoleFixture,
        console_session::{TARGET, connections, open_session, revoke, session_is},
        console_socket::{BINARY_SUBPROTOCOL, ConsoleSocket, Entry},
        namespace::Context,
        rfb::Transport as _,
        rights::{SESSION_STREAMS, SESSION_TOKENS, VM_CONSOLES, allow, client_of},
        vnc_server::VncServer,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

/// RFB messages of a viewer: the key `a` is pressed; an update of 8 x 4 pixels is asked for.
const KEY: &[u8] = &[4, 1, 0, 0, 0, 0, 0, 0x61];
const REQUEST: &[u8] = &[3, 0, 0, 0, 0, 0, 0, 8, 0, 4];

/// What the desktop shows: `FramebufferUpdate` with one raw rectangle of 1 x 1.
const PICTURE: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];

/// Writes in the life of one session.
const WRITES_LIMIT: usize = 6;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("aggregated::console::rights", Needs::ControlPlane, rights),
        Case::new("aggregated::console::tokens", Needs::ControlPlane, tokens),
        Case::new("aggregated::console::comes_back", Needs::ControlPlane, comes_back),
    ]
}

/// Sees the picture, presses a key, and says whether the key reached the desktop.
async fn controls(viewer: &mut ConsoleSocket, vnc: &VncServer) -> Result<bool> {
    let _ = vnc.take();
    vnc.send(PICTURE);
    viewer.expect(PICTURE).await.context("the picture")?;
    viewer.send(KEY).await?;
    // What comes after the key has arrived, so the key would have as well.
    viewer.send(REQUEST).await?;
    let seen = parking_lot::Mutex::new(Vec::new());
    wait::until("the request for an update reaches the desktop", wait::SHORT, || async {
        let mut seen = seen.lock();
        seen.extend(vnc.take());
        let arrived = seen.ends_with(REQUEST);
        Ok(Seen::some(arrived.then_some(()), format!("{seen:?}")))
    })
    .await?;
    let seen = seen.into_inner();
    Ok(seen.windows(KEY.len()).any(|window| window == KEY))
}

/// Opens a console through kube-apiserver, as our page does.
async fn open(client: &Client, path: &str) -> Result<Result<ConsoleSocket, (u16, Value)>> {
    ConsoleSocket::through_kube_apiserver(client, path, BINARY_SUBPROTOCOL).await
}

/// Opens it and does the handshake up to the screen's size.
async fn enter(client: &Client, path: &str) -> Result<ConsoleSocket> {
    let socket = ConsoleSocket::connect(client, path, BINARY_SUBPROTOCOL).await?;
    socket.entered().await
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
    with_apiserver("aggregated::console::rights", async |context, _server| {
        let fixture = ConsoleFixture::start(context, &policy()).await?;
        let path = format!("{BASE}/namespaces/{}/vmaccesses/{TARGET}/console", context.namespace);
        allow(context, "observer", VM_CONSOLES, &["get"]).await?;
        allow(context, "operator", VM_CONSOLES, &["get", "update"]).await?;

        let nobody = client_of(context, "nobody", &[]).await?;
        let Err((code, status)) = open(&nobody, &path).await? else {
            bail!("a user without rights has a console");
        };
        let message = text(&status, "/message");
        ensure!(
            code == 403 && message.contains("get") && message.contains("vmaccesses/console"),
            "{code}: {message}"
        );

        let observer = client_of(context, "observer", &[]).await?;
        let mut viewer = enter(&observer, &path).await.context("observer")?;
        ensure!(
            !controls(&mut viewer, &fixture.vnc).await?,
            "the key of a user who may only view reached the desktop"
        );
        viewer.leave().await?;

        let mark = context.cluster.audit().mark()?;
        let operator = client_of(context, "operator", &[]).await?;
        let mut viewer = enter(&operator, &path).await.context("operator")?;
        ensure!(
            controls(&mut viewer, &fixture.vnc).await?,
            "the key of a user who may control did not reach the desktop"
        );
        life_of_a_session(context, mark, "operator", viewer).await?;

        let mut viewer = enter(&operator, &format!("{path}?input=ViewOnly&protocol=vnc")).await?;
        ensure!(
            !controls(&mut viewer, &fixture.vnc).await?,
            "input=ViewOnly lets a key through"
        );
        viewer.leave().await?;
        refusals(&operator, &path).await?;
        nothing_is_left_open(context).await?;
        own_sessions_are_bounded(context, &operator, &path).await?;
        join(context, &fixture, &operator).await
    })
    .await
}

/// Who connects again and again does not fill the caches with sessions: each stays for a minute.
async fn own_sessions_are_bounded(context: &Context<'_>, client: &Client, path: &str) -> Result<()> {
    const SESSIONS_LIMIT: usize = 32;
    // kube's client tries again after a 429 until it is let in, which here means that it waits.
    const REFUSED_TIMEOUT: Duration = Duration::from_secs(10);
    for number in 0..=SESSIONS_LIMIT {
        match tokio::time::timeout(REFUSED_TIMEOUT, open(client, path)).await {
            Ok(Ok(Ok(socket))) => socket.leave().await?,
            Err(_) | Ok(Ok(Err((429, _)))) => break,
            Ok(Ok(Err((code, status)))) => bail!("console {number}: {code} {status}"),
            Ok(Err(error)) => return Err(error),
        }
    }
    let sessions: Api<ConsoleSession> = context.api();
    let list = sessions
        .list(&ListParams::default().labels("novasphere.io/made-for=console"))
        .await?;
    let own = list.iter().filter(|session| session.spec.users == ["operator"]).count();
    ensure!(own <= SESSIONS_LIMIT, "{own} sessions of one user for one target");
    Ok(())
}

/// The session that was made for a viewer: who, how, its end, and what it cost.
async fn life_of_a_session(context: &Context<'_>, mark: Mark, user: &str, viewer: ConsoleSocket) -> Result<()> {
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
    println!("aggregated::console: {count} writes in the life of a session");
    ensure!(count <= WRITES_LIMIT, "{count} writes:{}", audit::describe(&writes));
    Ok(())
}

async fn refusals(operator: &Client, path: &str) -> Result<()> {
    let other = path.replace(TARGET, "no-such");
    for (path, code) in [
        (format!("{path}?input=viewonly"), 400),
        (format!("{path}?inputs=ViewOnly"), 400),
        (format!("{path}?protocol=serial"), 409),
        (other, 404),
    ] {
        let Err((found, status)) = open(operator, &path).await? else {
            bail!("{path} opens a console");
        };
        ensure!(
            found == code && at(&status, "/kind") == "Status",
            "{path}: {found} {status}"
        );
    }
    let (code, status) = ask(operator, Request::get(path), "").await?;
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
async fn join(context: &Context<'_>, fixture: &ConsoleFixture, operator: &Client) -> Result<()> {
    open_session(context, "shared", json!({})).await?;
    let path = format!("{BASE}/namespaces/{}/consolesessions/shared/connect", context.namespace);
    let Err((code, _)) = open(operator, &path).await? else {
        bail!("a session is joined without the right to it");
    };
    ensure!(code == 403, "{code}");
    allow(context, "operator", SESSION_STREAMS, &["get"]).await?;
    let viewer = wait::until("the right is known", wait::SHORT, || async {
        Ok(Seen::some(enter(operator, &path).await.ok(), "not yet"))
    });
    let mut viewer = viewer.await?;
    ensure!(
        controls(&mut viewer, &fixture.vnc).await?,
        "the key of a session's viewer did not reach the desktop"
    );
    revoke(context, "shared").await?;
    let (code, _) = viewer.closed(Duration::from_secs(2)).await?;
    ensure!(code == 4001, "revoked, and closed with {code}");
    let Err((code, status)) = open(operator, &path).await? else {
        bail!("a revoked session is joined");
    };
    ensure!(code == 409, "{code} {status}");
    Ok(())
}

/// Who joined a session and lost the line, or the server, joins it again: the place is kept for them, and no token is made.
async fn comes_back() -> Result<()> {
    with_apiserver("aggregated::console::comes_back", async |context, server| {
        let fixture = ConsoleFixture::start(context, &policy()).await?;
        for user in ["operator", "other"] {
            allow(context, user, VM_CONSOLES, &["get", "update"]).await?;
            allow(context, user, SESSION_STREAMS, &["get"]).await?;
        }
        open_session(context, "single", json!({"maxViewers": 1})).await?;
        let path = format!("{BASE}/namespaces/{}/consolesessions/single/connect", context.namespace);
        let operator = client_of(context, "operator", &[]).await?;
        let other = client_of(context, "other", &[]).await?;
        let viewer = wait::until("the right is known", wait::SHORT, || async {
            Ok(Seen::Done(enter(&operator, &path).await?))
        })
        .await?;
        // A line that breaks without a word.
        drop(viewer);
        connections(context, "single", 0).await?;
        place_is_kept(&other, &path).await?;
        let mut viewer = enter(&operator, &path).await.context("after a broken line")?;
        ensure!(
            controls(&mut viewer, &fixture.vnc).await?,
            "the key of who came back did not reach the desktop"
        );

        server.kill();
        ensure!(
            viewer.closed(wait::SHORT).await.is_err(),
            "a killed server says why it ends"
        );
        server.run()?;
        server.available(context.cluster, true).await?;
        // The stream of the killed process counts until its lease has run out.
        let mut viewer = wait::until("the user is back", wait::SHORT, || async {
            Ok(Seen::Done(enter(&operator, &path).await?))
        })
        .await?;
        ensure!(
            controls(&mut viewer, &fixture.vnc).await?,
            "the key of who came back did not reach the desktop"
        );
        viewer.leave_for_good().await?;
        connections(context, "single", 0).await?;
        let viewer = enter(&other, &path).await.context("the place is free")?;
        let session = connections(context, "single", 1).await?;
        let status = session.status.context("a status")?;
        ensure!(status.grants.is_empty(), "a token was made: {:?}", status.grants);
        viewer.leave_for_good().await
    })
    .await
}

/// Somebody else is refused, although nobody is connected.
async fn place_is_kept(client: &Client, path: &str) -> Result<()> {
    let Err((code, status)) = open(client, path).await? else {
        bail!("somebody else has the place of who was disconnected");
    };
    let message = text(&status, "/message");
    ensure!(code == 409 && message.contains("as many viewers"), "{code}: {message}");
    Ok(())
}

async fn tokens() -> Result<()> {
    with_apiserver("aggregated::console::tokens", async |context, server| {
        let fixture = ConsoleFixture::start(context, &policy()).await?;
        let gateways = fixture.gateways(context, &["g1"]).await?;
        let gateway = gateways.first().context("no gateway")?.http;
        allow(context, "keeper", VM_CONSOLES, &["get"]).await?;
        allow(context, "keeper", SESSION_TOKENS, &["create"]).await?;
        allow(context, "blind", SESSION_TOKENS, &["create"]).await?;
        let keeper = client_of(context, "keeper", &[]).await?;
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
        let viewer = ConsoleSocket::enter(gateway, token)
            .await
            .context("the token opens the console")?;
        viewer.leave().await?;
        let entry = ConsoleSocket::open(gateway, token).await?.entry().await?;
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

        token_refusals(context, &keeper).await?;
        decisions_are_audited(server, token)
    })
    .await
}

/// Tokens that were given out and denied are lines of the audit log, numbered without a gap, and none of them holds a token.
fn decisions_are_audited(server: &Apiserver, token: &str) -> Result<()> {
    let mut lines = server.audit()?;
    // The file is appended to, and may have lines of an earlier run.
    let newest = lines.last().map(|line| text(line, "/gateway").to_owned());
    lines.retain(|line| Some(text(line, "/gateway")) == newest.as_deref());
    for (event, user) in [
        ("TokenGranted", "keeper"),
        ("TokenDenied", "keeper"),
        // kube-apiserver itself refuses who has no right to tokens at all.
        ("TokenDenied", "blind"),
    ] {
        let is_line = |line: &Value| text(line, "/event") == event && text(line, "/user") == user;
        ensure!(lines.iter().any(is_line), "no line says {event} of {user}: {lines:?}");
    }
    let numbers: Vec<_> = lines.iter().filter_map(|line| at(line, "/sequence").as_u64()).collect();
    ensure!(numbers.iter().copied().eq(1..=lines.len() as u64), "{numbers:?}");
    ensure!(!format!("{lines:?}").contains(token), "a token is in the audit log");
    Ok(())
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
        let client = client_of(context, user, &[]).await?;
        let (code, status) = ask(&client, post("fresh"), "").await?;
        let message = text(&status, "/message");
        ensure!(
            code == 403 && message.contains(named) && message.contains(user),
            "{user}: {code} {status}"
        );
    }
    open_session(context, "private", json!({"users": ["somebody"]})).await?;
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

    revoke(context, "fresh").await?;
    session_is(context, "fresh", SessionPhase::Closed).await?;
    let (code, status) = ask(keeper, post("fresh"), "").await?;
    ensure!(code == 409, "a revoked session: {code} {status}");
    Ok(())
}
