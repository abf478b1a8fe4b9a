//! Codecs: what comes over a wire and what goes out, as pure functions over bytes and headers.
//!
//! A codec takes bytes and says what to do; it never waits. The fuzz targets (`fuzz/`) and the probe of the desktop images build this crate
//! alone. So it may import nothing of ours, no runtime (`tokio`), no Kubernetes client (`kube`), and has no feature.

pub mod close;
pub mod front_proxy;
pub mod proxy_protocol;
pub mod resume;
pub mod rfb;
pub mod rules;
pub mod serial;
pub mod ssh;
pub mod token;
pub mod websocket;
