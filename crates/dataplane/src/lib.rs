//! The data plane: carries the bytes of consoles.
//!
//! A byte of a console goes listener → handshake → registry (who, which rules) → relay (filter) → upstream and back, and passes nothing else.
//! Who may enter is asked of an [`Admission`](admission::Admission) and decided elsewhere: this crate knows no Kubernetes object of ours and may
//! import neither `core` nor `crd`. The codecs are those of `wire`.

pub mod admission;
pub mod audit;
pub mod gateway;
pub mod idle;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod peer;
pub mod registry;
pub mod relay;
pub mod upstream;
pub mod websocket;
mod workers;
