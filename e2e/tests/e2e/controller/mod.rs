//! The controller in a cluster that is disturbed.

pub(crate) mod accounts;
pub(crate) mod disruption;
pub(crate) mod fault_points;
pub(crate) mod killed;
pub(crate) mod leadership;
pub(crate) mod network;
pub(crate) mod pause;
