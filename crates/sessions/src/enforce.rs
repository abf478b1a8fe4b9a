//! What ends a stream: its session, the user's rights, and the end of the gateway.

mod enforcer;
pub mod lease;

pub use self::lease::HolderNameError;
pub(crate) use self::{
    enforcer::{Enforcer, end_reason},
    lease::GatewayLease,
};
