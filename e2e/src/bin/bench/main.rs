//! `make bench`: every figure that novasphere states, measured on this machine in one run.
//!
//! The figures go to `target/bench/summary.json` and, as a table, to standard output. `BENCH_PARTS` (default: all of
//! [`PARTS`]) chooses what is measured, `BENCH_SIZES` (default `1000,10000`) the numbers of `VmAccess` objects, `BENCH_STREAMS` (default
//! `10000`) the number of idle streams. The peers of the relay are other processes of this program.

mod controller;
mod kubevirt;
mod process;
mod relay;
mod sessions;
mod summary;
mod vm_access;
mod workspaces;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use novasphere_runtime::open_files;
use tokio::time::timeout;

/// What can be measured. What takes longest comes last.
const PARTS: &str = "relay,sessions,workspaces,kubevirt,vm-access";

/// The longest time of a part. The longest of all takes a third of it on a quiet machine with two processors.
const BOUND: Duration = Duration::from_mins(45);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => runtime()?.block_on(measure()),
        [relay::gateway::COMMAND, upstream, certificate @ ..] => {
            runtime()?.block_on(relay::gateway::run(upstream, certificate))
        }
        [relay::desktop::COMMAND] => runtime()?.block_on(relay::desktop::run()),
        other => bail!("unknown arguments {other:?}; the program takes none: see docs/benchmarks.md"),
    }
}

/// The same for all processes, and the same as that of `novasphere`.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// A part that fails is told at the end and does not keep the others from being measured.
async fn measure() -> Result<()> {
    // For the children as well.
    open_files::raise();
    let parts = std::env::var("BENCH_PARTS").unwrap_or_else(|_| PARTS.into());
    let parts: Vec<&str> = parts.split(',').map(str::trim).collect();
    for part in &parts {
        ensure!(
            PARTS.split(',').any(|known| known == *part),
            "BENCH_PARTS: {part:?} is none of {PARTS}"
        );
    }
    let mut summary = summary::Summary::default();
    let mut failed = Vec::new();
    for part in parts {
        eprintln!("{part}: load average {}", process::load_average());
        let began = Instant::now();
        let result = timeout(BOUND, run(part, &mut summary)).await;
        eprintln!("{part}: took {} s", began.elapsed().as_secs());
        if let Err(error) = result.unwrap_or_else(|_| bail!("not within {} s", BOUND.as_secs())) {
            eprintln!("{part} failed: {error:#}");
            failed.push(part);
        }
        summary.write()?;
    }
    println!("{summary}");
    ensure!(failed.is_empty(), "not measured to the end: {}", failed.join(", "));
    Ok(())
}

async fn run(part: &str, summary: &mut summary::Summary) -> Result<()> {
    match part {
        "relay" => relay::run(summary).await,
        "sessions" => sessions::run(summary).await,
        "workspaces" => workspaces::run(summary).await,
        "kubevirt" => kubevirt::run(summary).await,
        "vm-access" => vm_accesses(summary).await,
        other => bail!("BENCH_PARTS: {other:?} is none of {PARTS}"),
    }
}

async fn vm_accesses(summary: &mut summary::Summary) -> Result<()> {
    let sizes = std::env::var("BENCH_SIZES").unwrap_or_else(|_| "1000,10000".into());
    for size in sizes.split(',') {
        let size = size
            .trim()
            .parse()
            .with_context(|| format!("BENCH_SIZES: {size:?} is not a number"))?;
        vm_access::run(size, summary)
            .await
            .with_context(|| format!("{size} VmAccess objects"))?;
        summary.write()?;
    }
    Ok(())
}
