//! What ends streams: on every replica, within a second, with a code and a reason of its own.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use novasphere_crd::{ConsoleSession, VmAccess};
use novasphere_e2e::{
    fixtures::{
        apply::change,
        cluster::Cluster,
        console::{ANN, ConsoleFixture},
        console_session::{Grant, TARGET, connections, grant_token, open_session},
        console_socket::ConsoleSocket,
        event::wait_for_event,
        gateway::Gateway,
        namespace::{Context, PodSecurity, with_namespace},
        rights::{VM_CONSOLES, allow, disallow},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

/// From the answer to a person's write to the last viewer who is disconnected.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The same when it is the user's right that was withdrawn: no watch says so, the gateway has to ask.
const RIGHT_CLOSE_TIMEOUT: Duration = Duration::from_secs(32);

/// Whose right is withdrawn.
const BEN: &str = "ben";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("console::revoke::every_end", Needs::ControlPlane, every_end),
        Case::new("console::revoke::restart", Needs::ControlPlane, restart),
        Case::new("console::revoke::killed", Needs::ControlPlane, killed),
    ]
}

async fn every_end() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::revoke::every_end",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &policy()).await?;
            let gateways = fixture.gateways(context, &["g1", "g2", "g3"]).await?;
            let scene = Scene { context, gateways };
            scene.by_the_session().await.context("the session")?;
            scene.idle().await.context("idle")?;
            scene.by_the_right().await.context("the right")?;
            scene.by_the_target().await.context("the target")
        },
    )
    .await
}

fn policy() -> Value {
    json!({"maxViewers": 8, "maxConcurrentSessions": 100, "maxSessionDuration": "2h"})
}

struct Scene<'a, 'b> {
    context: &'a Context<'b>,
    gateways: Vec<Gateway>,
}

impl Scene<'_, '_> {
    fn sessions(&self) -> Api<ConsoleSession> {
        self.context.api()
    }

    /// A session with a viewer on each replica.
    async fn watched(&self, name: &str, spec: Value) -> Result<Vec<ConsoleSocket>> {
        self.watched_by(ANN, name, spec).await
    }

    async fn watched_by(&self, user: &str, name: &str, spec: Value) -> Result<Vec<ConsoleSocket>> {
        let viewers = self.entered(user, name, spec).await?;
        connections(self.context, name, viewers.len()).await?;
        Ok(viewers)
    }

    async fn entered(&self, user: &str, name: &str, spec: Value) -> Result<Vec<ConsoleSocket>> {
        open_session(self.context, name, spec).await?;
        let token = grant_token(
            &self.context.api(),
            name,
            Grant::to(user).within(Duration::from_mins(1)).uses(3),
        )
        .await?;
        let mut viewers = Vec::new();
        for gateway in &self.gateways {
            viewers.push(ConsoleSocket::enter(gateway.http, &token).await?);
        }
        Ok(viewers)
    }

    /// All viewers are disconnected with this code and reason within the time.
    async fn all_close(
        &self,
        viewers: Vec<ConsoleSocket>,
        since: Instant,
        bound: Duration,
        code: u16,
        word: &str,
    ) -> Result<()> {
        for mut viewer in viewers {
            let last = since + bound + Duration::from_secs(5);
            let left = last.saturating_duration_since(Instant::now());
            let end = viewer.closed(left).await?;
            ensure!(end == (code, word.to_owned()), "closed with {end:?}, not {code} {word}");
            ensure!(since.elapsed() <= bound, "{word} after {:?}", since.elapsed());
        }
        eprintln!("{word} on every replica after {:?}", since.elapsed());
        for gateway in &self.gateways {
            let lines = gateway.audit()?;
            let is_closed =
                |line: &&Value| line.get("event") == Some(&json!("Closed")) && line.get("reason") == Some(&json!(word));
            ensure!(lines.iter().any(|line| is_closed(&line)), "no audit line says {word}");
        }
        Ok(())
    }

    /// The session's status and an event say it as well.
    async fn noted(&self, name: &str, word: &str) -> Result<()> {
        self.noted_of(ANN, name, word).await
    }

    async fn noted_of(&self, user: &str, name: &str, word: &str) -> Result<()> {
        let what = format!("lastDisconnect says {word}");
        wait::object(&self.sessions(), name, what, wait::SHORT, |session| {
            let status = session.status.clone().unwrap_or_default();
            let last = status.last_disconnect;
            match last {
                Some(last) if last.reason == word && last.user == user && status.connections.is_empty() => Ok(()),
                other => Err(format!("{other:?} {:?}", status.connections)),
            }
        })
        .await?;
        wait_for_event(self.context, name, "reason=Disconnected", word)
            .await
            .map(drop)
    }

    async fn edit(&self, name: &str, spec: Value) -> Result<Instant> {
        change::<ConsoleSession>(self.context, name, &spec).await?;
        Ok(Instant::now())
    }

    async fn by_the_session(&self) -> Result<()> {
        let viewers = self.watched("deleted", json!({})).await?;
        self.sessions().delete("deleted", &DeleteParams::default()).await?;
        self.all_close(viewers, Instant::now(), CLOSE_TIMEOUT, 4002, "Deleted")
            .await?;

        let viewers = self.watched("revoked", json!({})).await?;
        let since = self.edit("revoked", json!({"revoked": true})).await?;
        self.all_close(viewers, since, CLOSE_TIMEOUT, 4001, "Revoked").await?;
        self.noted("revoked", "Revoked").await?;

        // Already over when it is shortened to this.
        let viewers = self.watched("shortened", json!({"duration": "1h"})).await?;
        let since = self.edit("shortened", json!({"duration": "1s"})).await?;
        self.all_close(viewers, since, Duration::from_secs(2), 4000, "Expired")
            .await?;

        let viewers = self.watched("expired", json!({"duration": "8s"})).await?;
        let session = self.sessions().get("expired").await?;
        let expires = session.status.and_then(|status| status.expires_at).context("an end")?.0;
        let left = Duration::try_from(expires.duration_since(jiff::Timestamp::now())).unwrap_or_default();
        let since = Instant::now() + left;
        self.all_close(viewers, since, CLOSE_TIMEOUT, 4000, "Expired").await?;
        self.noted("expired", "Expired").await
    }

    async fn idle(&self) -> Result<()> {
        let since = Instant::now();
        // On a busy machine the first is idle before the last has entered: the three are not seen in one status.
        let viewers = self.entered(ANN, "idle", json!({"idleTimeout": "3s"})).await?;
        self.all_close(viewers, since, Duration::from_secs(15), 4003, "Idle")
            .await?;
        self.noted("idle", "Idle").await
    }

    async fn by_the_right(&self) -> Result<()> {
        // Control alone is withdrawn first: a stream with control may not go on as one that only views.
        allow(self.context, BEN, VM_CONSOLES, &["get", "update"]).await?;
        let viewers = self.watched_by(BEN, "controls", json!({})).await?;
        allow(self.context, BEN, VM_CONSOLES, &["get"]).await?;
        self.all_close(viewers, Instant::now(), RIGHT_CLOSE_TIMEOUT, 4006, "AccessWithdrawn")
            .await?;
        let viewers = self.watched_by(BEN, "views", json!({})).await?;
        disallow(self.context, BEN, VM_CONSOLES).await?;
        self.all_close(viewers, Instant::now(), RIGHT_CLOSE_TIMEOUT, 4006, "AccessWithdrawn")
            .await?;
        self.noted_of(BEN, "views", "AccessWithdrawn").await
    }

    async fn by_the_target(&self) -> Result<()> {
        let viewers = self.watched("narrowed", json!({})).await?;
        let targets: Api<VmAccess> = self.context.api();
        change::<VmAccess>(self.context, TARGET, &json!({"console": {"input": "ViewOnly"}})).await?;
        self.all_close(viewers, Instant::now(), CLOSE_TIMEOUT, 4005, "PolicyChanged")
            .await?;
        self.noted("narrowed", "PolicyChanged").await?;

        let viewers = self.watched("gone", json!({})).await?;
        targets.delete(TARGET, &DeleteParams::default()).await?;
        self.all_close(viewers, Instant::now(), CLOSE_TIMEOUT, 4004, "TargetGone")
            .await?;
        self.noted("gone", "TargetGone").await
    }
}

/// SIGTERM: not ready at once, browsers are asked to come again, and nothing stays behind.
async fn restart() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::revoke::restart",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &policy()).await?;
            let mut gateways = fixture.gateways(context, &["g1"]).await?;
            let gateway = gateways.first_mut().context("a gateway was started")?;
            open_session(context, "again", json!({})).await?;
            let token = grant_token(&context.api(), "again", Grant::to(ANN).within(Duration::from_mins(1))).await?;
            let mut viewer = ConsoleSocket::enter(gateway.http, &token).await?;
            gateway.terminate()?;
            wait::until("it says that it is not ready", wait::SHORT, || async {
                let (code, text) = gateway.get("/readyz").await?;
                Ok(Seen::some((code == 503).then_some(()), text))
            })
            .await?;
            let end = viewer.closed(wait::SHORT).await?;
            ensure!(end == (1012, "Restarting".to_owned()), "closed with {end:?}");
            ensure!(gateway.ended(wait::SHORT).await?, "it ended badly");
            let session = connections(context, "again", 0).await?;
            let last = session.status.and_then(|status| status.last_disconnect);
            ensure!(
                last.is_some_and(|last| last.reason == "Restarting"),
                "the status says why"
            );
            let leases: Api<k8s_openapi::api::coordination::v1::Lease> = context.api();
            let left = leases
                .list(&ListParams::default().labels("novasphere.io/component=gateway"))
                .await?;
            ensure!(left.items.is_empty(), "its lease is gone");
            drop(fixture);
            Ok(())
        },
    )
    .await
}

/// SIGKILL: the viewers see a broken connection, and the controller takes them out of the session when the lease has run out.
async fn killed() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::revoke::killed",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &policy()).await?;
            let gateways = fixture.gateways(context, &["g1", "g2"]).await?;
            open_session(context, "both", json!({})).await?;
            let token = grant_token(
                &context.api(),
                "both",
                Grant::to(ANN).within(Duration::from_mins(1)).uses(2),
            )
            .await?;
            let mut viewers = Vec::new();
            for gateway in &gateways {
                viewers.push(ConsoleSocket::enter(gateway.http, &token).await?);
            }
            connections(context, "both", 2).await?;
            let [first, second] =
                <[Gateway; 2]>::try_from(gateways).map_err(|_| anyhow::anyhow!("two gateways were started"))?;
            drop(first);
            let session = connections(context, "both", 1).await?;
            let status = session.status.context("a status")?;
            let last = status.last_disconnect.context("a reason")?;
            ensure!(last.reason == "GatewayLost", "the status says {last:?}");
            let left = status.connections.first().context("one is left")?;
            ensure!(left.gateway.starts_with("g2-"), "the wrong one was taken out: {left:?}");
            drop(second);
            Ok(())
        },
    )
    .await
}
