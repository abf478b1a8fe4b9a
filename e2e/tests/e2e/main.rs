//! Promises of novasphere, each proven on a real cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    novasphere_e2e::harness::run(Vec::new())
}
