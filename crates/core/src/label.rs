//! Labels and owner references of the objects that novasphere makes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use crate::name::label_value;

/// `app.kubernetes.io/managed-by` of everything that novasphere makes.
pub const MANAGED_BY: &str = "novasphere";

/// The label key of the manager.
pub const KEY_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The label key with the owner's name, cut and hashed when it is longer than a label may be.
pub const KEY_INSTANCE: &str = "app.kubernetes.io/instance";

/// The label key with the UID of the object that something was made for. It finds what has no owner reference.
pub const KEY_OWNER_UID: &str = "novasphere.io/owner-uid";

/// What part of its owner an object is, the value of `app.kubernetes.io/component`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Component {
    /// The virtual machine of a `VmAccess`.
    VirtualMachine,
    /// A Service to ports of a guest.
    Service,
    /// What a gateway reads of a route.
    Route,
    /// Pod, Service, Secret and `NetworkPolicy` of a `VncWorkspace`.
    Desktop,
    /// The home of a `VncWorkspace`.
    Home,
    /// A snapshot of a home.
    Snapshot,
}

/// The object that others are made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `apiVersion` of its kind.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; all that is made for it lives there too.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Owner {
    /// The owner that `object` is; `None` for an object that did not come from an apiserver and so has no UID.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Option<Self> {
        let meta = object.meta();
        Some(Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
        })
    }

    /// [`owner_key`] of this owner.
    #[must_use]
    pub fn key(&self) -> String {
        owner_key(&self.namespace, &self.uid)
    }

    /// The labels of an object that is made for this owner.
    #[must_use]
    pub fn labels(&self, component: Component) -> BTreeMap<String, String> {
        let component: &'static str = component.into();
        BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), self.kind.to_lowercase()),
            (KEY_INSTANCE.to_owned(), label_value(&self.name)),
            (KEY_MANAGED_BY.to_owned(), MANAGED_BY.to_owned()),
            ("app.kubernetes.io/component".to_owned(), component.to_owned()),
            (KEY_OWNER_UID.to_owned(), self.uid.clone()),
        ])
    }

    /// The reference that makes this owner the controller of an object and lets it be collected with its owner.
    ///
    /// `blockOwnerDeletion` stays unset: it would need the right to update the owner's finalizers, and nothing waits for
    /// the children.
    #[must_use]
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }
}

/// The UID of the owner that an object was made for: its controller's, else that of its label.
#[must_use]
pub fn owner_uid(meta: &ObjectMeta) -> Option<&str> {
    match controller(meta) {
        Some(controller) => Some(&controller.uid),
        None => meta.labels.as_ref()?.get(KEY_OWNER_UID).map(String::as_str),
    }
}

/// The key by which caches find an object and its children: the namespace and the UID. A UID alone is no proof: everybody who may write
/// labels in some namespace can put the UID of an object of another namespace there.
#[must_use]
pub fn owner_key(namespace: &str, uid: &str) -> String {
    format!("{namespace}/{uid}")
}

/// [`owner_key`] of an object itself.
#[must_use]
pub fn own_key(meta: &ObjectMeta) -> Option<String> {
    Some(owner_key(meta.namespace.as_deref()?, meta.uid.as_deref()?))
}

/// [`owner_key`] of the owner that an object was made for. A child lives in the namespace of its owner.
#[must_use]
pub fn key_of_owner(meta: &ObjectMeta) -> Option<String> {
    Some(owner_key(meta.namespace.as_deref()?, owner_uid(meta)?))
}

/// The owner reference of an object's controller.
#[must_use]
pub fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .as_ref()?
        .iter()
        .find(|owner| owner.controller == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            api_version: "novasphere.io/v1alpha1".into(),
            kind: "VmAccess".into(),
            namespace: "team-a".into(),
            name: "a".repeat(100),
            uid: "6f1c".into(),
        }
    }

    #[test]
    fn label_values_fit_also_for_long_names() {
        let labels = owner().labels(Component::VirtualMachine);
        assert!(labels.values().all(|value| value.len() <= 63));
        assert_eq!(labels["app.kubernetes.io/component"], "virtual-machine");
        assert_eq!(labels["app.kubernetes.io/name"], "vmaccess");
    }

    #[test]
    fn the_controller_counts_before_the_label() {
        let mut meta = ObjectMeta {
            labels: Some(owner().labels(Component::Service)),
            ..ObjectMeta::default()
        };
        assert_eq!(owner_uid(&meta), Some("6f1c"));
        meta.owner_references = Some(vec![OwnerReference {
            uid: "other".into(),
            ..owner().reference()
        }]);
        assert_eq!(owner_uid(&meta), Some("other"));
    }

    #[test]
    fn the_uid_of_another_namespace_is_another_owner() {
        let child = |namespace: &str| ObjectMeta {
            namespace: Some(namespace.to_owned()),
            labels: Some(owner().labels(Component::Service)),
            ..ObjectMeta::default()
        };
        assert_eq!(key_of_owner(&child("team-a")), Some(owner().key()));
        assert_ne!(key_of_owner(&child("team-b")), Some(owner().key()));
        assert_eq!(key_of_owner(&ObjectMeta::default()), None);
    }
}
