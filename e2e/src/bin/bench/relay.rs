//! The relay beside `HAProxy` and websockify: interactive use, bulk, memory.

pub(crate) mod desktop;
pub(crate) mod gateway;
mod proxy;
pub(crate) mod viewer;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use novasphere_runtime::open_files;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use self::{
    desktop::{ANSWER, KEY_EVENT, bulk_request},
    proxy::{Desktop, Kind, Proxy},
    viewer::Viewer,
};
use crate::{
    process,
    summary::{Figure, Summary},
};

const HOW: &str = "BENCH_PARTS=relay make bench";

/// Streams of interactive use, and keys a second in each.
const STREAMS: usize = 100;
const EVERY: Duration = Duration::from_millis(50);

/// How long each proxy is measured at once, and how often. Rounds alternate between the proxies, so that what else happens on
/// the machine meets all of them, and the median counts.
const TIME: Duration = Duration::from_secs(8);
const ROUNDS: usize = 3;

/// Bulk: streams at once, and MiB in each.
const BULK_STREAMS: usize = 4;
const BULK_MEBIBYTES: u16 = 512;

/// Viewers that connect at the same time; the gateway lets in more than one at a time from here.
const CONNECTING: usize = 32;

pub(crate) async fn run(summary: &mut Summary) -> Result<()> {
    let desktop = Desktop::start()?;
    interactive(&desktop, summary).await.context("interactive")?;
    bulk(&desktop, summary).await.context("bulk")?;
    memory_at_hundred(&desktop, summary).await.context("memory")?;
    idle(&desktop, summary).await.context("idle streams")
}

/// What one round of interactive use showed.
#[derive(Clone, Copy, Debug, Default)]
struct Interactive {
    /// CPU of the proxy in percent of one processor.
    cpu: f64,
    /// From a key to the last byte of its answer, in ms.
    p50: f64,
    p99: f64,
}

async fn interactive(desktop: &Desktop, summary: &mut Summary) -> Result<()> {
    let kinds = [
        Kind::Direct,
        Kind::HaProxy,
        Kind::Gateway,
        Kind::Websockify,
        Kind::GatewayTls,
    ];
    let mut rounds = vec![Vec::new(); kinds.len()];
    for _ in 0..ROUNDS {
        for (kind, rounds) in kinds.iter().zip(&mut rounds) {
            let proxy = Proxy::start(*kind, desktop).await?;
            rounds.push(interactive_round(&proxy).await.with_context(|| format!("{kind:?}"))?);
        }
    }
    let of = |kind: Kind, value: fn(&Interactive) -> f64| {
        let rounds = kinds.iter().zip(&rounds).find(|(other, _)| **other == kind);
        median(
            rounds
                .map(|(_, rounds)| rounds.iter().map(value).collect())
                .unwrap_or_default(),
        )
    };
    let figure = |name: &str, value, unit| Figure::new(format!("interactive: {name}"), value, unit, HOW);
    let cpu = |kind| of(kind, |round| round.cpu);
    let p50 = |kind| of(kind, |round| round.p50);
    let p99 = |kind| of(kind, |round| round.p99);
    summary.add(
        figure("CPU, against websockify", cpu(Kind::Gateway), "% of a processor")
            .against(cpu(Kind::Websockify))
            .ratio_at_most(1.0 / 5.0),
    );
    summary.add(figure("CPU, against HAProxy", cpu(Kind::Gateway), "% of a processor").against(cpu(Kind::HaProxy)));
    summary.add(
        figure("key to answer p50, against HAProxy", p50(Kind::Gateway), "ms")
            .against(p50(Kind::HaProxy))
            .ratio_at_most(1.25),
    );
    summary.add(
        figure("key to answer p99, against HAProxy", p99(Kind::Gateway), "ms")
            .against(p99(Kind::HaProxy))
            .ratio_at_most(1.0),
    );
    summary.add(figure("key to answer p50, against no proxy", p50(Kind::Gateway), "ms").against(p50(Kind::Direct)));
    summary
        .add(figure("key to answer p50, against websockify", p50(Kind::Gateway), "ms").against(p50(Kind::Websockify)));
    summary.add(
        figure(
            "CPU with TLS, against without",
            cpu(Kind::GatewayTls),
            "% of a processor",
        )
        .against(cpu(Kind::Gateway)),
    );
    summary.add(
        figure(
            "key to answer p50 with TLS, against without",
            p50(Kind::GatewayTls),
            "ms",
        )
        .against(p50(Kind::Gateway)),
    );
    summary.add(
        figure(
            "key to answer p99 with TLS, against without",
            p99(Kind::GatewayTls),
            "ms",
        )
        .against(p99(Kind::Gateway)),
    );
    Ok(())
}

async fn interactive_round(proxy: &Proxy) -> Result<Interactive> {
    let viewers = connect(proxy, STREAMS).await?;
    let mut tasks = JoinSet::new();
    let end = Instant::now() + TIME;
    for (number, viewer) in viewers.into_iter().enumerate() {
        // Not all at once: people do not type in step.
        let first = EVERY * u32::try_from(number)? / u32::try_from(STREAMS)?;
        tasks.spawn(type_keys(viewer, first, end));
    }
    let (began, cpu) = (Instant::now(), process::cpu_seconds(proxy.process.id())?);
    // Until just before the viewers leave, so that their end is not in it.
    tokio::time::sleep(TIME.saturating_sub(EVERY)).await;
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
    Ok(Interactive {
        cpu,
        p50: at(50)?,
        p99: at(99)?,
    })
}

async fn type_keys(mut viewer: Viewer, first: Duration, end: Instant) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(256);
    let mut buffer = vec![0; ANSWER * 2];
    let mut keys = tokio::time::interval_at((Instant::now() + first).into(), EVERY);
    keys.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while Instant::now() < end {
        keys.tick().await;
        let pressed = Instant::now();
        viewer.send(&KEY_EVENT).await?;
        viewer.skip(ANSWER, &mut buffer).await?;
        times.push(pressed.elapsed());
    }
    Ok(times)
}

async fn bulk(desktop: &Desktop, summary: &mut Summary) -> Result<()> {
    let kinds = [Kind::HaProxy, Kind::Gateway, Kind::Websockify, Kind::GatewayTls];
    let mut rounds = vec![Vec::new(); kinds.len()];
    for _ in 0..ROUNDS {
        for (kind, rounds) in kinds.iter().zip(&mut rounds) {
            let proxy = Proxy::start(*kind, desktop).await?;
            rounds.push(bulk_round(&proxy).await.with_context(|| format!("{kind:?}"))?);
        }
    }
    let mut costs = rounds.into_iter().map(median);
    let mut cost = || costs.next().unwrap_or(f64::NAN);
    let (haproxy, gateway, websockify, tls) = (cost(), cost(), cost(), cost());
    let figure = |name: &str, value| Figure::new(format!("bulk to the viewer: {name}"), value, "CPU s per GiB", HOW);
    summary.add(
        figure("CPU, against HAProxy on raw TCP", gateway)
            .against(haproxy)
            .ratio_at_most(1.25),
    );
    summary.add(figure("CPU, against websockify", gateway).against(websockify));
    summary.add(figure("CPU with TLS, against without", tls).against(gateway));
    Ok(())
}

/// CPU seconds of the proxy for each GiB.
async fn bulk_round(proxy: &Proxy) -> Result<f64> {
    let viewers = connect(proxy, BULK_STREAMS).await?;
    let before = process::cpu_seconds(proxy.process.id())?;
    let viewers: Vec<Viewer> = stream::iter(viewers)
        .map(|viewer| async move {
            let mut viewer = viewer;
            viewer.send(&bulk_request(BULK_MEBIBYTES)).await?;
            let mut buffer = vec![0; 256 * 1024];
            viewer.skip(usize::from(BULK_MEBIBYTES) << 20, &mut buffer).await?;
            anyhow::Ok(viewer)
        })
        .buffer_unordered(BULK_STREAMS)
        .try_collect()
        .await?;
    let cpu = process::cpu_seconds(proxy.process.id())? - before;
    ensure!(viewers.len() == BULK_STREAMS, "a viewer is lost");
    Ok(cpu / (f64::from(BULK_MEBIBYTES) * 4.0 / 1024.0))
}

async fn memory_at_hundred(desktop: &Desktop, summary: &mut Summary) -> Result<()> {
    let mut each = Vec::new();
    for kind in [Kind::Gateway, Kind::Websockify] {
        let proxy = Proxy::start(kind, desktop).await?;
        let before = process::proportional(proxy.process.id())?;
        let viewers = connect(&proxy, STREAMS).await?;
        let after = process::proportional(proxy.process.id())?;
        drop(viewers);
        each.push((after - before) / 1024.0 / 100.0);
    }
    if let [gateway, websockify] = each[..] {
        summary.add(
            Figure::new(
                "memory of a stream, 100 of them, against websockify",
                gateway,
                "KiB PSS",
                HOW,
            )
            .against(websockify)
            .ratio_at_most(1.0 / 50.0),
        );
    }
    Ok(())
}

async fn idle(desktop: &Desktop, summary: &mut Summary) -> Result<()> {
    const WANTED: u64 = 10_000;
    let wanted = std::env::var("BENCH_STREAMS").map_or(Ok(WANTED), |text| text.parse())?;
    // The proxy has two connections for each stream, and some files beside.
    let files = open_files::limit().unwrap_or(u64::MAX);
    let streams = usize::try_from(wanted.min(files.saturating_sub(100) / 2))?;
    let proxy = Proxy::start(Kind::Gateway, desktop).await?;
    let before = process::resident(proxy.process.id())?;
    let began = Instant::now();
    let viewers = connect(&proxy, streams).await?;
    let connected = began.elapsed();
    let each = (process::resident(proxy.process.id())? - before) / 1024.0 / f64::from(u32::try_from(viewers.len())?);
    let figure = |name: &str, value, unit| Figure::new(format!("{streams} idle streams: {name}"), value, unit, HOW);
    summary.add(figure("memory of a stream", each, "KiB RSS").at_most(40.0));
    summary.add(figure("time to open them all", connected.as_secs_f64(), "s"));
    let (began, cpu) = (Instant::now(), process::cpu_seconds(proxy.process.id())?);
    // Two rounds of pings, which the viewers answer.
    let mut waiting: JoinSet<()> = viewers
        .into_iter()
        .map(|mut viewer| async move { viewer.closed().await })
        .collect();
    let first = tokio::time::timeout(Duration::from_secs(45), waiting.join_next()).await;
    ensure!(first.is_err(), "an idle stream was closed");
    let cpu = (process::cpu_seconds(proxy.process.id())? - cpu) / began.elapsed().as_secs_f64() * 100.0;
    summary.add(figure("CPU, pings included", cpu, "% of a processor"));
    Ok(())
}

async fn connect(proxy: &Proxy, streams: usize) -> Result<Vec<Viewer>> {
    stream::iter(0..streams)
        .map(|_| proxy.viewer())
        .buffer_unordered(CONNECTING)
        .try_collect()
        .await
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
