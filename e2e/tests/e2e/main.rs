//! Promises of novasphere, each proven on a real cluster.

use std::process::ExitCode;

mod aggregated;
mod api;
mod console;
mod controller;
mod gateways;
mod monitoring;
mod rest;
mod vm_access;
mod workspace;

fn main() -> ExitCode {
    // Those that need the most time begin first.
    let cases = [
        workspace::desktop::cases(),
        vm_access::lifecycle::cases(),
        console::guest::cases(),
        console::browser::cases(),
        console::page::cases(),
        console::resume_page::cases(),
        console::resume_roll::cases(),
        console::page_keys::cases(),
        console::ssh::cases(),
        console::viewers::cases(),
        aggregated::console::cases(),
        aggregated::contract::cases(),
        aggregated::installed::cases(),
        aggregated::limits::cases(),
        aggregated::user::cases(),
        rest::guest::cases(),
        rest::consoles::cases(),
        rest::machines::cases(),
        rest::oidc::cases(),
        rest::replicas::cases(),
        rest::sign_in::cases(),
        vm_access::traefik::cases(),
        console::proxy_protocol::cases(),
        console::routes::cases(),
        workspace::storage::cases(),
        workspace::node::cases(),
        workspace::network::cases(),
        workspace::failures::cases(),
        workspace::killed::cases(),
        workspace::image::cases(),
        monitoring::queries::cases(),
        // The longest that need no node begin early, so that no run ends with one of them alone.
        workspace::crowd::cases(),
        console::repeated::cases(),
        vm_access::bad_input::cases(),
        console::disruption::cases(),
        console::kubevirt::cases(),
        console::resume::cases(),
        console::revoke::cases(),
        console::tokens::cases(),
        console::undecodable::cases(),
        workspace::clipboard::cases(),
        workspace::screen_size::cases(),
        workspace::text::cases(),
        workspace::console::cases(),
        controller::killed::cases(),
        controller::fault_points::cases(),
        workspace::fault_points::cases(),
        console::session::cases(),
        console::session_status::cases(),
        controller::accounts::cases(),
        controller::disruption::cases(),
        controller::leadership::cases(),
        controller::network::cases(),
        controller::pause::cases(),
        vm_access::dry_run::cases(),
        vm_access::routes::cases(),
        vm_access::routes_leader::cases(),
        api::merge_keys::cases(),
        api::object_size::cases(),
        api::schema::cases(),
        vm_access::node_ports::cases(),
        vm_access::services::cases(),
        vm_access::settled::cases(),
        workspace::activity::cases(),
        workspace::backup::cases(),
        workspace::delete::cases(),
        workspace::lifecycle::cases(),
        workspace::reclaim::cases(),
        workspace::recovers::cases(),
        workspace::resize::cases(),
        // Only when they are asked for.
        gateways::routes::cases(),
        gateways::guest::cases(),
        gateways::own::cases(),
        gateways::status::cases(),
    ];
    novasphere_e2e::harness::run(cases.into_iter().flatten().collect())
}
