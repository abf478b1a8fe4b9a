//! Promises of novasphere, each proven on a real cluster.

use std::process::ExitCode;

mod aggregated_console;
mod aggregated_contract;
mod aggregated_installed;
mod bad_input;
mod console_browser;
mod console_disruption;
mod console_guest;
mod console_kubevirt;
mod console_revoke;
mod console_session;
mod console_session_status;
mod console_session_support;
mod console_setup;
mod console_stage;
mod console_tokens;
mod console_users;
mod console_viewers;
mod desktop_image;
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
mod workspace_lifecycle;

fn main() -> ExitCode {
    // Those that need the most time begin first.
    let cases = [
        vm_lifecycle::cases(),
        console_guest::cases(),
        console_browser::cases(),
        console_viewers::cases(),
        aggregated_console::cases(),
        aggregated_contract::cases(),
        aggregated_installed::cases(),
        desktop_image::cases(),
        bad_input::cases(),
        console_disruption::cases(),
        console_kubevirt::cases(),
        console_revoke::cases(),
        console_tokens::cases(),
        killed_controller::cases(),
        fault_points::cases(),
        console_session::cases(),
        console_session_status::cases(),
        disruption::cases(),
        leadership::cases(),
        dry_run::cases(),
        schema::cases(),
        settled::cases(),
        workspace_lifecycle::cases(),
    ];
    novasphere_e2e::harness::run(cases.into_iter().flatten().collect())
}
