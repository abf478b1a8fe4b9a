//! What becomes of a ConsoleSession, without anybody connecting: it is ready, refused or waits, ends, and is removed.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use novasphere_controller::config::ControllerConfig;
use novasphere_core::console_session::{
    gateway::{COMPONENT, KEY_COMPONENT},
    status::GATEWAY_LOST,
};
use novasphere_crd::{CloseReason, Duration, SessionPhase, VmAccess};
use novasphere_e2e::{
    audit,
    harness::{Case, Needs},
    wait::{self, Seen},
};
use serde_json::{Value, json};

use crate::console_session_support::{Bench, TARGET, apply_target, has, reconciles_pass, status, with_target};

/// What the controller may write to a session in its life: that it is ready, that it is over, and its deletion.
const WRITES: usize = 3;

/// So many resyncs of a settled session cost nothing.
const RESYNCS: u64 = 20;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("console_session::life", Needs::ControlPlane, life),
        Case::new("console_session::refusals", Needs::ControlPlane, refusals),
        Case::new("console_session::places", Needs::ControlPlane, places),
        Case::new("console_session::ends", Needs::ControlPlane, ends),
        Case::new("console_session::dead_gateway", Needs::ControlPlane, dead_gateway),
        Case::new("console_session::restart", Needs::ControlPlane, restart),
    ]
}

/// From the making to the removal, with every write counted.
async fn life() -> Result<()> {
    with_target("console_session::life", json!({}), async |bench| {
        let resyncing = ControllerConfig {
            resync_interval: Duration::from_secs(1),
            ..bench.config.clone()
        };
        let controller = bench.controller_with(resyncing).await?;
        let mark = bench.context.cluster.audit().mark()?;
        bench
            .make("look", json!({"duration": "10m", "ttlAfterFinished": "2s"}))
            .await?;
        let session = bench.ready("look").await?;
        let found = status(&session)?;
        let (started, expires) = (found.started_at.as_ref(), found.expires_at.as_ref());
        let (started, expires) = started.zip(expires).context("a ready session has a clock")?;
        ensure!(
            expires.0.duration_since(started.0).as_secs() == 600,
            "{started:?} to {expires:?}"
        );
        let endpoints = found.endpoints.clone().unwrap_or_default();
        ensure!(
            endpoints.websocket.as_deref() == Some("wss://console.example.org/api/v1/console/ws")
                && endpoints.vnc.as_deref() == Some("console.example.org:5900"),
            "{endpoints:?}"
        );
        ensure!(
            found.phase == Some(SessionPhase::Ready) && found.viewers == Some(0),
            "{found:?}"
        );
        bench.told("look", "Ready").await?;
        printed(bench)?;
        counted(bench, 1).await?;

        // Two objects, and each resync reconciles both.
        reconciles_pass(&controller, RESYNCS * 2, wait::SHORT).await?;
        let writes = bench.writes(mark)?;
        ensure!(
            writes.len() == 1,
            "a session that is ready was written {} times:{}",
            writes.len(),
            audit::describe(&writes)
        );

        bench.change("look", json!({"duration": "5m"})).await?;
        let session = bench.ready("look").await?;
        let shorter = status(&session)?.expires_at.clone().context("it has an end")?;
        ensure!(expires.0.duration_since(shorter.0).as_secs() == 300, "{shorter:?}");

        let mark = bench.context.cluster.audit().mark()?;
        bench.change("look", json!({"revoked": true})).await?;
        let over = bench.wait_for("look", "Closed", "True", "Revoked").await?;
        has(&over, "Ready", "False", "Revoked").map_err(anyhow::Error::msg)?;
        ensure!(
            status(&over)?.close_reason == Some(CloseReason::Revoked),
            "{:?}",
            over.status
        );
        let note = bench.told("look", "Closed").await?;
        ensure!(note.starts_with("Revoked: "), "{note}");
        wait::gone(&bench.sessions(), "look", wait::SHORT).await?;
        let end = bench.writes(mark)?;
        // The shorter duration was asked for beside the three.
        ensure!(
            end.len() < WRITES,
            "the end of a session took {} writes:{}",
            end.len(),
            audit::describe(&end)
        );
        counted(bench, 0).await?;
        println!(
            "console_session::life: {} writes of the controller to one session",
            1 + end.len()
        );
        controller.stop().await
    })
    .await
}

/// What people see of a session.
fn printed(bench: &Bench<'_>) -> Result<()> {
    let table = bench
        .context
        .cluster
        .kubectl(&["get", "csn", "look", "--namespace", &bench.context.namespace])?;
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let head = lines.next().unwrap_or_default();
    ensure!(
        head == [
            "NAME", "TARGET", "USER", "PROTOCOL", "STATE", "EXPIRES", "VIEWERS", "AGE"
        ],
        "{table}"
    );
    let row = lines.next().unwrap_or_default();
    // Nobody has a token, so there is no user.
    ensure!(row.starts_with(&["look", TARGET, "vnc", "Ready"]), "{table}");
    Ok(())
}

/// Waits until the target tells this number of open sessions.
async fn counted(bench: &Bench<'_>, open: u32) -> Result<()> {
    let targets: Api<VmAccess> = bench.context.api();
    // It is a detail of the target, and details are gathered for up to a minute.
    let bound = wait::SHORT * 2;
    wait::object(&targets, TARGET, format!("{open} active sessions"), bound, |target| {
        let found = target.status.as_ref().map(|status| status.active_sessions);
        if found == Some(open) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await
    .map(drop)
}

/// What cannot work is told in a condition and an event, and what the message asks for helps.
async fn refusals() -> Result<()> {
    with_target("console_session::refusals", json!({"maxViewers": 2}), async |bench| {
        let controller = bench.controller().await?;
        let target = |kind: &str, name: &str| json!({"targetRef": {"kind": kind, "name": name}});
        let bad = [
            (
                "greedy",
                json!({"maxViewers": 3}),
                "PolicyRefused",
                "Refused",
                "spec.maxViewers: ",
            ),
            (
                "no-target",
                target("VmAccess", "later"),
                "TargetNotFound",
                "TargetNotFound",
                "later",
            ),
            (
                "no-machine",
                target("VirtualMachine", "none"),
                "TargetNotFound",
                "TargetNotFound",
                "none",
            ),
            (
                "workspace",
                target("VncWorkspace", "desk"),
                "TargetNotFound",
                "TargetNotFound",
                "desk",
            ),
        ];
        for (name, spec, ..) in &bad {
            bench.make(name, spec.clone()).await?;
        }
        for (name, _, reason, event, says) in bad {
            let session = bench.wait_for(name, "Ready", "False", reason).await?;
            has(&session, "Closed", "False", "NotOver").map_err(anyhow::Error::msg)?;
            ensure!(status(&session)?.expires_at.is_none(), "the clock of {name} runs");
            let note = bench.told(name, event).await?;
            ensure!(note.contains(says), "{name}: {note}");
        }
        bench.make("good", target("VirtualMachine", TARGET)).await?;
        bench.ready("good").await?;

        // What was asked for is done.
        apply_target(bench.context, TARGET, &json!({"maxViewers": 3})).await?;
        bench.ready("greedy").await?;
        apply_target(bench.context, "later", &json!({})).await?;
        bench.ready("no-target").await?;
        bench.told("no-target", "Ready").await?;
        controller.stop().await
    })
    .await
}

/// A target has so many places, and the oldest come first.
async fn places() -> Result<()> {
    with_target(
        "console_session::places",
        json!({"maxConcurrentSessions": 1}),
        async |bench| {
            let controller = bench.controller().await?;
            bench.make("first", json!({})).await?;
            bench.ready("first").await?;
            for name in ["second", "third"] {
                bench.make(name, json!({})).await?;
                bench.wait_for(name, "Ready", "False", "TooManySessions").await?;
            }
            let note = bench.told("second", "TooManySessions").await?;
            ensure!(note.contains("maxConcurrentSessions is 1"), "{note}");
            bench.sessions().delete("first", &DeleteParams::default()).await?;
            // Those of one second have no older one.
            let listed = bench.sessions().list(&ListParams::default()).await?;
            ensure!(listed.items.len() == 2, "{} are left", listed.items.len());
            let winner = wait::until("one of the two has the place", wait::SHORT, || async {
                let sessions = bench.sessions().list(&ListParams::default()).await?;
                let open = |name: &str| {
                    let session = sessions
                        .items
                        .iter()
                        .find(|session| session.metadata.name.as_deref() == Some(name));
                    session.is_some_and(|session| has(session, "Ready", "True", "Open").is_ok())
                };
                Ok(match (open("second"), open("third")) {
                    (true, true) => return Ok(Seen::NotYet("both have it".to_owned())),
                    (true, false) => Seen::Done("second"),
                    (false, true) => Seen::Done("third"),
                    (false, false) => Seen::NotYet("none has it".to_owned()),
                })
            })
            .await?;
            let other = if winner == "second" { "third" } else { "second" };
            bench.change(winner, json!({"revoked": true})).await?;
            bench.ready(other).await?;
            controller.stop().await
        },
    )
    .await
}

/// Each way in which a session ends by itself.
async fn ends() -> Result<()> {
    with_target("console_session::ends", json!({}), async |bench| {
        let controller = bench.controller().await?;
        bench.make("expires", json!({"duration": "2s"})).await?;
        for name in ["narrower", "gone", "again"] {
            apply_target(bench.context, name, &json!({})).await?;
        }
        for name in ["narrower", "gone", "again"] {
            bench.make(name, json!({"targetRef": {"name": name}})).await?;
            bench.ready(name).await?;
        }
        apply_target(bench.context, "narrower", &json!({"clipboard": "None"})).await?;
        let targets: Api<VmAccess> = bench.context.api();
        for name in ["gone", "again"] {
            targets.delete(name, &DeleteParams::default()).await?;
            wait::gone(&targets, name, wait::SHORT).await?;
        }
        apply_target(bench.context, "again", &json!({})).await?;
        for (name, reason, phase) in [
            ("expires", "Expired", SessionPhase::Expired),
            ("narrower", "PolicyChanged", SessionPhase::Closed),
            ("gone", "TargetGone", SessionPhase::Closed),
            ("again", "TargetGone", SessionPhase::Closed),
        ] {
            let session = bench.wait_for(name, "Closed", "True", reason).await?;
            has(&session, "Stalled", "True", reason).map_err(anyhow::Error::msg)?;
            ensure!(status(&session)?.phase == Some(phase), "{name}: {:?}", session.status);
            let note = bench.told(name, "Closed").await?;
            ensure!(note.starts_with(reason), "{name}: {note}");
        }
        controller.stop().await
    })
    .await
}

/// A gateway that renews keeps its streams; those of one that does not are taken out, and its Lease is deleted.
async fn dead_gateway() -> Result<()> {
    with_target(
        "console_session::dead_gateway",
        json!({"maxViewers": 3}),
        async |bench| {
            let controller = bench.controller().await?;
            bench.make("look", json!({})).await?;
            bench.ready("look").await?;
            for gateway in ["alive", "dead", "stopped"] {
                renew(bench, gateway).await?;
                bench.open_stream("look", gateway).await?;
            }
            let leases: Api<Lease> = bench.context.api();
            // A clean stop takes the Lease away.
            leases.delete(&lease_name("stopped"), &DeleteParams::default()).await?;
            let session = wait::until("only the streams of the living are left", wait::SHORT, || async {
                renew(bench, "alive").await?;
                let session = bench.sessions().get("look").await?;
                let open: Vec<_> = session.status.iter().flat_map(|status| &status.connections).collect();
                let gateways: Vec<_> = open.iter().map(|connection| connection.gateway.clone()).collect();
                Ok(Seen::some(
                    (gateways == ["alive"]).then_some(session),
                    format!("{gateways:?}"),
                ))
            })
            .await?;
            let found = status(&session)?;
            ensure!(
                found.phase == Some(SessionPhase::Active) && found.viewers == Some(1),
                "{found:?}"
            );
            let last = found.last_disconnect.clone().context("it tells of the last stream")?;
            ensure!(last.reason == GATEWAY_LOST, "{last:?}");
            wait::gone(&leases, &lease_name("dead"), wait::SHORT).await?;
            ensure!(
                leases.get_opt(&lease_name("alive")).await?.is_some(),
                "the living one has lost its lease"
            );
            controller.stop().await
        },
    )
    .await
}

fn lease_name(gateway: &str) -> String {
    format!("novasphere-gateway-{gateway}")
}

/// Renews a gateway's Lease of two seconds.
async fn renew(bench: &Bench<'_>, gateway: &str) -> Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": lease_name(gateway), "labels": {KEY_COMPONENT: COMPONENT}},
        "spec": {"holderIdentity": gateway, "leaseDurationSeconds": 2, "renewTime": format!("{:.6}", jiff::Timestamp::now())},
    });
    let leases: Api<Lease> = bench.context.api();
    let parameters = PatchParams::apply("gateway").force();
    leases
        .patch(&lease_name(gateway), &parameters, &Patch::<Value>::Apply(lease))
        .await?;
    Ok(())
}

/// A controller that starts finds all as it left it, and does what fell due while there was none.
async fn restart() -> Result<()> {
    with_target("console_session::restart", json!({}), async |bench| {
        let controller = bench.controller().await?;
        bench.make("lasts", json!({})).await?;
        bench.make("ends", json!({})).await?;
        bench.make("refused", json!({"power": true})).await?;
        bench.ready("lasts").await?;
        bench.ready("ends").await?;
        bench.wait_for("refused", "Ready", "False", "PolicyRefused").await?;
        controller.kill();

        bench.change("ends", json!({"duration": "1s"})).await?;
        let mark = bench.context.cluster.audit().mark()?;
        let controller = bench.start().await?;
        bench.wait_for("ends", "Closed", "True", "Expired").await?;
        let writes = bench.writes(mark)?;
        ensure!(
            writes.iter().all(|write| write.name() == "ends") && (1..=2).contains(&writes.len()),
            "a new controller wrote something else than what was due:{}",
            audit::describe(&writes)
        );
        controller.stop().await
    })
    .await
}
