//! What every request passes: its ID and log line, limits, refusals in the envelope, and the body of the answer.

mod address;
mod extract;
mod layers;
mod limits;
mod note;
mod origin;
mod render;

pub use self::{
    address::ClientAddress,
    extract::{JsonBody, OptionalBody, Path, Query},
    layers::layered,
    limits::RequestLimits,
    note::RequestNote,
    origin::origin_is_allowed,
};
pub(crate) use self::{address::PeerAddress, limits::TIDY_INTERVAL as LIMITS_TIDY_INTERVAL};
