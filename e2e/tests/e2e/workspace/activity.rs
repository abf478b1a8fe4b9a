//! What gateways report of streams keeps a desktop awake, and nothing else does; it costs few writes. The test writes what gateways
//! would.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use novasphere_core::console_session::{
    connection::{disconnect, record_usage},
    gateway::{GATEWAY_COMPONENT, KEY_COMPONENT},
};
use novasphere_crd::{ConsoleSession, ConsoleSessionStatus, LastDisconnect, Time, VncWorkspace};
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::change_status,
        audit::Mark,
        cluster::Cluster,
        condition::wait_for,
        console_session::{add_stream, open_session, status},
        controller::InProcess,
        event::wait_for_event,
        namespace::{Context, PodSecurity, with_namespace},
        wait,
        workspace_plane::{NodeStandIn, apply_desk, provision, start_resyncing, unprovision},
    },
    harness::{Case, Needs},
};
use serde_json::json;

const GATEWAY: &str = "console-1";

const STREAM: &str = "stream";

/// How long the desktops of the test are awake without input. A minute of what was not reported yet comes on top.
const IDLE_TIMEOUT: SignedDuration = SignedDuration::from_secs(10);
const REPORT_INTERVAL: SignedDuration = SignedDuration::from_secs(65);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace::activity::idle", Needs::ControlPlane, idle),
        Case::new("workspace::activity::few_writes", Needs::ControlPlane, few_writes),
    ]
}

/// A viewer that only views does not keep a desktop awake; one key a period does.
async fn idle() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "workspace::activity::idle",
        PodSecurity::Restricted,
        async |context| {
            let homes = ["views", "types"].map(str::to_owned);
            let controller = desktops(context, &homes, "10s").await?;
            let connected = Timestamp::now();
            for name in &homes {
                open(context, name, connected).await?;
            }
            let end = Instant::now() + Duration::from_secs(90);
            let workspaces: Api<VncWorkspace> = context.api();
            let (mut announced, mut slept) = (None, None);
            // It types every few seconds of a period of ten.
            while slept.is_none() {
                ensure!(Instant::now() < end, "a viewer that only views keeps the desktop awake");
                typed(context, "types", Timestamp::now(), 1).await?;
                let status = workspaces.get("views").await?.status.context("no status")?;
                announced = announced.or(status.sleeps_at);
                slept = status.hibernation.map(|hibernation| hibernation.since.0);
                controller.reconciles_pass(1).await?;
            }
            let slept = slept.context("it does not sleep")?;
            let due = connected + IDLE_TIMEOUT + REPORT_INTERVAL;
            let late = slept.duration_since(due);
            ensure!(
                (SignedDuration::from_secs(-1)..SignedDuration::from_secs(5)).contains(&late),
                "it slept {late:#} after its time"
            );
            let announced = announced.context("its sleep was not announced")?;
            ensure!(
                announced.0.duration_since(due).abs() <= SignedDuration::from_secs(1),
                "announced for {}",
                announced.0
            );
            wait_for::<VncWorkspace>(context, "views", ("Hibernated", "True", "Idle"), wait::SHORT).await?;
            wait_for_event(context, "views", "reason=SleepsSoon", "").await?;
            let status = workspaces.get("types").await?.status.context("no status")?;
            ensure!(
                status.awake_since.is_some() && status.sleeps_at.is_none(),
                "the one where somebody types: {status:?}"
            );
            println!(
                "workspace::activity::idle: asleep {:.1} s after its time",
                late.as_secs_f64()
            );
            controller.stop().await?;
            unprovision(context, &homes).await
        },
    )
    .await
}

/// Counters that move every minute cost no write of the workspace.
async fn few_writes() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "workspace::activity::few_writes",
        PodSecurity::Restricted,
        async |context| {
            let homes = ["alice".to_owned()];
            let controller = desktops(context, &homes, "2h").await?;
            let minute = SignedDuration::from_mins(1);
            let began = Timestamp::now() - 30 * minute;
            open(context, "alice", began).await?;
            last_input(context, "alice", began).await?;
            controller.reconciles_pass(3).await?;

            let account = Account::installed(&context.namespace, "controller");
            let mark = cluster.audit().mark()?;
            for passed in 1..10 {
                typed(context, "alice", began + passed * minute, passed).await?;
                controller.reconciles_pass(2).await?;
            }
            ensure!(
                written(context, &account, mark)? == 0,
                "counters that move were written each time"
            );
            typed(context, "alice", began + 10 * minute, 10).await?;
            last_input(context, "alice", began + 10 * minute).await?;
            // The session goes, and what it showed is kept.
            typed(context, "alice", began + 15 * minute, 15).await?;
            controller.reconciles_pass(3).await?;
            ensure!(written(context, &account, mark)? == 1, "not one write for ten minutes");
            let sessions: Api<ConsoleSession> = context.api();
            sessions.delete("alice", &DeleteParams::default()).await?;
            last_input(context, "alice", began + 15 * minute).await?;
            // A viewer that leaves was there.
            open(context, "alice", began + 16 * minute).await?;
            let left = began + 29 * minute;
            change(context, "alice", |status| {
                let last = LastDisconnect {
                    user: "ann".to_owned(),
                    reason: "ViewerLeft".to_owned(),
                    at: Time(left),
                    input: None,
                };
                Ok(disconnect(status, &[STREAM], last, left))
            })
            .await?;
            last_input(context, "alice", left).await?;
            controller.stop().await?;
            unprovision(context, &homes).await
        },
    )
    .await
}

/// Desktops that run and are idle after `timeout`, with a session and a gateway that lives.
async fn desktops(context: &Context<'_>, names: &[String], timeout: &str) -> Result<InProcess> {
    provision(context, names).await?;
    let account = Account::create(context.cluster, &context.namespace, "controller").await?;
    let lease = json!({
        "metadata": {"name": format!("novasphere-gateway-{GATEWAY}"), "labels": {KEY_COMPONENT: GATEWAY_COMPONENT}},
        "spec": {
            "holderIdentity": GATEWAY, "leaseDurationSeconds": 3600, "renewTime": format!("{:.6}", Timestamp::now()),
        },
    });
    let leases: Api<Lease> = context.api();
    leases
        .create(&PostParams::default(), &serde_json::from_value(lease)?)
        .await?;
    let controller = start_resyncing(context, &account).await?;
    let kubelet = NodeStandIn::start(context, false).await?;
    let spec = json!({"lifecycle": {"idleTimeout": timeout}});
    for name in names {
        apply_desk(context, name, &spec).await?;
        wait_for::<VncWorkspace>(context, name, ("Ready", "True", "Running"), wait::LONG).await?;
    }
    drop(kubelet);
    Ok(controller)
}

/// Opens a stream on a desktop in a session of its own.
async fn open(context: &Context<'_>, name: &str, at: Timestamp) -> Result<()> {
    let target = json!({"targetRef": {"kind": "VncWorkspace", "name": name}});
    open_session(context, name, target).await?;
    add_stream(context, name, STREAM, GATEWAY, at).await
}

/// Reports input, as a gateway does once a minute.
async fn typed(context: &Context<'_>, name: &str, at: Timestamp, bytes: i32) -> Result<()> {
    change(context, name, |status| {
        Ok(record_usage(
            status,
            STREAM,
            u64::from(bytes.unsigned_abs()),
            1,
            Some(at),
        ))
    })
    .await
}

async fn change(
    context: &Context<'_>,
    name: &str,
    new: impl Fn(&ConsoleSessionStatus) -> Result<ConsoleSessionStatus>,
) -> Result<()> {
    change_status(&context.api::<ConsoleSession>(), name, |session| {
        session.status = Some(new(status(session)?)?);
        Ok(())
    })
    .await
}

async fn last_input(context: &Context<'_>, name: &str, at: Timestamp) -> Result<()> {
    let wanted = at.as_second();
    wait::object(
        &context.api(),
        name,
        "the last input is reported",
        wait::SHORT,
        |workspace: &VncWorkspace| {
            let reported = workspace
                .status
                .as_ref()
                .and_then(|status| status.last_input_at.as_ref());
            let is_reported = reported.is_some_and(|reported| reported.0.as_second() == wanted);
            if is_reported {
                Ok(())
            } else {
                Err(format!("{reported:?} instead of {at}"))
            }
        },
    )
    .await
    .map(drop)
}

/// How many writes of workspaces there were.
fn written(context: &Context<'_>, account: &Account, mark: Mark) -> Result<usize> {
    let mut writes = context.cluster.audit().by(&account.user(), mark)?;
    writes.retain(|write| write.resource().starts_with("vncworkspaces"));
    Ok(writes.len())
}
