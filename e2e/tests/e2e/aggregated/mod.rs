//! The aggregated API.

pub(crate) mod console;
pub(crate) mod contract;
pub(crate) mod installed;
pub(crate) mod limits;
mod upgraded;
pub(crate) mod user;
