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
mod console_page;
mod console_revoke;
mod console_session;
mod console_session_status;
mod console_session_support;
mod console_setup;
mod console_ssh;
mod console_stage;
mod console_tokens;
mod console_users;
mod console_viewers;
mod cut_points;
mod desktop_image;
mod disruption;
mod dry_run;
mod fault_points;
mod installed;
mod killed_controller;
mod leadership;
mod merge_keys;
mod schema;
mod settled;
mod support;
mod vm_lifecycle;
mod workspace_activity;
mod workspace_console;
mod workspace_crowd;
mod workspace_delete;
mod workspace_desktop;
mod workspace_failures;
mod workspace_fault_points;
mod workspace_killed;
mod workspace_lifecycle;
mod workspace_node;
mod workspace_plane;
mod workspace_reclaim;
mod workspace_recovers;
mod workspace_resize;
mod workspace_sleeper;
mod workspace_storage;
mod workspace_support;

fn main() -> ExitCode {
    // Those that need the most time begin first.
    let cases = [
        workspace_desktop::cases(),
        vm_lifecycle::cases(),
        console_guest::cases(),
        console_browser::cases(),
        console_page::cases(),
        console_ssh::cases(),
        console_viewers::cases(),
        aggregated_console::cases(),
        aggregated_contract::cases(),
        aggregated_installed::cases(),
        workspace_storage::cases(),
        workspace_node::cases(),
        workspace_failures::cases(),
        workspace_killed::cases(),
        desktop_image::cases(),
        bad_input::cases(),
        console_disruption::cases(),
        console_kubevirt::cases(),
        console_revoke::cases(),
        console_tokens::cases(),
        workspace_console::cases(),
        killed_controller::cases(),
        fault_points::cases(),
        workspace_fault_points::cases(),
        workspace_crowd::cases(),
        console_session::cases(),
        console_session_status::cases(),
        disruption::cases(),
        leadership::cases(),
        merge_keys::cases(),
        dry_run::cases(),
        schema::cases(),
        settled::cases(),
        workspace_activity::cases(),
        workspace_delete::cases(),
        workspace_lifecycle::cases(),
        workspace_reclaim::cases(),
        workspace_recovers::cases(),
        workspace_resize::cases(),
    ];
    novasphere_e2e::harness::run(cases.into_iter().flatten().collect())
}
