//! The objects of other projects that novasphere writes or reads: only the fields it sets or looks at.
//!
//! Written by hand from the projects' Go types, because the published bindings sit on an older `kube` and carry tens of
//! thousands of lines that novasphere does not use. A type that is server-side applied has no catch-all field, so that
//! novasphere owns exactly what it says. Unknown fields of a live object are dropped when it is read, which is also
//! what keeps ten thousand of them in memory.

mod json;
mod object;

pub mod cdi;
pub mod kubevirt;
pub mod volume_snapshot;

pub use json::CompactJson;
