//! A manifest that a program applies again and again, as Flux and Argo CD do: access that is over does not begin again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::{Timestamp, ToSpan as _};
use kube::ResourceExt as _;
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    fixtures::{
        condition::has,
        console_session::{Grant, SessionFixture, grant_token, grants_nothing, status, with_target},
        wait,
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

/// How often the manifests are applied after the end: for a minute.
const ROUNDS: usize = 6;

const APPLY_INTERVAL: Duration = Duration::from_secs(10);

/// Long enough to become ready and to get a token beside other cases.
const LIFE_SECONDS: i64 = 20;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("session::repeated", Needs::ControlPlane, repeated),
        Case::new("session::unseen", Needs::ControlPlane, unseen),
    ]
}

/// One with an absolute end is deleted and made again, and is over at once; one that is kept stays over.
async fn repeated() -> Result<()> {
    with_target("session::repeated", json!({}), async |fixture| {
        let controller = fixture.controller().await?;
        let end = Timestamp::from_second(Timestamp::now().as_second())? + LIFE_SECONDS.seconds();
        let bounded = json!({"notAfter": end.to_string(), "ttlAfterFinished": "5s"});
        let kept = json!({"duration": format!("{LIFE_SECONDS}s"), "ttlAfterFinished": "Never"});
        let manifests = [("bounded", bounded), ("kept", kept)];
        let mut first = Vec::new();
        for (name, fields) in &manifests {
            fixture.make(name, fields.clone()).await?;
            let session = fixture.ready(name).await?;
            grant_token(&fixture.sessions(), name, Grant::to("ann")).await?;
            first.push(session.uid().context("it has a UID")?);
        }
        let expires = status(&fixture.sessions().get("bounded").await?)?.expires_at.clone();
        ensure!(expires.as_ref().map(|time| time.0) == Some(end), "{expires:?}");
        fixture.condition("kept", "Closed", "True", "Expired").await?;
        wait::gone(&fixture.sessions(), "bounded", wait::SHORT).await?;

        let mut turns = tokio::time::interval(APPLY_INTERVAL);
        for round in 0..ROUNDS {
            turns.tick().await;
            let mut found = Vec::new();
            for (name, fields) in &manifests {
                found.push(applied_again(fixture, name, fields).await?);
            }
            ensure!(
                found.first() != first.first() && found.last() == first.last(),
                "round {round}: {found:?} after {first:?}"
            );
        }
        controller.stop().await
    })
    .await
}

/// Applies the manifest, and checks that it gives nothing. Returns the UID of the object.
async fn applied_again(fixture: &SessionFixture<'_>, name: &str, fields: &Value) -> Result<String> {
    fixture.make(name, fields.clone()).await?;
    let session = fixture.condition(name, "Closed", "True", "Expired").await?;
    for absent in ["Ready", "Stalled"] {
        for value in ["True", "False", "Unknown"] {
            ensure!(has(&session, (absent, value)).is_err(), "{name} has {absent}={value}");
        }
    }
    let found = status(&session)?;
    ensure!(
        found.grants.is_empty() && found.endpoints.is_none(),
        "{name}: {found:?}"
    );
    grants_nothing(&session, &Grant::to("ann")).with_context(|| format!("{name} after its end"))?;
    session.uid().context("it has a UID")
}

/// What no controller has looked at is not ready for those who wait for it.
async fn unseen() -> Result<()> {
    with_target("session::unseen", json!({}), async |fixture| {
        let made: ConsoleSession = fixture.make("view", json!({})).await?;
        has(&made, ("Ready", "Unknown", "Pending")).map_err(anyhow::Error::msg)?;
        let read = fixture.sessions().get("view").await?;
        has(&read, ("Ready", "Unknown", "Pending")).map_err(anyhow::Error::msg)?;
        let controller = fixture.controller().await?;
        let ready = fixture.ready("view").await?;
        let since = status(&ready)?
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        ensure!(
            since.is_some_and(|ready| ready.last_transition_time.0 > Timestamp::UNIX_EPOCH),
            "{since:?}"
        );
        controller.stop().await
    })
    .await
}
