//! Few streams that carry all they can to their viewers: processor time of the proxy.

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    HOW, Rounds, connect,
    desktop::bulk_request,
    proxy::{Kind, Proxy, RelayBackend},
    viewer::RelayViewer,
};
use crate::{
    process,
    settings::full_or_small,
    summary::{Figure, Summary},
};

/// Streams at once.
const STREAMS: u16 = 4;

/// MiB in each.
fn mebibytes() -> u16 {
    full_or_small(512, 8)
}

pub(super) async fn run(desktop: &RelayBackend, summary: &mut Summary) -> Result<()> {
    let kinds = [
        Kind::HaProxy,
        Kind::Gateway,
        Kind::FastWebSockets,
        Kind::Websockify,
        Kind::GatewayTls,
        Kind::HaProxyTls,
    ];
    let rounds = Rounds::measure(desktop, &kinds, round).await?;
    let figures = [
        (
            "CPU, against HAProxy on raw TCP",
            Kind::Gateway,
            Kind::HaProxy,
            Some(1.25),
        ),
        ("CPU, against fastwebsockets", Kind::Gateway, Kind::FastWebSockets, None),
        ("CPU, against websockify", Kind::Gateway, Kind::Websockify, None),
        ("CPU with TLS, against without", Kind::GatewayTls, Kind::Gateway, None),
        (
            "CPU with TLS, against HAProxy with TLS",
            Kind::GatewayTls,
            Kind::HaProxyTls,
            None,
        ),
    ];
    for (name, kind, other, goal) in figures {
        let cost = |kind| rounds.median(kind, |cost| *cost);
        let figure = Figure::new(format!("bulk to the viewer: {name}"), cost(kind), "CPU s per GiB", HOW);
        let figure = figure.against(cost(other));
        summary.add(match goal {
            Some(goal) => figure.ratio_at_most(goal),
            None => figure,
        });
    }
    Ok(())
}

/// CPU seconds of the proxy for each GiB.
async fn round(proxy: &Proxy) -> Result<f64> {
    let mebibytes = mebibytes();
    let viewers = connect(proxy, usize::from(STREAMS)).await?;
    let before = process::cpu_seconds(proxy.process.id())?;
    let viewers: Vec<RelayViewer> = stream::iter(viewers)
        .map(|viewer| async move {
            let mut viewer = viewer;
            viewer.send(&bulk_request(mebibytes)).await?;
            let mut buffer = vec![0; 256 * 1024];
            viewer.skip(usize::from(mebibytes) << 20, &mut buffer).await?;
            anyhow::Ok(viewer)
        })
        .buffer_unordered(usize::from(STREAMS))
        .try_collect()
        .await?;
    let cpu = process::cpu_seconds(proxy.process.id())? - before;
    ensure!(viewers.len() == usize::from(STREAMS), "a viewer is lost");
    Ok(cpu / (f64::from(mebibytes) * f64::from(STREAMS) / 1024.0))
}
