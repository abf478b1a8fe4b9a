//! The console data plane.
//!
//! A byte of a console goes listener → handshake → registry (who, which rules) → relay (filter) → upstream and back, and
//! passes nothing else. The codecs ([`rfb`], [`serial`], [`ssh`], [`token`], the frames of [`websocket`]) do no IO: they take bytes
//! and say what to do. Who may enter is decided elsewhere.

#[cfg(feature = "io")]
pub mod admission;
#[cfg(feature = "io")]
pub mod audit;
pub mod close;
#[cfg(feature = "io")]
pub mod gateway;
#[cfg(feature = "io")]
pub mod idle;
#[cfg(feature = "io")]
pub mod leg;
#[cfg(feature = "io")]
pub mod limits;
#[cfg(feature = "io")]
pub mod listener;
#[cfg(feature = "io")]
pub mod metrics;
#[cfg(feature = "io")]
pub mod page;
#[cfg(feature = "io")]
pub mod registry;
#[cfg(feature = "io")]
pub mod relay;
pub mod rfb;
#[cfg(feature = "io")]
pub mod role;
pub mod rules;
pub mod serial;
#[cfg(feature = "io")]
pub mod session;
pub mod ssh;
pub mod token;
#[cfg(feature = "io")]
pub mod upstream;
pub mod websocket;
#[cfg(feature = "io")]
mod workers;
