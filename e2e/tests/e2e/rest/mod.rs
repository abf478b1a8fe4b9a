//! REST with login: what people without a kubeconfig can do, and what they cannot.

pub(crate) mod consoles;
pub(crate) mod guest;
pub(crate) mod machines;
pub(crate) mod oidc;
pub(crate) mod replicas;
pub(crate) mod sign_in;
