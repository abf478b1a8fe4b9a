//! Logins that are made here: who is signed in, until when, on every replica.
//!
//! A login is an entry of a Secret that all replicas watch, so its end counts on all of them as fast as a watch is. The session token that requests
//! carry names the entry and is good for minutes; the refresh token is good for one use.

pub mod cookies;
mod handlers;
pub mod keys;
mod logins;
pub mod record;
pub mod secret;
pub(crate) mod sign_in;
pub mod token;

pub(crate) use self::{handlers::routes, sign_in::end_consoles};
pub use self::{
    logins::{IssuedLogin, KEYS_SECRET, LOGIN_SHARDS, LOGINS_SECRET_PREFIX, LoginOptions, Logins, NewLogin},
    record::{LoginId, LoginRecord, ProviderSession},
};

/// The label of a `ConsoleSession` that a login made; its value is [`LoginId::console_label`].
pub const LOGIN_LABEL: &str = "novasphere.io/login";
