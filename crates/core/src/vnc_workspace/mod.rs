//! `VncWorkspace`: what it asks for, the objects that make it, and what to say about it.

pub mod activity;
pub mod allowed_overrides;
pub mod allowed_references;
pub mod applied;
pub mod backup;
pub mod build;
pub mod credentials;
pub mod delay;
pub mod deletion;
pub mod expiry;
pub mod failure;
pub mod home;
pub mod lifecycle;
pub mod node_ports;
pub mod plan;
mod pod_security;
pub mod reason;
pub mod references;
pub mod resize;
pub mod schedule;
pub mod snapshots;
pub mod status;
pub mod transition;
pub mod validate;
pub mod validated;

#[cfg(test)]
mod samples;

use crate::name;

/// Keeps a workspace until its home is saved, when it is to be saved at all.
pub const FINALIZER: &str = "novasphere.io/home";

/// Annotation of a workspace: a changed value makes new credentials and recreates the Pod.
pub const KEY_ROTATE: &str = "novasphere.io/rotate-credentials";

/// Label of the objects of a workspace: its name.
pub const KEY_WORKSPACE: &str = "novasphere.io/workspace";

/// Label of the Pod: whose desktop it is.
pub const KEY_USER: &str = "novasphere.io/user";

/// Name of the port that answers VNC, of the Service and of the Pod.
pub const VNC_PORT: &str = "vnc";

/// Name of the port that answers SSH, of the Service and of the Pod.
pub const SSH_PORT: &str = "ssh";

/// The key of the VNC password in the Secret.
pub const PASSWORD_KEY: &str = "vnc-password";

/// The Service, the Pod and the `NetworkPolicy` of a workspace are called like it.
#[must_use]
pub fn service_name(workspace: &str) -> String {
    workspace.to_owned()
}

/// The Secret with a workspace's credentials.
#[must_use]
pub fn secret_name(workspace: &str) -> String {
    name::joined(&[workspace, "credentials"]).to_string()
}

/// The claim that is the home of a workspace, unless it takes over another one.
#[must_use]
pub fn home_name(workspace: &str) -> String {
    name::joined(&[workspace, "home"]).to_string()
}
