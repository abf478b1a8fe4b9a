//! WebSocket (RFC 6455) for consoles: a stream of bytes in frames whose borders mean nothing.
//!
//! Why not a library: what libraries hand out are whole messages in memory of their own, per stream. Here a frame's payload
//! is decoded where it was read and sent from where it lies, so that an idle stream owns no buffer at all.

pub mod frame;
pub mod opening;
pub mod session_opening;
