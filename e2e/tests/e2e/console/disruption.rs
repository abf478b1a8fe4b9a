//! The cluster is disturbed while consoles are open.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use novasphere_crd::{ConsoleSession, VmAccess};
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        console::{ANN, ConsoleFixture},
        console_session::{Grant, TARGET, connections, grant_token, open_session, revoke},
        console_socket::{ConsoleSocket, Entry},
        gateway::{Gateway, GatewayOptions},
        link::Link,
        namespace::{Context, PodSecurity, with_namespace},
        rfb::{BELL, KEY, Transport as _},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::json;

/// How long the way to the apiserver is cut.
const CUT_PERIOD: Duration = Duration::from_mins(1);

/// A target that is deleted and made again meanwhile: it has the same name and is another one.
const TWIN: &str = "twin";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "console::disruption::apiserver",
        Needs::ControlPlane,
        apiserver,
    )]
}

/// A restart of kube-apiserver and etcd, and a minute without them, lose no stream; what was revoked meanwhile ends when they
/// are back.
async fn apiserver() -> Result<()> {
    let cluster = Cluster::control_plane("consoles", &["kubevirt"])?;
    with_namespace(
        &cluster,
        "console::disruption::apiserver",
        PodSecurity::Restricted,
        async |context| {
            let policy = json!({"maxViewers": 8, "maxConcurrentSessions": 100, "maxSessionDuration": "2h"});
            let fixture = ConsoleFixture::start(context, &policy.clone()).await?;
            fixture.add_target(context, TWIN, &policy).await?;
            let link = Link::start(context.cluster).await?;
            let options = GatewayOptions {
                apiserver: Some(link.address),
                ..GatewayOptions::new(&fixture.account, "g1")
            };
            let gateway = Gateway::start_with(context, options).await?;
            let mut viewers = Vec::new();
            for (name, target) in [
                ("stays", TARGET),
                ("revoked", TARGET),
                ("deleted", TARGET),
                ("remade", TWIN),
            ] {
                open_session(context, name, json!({"targetRef": {"name": target}})).await?;
                let token = grant_token(&context.api(), name, Grant::to(ANN).within(Duration::from_mins(1))).await?;
                viewers.push(ConsoleSocket::enter(gateway.http, &token).await?);
            }
            for part in ["kube-apiserver", "etcd"] {
                context.cluster.restart(part)?;
                alive(&fixture, &mut viewers)
                    .await
                    .with_context(|| format!("after a restart of {part}"))?;
            }
            cut(context, &fixture, &gateway, &link, &mut viewers).await?;
            let [stays, revoked, deleted, remade] = viewers.as_mut_slice() else {
                anyhow::bail!("four viewers were let in")
            };
            // Watches come back one after the other, seconds apart, and the gateway does not wait that long for the answer to a close frame.
            let (revoked, deleted, remade) = tokio::try_join!(
                revoked.closed(wait::SHORT),
                deleted.closed(wait::SHORT),
                remade.closed(wait::SHORT)
            )?;
            for (end, expected) in [
                (revoked, (4001, "Revoked")),
                (deleted, (4002, "Deleted")),
                (remade, (4004, "TargetGone")),
            ] {
                ensure!(
                    end == (expected.0, expected.1.to_owned()),
                    "closed with {end:?}, not {expected:?}"
                );
            }
            alive(&fixture, std::slice::from_mut(stays)).await?;
            // A stream that was taken for dead meanwhile is back in the session.
            connections(context, "stays", 1).await?;
            Ok(())
        },
    )
    .await
}

/// Waits until the gateway's watch is back after the restarts: what it shows of a token it shows of all that are older.
async fn sees_tokens(context: &Context<'_>, gateway: &Gateway) -> Result<()> {
    let token = grant_token(&context.api(), "stays", Grant::to(ANN).within(CUT_PERIOD * 2)).await?;
    let viewer = wait::until("the gateway knows a new token", wait::LONG, || async {
        let entered = ConsoleSocket::enter(gateway.http, &token).await;
        let why = entered.as_ref().err().map(ToString::to_string).unwrap_or_default();
        Ok(Seen::some(entered.ok(), why))
    })
    .await?;
    viewer.leave().await?;
    connections(context, "stays", 1).await?;
    Ok(())
}

/// Cuts the gateway off for a minute; two sessions are ended meanwhile, and a target is made again.
async fn cut(
    context: &Context<'_>,
    fixture: &ConsoleFixture,
    gateway: &Gateway,
    link: &Link,
    viewers: &mut [ConsoleSocket],
) -> Result<()> {
    let sessions: Api<ConsoleSession> = context.api();
    let token = grant_token(&context.api(), "stays", Grant::to(ANN).within(CUT_PERIOD * 2)).await?;
    sees_tokens(context, gateway).await?;
    alive(fixture, viewers).await?;
    link.set(false);
    let since = Instant::now();
    let mut late = ConsoleSocket::open(gateway.http, &token).await?;
    let entry = late.entry().await?;
    ensure!(
        matches!(entry, Entry::Closed(4044, _)),
        "nobody is let in while nothing can be checked, not {entry:?}"
    );
    wait::until("the apiserver takes the revocation", wait::SHORT, || async {
        revoke(context, "revoked").await?;
        Ok(Seen::Done(()))
    })
    .await?;
    sessions.delete("deleted", &DeleteParams::default()).await?;
    remake(context).await.context("the target is made again")?;
    // The streams are used all the time.
    let mut turns = tokio::time::interval(Duration::from_secs(1));
    while since.elapsed() < CUT_PERIOD {
        turns.tick().await;
        alive(fixture, viewers).await.context("while the way is cut")?;
    }
    link.set(true);
    Ok(())
}

async fn remake(context: &Context<'_>) -> Result<()> {
    let targets: Api<VmAccess> = context.api();
    let spec = targets.get(TWIN).await?.spec;
    targets.delete(TWIN, &DeleteParams::default()).await?;
    wait::gone(&targets, TWIN, wait::SHORT).await?;
    targets
        .create(&PostParams::default(), &VmAccess::new(TWIN, spec))
        .await?;
    Ok(())
}

/// Both directions work for each viewer.
async fn alive(fixture: &ConsoleFixture, viewers: &mut [ConsoleSocket]) -> Result<()> {
    for viewer in viewers.iter_mut() {
        let _ = fixture.vnc.take();
        viewer.send(KEY).await?;
        wait::until("a key reaches the machine", wait::SHORT, || async {
            Ok(Seen::some((!fixture.vnc.take().is_empty()).then_some(()), "nothing"))
        })
        .await?;
    }
    // A bell, to everybody.
    fixture.vnc.send(BELL);
    for viewer in viewers {
        viewer.expect(BELL).await?;
    }
    Ok(())
}
