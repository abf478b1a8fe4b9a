//! The life of a ConsoleSession, without anybody connecting: it is ready, refused or waits, ends, and is removed.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use novasphere_controller::config::ControllerConfig;
use novasphere_core::console_session::{
    gateway::{GATEWAY_COMPONENT, KEY_COMPONENT},
    status::GATEWAY_LOST,
};
use novasphere_crd::{CloseReason, Duration, SessionPhase, VmAccess};
use novasphere_e2e::{
    fixtures::{
        audit,
        condition::has,
        console_session::{SessionFixture, TARGET, add_stream, apply_target, status, with_target},
        event::wait_for_event,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

/// What the controller may write to a session in its life: that it is ready, that it is over, and its deletion.
const WRITES_LIMIT: usize = 3;

/// Resyncs of a settled session that cost nothing.
const RESYNCS: u64 = 20;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("session::life", Needs::ControlPlane, life),
        Case::new("session::refusals", Needs::ControlPlane, refusals),
        Case::new("session::places", Needs::ControlPlane, places),
        Case::new("session::ends", Needs::ControlPlane, ends),
        Case::new("session::dead_gateway", Needs::ControlPlane, dead_gateway),
        Case::new("session::restart", Needs::ControlPlane, restart),
    ]
}

/// From the making to the removal, with every write counted.
async fn life() -> Result<()> {
    with_target("session::life", json!({}), async |fixture| {
        let resyncing = ControllerConfig {
            resync_interval: Duration::from_secs(1),
            ..fixture.config.clone()
        };
        let controller = fixture.controller_with(resyncing).await?;
        let mark = fixture.context.cluster.audit().mark()?;
        fixture
            .make("view", json!({"duration": "10m", "ttlAfterFinished": "2s"}))
            .await?;
        let session = fixture.ready("view").await?;
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
        event_note(fixture, "view", "Ready").await?;
        printed(fixture)?;
        counted(fixture, 1).await?;

        // Two objects, and each resync reconciles both.
        controller.reconciles_pass(RESYNCS * 2).await?;
        let writes = fixture.writes(mark)?;
        ensure!(
            writes.len() == 1,
            "a session that is ready was written {} times:{}",
            writes.len(),
            audit::describe(&writes)
        );

        fixture.change("view", json!({"duration": "5m"})).await?;
        let session = fixture.ready("view").await?;
        let shorter = status(&session)?.expires_at.clone().context("it has an end")?;
        ensure!(expires.0.duration_since(shorter.0).as_secs() == 300, "{shorter:?}");

        let mark = fixture.context.cluster.audit().mark()?;
        fixture.change("view", json!({"revoked": true})).await?;
        let over = fixture.condition("view", "Closed", "True", "Revoked").await?;
        // An end that was asked for is no failure: programs that wait for objects go on.
        ensure!(
            has(&over, ("Ready", "False")).is_err() && has(&over, ("Stalled", "True")).is_err(),
            "{:?}",
            over.status
        );
        ensure!(
            status(&over)?.close_reason == Some(CloseReason::Revoked),
            "{:?}",
            over.status
        );
        let note = event_note(fixture, "view", "Closed").await?;
        ensure!(note.starts_with("Revoked: "), "{note}");
        // A Warning, before the object goes: its deletion is seen below.
        let note = event_note(fixture, "view", "RecordExpires,type=Warning").await?;
        ensure!(note.contains("deleted 2s after its end"), "{note}");
        wait::gone(&fixture.sessions(), "view", wait::SHORT).await?;
        let end = fixture.writes(mark)?;
        // The shorter duration was asked for beside the three.
        ensure!(
            end.len() < WRITES_LIMIT,
            "the end of a session took {} writes:{}",
            end.len(),
            audit::describe(&end)
        );
        counted(fixture, 0).await?;
        println!(
            "session::life: {} writes of the controller to one session",
            1 + end.len()
        );
        controller.stop().await
    })
    .await
}

/// Waits for an event of this reason on a session, and returns its note.
async fn event_note(fixture: &SessionFixture<'_>, name: &str, reason: &str) -> Result<String> {
    let selector = format!("involvedObject.kind=ConsoleSession,reason={reason}");
    wait_for_event(fixture.context, name, &selector, "").await
}

/// What people see of a session.
fn printed(fixture: &SessionFixture<'_>) -> Result<()> {
    let table = fixture
        .context
        .cluster
        .kubectl(&["get", "csn", "view", "--namespace", &fixture.context.namespace])?;
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
    ensure!(row.starts_with(&["view", TARGET, "vnc", "Ready"]), "{table}");
    Ok(())
}

/// Waits until the status of the target has this number of open sessions.
async fn counted(fixture: &SessionFixture<'_>, open: u32) -> Result<()> {
    let targets: Api<VmAccess> = fixture.context.api();
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

/// A condition and an event say what cannot work, and what the message asks for helps.
async fn refusals() -> Result<()> {
    with_target("session::refusals", json!({"maxViewers": 2}), async |fixture| {
        let controller = fixture.controller().await?;
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
            fixture.make(name, spec.clone()).await?;
        }
        for (name, _, reason, event, says) in bad {
            let session = fixture.condition(name, "Ready", "False", reason).await?;
            has(&session, ("Closed", "False", "NotOver")).map_err(anyhow::Error::msg)?;
            ensure!(status(&session)?.expires_at.is_none(), "the clock of {name} runs");
            let note = event_note(fixture, name, event).await?;
            ensure!(note.contains(says), "{name}: {note}");
        }
        fixture.make("good", target("VirtualMachine", TARGET)).await?;
        fixture.ready("good").await?;

        // What was asked for is done.
        apply_target(fixture.context, TARGET, &json!({"maxViewers": 3})).await?;
        fixture.ready("greedy").await?;
        apply_target(fixture.context, "later", &json!({})).await?;
        fixture.ready("no-target").await?;
        event_note(fixture, "no-target", "Ready").await?;
        controller.stop().await
    })
    .await
}

/// A target has a limited number of places, and the oldest sessions come first.
async fn places() -> Result<()> {
    with_target(
        "session::places",
        json!({"maxConcurrentSessions": 1}),
        async |fixture| {
            let controller = fixture.controller().await?;
            fixture.make("first", json!({})).await?;
            fixture.ready("first").await?;
            for name in ["second", "third"] {
                fixture.make(name, json!({})).await?;
                fixture.condition(name, "Ready", "False", "TooManySessions").await?;
            }
            let note = event_note(fixture, "second", "TooManySessions").await?;
            ensure!(note.contains("maxConcurrentSessions is 1"), "{note}");
            fixture.sessions().delete("first", &DeleteParams::default()).await?;
            // Those of one second have no older one.
            let listed = fixture.sessions().list(&ListParams::default()).await?;
            ensure!(listed.items.len() == 2, "{} are left", listed.items.len());
            let winner = wait::until("one of the two has the place", wait::SHORT, || async {
                let sessions = fixture.sessions().list(&ListParams::default()).await?;
                let open = |name: &str| {
                    let session = sessions
                        .items
                        .iter()
                        .find(|session| session.metadata.name.as_deref() == Some(name));
                    session.is_some_and(|session| has(session, ("Ready", "True", "Open")).is_ok())
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
            fixture.change(winner, json!({"revoked": true})).await?;
            fixture.ready(other).await?;
            controller.stop().await
        },
    )
    .await
}

/// Each way in which a session ends by itself.
async fn ends() -> Result<()> {
    with_target("session::ends", json!({}), async |fixture| {
        let controller = fixture.controller().await?;
        fixture.make("expires", json!({"duration": "2s"})).await?;
        for name in ["narrower", "gone", "again"] {
            apply_target(fixture.context, name, &json!({})).await?;
        }
        for name in ["narrower", "gone", "again"] {
            fixture.make(name, json!({"targetRef": {"name": name}})).await?;
            fixture.ready(name).await?;
        }
        apply_target(fixture.context, "narrower", &json!({"clipboard": "None"})).await?;
        let targets: Api<VmAccess> = fixture.context.api();
        for name in ["gone", "again"] {
            targets.delete(name, &DeleteParams::default()).await?;
            wait::gone(&targets, name, wait::SHORT).await?;
        }
        apply_target(fixture.context, "again", &json!({})).await?;
        for (name, reason, phase) in [
            ("expires", "Expired", SessionPhase::Expired),
            ("narrower", "PolicyChanged", SessionPhase::Closed),
            ("gone", "TargetGone", SessionPhase::Closed),
            ("again", "TargetGone", SessionPhase::Closed),
        ] {
            let session = fixture.condition(name, "Closed", "True", reason).await?;
            let is_stalled = has(&session, ("Stalled", "True", reason)).is_ok();
            ensure!(is_stalled == (reason != "Expired"), "{name}: {:?}", session.status);
            ensure!(status(&session)?.phase == Some(phase), "{name}: {:?}", session.status);
            let note = event_note(fixture, name, "Closed").await?;
            ensure!(note.starts_with(reason), "{name}: {note}");
        }
        controller.stop().await
    })
    .await
}

/// A gateway that renews keeps its streams; those of one that does not are taken out, and its Lease is deleted.
async fn dead_gateway() -> Result<()> {
    with_target("session::dead_gateway", json!({"maxViewers": 3}), async |fixture| {
        let controller = fixture.controller().await?;
        fixture.make("view", json!({})).await?;
        fixture.ready("view").await?;
        for gateway in ["alive", "dead", "stopped"] {
            renew(fixture, gateway).await?;
            add_stream(
                fixture.context,
                "view",
                &format!("stream-of-{gateway}"),
                gateway,
                jiff::Timestamp::now(),
            )
            .await?;
        }
        let leases: Api<Lease> = fixture.context.api();
        // A clean stop takes the Lease away.
        leases.delete(&lease_name("stopped"), &DeleteParams::default()).await?;
        let session = wait::until("only the streams of the living are left", wait::SHORT, || async {
            renew(fixture, "alive").await?;
            let session = fixture.sessions().get("view").await?;
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
        let last = found.last_disconnect.clone().context("it names the last stream")?;
        ensure!(last.reason == GATEWAY_LOST, "{last:?}");
        wait::gone(&leases, &lease_name("dead"), wait::SHORT).await?;
        ensure!(
            leases.get_opt(&lease_name("alive")).await?.is_some(),
            "the living one has lost its lease"
        );
        controller.stop().await
    })
    .await
}

fn lease_name(gateway: &str) -> String {
    format!("novasphere-gateway-{gateway}")
}

/// Renews a gateway's Lease of two seconds.
async fn renew(fixture: &SessionFixture<'_>, gateway: &str) -> Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": lease_name(gateway), "labels": {KEY_COMPONENT: GATEWAY_COMPONENT}},
        "spec": {"holderIdentity": gateway, "leaseDurationSeconds": 2, "renewTime": format!("{:.6}", jiff::Timestamp::now())},
    });
    let leases: Api<Lease> = fixture.context.api();
    let parameters = PatchParams::apply("gateway").force();
    leases
        .patch(&lease_name(gateway), &parameters, &Patch::<Value>::Apply(lease))
        .await?;
    Ok(())
}

/// A controller that starts finds all as it left it, and does what fell due while there was none.
async fn restart() -> Result<()> {
    with_target("session::restart", json!({}), async |fixture| {
        let controller = fixture.controller().await?;
        fixture.make("lasts", json!({})).await?;
        fixture.make("ends", json!({})).await?;
        fixture.make("refused", json!({"power": true})).await?;
        fixture.ready("lasts").await?;
        fixture.ready("ends").await?;
        fixture.condition("refused", "Ready", "False", "PolicyRefused").await?;
        controller.kill();

        fixture.change("ends", json!({"duration": "1s"})).await?;
        let mark = fixture.context.cluster.audit().mark()?;
        let controller = fixture.start().await?;
        fixture.condition("ends", "Closed", "True", "Expired").await?;
        let writes = fixture.writes(mark)?;
        ensure!(
            writes.iter().all(|write| write.name() == "ends") && (1..=2).contains(&writes.len()),
            "a new controller wrote something else than what was due:{}",
            audit::describe(&writes)
        );
        controller.stop().await
    })
    .await
}
