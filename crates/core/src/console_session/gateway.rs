//! How gateways say that they live: each holds a Lease in novasphere's own namespace, whose `holderIdentity` is the name
//! that its connections carry.

/// The label key that finds the Leases of gateways.
pub const KEY_COMPONENT: &str = "novasphere.io/component";

/// The value of [`KEY_COMPONENT`] for gateways.
pub const GATEWAY_COMPONENT: &str = "gateway";
