//! RFB (rfbproto.rst of rfbproto/rfbproto): handshakes of both sides and the filter of what a viewer sends.
//!
//! What a server sends after its handshake is never decoded. All integers are big-endian.

pub mod encoding;
pub mod filter;
pub mod message;
pub mod security;
pub mod server;
pub mod upstream;
pub mod version;
