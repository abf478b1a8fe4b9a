//! The console data plane.
//!
//! A byte of a console goes listener → handshake → registry (who, which rules) → relay (filter) → upstream and back, and
//! passes nothing else. The codecs ([`rfb`], [`serial`], [`token`]) do no IO: they take bytes and say what to do. Who may
//! enter is decided elsewhere.

pub mod close;
pub mod rfb;
pub mod rules;
pub mod serial;
pub mod token;
pub mod websocket;
