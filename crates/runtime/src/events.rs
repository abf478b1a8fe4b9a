//! Kubernetes events.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;

/// Writes events of one controller. Clones share the memory of what was said already.
#[derive(Clone)]
pub struct Reporter {
    _private: (),
}

impl Reporter {
    /// `controller` names the writer (`novasphere/vmaccess`), `instance` the process (the Pod's name).
    /// `client` should be the gated one, so that a process which lost its lease says nothing.
    #[must_use]
    pub fn new(client: Client, controller: &str, instance: &str) -> Self {
        let _ = (client, controller, instance);
        todo!()
    }

    /// Says that something went wrong or needs a person. `reason` and `action` are `PascalCase`, `note` is a sentence with what to do.
    pub async fn warning(&self, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        let _ = (about, reason, action, note);
        todo!()
    }

    /// Says that something happened.
    pub async fn normal(&self, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        let _ = (about, reason, action, note);
        todo!()
    }
}
