//! What a stream costs in memory: a hundred beside others' proxies, and many that are idle.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use novasphere_runtime::open_files;
use tokio::task::JoinSet;

use super::{
    HOW, STREAMS, connect,
    proxy::{Kind, Proxy, RelayBackend},
};
use crate::{
    process,
    settings::{full_or_small, idle_streams},
    summary::{Figure, Summary},
};

pub(super) async fn at_hundred(desktop: &RelayBackend, summary: &mut Summary) -> Result<()> {
    let ours = of_a_stream(desktop, Kind::Gateway).await?;
    for (name, kind, goal) in [
        ("websockify", Kind::Websockify, Some(1.0 / 50.0)),
        ("fastwebsockets", Kind::FastWebSockets, None),
    ] {
        let name = format!("memory of a stream, {STREAMS} of them, against {name}");
        let figure = Figure::new(name, ours, "KiB PSS", HOW).against(of_a_stream(desktop, kind).await?);
        summary.add(match goal {
            Some(goal) => figure.ratio_at_most(goal),
            None => figure,
        });
    }
    Ok(())
}

/// In KiB, what several processes share counted once.
async fn of_a_stream(desktop: &RelayBackend, kind: Kind) -> Result<f64> {
    let proxy = Proxy::start(kind, desktop).await?;
    let before = process::proportional(proxy.process.id())?;
    let viewers = connect(&proxy, STREAMS).await?;
    let after = process::proportional(proxy.process.id())?;
    drop(viewers);
    Ok((after - before) / 1024.0 / f64::from(u32::try_from(STREAMS)?))
}

pub(super) async fn idle(desktop: &RelayBackend, summary: &mut Summary) -> Result<()> {
    // The proxy has two connections for each stream, and some files beside.
    let files = open_files::limit().unwrap_or(u64::MAX);
    let streams = usize::try_from(idle_streams()?.min(files.saturating_sub(100) / 2))?;
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
    // Two rounds of pings, which the viewers answer; in small one.
    let observed = full_or_small(Duration::from_secs(45), Duration::from_secs(21));
    let mut waiting: JoinSet<()> = viewers
        .into_iter()
        .map(|mut viewer| async move { viewer.closed().await })
        .collect();
    let first = tokio::time::timeout(observed, waiting.join_next()).await;
    ensure!(first.is_err(), "an idle stream was closed");
    let cpu = (process::cpu_seconds(proxy.process.id())? - cpu) / began.elapsed().as_secs_f64() * 100.0;
    summary.add(figure("CPU, pings included", cpu, "% of a processor"));
    drop(proxy);

    let proxy = Proxy::start(Kind::FastWebSockets, desktop).await?;
    let before = process::resident(proxy.process.id())?;
    let viewers = connect(&proxy, streams).await?;
    let theirs = (process::resident(proxy.process.id())? - before) / 1024.0 / f64::from(u32::try_from(viewers.len())?);
    summary.add(figure("memory of a stream, against fastwebsockets", each, "KiB RSS").against(theirs));
    Ok(())
}
