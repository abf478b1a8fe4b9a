//! The console data plane.
//!
//! A byte of a console goes listener → handshake → registry (who, which rules) → relay (filter) → upstream and back, and
//! passes nothing else. The codecs ([`rfb`], [`serial`], [`token`], the frames of [`websocket`]) do no IO: they take bytes
//! and say what to do. Who may enter is decided elsewhere.

pub mod admission;
pub mod audit;
pub mod close;
pub mod gateway;
pub mod idle;
pub mod leg;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod registry;
pub mod relay;
pub mod rfb;
pub mod rules;
pub mod serial;
pub mod token;
pub mod upstream;
pub mod websocket;
