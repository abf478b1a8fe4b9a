//! The whole data plane on loopback: real listeners, real sockets, peers of our own that record what reaches them, and a
//! client that somebody else wrote (tungstenite).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions, and these are their helpers"
)]

mod clipboard;
mod desk;
mod kubevirt;
mod limits;
mod memory;
mod page_resume;
mod proxy_protocol;
mod restart;
mod rfb_tcp;
mod setup;
mod slow_peers;
mod ssh;
mod sshd;
mod stock_viewers;
mod target_view;
mod viewer;
mod vnc_server;
mod websocket;
