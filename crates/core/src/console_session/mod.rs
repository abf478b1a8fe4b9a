//! The pure middle of consoles: what a `ConsoleSession` may do, whether it is over, who may have a token of it, and its
//! status. The controller, the gateways and the aggregated API all decide with these functions.
//!
//! Whoever writes a session's status takes the newest one that it knows, works out the *whole* new status with
//! [`status::status`], [`grant::issue`], [`connection::claim`], [`connection::connect`], [`connection::leave`] or
//! [`connection::count`], and replaces the old one at its resource version; after a conflict it reads and decides again.
//! That makes a token good for its number of uses, over any number of replicas, without a lock.

pub mod access;
pub mod connection;
pub mod desktop;
pub mod end;
pub mod endpoints;
pub mod gateway;
pub mod grant;
pub mod made_for;
pub mod news;
pub mod policy;
pub mod reason;
pub mod references;
pub mod status;
pub mod target;
pub mod validate;

#[cfg(test)]
mod samples;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// `metav1.Time` carries whole seconds.
fn whole_second(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// `time` and `duration`, at most the end of representable time.
fn after(time: Timestamp, duration: std::time::Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
