//! The controller role: reconciles the three kinds.

pub mod rbac;
