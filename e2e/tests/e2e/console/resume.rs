//! Who was let in can come back, by what their browser keeps: without a page here, over two gateways.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use kube::Api;
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        console::{ANN, ConsoleFixture},
        console_session::{Grant, connections, grant_token, open_session, revoke},
        console_socket::ConsoleSocket,
        console_visitor::Visitor,
        gateway::{Gateway, GatewayOptions},
        namespace::{Context, PodSecurity, with_namespace},
        rfb::{self, KEY, RfbRefusal, Transport as _},
        rights::{VM_CONSOLES, allow},
        vnc_server::VncServer,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("console::resume::credentials", Needs::ControlPlane, credentials),
        Case::new("console::resume::places", Needs::ControlPlane, places),
        Case::new("console::resume::window", Needs::ControlPlane, window),
        Case::new("console::resume::stock_viewer", Needs::ControlPlane, stock_viewer),
    ]
}

/// Another user who may control.
const BEN: &str = "ben";

/// A user who may only view.
const EVE: &str = "eve";

fn policy() -> Value {
    json!({"maxViewers": 4, "maxConcurrentSessions": 100})
}

fn is(end: &(u16, String), code: u16, word: &str) -> Result<()> {
    ensure!(
        (end.0, end.1.as_str()) == (code, word),
        "closed with {end:?}, not with {code} {word}"
    );
    Ok(())
}

/// A link to a session that is there, opened in a browser.
async fn follow_link(
    context: &Context<'_>,
    gateway: &Gateway,
    session: &str,
    user: &str,
) -> Result<(Visitor, ConsoleSocket)> {
    let token = grant_token(&context.api(), session, Grant::to(user)).await?;
    let mut visitor = Visitor::new(context, session);
    let socket = visitor.enter(gateway.http, Some(&token)).await?;
    Ok((visitor, socket))
}

/// The same for a new session.
async fn let_in(context: &Context<'_>, gateway: &Gateway, session: &str) -> Result<(Visitor, ConsoleSocket)> {
    open_session(context, session, json!({})).await?;
    let (visitor, socket) = follow_link(context, gateway, session, ANN).await?;
    ensure!(visitor.has_cookie(), "who was let in got nothing to come back with");
    Ok((visitor, socket))
}

/// The ids of the tokens that the session has given out.
async fn grants(context: &Context<'_>, session: &str) -> Result<Vec<String>> {
    let sessions: Api<ConsoleSession> = context.api();
    let grants = sessions.get(session).await?.status.map(|status| status.grants);
    Ok(grants.into_iter().flatten().map(|grant| grant.id).collect())
}

/// A key of the viewer reaches the machine.
async fn is_alive(vnc: &VncServer, viewer: &mut ConsoleSocket) -> Result<()> {
    let _ = vnc.take();
    viewer.send(KEY).await?;
    wait::until("a key reaches the machine", wait::SHORT, || async {
        Ok(Seen::some((!vnc.take().is_empty()).then_some(()), "nothing"))
    })
    .await
}

/// Waits for a line of this event in the audit log of one of the gateways, and returns it.
async fn audited(gateways: &[&Gateway], event: &str, session: &str) -> Result<Value> {
    wait::until(
        format!("an audit line says {event} of {session}"),
        wait::SHORT,
        || async {
            let mut lines = Vec::new();
            for gateway in gateways {
                lines.extend(gateway.audit()?);
            }
            let field =
                |line: &Value, name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let mut found = lines.iter().filter(|line| {
                let is_event = field(line, "event") == event || field(line, "reason") == event;
                is_event && field(line, "session").ends_with(session)
            });
            Ok(Seen::some(found.next().cloned(), format!("{lines:?}")))
        },
    )
    .await
}

async fn credentials() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::resume::credentials",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &policy()).await?;
            let gateways = fixture.gateways(context, &["g1", "g2"]).await?;
            let [first, second] = gateways.as_slice() else {
                bail!("two gateways were started")
            };
            comes_back(context, &fixture, first, second)
                .await
                .context("comes back")?;
            answer_is_lost(context, first, second).await.context("lost answer")?;
            two_hold_it(context, first, second).await.context("two hold it")?;
            nobody_else(context, first).await.context("others")?;
            over(context, first, second).await.context("over")
        },
    )
    .await
}

/// Again and again, at any gateway, with something new each time, and no token is made.
async fn comes_back(context: &Context<'_>, fixture: &ConsoleFixture, first: &Gateway, second: &Gateway) -> Result<()> {
    let (mut visitor, mut socket) = let_in(context, first, "back").await?;
    let granted = grants(context, "back").await?;
    // As a page that is loaded again: the gateway has not seen the end of its line yet.
    for gateway in [second, first, second] {
        let before = visitor.credential().to_owned();
        let next = visitor.enter(gateway.http, None).await?;
        ensure!(visitor.credential() != before, "the same is good twice");
        is(&socket.closed(wait::SHORT).await?, 4008, "Moved")?;
        socket = next;
        connections(context, "back", 1).await?;
    }
    // A line that breaks without a word.
    drop(socket);
    connections(context, "back", 0).await?;
    let mut socket = visitor.enter(first.http, None).await?;
    is_alive(&fixture.vnc, &mut socket).await?;
    audited(&[first], "Resumed", "back").await?;

    // How the target is, is asked at any gateway, and is no use.
    let before = visitor.credential().to_owned();
    for gateway in [first, second] {
        wait::until("the target is told", wait::SHORT, || async {
            let (code, answer) = visitor.get(gateway.http, "target").await?;
            Ok(Seen::some((code == 200).then_some(()), answer))
        })
        .await?;
    }
    let (code, _) = Visitor::new(context, "back").get(first.http, "target").await?;
    ensure!(code == 401, "a stranger learns of the target: {code}");
    is_alive(&fixture.vnc, &mut socket).await?;
    ensure!(grants(context, "back").await? == granted, "a token was made");
    let sessions: Api<ConsoleSession> = context.api();
    let object = serde_json::to_string(&sessions.get("back").await?)?;
    ensure!(
        !object.contains(&before),
        "what it comes back with is in the session object"
    );
    let log = format!("{:?}{:?}", first.audit()?, second.audit()?);
    ensure!(!log.contains(&before), "what it comes back with is in the audit log");
    Ok(())
}

/// A gateway's answer that does not arrive costs nothing: what was used last is good once more.
async fn answer_is_lost(context: &Context<'_>, first: &Gateway, second: &Gateway) -> Result<()> {
    let (mut visitor, socket) = let_in(context, first, "lost").await?;
    drop(socket);
    let mut unheard = visitor.clone().enter(first.http, None).await?;
    let mut socket = visitor.enter(second.http, None).await?;
    is(&unheard.closed(wait::SHORT).await?, 4008, "Moved")?;
    let next = visitor.enter(first.http, None).await?;
    is(&socket.closed(wait::SHORT).await?, 4008, "Moved")?;
    drop(next);
    Ok(())
}

/// A copied profile: as soon as both have come back nobody can, and the stream ends.
async fn two_hold_it(context: &Context<'_>, first: &Gateway, second: &Gateway) -> Result<()> {
    let (mut owner, socket) = let_in(context, first, "stolen").await?;
    let mut thief = owner.clone();
    drop(socket);
    let mut stolen = thief.enter(second.http, None).await?;
    // It may be the owner whose answer was lost, so nobody is accused yet.
    let mut present = owner.enter(first.http, None).await?;
    is(&stolen.closed(wait::SHORT).await?, 4008, "Moved")?;
    let mut stolen = thief.enter(second.http, None).await?;
    is(&present.closed(wait::SHORT).await?, 4008, "Moved")?;
    is(&owner.refused(first.http, None).await?, 4009, "CredentialReused")?;
    ensure!(!owner.has_cookie(), "the browser keeps what is withdrawn");
    is(&stolen.closed(wait::SHORT).await?, 4009, "CredentialReused")?;
    is(&thief.refused(first.http, None).await?, 4046, "ResumeRefused")?;
    audited(&[first, second], "CredentialReused", "stolen").await?;
    let session = connections(context, "stolen", 0).await?;
    let last = session.status.and_then(|status| status.last_disconnect);
    ensure!(
        last.as_ref().is_some_and(|last| last.reason == "CredentialReused"),
        "the status says {last:?}"
    );
    Ok(())
}

/// Another browser with the link, another session, a program, and a page of another site.
async fn nobody_else(context: &Context<'_>, gateway: &Gateway) -> Result<()> {
    open_session(context, "mine", json!({})).await?;
    open_session(context, "theirs", json!({})).await?;
    let token = grant_token(&context.api(), "mine", Grant::to(ANN)).await?;
    let mut visitor = Visitor::new(context, "mine");
    let _socket = visitor.enter(gateway.http, Some(&token)).await?;
    let mut other = Visitor::new(context, "mine");
    is(&other.refused(gateway.http, Some(&token)).await?, 4040, "TokenRefused").context("a used link")?;
    is(&other.refused(gateway.http, None).await?, 4046, "ResumeRefused").context("a copied link")?;
    let mut elsewhere = visitor.at(context, "theirs");
    is(&elsewhere.refused(gateway.http, None).await?, 4046, "ResumeRefused").context("another session")?;
    let mut program = visitor.of_origin(None);
    is(&program.refused(gateway.http, None).await?, 4046, "ResumeRefused").context("no page")?;
    let mut site = visitor.of_origin(Some("https://elsewhere.example"));
    let refused = site.open(gateway.http, None).await.err().map(|error| error.to_string());
    ensure!(
        refused.as_ref().is_some_and(|error| error.contains("403")),
        "a page of another site: {refused:?}"
    );
    let (code, _) = site.get(gateway.http, "target").await?;
    ensure!(code == 403, "a page of another site learns of the target: {code}");
    // None of it has cost the owner anything.
    let _socket = visitor.enter(gateway.http, None).await?;
    connections(context, "mine", 1).await?;
    Ok(())
}

/// Who left for good and whose session was revoked does not come back; a new link opens what is open.
async fn over(context: &Context<'_>, first: &Gateway, second: &Gateway) -> Result<()> {
    let (mut visitor, socket) = let_in(context, first, "left").await?;
    socket.leave_for_good().await?;
    connections(context, "left", 0).await?;
    is(&visitor.refused(second.http, None).await?, 4046, "ResumeRefused").context("left")?;
    ensure!(!visitor.has_cookie(), "the browser keeps what is worth nothing");
    let (_again, _socket) = follow_link(context, second, "left", ANN).await?;

    let (mut visitor, mut socket) = let_in(context, first, "revoked").await?;
    revoke(context, "revoked").await?;
    is(&socket.closed(wait::SHORT).await?, 4001, "Revoked")?;
    for gateway in [first, second] {
        is(&visitor.refused(gateway.http, None).await?, 4046, "ResumeRefused").context("revoked")?;
    }
    Ok(())
}

async fn places() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::resume::places",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &policy()).await?;
            allow(context, BEN, VM_CONSOLES, &["get", "update"]).await?;
            allow(context, EVE, VM_CONSOLES, &["get"]).await?;
            let gateways = fixture.gateways(context, &["g1", "g2"]).await?;
            let [first, second] = gateways.as_slice() else {
                bail!("two gateways were started")
            };
            is_kept(context, &fixture, first, second).await.context("kept")?;
            makes_room(context, first, second).await.context("makes room")
        },
    )
    .await
}

/// The place of who was disconnected is theirs, not that of the next who comes.
async fn is_kept(context: &Context<'_>, fixture: &ConsoleFixture, first: &Gateway, second: &Gateway) -> Result<()> {
    open_session(context, "single", json!({"maxViewers": 1})).await?;
    let (mut visitor, socket) = follow_link(context, first, "single", ANN).await?;
    drop(socket);
    connections(context, "single", 0).await?;
    let token = grant_token(&context.api(), "single", Grant::to(BEN)).await?;
    let mut other = Visitor::new(context, "single");
    for gateway in [first, second] {
        is(
            &other.refused(gateway.http, Some(&token)).await?,
            4041,
            "TooManyViewers",
        )?;
    }
    let mut socket = visitor.enter(second.http, None).await?;
    is_alive(&fixture.vnc, &mut socket).await?;
    // They may take it by a new link as well, and then not by what they had before.
    drop(socket);
    connections(context, "single", 0).await?;
    let (_again, socket) = follow_link(context, first, "single", ANN).await?;
    is(&visitor.refused(first.http, None).await?, 4046, "ResumeRefused")?;
    socket.leave_for_good().await?;
    connections(context, "single", 0).await?;
    let _socket = other.enter(first.http, Some(&token)).await?;
    Ok(())
}

/// Who only views keeps no place before who may control.
async fn makes_room(context: &Context<'_>, first: &Gateway, second: &Gateway) -> Result<()> {
    open_session(context, "looked-at", json!({"maxViewers": 1})).await?;
    let (mut looker, socket) = follow_link(context, first, "looked-at", EVE).await?;
    drop(socket);
    connections(context, "looked-at", 0).await?;
    let (_driver, _socket) = follow_link(context, second, "looked-at", ANN).await?;
    is(&looker.refused(first.http, None).await?, 4046, "ResumeRefused")
}

/// How long the gateways of [`window`] keep a place, from a time that is noted in whole seconds.
const WINDOW: Duration = Duration::from_secs(6);

async fn window() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::resume::window",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &policy()).await?;
            allow(context, BEN, VM_CONSOLES, &["get", "update"]).await?;
            let options = GatewayOptions {
                resume_window: Some("6s"),
                ..GatewayOptions::new(&fixture.account, "g1")
            };
            let gateway = Gateway::start_with(context, options).await?;
            open_session(context, "short", json!({"maxViewers": 1})).await?;
            let (mut visitor, mut socket) = follow_link(context, &gateway, "short", ANN).await?;
            // The window is from the end of a stream, however long that was open.
            tokio::time::sleep(WINDOW + Duration::from_secs(2)).await;
            is_alive(&fixture.vnc, &mut socket).await?;
            drop(socket);
            let socket = visitor.enter(gateway.http, None).await.context("within the window")?;
            drop(socket);
            connections(context, "short", 0).await?;
            tokio::time::sleep(WINDOW + Duration::from_secs(2)).await;
            is(&visitor.refused(gateway.http, None).await?, 4046, "ResumeRefused").context("after the window")?;
            ensure!(!visitor.has_cookie(), "the browser keeps what is worth nothing");
            let _other = follow_link(context, &gateway, "short", BEN)
                .await
                .context("the place is free")?;

            let options = GatewayOptions {
                resume_window: Some("0s"),
                ..GatewayOptions::new(&fixture.account, "g2")
            };
            let never = Gateway::start_with(context, options).await?;
            open_session(context, "never", json!({})).await?;
            let (visitor, _socket) = follow_link(context, &never, "never", ANN).await?;
            ensure!(
                !visitor.has_cookie(),
                "without a window it gets something to come back with"
            );
            Ok(())
        },
    )
    .await
}

/// Viewers that keep nothing come back with a token for more than one stream, and with nothing else.
async fn stock_viewer() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::resume::stock_viewer",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &policy()).await?;
            let gateways = fixture.gateways(context, &["g1"]).await?;
            let gateway = gateways.first().context("a gateway was started")?;
            open_session(context, "stock", json!({})).await?;
            let token = grant_token(&context.api(), "stock", Grant::to(ANN).uses(2)).await?;
            let user = format!("{}/stock", context.namespace);
            for _ in 0..2 {
                let stream = rfb::x509_plain(gateway.vnc, &user, &token).await?;
                connections(context, "stock", 1).await?;
                drop(stream);
                connections(context, "stock", 0).await?;
            }
            let Err(error) = rfb::x509_plain(gateway.vnc, &user, &token).await else {
                bail!("a token for two streams opened three")
            };
            let RfbRefusal(words) = error.downcast()?;
            ensure!(words == "Access refused. Ask for a new token.", "{words}");
            Ok(())
        },
    )
    .await
}
