//! The aggregated API.

pub(crate) mod console;
pub(crate) mod contract;
pub(crate) mod installed;
pub(crate) mod limits;
pub(crate) mod user;
