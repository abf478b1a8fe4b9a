//! What is written about sessions: status, events, usage.

mod reporter;
mod status;
mod usage;

pub use self::status::FIELD_MANAGER;
pub(crate) use self::{
    reporter::{Departure, SessionReporter},
    status::{SessionWriter, StatusDecision},
    usage::UsageWriter,
};
