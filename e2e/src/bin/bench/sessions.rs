//! From the deletion of a session to the end of its streams: real processes of `novasphere console`, a real control plane.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use novasphere_console::rbac;
use novasphere_core::console_session::grant::{NewGrant, issue};
use novasphere_crd::{ConsoleSession, SessionPhase};
use novasphere_e2e::fixtures::{
    account::Account,
    cluster::Cluster,
    controller::InProcess,
    gateway::Gateway,
    kubevirt::KubeVirtStandIn,
    namespace::{Context, PodSecurity, with_namespace},
    network::add_endpoint,
    rights::{VM_CONSOLES, allow},
    vm_access::apply_vm_access,
    vnc_server::VncServer,
    wait::{self, Seen},
};
use novasphere_wire::token::TokenHash;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    relay::viewer::{RelayViewer, Wire},
    settings::full_or_small,
    summary::{Figure, Summary},
};

const HOW: &str = "BENCH_PARTS=sessions make bench";

/// Sessions of one target; in full the most that there can be.
fn session_count() -> usize {
    full_or_small(100, 3)
}

/// Viewers of each session.
fn viewer_count() -> usize {
    full_or_small(10, 3)
}

const REPLICAS: [&str; 3] = ["g1", "g2", "g3"];

/// Between two deletions, so that each is measured and not a queue of them.
const DELETE_INTERVAL: Duration = Duration::from_millis(100);

/// Requests and viewers at the same time while all is set up.
const SETUP_CONCURRENCY: usize = 8;

pub(crate) const TARGET: &str = "web";
pub(crate) const USER: &str = "ann";

pub(crate) async fn run(summary: &mut Summary) -> Result<()> {
    let cluster = Cluster::control_plane("bench-sessions", &["kubevirt"])?;
    with_namespace(&cluster, "bench::sessions", PodSecurity::Restricted, async |context| {
        measure(context, summary).await
    })
    .await
}

async fn measure(context: &Context<'_>, summary: &mut Summary) -> Result<()> {
    let cluster = context.cluster;
    let _kubevirt = KubeVirtStandIn::start(context).await?;
    let _controller = InProcess::start_usual(context).await?;
    let desktop = VncServer::start().await?;
    target(context, &desktop).await?;
    let (cluster_rules, rules) = (rbac::CLUSTER_RULES, rbac::NAMESPACE_RULES);
    let account = Account::with_rules(cluster, &context.namespace, "console", cluster_rules, rules).await?;
    let starts = REPLICAS.map(|name| Gateway::start(context, &account, name));
    let gateways = futures::future::try_join_all(starts).await?;
    let tokens = sessions(context, session_count(), u32::try_from(viewer_count())?).await?;

    let began = Instant::now();
    let viewers: Vec<(usize, RelayViewer)> =
        stream::iter((0..viewer_count()).flat_map(|viewer| (0..session_count()).map(move |session| (viewer, session))))
            .map(|(viewer, session)| {
                let gateway = gateways
                    .get((viewer + session) % REPLICAS.len())
                    .map(|gateway| gateway.http);
                let token = tokens.get(session).cloned().unwrap_or_default();
                async move {
                    let path = format!("/api/v1/console/ws?token={token}");
                    let gateway = gateway.context("a gateway")?;
                    anyhow::Ok((session, RelayViewer::connect(gateway, &Wire::WEB_SOCKET, &path).await?))
                }
            })
            .buffer_unordered(SETUP_CONCURRENCY)
            .try_collect()
            .await
            .context("open the streams")?;
    let figure = |name: &str, value, unit| {
        let name = format!(
            "{} streams of {} sessions over {} replicas: {name}",
            viewers.len(),
            session_count(),
            REPLICAS.len()
        );
        Figure::new(name, value, unit, HOW)
    };
    summary.add(figure(
        "opening one, its token's claim included",
        began.elapsed().as_secs_f64() * 1e3 / count(viewers.len()),
        "ms",
    ));
    let figure = |name: &str, value| figure(name, value, "ms");
    let (p50, p99) = (
        figure("delete to stream closed p50", 0.0),
        figure("delete to stream closed p99", 0.0),
    );
    let times = delete(context, viewers).await?;
    let at = |part: usize| {
        times
            .get(times.len() * part / 100)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    summary.add(Figure { value: at(50), ..p50 });
    summary.add(Figure { value: at(99), ..p99 }.at_most(250.0));
    Ok(())
}

/// Deletes one session after the other; returns how long after its request each stream was closed, the shortest first.
async fn delete(context: &Context<'_>, viewers: Vec<(usize, RelayViewer)>) -> Result<Vec<Duration>> {
    let mut streams: JoinSet<(usize, Instant)> = viewers
        .into_iter()
        .map(|(session, mut viewer)| async move {
            viewer.closed().await;
            (session, Instant::now())
        })
        .collect();
    let api: Api<ConsoleSession> = context.api();
    let mut deleted = Vec::new();
    let mut pause = tokio::time::interval(DELETE_INTERVAL);
    for session in 0..session_count() {
        pause.tick().await;
        deleted.push(Instant::now());
        api.delete(&name(session), &DeleteParams::default()).await?;
    }
    let mut times = Vec::new();
    while let Some(closed) = tokio::time::timeout(wait::SHORT, streams.join_next())
        .await
        .context("a stream is still open")?
    {
        let (session, at) = closed?;
        let since = deleted.get(session).context("a session")?;
        times.push(
            at.checked_duration_since(*since)
                .context("a stream has ended before its session")?,
        );
    }
    times.sort_unstable();
    Ok(times)
}

/// A machine that runs, by KubeVirt's stand-in, a VNC server in it, and a user who may control its console.
async fn target(context: &Context<'_>, desktop: &VncServer) -> Result<()> {
    let spec = json!({
        "virtualMachine": {"template": {
            "memory": "128Mi",
            "rootDisk": {"containerDisk": {"image": "bench.invalid/guest:v1"}},
        }},
        "power": {"state": "Running"},
        "services": [{"name": "desktop", "ports": [{"name": "vnc", "port": 5900}]}],
        "vncServer": {"service": "desktop", "port": 5900},
        "console": {"maxViewers": viewer_count(), "maxConcurrentSessions": session_count()},
    });
    apply_vm_access(context, TARGET, &spec).await?;
    add_endpoint(context, &format!("{TARGET}-desktop"), "vnc", desktop.address).await?;
    allow_control(context).await
}

/// Grants [`USER`] control of the console.
pub(crate) async fn allow_control(context: &Context<'_>) -> Result<()> {
    allow(context, USER, VM_CONSOLES, &["get", "update"]).await
}

fn name(session: usize) -> String {
    format!("bench-{session}")
}

/// Creates `count` sessions of [`TARGET`], and returns a token of each that is good for `uses` streams.
pub(crate) async fn sessions(context: &Context<'_>, count: usize, uses: u32) -> Result<Vec<String>> {
    let api: Api<ConsoleSession> = context.api();
    for session in 0..count {
        let object = serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1",
            "kind": "ConsoleSession",
            "metadata": {"name": name(session)},
            "spec": {"targetRef": {"name": TARGET}},
        }))?;
        api.create(&PostParams::default(), &object).await?;
    }
    wait::until("all sessions to be ready", wait::LONG, || async {
        let sessions = api.list(&ListParams::default()).await?.items;
        let phase = |session: &&ConsoleSession| {
            session.status.as_ref().and_then(|status| status.phase) == Some(SessionPhase::Ready)
        };
        let ready = sessions.iter().filter(phase).count();
        Ok(Seen::some((ready == count).then_some(()), format!("{ready} are ready")))
    })
    .await?;
    stream::iter(0..count)
        .map(|session| token(&api, session, uses))
        .buffered(SETUP_CONCURRENCY)
        .try_collect()
        .await
}

/// Writes a grant into the session's status, as the aggregated API does.
async fn token(api: &Api<ConsoleSession>, session: usize, uses: u32) -> Result<String> {
    let token = format!("{session:A>43}");
    let sha256 = TokenHash::of_token(token.as_bytes())?.to_hex();
    wait::until("a token is written", wait::SHORT, || async {
        let mut object = api.get(&name(session)).await?;
        let grant = NewGrant {
            id: name(session),
            sha256: sha256.clone(),
            user: USER.to_owned(),
            uid: None,
            groups: vec!["system:authenticated".to_owned()],
            extra: std::collections::BTreeMap::new(),
            ttl: Duration::from_mins(30),
            uses,
        };
        object.status = Some(issue(&object.status.unwrap_or_default(), grant, Timestamp::now())?);
        match api
            .replace_status(&name(session), &PostParams::default(), &object)
            .await
        {
            Ok(_) => Ok(Seen::Done(())),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Seen::NotYet("a conflict".to_owned())),
            Err(error) => Err(error.into()),
        }
    })
    .await?;
    Ok(token)
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::NAN, f64::from)
}
