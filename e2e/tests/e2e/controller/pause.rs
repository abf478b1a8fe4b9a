//! An object, or the whole controller, is paused: nothing is written but the condition that says so.

use anyhow::{Result, ensure};
use kube::api::{Patch, PatchParams};
use novasphere_controller::config::ControllerConfig;
use novasphere_crd::{Duration, VmAccess};
use novasphere_e2e::{
    fixtures::{
        audit::{self, Mark, Write},
        condition::{has, wait_for},
        console_session::{SessionFixture, TARGET, with_target},
        wait,
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

/// Resyncs of a paused object that cost nothing.
const RESYNCS: u64 = 10;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("controller::pause::object", Needs::ControlPlane, object),
        Case::new("controller::pause::all", Needs::ControlPlane, all),
    ]
}

fn resyncing(fixture: &SessionFixture<'_>, paused: bool) -> ControllerConfig {
    ControllerConfig {
        resync_interval: Duration::from_secs(1),
        paused,
        ..fixture.config.clone()
    }
}

async fn annotate(fixture: &SessionFixture<'_>, value: Value) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {"novasphere.io/paused": value}}});
    let api = fixture.context.api::<VmAccess>();
    api.patch(TARGET, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn power(fixture: &SessionFixture<'_>, state: &str) -> Result<()> {
    let patch = json!({"spec": {"power": {"state": state}}});
    let api = fixture.context.api::<VmAccess>();
    api.patch(TARGET, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// One write says it, the spec that changes meanwhile is acted on when the annotation goes.
async fn object() -> Result<()> {
    with_target("controller::pause::object", json!({}), async |fixture| {
        let controller = fixture.controller_with(resyncing(fixture, false)).await?;
        let mark = fixture.context.cluster.audit().mark()?;
        annotate(fixture, json!("true")).await?;
        let condition = ("Paused", "True", "PausedByAnnotation");
        let paused = wait_for::<VmAccess>(fixture.context, TARGET, condition, wait::SHORT).await?;
        has(&paused, ("Ready", "True")).map_err(anyhow::Error::msg)?;
        power(fixture, "Stopped").await?;
        controller.reconciles_pass(RESYNCS).await?;
        let writes = writes_since(fixture, mark)?;
        ensure!(
            writes.len() == 1,
            "a paused object was written {} times:{}",
            writes.len(),
            audit::describe(&writes)
        );

        annotate(fixture, Value::Null).await?;
        wait_for::<VmAccess>(
            fixture.context,
            TARGET,
            ("VirtualMachineReady", "True", "Stopped"),
            wait::SHORT,
        )
        .await?;
        let resumed = fixture.context.api::<VmAccess>().get(TARGET).await?;
        ensure!(has(&resumed, ("Paused", "True")).is_err(), "{:?}", resumed.status);
        controller.stop().await
    })
    .await
}

/// A controller that is paused begins nothing, and still ends sessions.
async fn all() -> Result<()> {
    with_target("controller::pause::all", json!({}), async |fixture| {
        let controller = fixture.controller().await?;
        for name in ["expires", "revoked"] {
            fixture
                .make(name, json!({"duration": "40s", "ttlAfterFinished": "0s"}))
                .await?;
            fixture.ready(name).await?;
        }
        controller.stop().await?;

        let mark = fixture.context.cluster.audit().mark()?;
        let paused = fixture.controller_with(resyncing(fixture, true)).await?;
        let condition = ("Paused", "True", "PausedByConfiguration");
        wait_for::<VmAccess>(fixture.context, TARGET, condition, wait::SHORT).await?;
        fixture.make("new", json!({})).await?;
        let new = fixture
            .condition("new", "Paused", "True", "PausedByConfiguration")
            .await?;
        ensure!(has(&new, ("Ready", "True")).is_err(), "{:?}", new.status);
        power(fixture, "Stopped").await?;
        fixture.change("revoked", json!({"revoked": true})).await?;
        fixture.condition("revoked", "Closed", "True", "Revoked").await?;
        fixture.condition("expires", "Closed", "True", "Expired").await?;
        paused.reconciles_pass(RESYNCS).await?;
        let writes = writes_since(fixture, mark)?;
        ensure!(
            writes.iter().all(|write| write.resource().ends_with("/status")),
            "a paused controller wrote more than statuses:{}",
            audit::describe(&writes)
        );
        paused.stop().await?;

        // They were to be deleted at once.
        for name in ["expires", "revoked"] {
            ensure!(fixture.sessions().get_opt(name).await?.is_some(), "{name} was deleted");
        }
        power(fixture, "Running").await?;
        let controller = fixture.start().await?;
        fixture.ready("new").await?;
        for name in ["expires", "revoked"] {
            wait::gone(&fixture.sessions(), name, wait::SHORT).await?;
        }
        controller.stop().await
    })
    .await
}

/// What the controller wrote, without events.
fn writes_since(fixture: &SessionFixture<'_>, mark: Mark) -> Result<Vec<Write>> {
    let mut writes = fixture.context.cluster.audit().by(&fixture.account.user(), mark)?;
    writes.retain(|write| !write.resource().starts_with("events"));
    Ok(writes)
}
