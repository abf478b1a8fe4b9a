//! Consoles, their sessions, and what ends them.

pub(crate) mod browser;
pub(crate) mod disruption;
pub(crate) mod guest;
pub(crate) mod kubevirt;
pub(crate) mod page;
pub(crate) mod page_keys;
pub(crate) mod proxy_protocol;
pub(crate) mod repeated;
pub(crate) mod resume;
pub(crate) mod resume_page;
pub(crate) mod resume_roll;
pub(crate) mod revoke;
pub(crate) mod routes;
pub(crate) mod session;
pub(crate) mod session_status;
pub(crate) mod ssh;
pub(crate) mod tokens;
pub(crate) mod undecodable;
pub(crate) mod viewers;
