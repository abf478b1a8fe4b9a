//! RFB (rfbproto.rst of rfbproto/rfbproto): handshakes of both sides and the filters of what viewer and server send.
//!
//! What a server sends after its handshake is never decoded. Its bounds are followed where its clipboard is held back. All
//! integers are big-endian.

pub mod clipboard;
pub mod encoding;
pub mod filter;
pub mod message;
pub mod pixel_format;
pub mod rectangle;
pub mod security;
pub mod server;
pub mod server_filter;
pub mod upstream;
pub mod version;
