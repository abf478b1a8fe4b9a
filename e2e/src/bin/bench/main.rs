//! `make bench`: every figure that novasphere states, measured on this machine in one run.
//!
//! The figures go to `target/bench/summary.json` and, as a table, to standard output. `BENCH_PARTS` (default `vm-access,relay,sessions`)
//! chooses what is measured, `BENCH_SIZES` (default `1000,10000`) the numbers of `VmAccess` objects, `BENCH_STREAMS` (default
//! `10000`) the number of idle streams. The peers of the relay are other processes of this program.

mod controller;
mod process;
mod relay;
mod sessions;
mod summary;
mod vm_access;

use anyhow::{Context, Result, bail};

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

async fn measure() -> Result<()> {
    process::raise_open_files()?;
    let parts = std::env::var("BENCH_PARTS").unwrap_or_else(|_| "vm-access,relay,sessions".into());
    let mut summary = summary::Summary::default();
    eprintln!("load average {}", process::load_average());
    for part in parts.split(',') {
        match part.trim() {
            "vm-access" => vm_accesses(&mut summary).await?,
            "relay" => relay::run(&mut summary).await.context("the relay")?,
            "sessions" => sessions::run(&mut summary).await.context("sessions")?,
            other => bail!("BENCH_PARTS: {other:?} is none of vm-access, relay, sessions"),
        }
        // What was measured is kept when a later part fails.
        summary.write()?;
    }
    println!("{summary}");
    Ok(())
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
