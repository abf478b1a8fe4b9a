//! The relay beside `HAProxy`, websockify, and a relay that leaves the framing to `fastwebsockets`: interactive use, bulk, memory.

mod bulk;
pub(crate) mod desktop;
pub(crate) mod fast;
pub(crate) mod gateway;
mod interactive;
mod memory;
mod proxy;
pub(crate) mod viewer;

use self::{
    proxy::{Kind, Proxy, RelayBackend},
    viewer::RelayViewer,
};
use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{settings::full_or_small, summary::Summary};

const HOW: &str = "BENCH_PARTS=relay make bench";

/// Streams of interactive use, and of the measurement of memory.
const STREAMS: usize = 100;

/// Viewers that connect at the same time; the gateway lets in more than one at a time from here.
const CONNECTING: usize = 32;

pub(crate) async fn run(summary: &mut Summary) -> Result<()> {
    let desktop = RelayBackend::start()?;
    interactive::run(&desktop, summary).await.context("interactive")?;
    bulk::run(&desktop, summary).await.context("bulk")?;
    memory::at_hundred(&desktop, summary).await.context("memory")?;
    memory::idle(&desktop, summary).await.context("idle streams")
}

/// What was measured of each proxy.
struct Rounds<T>(Vec<(Kind, Vec<T>)>);

impl<T> Rounds<T> {
    /// Measures each proxy several times. Rounds alternate between the proxies, so that what else happens on the machine meets
    /// all of them, and the median counts.
    async fn measure(desktop: &RelayBackend, kinds: &[Kind], round: impl AsyncFn(&Proxy) -> Result<T>) -> Result<Self> {
        let mut rounds: Vec<(Kind, Vec<T>)> = kinds.iter().map(|kind| (*kind, Vec::new())).collect();
        for _ in 0..full_or_small(3, 1) {
            for (kind, measured) in &mut rounds {
                let proxy = Proxy::start(*kind, desktop).await?;
                measured.push(round(&proxy).await.with_context(|| format!("{kind:?}"))?);
            }
        }
        Ok(Self(rounds))
    }

    /// The median of a value of one proxy.
    fn median(&self, kind: Kind, value: impl Fn(&T) -> f64) -> f64 {
        let rounds = self.0.iter().filter(|(other, _)| *other == kind);
        let mut values: Vec<f64> = rounds.flat_map(|(_, measured)| measured.iter().map(&value)).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

async fn connect(proxy: &Proxy, streams: usize) -> Result<Vec<RelayViewer>> {
    stream::iter(0..streams)
        .map(|_| proxy.viewer())
        .buffer_unordered(CONNECTING)
        .try_collect()
        .await
}
