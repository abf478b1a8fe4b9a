//! `VmAccess`.

pub(crate) mod bad_input;
pub(crate) mod dry_run;
pub(crate) mod lifecycle;
pub(crate) mod node_ports;
pub(crate) mod routes;
pub(crate) mod routes_leader;
pub(crate) mod services;
pub(crate) mod settled;
pub(crate) mod traefik;
