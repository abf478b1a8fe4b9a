//! `make bench`: every figure that novasphere states, measured on this machine in one run.
//!
//! The figures go to `target/bench/summary.json` and, as a table, to standard output. `BENCH_SIZES` (default `1000,10000`)
//! gives the numbers of objects.

mod process;
mod summary;
mod vm_access;

use anyhow::{Context, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let sizes = std::env::var("BENCH_SIZES").unwrap_or_else(|_| "1000,10000".into());
    let mut summary = summary::Summary::default();
    for size in sizes.split(',') {
        let size = size
            .trim()
            .parse()
            .with_context(|| format!("BENCH_SIZES: {size:?} is not a number"))?;
        vm_access::run(size, &mut summary)
            .await
            .with_context(|| format!("{size} VmAccess objects"))?;
    }
    summary.write()?;
    println!("{summary}");
    Ok(())
}
