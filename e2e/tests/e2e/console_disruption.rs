//! The cluster is disturbed while consoles are open.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use novasphere_crd::{ConsoleSession, VmAccess};
use novasphere_e2e::{
    cluster::Cluster,
    gateway::{Gateway, Link},
    harness::{Case, Needs},
    namespace::{Context, PodSecurity, with_namespace},
    wait::{self, Seen},
};
use serde_json::json;

use crate::console_stage::{self as stage, Entry, Stage, Viewer};

/// How long the way to the apiserver is cut.
const CUT: Duration = Duration::from_mins(1);

/// A target that is deleted and made again meanwhile: it has the same name and is another one.
const TWIN: &str = "twin";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "console_disruption::apiserver",
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
        "console_disruption::apiserver",
        PodSecurity::Restricted,
        async |context| {
            let policy = json!({"maxViewers": 8, "maxConcurrentSessions": 100, "maxSessionDuration": "2h"});
            let stage = Stage::set(context, policy.clone()).await?;
            stage::target(context, TWIN, &policy).await?;
            stage::endpoints(context, TWIN, stage.vnc.address).await?;
            let link = Link::start(context.cluster).await?;
            let gateway = Gateway::start(
                context.cluster,
                &stage.account,
                "g1",
                &context.output,
                Some(link.address),
            )
            .await?;
            let mut viewers = Vec::new();
            for (name, target) in [
                ("stays", stage::TARGET),
                ("revoked", stage::TARGET),
                ("deleted", stage::TARGET),
                ("remade", TWIN),
            ] {
                stage::session(context, name, json!({"targetRef": {"name": target}})).await?;
                let token = stage::token(context, name, Duration::from_mins(1), 1).await?;
                viewers.push(Viewer::enter(gateway.http, &token).await?);
            }
            for part in ["kube-apiserver", "etcd"] {
                context.cluster.restart(part)?;
                alive(&stage, &mut viewers)
                    .await
                    .with_context(|| format!("after a restart of {part}"))?;
            }
            cut(context, &stage, &gateway, &link, &mut viewers).await?;
            let [stays, revoked, deleted, remade] = viewers.as_mut_slice() else {
                anyhow::bail!("four viewers were let in")
            };
            let end = revoked.closed(wait::SHORT).await?;
            ensure!(end == (4001, "Revoked".to_owned()), "told {end:?}");
            let end = deleted.closed(wait::SHORT).await?;
            ensure!(end == (4002, "Deleted".to_owned()), "told {end:?}");
            let end = remade.closed(wait::SHORT).await?;
            ensure!(end == (4004, "TargetGone".to_owned()), "told {end:?}");
            alive(&stage, std::slice::from_mut(stays)).await?;
            // Whoever was taken for dead meanwhile is back in the session.
            stage::connections(context, "stays", 1).await?;
            Ok(())
        },
    )
    .await
}

/// Waits until the gateway's watch is back after the restarts: what it shows of a token it shows of all that are older.
async fn sees_tokens(context: &Context<'_>, gateway: &Gateway) -> Result<()> {
    let token = stage::token(context, "stays", CUT * 2, 1).await?;
    let viewer = wait::until("the gateway knows a new token", wait::LONG, || async {
        let entered = Viewer::enter(gateway.http, &token).await;
        let why = entered.as_ref().err().map(ToString::to_string).unwrap_or_default();
        Ok(Seen::some(entered.ok(), why))
    })
    .await?;
    viewer.leave().await?;
    stage::connections(context, "stays", 1).await?;
    Ok(())
}

/// Cuts the gateway off for a minute; two sessions are ended meanwhile, and a target is made again.
async fn cut(
    context: &Context<'_>,
    stage: &Stage,
    gateway: &Gateway,
    link: &Link,
    viewers: &mut [Viewer],
) -> Result<()> {
    let sessions: Api<ConsoleSession> = context.api();
    let revoke = json!({"spec": {"revoked": true}});
    let token = stage::token(context, "stays", CUT * 2, 1).await?;
    sees_tokens(context, gateway).await?;
    alive(stage, viewers).await?;
    link.set(false);
    let since = Instant::now();
    let mut late = Viewer::open(gateway.http, &token).await?;
    let entry = late.entry().await?;
    ensure!(
        matches!(entry, Entry::Closed(4044, _)),
        "nobody is let in while nothing can be checked, not {entry:?}"
    );
    wait::until("the apiserver takes the revocation", wait::SHORT, || async {
        sessions
            .patch("revoked", &PatchParams::default(), &Patch::Merge(&revoke))
            .await?;
        Ok(Seen::Done(()))
    })
    .await?;
    sessions.delete("deleted", &DeleteParams::default()).await?;
    remake(context).await.context("the target is made again")?;
    // The streams are used all the time.
    let mut turns = tokio::time::interval(Duration::from_secs(1));
    while since.elapsed() < CUT {
        turns.tick().await;
        alive(stage, viewers).await.context("while the way is cut")?;
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
async fn alive(stage: &Stage, viewers: &mut [Viewer]) -> Result<()> {
    for viewer in viewers.iter_mut() {
        let _ = stage.vnc.take();
        viewer.send(&[4, 1, 0, 0, 0, 0, 0, 65]).await?;
        wait::until("a key reaches the machine", wait::SHORT, || async {
            Ok(Seen::some((!stage.vnc.take().is_empty()).then_some(()), "nothing"))
        })
        .await?;
    }
    // A bell, to everybody.
    stage.vnc.send(&[2]);
    for viewer in viewers {
        viewer.expect(&[2]).await?;
    }
    Ok(())
}
