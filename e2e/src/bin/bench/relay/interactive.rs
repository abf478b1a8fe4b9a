//! Many people type: processor time of the proxy, and from a key to its answer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::{
    HOW, Rounds, STREAMS, connect,
    desktop::{ANSWER_BYTES, KEY_EVENT},
    proxy::{
        Kind::{self, Direct, FastWebSockets, Gateway, GatewayTls, HaProxy, HaProxyTls, Websockify},
        Proxy, RelayBackend,
    },
    viewer::RelayViewer,
};
use crate::{
    process,
    settings::full_or_small,
    summary::{Figure, Summary},
};

/// Between two keys of a stream.
const KEY_INTERVAL: Duration = Duration::from_millis(50);

/// What one round showed.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// CPU of the proxy in percent of one processor.
    cpu: f64,
    /// From a key to the last byte of its answer, in ms.
    p50: f64,
    p99: f64,
}

/// A value of a round, and its unit.
type Metric = (fn(&Round) -> f64, &'static str);

const CPU: Metric = (|round| round.cpu, "% of a processor");
const P50: Metric = (|round| round.p50, "ms");
const P99: Metric = (|round| round.p99, "ms");

/// One proxy beside another one.
struct Comparison {
    name: &'static str,
    metric: Metric,
    kind: Kind,
    against: Kind,
    /// The upper limit of the ratio.
    goal: Option<f64>,
}

const fn compare(name: &'static str, metric: Metric, kind: Kind, against: Kind) -> Comparison {
    Comparison {
        name,
        metric,
        kind,
        against,
        goal: None,
    }
}

impl Comparison {
    const fn at_most(self, goal: f64) -> Self {
        Self {
            goal: Some(goal),
            ..self
        }
    }
}

const COMPARISONS: [Comparison; 15] = [
    compare("CPU, against websockify", CPU, Gateway, Websockify).at_most(1.0 / 5.0),
    compare("CPU, against HAProxy", CPU, Gateway, HaProxy),
    compare("CPU, against fastwebsockets", CPU, Gateway, FastWebSockets),
    compare("key to answer p50, against HAProxy", P50, Gateway, HaProxy).at_most(1.25),
    compare("key to answer p99, against HAProxy", P99, Gateway, HaProxy).at_most(1.0),
    compare(
        "key to answer p50, against fastwebsockets",
        P50,
        Gateway,
        FastWebSockets,
    ),
    compare(
        "key to answer p99, against fastwebsockets",
        P99,
        Gateway,
        FastWebSockets,
    ),
    compare("key to answer p50, against no proxy", P50, Gateway, Direct),
    compare("key to answer p50, against websockify", P50, Gateway, Websockify),
    compare("CPU with TLS, against without", CPU, GatewayTls, Gateway),
    compare("key to answer p50 with TLS, against without", P50, GatewayTls, Gateway),
    compare("key to answer p99 with TLS, against without", P99, GatewayTls, Gateway),
    compare("CPU with TLS, against HAProxy with TLS", CPU, GatewayTls, HaProxyTls),
    compare(
        "key to answer p50 with TLS, against HAProxy with TLS",
        P50,
        GatewayTls,
        HaProxyTls,
    ),
    compare(
        "key to answer p99 with TLS, against HAProxy with TLS",
        P99,
        GatewayTls,
        HaProxyTls,
    ),
];

pub(super) async fn run(desktop: &RelayBackend, summary: &mut Summary) -> Result<()> {
    let kinds = [
        Direct,
        HaProxy,
        Gateway,
        FastWebSockets,
        Websockify,
        GatewayTls,
        HaProxyTls,
    ];
    let rounds = Rounds::measure(desktop, &kinds, round).await?;
    for comparison in COMPARISONS {
        let (value, unit) = comparison.metric;
        let name = format!("interactive: {}", comparison.name);
        let figure = Figure::new(name, rounds.median(comparison.kind, value), unit, HOW)
            .against(rounds.median(comparison.against, value));
        summary.add(match comparison.goal {
            Some(goal) => figure.ratio_at_most(goal),
            None => figure,
        });
    }
    Ok(())
}

async fn round(proxy: &Proxy) -> Result<Round> {
    let duration = full_or_small(Duration::from_secs(8), Duration::from_millis(500));
    let viewers = connect(proxy, STREAMS).await?;
    let mut tasks = JoinSet::new();
    let end = Instant::now() + duration;
    for (number, viewer) in viewers.into_iter().enumerate() {
        // Not all at once: people do not type in step.
        let first = KEY_INTERVAL * u32::try_from(number)? / u32::try_from(STREAMS)?;
        tasks.spawn(type_keys(viewer, first, end));
    }
    let (began, cpu) = (Instant::now(), process::cpu_seconds(proxy.process.id())?);
    // Until just before the viewers leave, so that their end is not in it.
    tokio::time::sleep(duration.saturating_sub(KEY_INTERVAL)).await;
    let cpu = (process::cpu_seconds(proxy.process.id())? - cpu) / began.elapsed().as_secs_f64() * 100.0;
    let mut times = Vec::new();
    while let Some(typed) = tasks.join_next().await {
        times.extend(typed??);
    }
    times.sort_unstable();
    let at = |part: usize| -> Result<f64> {
        let time = times.get(times.len() * part / 100).context("no key was answered")?;
        Ok(time.as_secs_f64() * 1e3)
    };
    Ok(Round {
        cpu,
        p50: at(50)?,
        p99: at(99)?,
    })
}

async fn type_keys(mut viewer: RelayViewer, first: Duration, end: Instant) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(256);
    let mut buffer = vec![0; ANSWER_BYTES * 2];
    let mut keys = tokio::time::interval_at((Instant::now() + first).into(), KEY_INTERVAL);
    keys.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while Instant::now() < end {
        keys.tick().await;
        let pressed = Instant::now();
        viewer.send(&KEY_EVENT).await?;
        viewer.skip(ANSWER_BYTES, &mut buffer).await?;
        times.push(pressed.elapsed());
    }
    Ok(times)
}
