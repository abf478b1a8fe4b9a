//! Promises of novasphere, each proven on a real cluster.

use std::process::ExitCode;

mod bad_input;
mod disruption;
mod dry_run;
mod fault_points;
mod installed;
mod killed_controller;
mod leadership;
mod schema;
mod settled;
mod support;
mod vm_lifecycle;

fn main() -> ExitCode {
    // Those that need the most time begin first.
    let cases = [
        vm_lifecycle::cases(),
        bad_input::cases(),
        killed_controller::cases(),
        fault_points::cases(),
        disruption::cases(),
        leadership::cases(),
        dry_run::cases(),
        schema::cases(),
        settled::cases(),
    ];
    novasphere_e2e::harness::run(cases.into_iter().flatten().collect())
}
