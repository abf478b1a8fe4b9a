//! Schemas: those of our kinds, and those of the API server that our tables follow.

pub(crate) mod merge_keys;
pub(crate) mod object_size;
pub(crate) mod schema;
