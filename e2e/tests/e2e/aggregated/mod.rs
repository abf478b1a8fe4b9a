//! The aggregated API.

pub(crate) mod console;
pub(crate) mod contract;
pub(crate) mod installed;
mod left_behind;
pub(crate) mod limits;
mod load_balancer;
mod upgraded;
pub(crate) mod user;
