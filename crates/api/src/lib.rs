//! The role `novasphere api`: REST `/api/v1` with login, for people without a kubeconfig and for scripts.
//!
//! It decides nothing about rights: each request that changes something is sent to kube-apiserver as the person who asked
//! ([`kubernetes`]), and lists show what `SubjectAccessReviews` allow ([`authorization`]). It carries no byte of a console, and keeps
//! nothing but logins ([`login`]) and what its watches see ([`watches`]).

pub mod audit;
pub mod authorization;
pub mod caller;
pub mod code;
pub mod config;
pub mod envelope;
pub mod error;
pub mod events;
pub mod http;
pub mod identity;
pub mod kubernetes;
pub mod language;
mod listener;
pub mod login;
pub mod machines;
pub mod openapi;
pub mod pods;
pub mod rbac;
pub mod router;
mod run;
pub mod sessions;
pub mod state;
pub mod time;
pub mod verify;
pub mod watches;
pub mod workspaces;

pub use run::{ApiOptions, RunError, run};

/// The path below which everything is served.
pub const BASE_PATH: &str = "/api/v1";

/// The field manager of what is written in a user's name, so that GitOps tools own their fields and this API its own.
pub const FIELD_MANAGER: &str = "novasphere/api";
