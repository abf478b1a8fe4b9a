//! `make bench`: every figure that novasphere states, measured on this machine in one run.
//!
//! The figures go to `target/bench/summary.json` and, as a table, to standard output. [`settings`] has what the environment
//! chooses. The peers of the relay are other processes of this program.

mod controller;
mod image;
mod kubevirt;
mod process;
mod relay;
mod sessions;
mod settings;
mod summary;
mod vm_access;
mod workspaces;

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use novasphere_e2e::fixtures::cluster;
use novasphere_runtime::open_files;
use tokio::time::timeout;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => runtime()?.block_on(measure()),
        [relay::gateway::COMMAND, upstream, certificate @ ..] => {
            runtime()?.block_on(relay::gateway::run(upstream, certificate))
        }
        [relay::fast::COMMAND, upstream] => runtime()?.block_on(relay::fast::run(upstream)),
        [relay::desktop::COMMAND] => runtime()?.block_on(relay::desktop::run()),
        other => bail!("unknown arguments {other:?}; the program takes none: see docs/benchmarks.md"),
    }
}

/// The same for all processes, and the same as that of `novasphere`.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// A part that fails is named at the end and does not keep the others from being measured.
async fn measure() -> Result<()> {
    // For the children as well.
    open_files::raise();
    let mut summary = summary::Summary::default();
    let mut failed = Vec::new();
    for part in settings::parts()? {
        if settings::is_small()
            && settings::needs_root(&part)
            && !cluster::is_root()
            && std::env::var_os("CI").is_none()
        {
            eprintln!("{part}: left out, because it starts a node, which needs root");
            continue;
        }
        eprintln!("{part}: load average {}", process::load_average());
        let (began, bound) = (Instant::now(), settings::part_timeout());
        let result = timeout(bound, run(&part, &mut summary)).await;
        eprintln!("{part}: took {} s", began.elapsed().as_secs());
        if let Err(error) = result.unwrap_or_else(|_| bail!("not within {} s", bound.as_secs())) {
            eprintln!("{part} failed: {error:#}");
            failed.push(part);
        }
        summary.write()?;
    }
    if settings::is_small() {
        eprintln!("A small run (BENCH_SMALL): it shows that the parts work; its figures say nothing.");
    } else {
        println!("{summary}");
    }
    ensure!(failed.is_empty(), "not measured to the end: {}", failed.join(", "));
    Ok(())
}

async fn run(part: &str, summary: &mut summary::Summary) -> Result<()> {
    match part {
        "relay" => relay::run(summary).await,
        "sessions" => sessions::run(summary).await,
        "workspaces" => workspaces::run(summary).await,
        "kubevirt" => kubevirt::run(summary).await,
        "image" => image::run(summary).await,
        "vm-access" => vm_accesses(summary).await,
        other => bail!("BENCH_PARTS: {other:?} is none of {}", settings::PARTS),
    }
}

async fn vm_accesses(summary: &mut summary::Summary) -> Result<()> {
    let sizes = settings::sizes()?;
    for &size in &sizes {
        vm_access::run(size, vm_access::Children::Services, summary)
            .await
            .with_context(|| format!("{size} VmAccess objects"))?;
        summary.write()?;
    }
    // Routes cost the same for each object: the smallest number tells it.
    if let Some(&size) = sizes.iter().min() {
        vm_access::run(size, vm_access::Children::ServicesAndRoutes, summary)
            .await
            .with_context(|| format!("{size} VmAccess objects with routes"))?;
        summary.write()?;
    }
    Ok(())
}
