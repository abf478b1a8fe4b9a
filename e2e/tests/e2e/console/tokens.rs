//! A token opens as many streams as it was given for, over all replicas, and nothing else opens one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt;
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    fixtures::{
        audit,
        cluster::Cluster,
        console::{ANN, ConsoleFixture},
        console_session::{Grant, TARGET, connections, grant_token, open_session, random_token, revoke},
        console_socket::{ConsoleSocket, Entry},
        gateway::{Gateway, GatewayOptions},
        late_watch::LateWatches,
        namespace::{Context, PodSecurity, with_namespace},
        rfb::{self, RfbRefusal, Transport as _},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

/// Viewers who try the same token at the same time.
const ATTEMPTS: usize = 1000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "console::tokens::once_over_replicas",
            Needs::ControlPlane,
            once_over_replicas,
        ),
        Case::new("console::tokens::refusals", Needs::ControlPlane, refusals),
        Case::new("console::tokens::late_watch", Needs::ControlPlane, late_watch),
        Case::new(
            "console::tokens::writes_of_a_session",
            Needs::ControlPlane,
            writes_of_a_session,
        ),
    ]
}

async fn once_over_replicas() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::tokens::once_over_replicas",
        PodSecurity::Restricted,
        async |context| {
            let policy = json!({"maxViewers": 64, "maxSessionDuration": "1h"});
            let fixture = ConsoleFixture::start(context, &policy).await?;
            let gateways = fixture.gateways(context, &["g1", "g2", "g3"]).await?;
            for uses in [1, 5] {
                let name = format!("uses-{uses}");
                open_session(context, &name, json!({})).await?;
                let token = grant_token(
                    &context.api(),
                    &name,
                    Grant::to(ANN).within(Duration::from_mins(1)).uses(uses),
                )
                .await?;
                let (open, closed) = crowd(&gateways, &token).await?;
                ensure!(
                    open.len() == usize::try_from(uses)?,
                    "a token for {uses} streams opened {}",
                    open.len()
                );
                ensure!(
                    closed.iter().all(|end| *end == (4040, "TokenRefused".to_owned())),
                    "others were closed with {:?}",
                    closed.iter().find(|end| end.0 != 4040)
                );
                connections(context, &name, open.len()).await?;
            }
            Ok(())
        },
    )
    .await
}

/// Tries one token many times at once, spread over the gateways.
async fn crowd(gateways: &[Gateway], token: &str) -> Result<(Vec<ConsoleSocket>, Vec<(u16, String)>)> {
    let tries = (0..ATTEMPTS)
        .zip(gateways.iter().cycle())
        .map(|(_, gateway)| async move {
            let mut viewer = ConsoleSocket::open(gateway.http, token).await?;
            let entry = viewer.entry().await?;
            anyhow::Ok((viewer, entry))
        });
    let entries: Vec<_> = futures::stream::iter(tries).buffer_unordered(ATTEMPTS).collect().await;
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry? {
            (viewer, Entry::Open) => open.push(viewer),
            (_, Entry::Closed(code, word)) => closed.push((code, word)),
        }
    }
    Ok((open, closed))
}

/// How late the gateway's watches are.
const WATCH_DELAY: Duration = Duration::from_secs(5);

/// Viewers who try tokens that nobody was given, and the addresses that they come from.
const STRANGERS: u8 = 100;
const STRANGERS_ADDRESSES: u8 = 4;

/// A gateway whose watches are late lets in at once who names the session of a good token, whatever strangers do beside, and tells nobody
/// with a good token that it is none. Streams stay while the watches catch up.
async fn late_watch() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::tokens::late_watch",
        PodSecurity::Restricted,
        async |context| {
            let policy = json!({"maxViewers": 8, "maxConcurrentSessions": 100, "maxSessionDuration": "1h"});
            let fixture = ConsoleFixture::start(context, &policy).await?;
            let late = LateWatches::start(cluster, WATCH_DELAY).await?;
            let options = GatewayOptions {
                apiserver: Some(late.address),
                ..GatewayOptions::new(&fixture.account, "late")
            };
            let gateway = Gateway::start_with(context, options).await?;
            let mut open = Vec::new();
            for name in ["first", "second", "third"] {
                open_session(context, name, json!({})).await?;
                let token = grant_token(&context.api(), name, Grant::to(ANN).uses(2)).await?;
                let session = format!("{}/{name}", context.namespace);
                let strangers = (0..STRANGERS).map(|number| stranger(&gateway, &session, number));
                let (strangers, person) = tokio::join!(
                    futures::future::try_join_all(strangers),
                    enters_before_the_watch(&gateway, &session, &token)
                );
                open.push(person.with_context(|| format!("{name}: who has a good token and names its session"))?);
                strangers.context("strangers")?;
                let entry = ConsoleSocket::open(gateway.http, &token).await?.entry().await?;
                ensure!(
                    !matches!(entry, Entry::Closed(4040, _)),
                    "{name}: a good token whose session is not named: {entry:?}"
                );
            }
            // The watch has shown all of them by now: to get this one it had to.
            known(context, &gateway).await?;
            for (viewer, name) in open.iter_mut().zip(["first", "second", "third"]) {
                fixture.vnc.send(rfb::BELL);
                viewer
                    .expect(rfb::BELL)
                    .await
                    .with_context(|| format!("{name} goes on"))?;
            }
            Ok(())
        },
    )
    .await
}

/// A viewer who has the name of a session, and no token of it.
async fn stranger(gateway: &Gateway, session: &str, number: u8) -> Result<()> {
    let from = Ipv4Addr::new(127, 0, 6, 1 + number % STRANGERS_ADDRESSES);
    let mut viewer = ConsoleSocket::open_named(gateway.http, session, &random_token()?, from).await?;
    match viewer.entry().await? {
        // What was not looked up is no "no": the page tries again.
        Entry::Closed(4040 | 4044, _) => Ok(()),
        other => bail!("a token that nobody was given: {other:?}"),
    }
}

async fn enters_before_the_watch(gateway: &Gateway, session: &str, token: &str) -> Result<ConsoleSocket> {
    let begun = Instant::now();
    let viewer = ConsoleSocket::open_named(gateway.http, session, token, Ipv4Addr::LOCALHOST).await?;
    let viewer = viewer.entered().await?;
    let took = begun.elapsed();
    ensure!(took < WATCH_DELAY, "let in after {took:?}");
    Ok(viewer)
}

/// Returns when the gateway's watch has shown a token that is given out now.
async fn known(context: &Context<'_>, gateway: &Gateway) -> Result<()> {
    open_session(context, "last", json!({})).await?;
    let token = grant_token(&context.api(), "last", Grant::to(ANN)).await?;
    let viewer = wait::until("the watch shows a token", wait::SHORT, || async {
        let entered = ConsoleSocket::enter(gateway.http, &token).await;
        let why = entered.as_ref().err().map(ToString::to_string).unwrap_or_default();
        Ok(Seen::some(entered.ok(), why))
    })
    .await?;
    viewer.leave().await
}

async fn refusals() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::tokens::refusals",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &json!({"maxViewers": 4})).await?;
            let gateways = fixture.gateways(context, &["g1", "g2"]).await?;
            let [first, second] = gateways.as_slice() else {
                bail!("two gateways were started")
            };
            one_sentence(context, first).await.context("one sentence")?;
            known_users(context, &fixture, first, second)
                .await
                .context("known users")
        },
    )
    .await
}

/// Expired, used, unknown and foreign tokens and a wrong name get one answer: nobody outside can tell them apart.
async fn one_sentence(context: &Context<'_>, gateway: &Gateway) -> Result<()> {
    for name in ["mine", "other"] {
        open_session(context, name, json!({})).await?;
    }
    let window = Duration::from_mins(1);
    let mine = format!("{}/mine", context.namespace);
    let used = grant_token(&context.api(), "mine", Grant::to(ANN).within(window)).await?;
    let stream = native(gateway.vnc, &mine, &used).await?;
    ensure!(stream == Native::Open, "a good token opens a stream, not {stream:?}");
    let expired = grant_token(&context.api(), "mine", Grant::to(ANN).within(Duration::from_secs(1))).await?;
    let api = context.api::<ConsoleSession>();
    wait::object(&api, "mine", "the token is too old", wait::SHORT, |session| {
        let grants = session.status.iter().flat_map(|status| &status.grants);
        let last = grants.map(|grant| grant.not_after.0).max();
        let is_over = last.is_none_or(|last| last < jiff::Timestamp::now());
        if is_over {
            Ok(())
        } else {
            Err(format!("until {last:?}"))
        }
    })
    .await?;
    let foreign = grant_token(&context.api(), "other", Grant::to(ANN).within(window)).await?;
    let mut sentences = Vec::new();
    for token in [&used, &expired, &foreign, &random_token()?] {
        sentences.push(native(gateway.vnc, &mine, token).await?);
    }
    let good = grant_token(&context.api(), "mine", Grant::to(ANN).within(window)).await?;
    sentences.push(native(gateway.vnc, &format!("{}/other", context.namespace), &good).await?);
    let expected = Native::Refused("Access refused. Ask for a new token.".to_owned());
    ensure!(sentences.iter().all(|sentence| *sentence == expected), "{sentences:?}");
    let details = audited(gateway, "TokenRefused", 5).await?;
    let text = format!("{details:?}");
    for token in [&used, &expired, &foreign, &good] {
        ensure!(!text.contains(token.as_str()), "a token is in the audit log");
    }
    Ok(())
}

/// The lines of the audit log with this reason. They are written when the viewer has its answer.
async fn audited(gateway: &Gateway, reason: &str, count: usize) -> Result<Vec<Value>> {
    wait::until(format!("{count} audit lines say {reason}"), wait::SHORT, || async {
        let lines = gateway.audit()?;
        let found: Vec<_> = lines
            .iter()
            .filter(|line| line.get("reason") == Some(&json!(reason)))
            .cloned()
            .collect();
        Ok(Seen::some(
            (found.len() == count).then_some(found),
            format!("{lines:?}"),
        ))
    })
    .await
}

/// The owner of a good token reads what stands in the way.
async fn known_users(context: &Context<'_>, fixture: &ConsoleFixture, first: &Gateway, second: &Gateway) -> Result<()> {
    let window = Duration::from_mins(1);
    open_session(context, "range", json!({"allowedSourceRanges": ["192.0.2.0/24"]})).await?;
    let token = grant_token(&context.api(), "range", Grant::to(ANN).within(window)).await?;
    refused(first, &token, 4042).await.context("a foreign address")?;
    let lines = audited(first, "AddressNotAllowed", 1).await?;
    let line = lines.first().context("a line")?;
    ensure!(
        line.get("user") == Some(&json!(ANN)) && line.get("target") == Some(&json!("VmAccess/web")),
        "{line}"
    );

    open_session(context, "full", json!({"maxViewers": 1})).await?;
    let token = grant_token(&context.api(), "full", Grant::to(ANN).within(window).uses(2)).await?;
    let _present = ConsoleSocket::enter(first.http, &token).await?;
    refused(second, &token, 4041)
        .await
        .context("all places are taken, on another replica")?;

    open_session(context, "right", json!({})).await?;
    let token = grant_token(&context.api(), "right", Grant::to("nobody-knows-me").within(window)).await?;
    refused(first, &token, 4006).await.context("no right to the target")?;

    // Another policy, so it comes last.
    fixture.add_target(context, TARGET, &json!({"native": false})).await?;
    open_session(context, "browsers", json!({})).await?;
    let token = grant_token(&context.api(), "browsers", Grant::to(ANN).within(window)).await?;
    let user = format!("{}/browsers", context.namespace);
    let answer = native(first.vnc, &user, &token).await?;
    ensure!(
        answer == Native::Refused("The session does not allow this kind of viewer.".to_owned()),
        "{answer:?}"
    );
    let _browser = ConsoleSocket::enter(first.http, &token).await?;
    Ok(())
}

async fn refused(gateway: &Gateway, token: &str, code: u16) -> Result<()> {
    let mut viewer = ConsoleSocket::open(gateway.http, token).await?;
    match viewer.entry().await? {
        Entry::Closed(found, _) if found == code => Ok(()),
        other => bail!("expected {code}, got {other:?}"),
    }
}

/// What became of a stock viewer.
#[derive(Debug, PartialEq, Eq)]
enum Native {
    Open,
    Refused(String),
}

/// Connects as a stock viewer does, up to where it says whether it shares.
async fn native(to: SocketAddr, user: &str, password: &str) -> Result<Native> {
    match rfb::x509_plain(to, user, password).await {
        Ok(_stream) => Ok(Native::Open),
        Err(error) => error.downcast().map(|RfbRefusal(words)| Native::Refused(words)),
    }
}

/// From its making to its deletion, novasphere writes a session at most six times.
async fn writes_of_a_session() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::tokens::writes_of_a_session",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &json!({})).await?;
            let gateways = fixture.gateways(context, &["g1"]).await?;
            let gateway = gateways.first().context("a gateway was started")?;
            let mark = cluster.audit().mark()?;
            open_session(context, "life", json!({"ttlAfterFinished": "0s"})).await?;
            let token = grant_token(&context.api(), "life", Grant::to(ANN).within(Duration::from_mins(1))).await?;
            let mut viewer = ConsoleSocket::enter(gateway.http, &token).await?;
            // A key, so that there is input to report.
            viewer.send(&[4, 1, 0, 0, 0, 0, 0, 65]).await?;
            connections(context, "life", 1).await?;
            viewer.leave().await?;
            connections(context, "life", 0).await?;
            let api = context.api::<ConsoleSession>();
            revoke(context, "life").await?;
            wait::gone(&api, "life", wait::SHORT).await?;
            let writes = cluster.audit().since(mark)?;
            let of_session: Vec<_> = writes
                .into_iter()
                .filter(|write| {
                    write.namespace() == context.namespace && write.resource().starts_with("consolesessions")
                })
                // What a person does: makes it and revokes it.
                .filter(|write| !(write.resource() == "consolesessions" && write.verb == "patch"))
                .collect();
            let all = audit::describe(&of_session);
            ensure!(of_session.len() <= 6, "{} writes: {all}", of_session.len());
            ensure!(of_session.len() >= 5, "not everything was written: {all}");
            ensure!(!all.contains(ANN), "the person wrote nothing else");
            eprintln!("writes of a whole session: {}{all}", of_session.len());
            Ok(())
        },
    )
    .await
}
