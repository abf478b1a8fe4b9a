//! What the environment asks of a run (docs/benchmarks.md).

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use novasphere_e2e::fixtures::paths;

/// What can be measured. What takes longest comes last.
pub(crate) const PARTS: &str = "relay,sessions,workspaces,kubevirt,image,vm-access";

/// Whether each part is run only as long as it takes to see that it works (`BENCH_SMALL=1`).
pub(crate) fn is_small() -> bool {
    std::env::var("BENCH_SMALL").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// One of two: what a measurement takes, or what is enough to see that the part works.
pub(crate) fn full_or_small<T>(full: T, small: T) -> T {
    if is_small() { small } else { full }
}

/// The parts to measure (`BENCH_PARTS`, by default all).
pub(crate) fn parts() -> Result<Vec<String>> {
    let parts = std::env::var("BENCH_PARTS").unwrap_or_else(|_| PARTS.into());
    let parts: Vec<String> = parts.split(',').map(|part| part.trim().to_owned()).collect();
    for part in &parts {
        ensure!(
            PARTS.split(',').any(|known| known == part),
            "BENCH_PARTS: {part:?} is none of {PARTS}"
        );
    }
    Ok(parts)
}

/// Whether a part starts a cluster with a node.
pub(crate) fn needs_root(part: &str) -> bool {
    ["workspaces", "kubevirt"].contains(&part)
}

/// The numbers of `VmAccess` objects (`BENCH_SIZES`).
pub(crate) fn sizes() -> Result<Vec<u32>> {
    let sizes = std::env::var("BENCH_SIZES").unwrap_or_else(|_| full_or_small("1000,10000", "20").into());
    let size = |size: &str| {
        size.trim()
            .parse()
            .with_context(|| format!("BENCH_SIZES: {size:?} is not a number"))
    };
    sizes.split(',').map(size).collect()
}

/// The number of idle streams (`BENCH_STREAMS`).
pub(crate) fn idle_streams() -> Result<u64> {
    let streams = std::env::var("BENCH_STREAMS").unwrap_or_else(|_| full_or_small("10000", "50").into());
    streams
        .trim()
        .parse()
        .with_context(|| format!("BENCH_STREAMS: {streams:?} is not a number"))
}

/// The bound of a part. The longest of all takes a third of it on a quiet machine with two processors.
pub(crate) fn part_timeout() -> Duration {
    full_or_small(Duration::from_mins(45), Duration::from_mins(10))
}

/// Where figures, logs and configurations go. The figures of a small run say nothing, so it does not replace others by them.
pub(crate) fn output() -> Result<PathBuf> {
    let directory = paths::target()?.join(full_or_small("bench", "bench-small"));
    std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    Ok(directory)
}
