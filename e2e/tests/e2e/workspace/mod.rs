//! `VncWorkspace`.

pub(crate) mod activity;
pub(crate) mod backup;
pub(crate) mod clipboard;
pub(crate) mod console;
pub(crate) mod crowd;
pub(crate) mod delete;
pub(crate) mod desktop;
pub(crate) mod failures;
pub(crate) mod fault_points;
pub(crate) mod image;
pub(crate) mod killed;
pub(crate) mod lifecycle;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod reclaim;
pub(crate) mod recovers;
pub(crate) mod resize;
pub(crate) mod screen_size;
pub(crate) mod storage;
pub(crate) mod text;
