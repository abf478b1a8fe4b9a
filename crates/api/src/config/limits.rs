//! How often somebody may ask. Each replica counts by itself.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Requests in a minute, for each replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestLimitsConfig {
    /// Requests of one user. Default 1200.
    pub requests_per_user: NonZeroU32,

    /// Requests of one address before it is known whose they are. Default 600.
    pub requests_per_address: NonZeroU32,

    /// Links to consoles for one user. Default 5.
    pub consoles_per_user: NonZeroU32,

    /// Logins from one address. Default 10.
    pub logins_per_address: NonZeroU32,

    /// Open event streams of one user. Default 20.
    pub event_streams_per_user: NonZeroU32,
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl Default for RequestLimitsConfig {
    fn default() -> Self {
        Self {
            requests_per_user: at_least_one(1200),
            requests_per_address: at_least_one(600),
            consoles_per_user: at_least_one(5),
            logins_per_address: at_least_one(10),
            event_streams_per_user: at_least_one(20),
        }
    }
}
