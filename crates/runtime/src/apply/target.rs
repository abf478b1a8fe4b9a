//! A kind as it is written, whether it has a type of its own or is known at run time alone.

use std::fmt::Debug;

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{WriteError, list_type::Schema};
use crate::namespaced::Namespaced;

/// What is written.
pub(super) trait Written: Resource + Serialize + DeserializeOwned + Clone + Debug {}

impl<K: Resource + Serialize + DeserializeOwned + Clone + Debug> Written for K {}

/// A kind in one namespace.
pub(super) struct Target<K> {
    pub(super) api: Api<K>,
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) schema: Schema,
}

impl<K: Namespaced> Target<K> {
    /// That of a type, in the namespace of `object`.
    pub(super) fn of(client: Client, object: &K) -> Result<Self, WriteError> {
        let kind = K::kind(&()).into_owned();
        Ok(Self {
            api: Api::namespaced(client, namespace(object, &kind)?),
            api_version: K::api_version(&()).into_owned(),
            schema: Schema::of_group(&K::group(&())),
            kind,
        })
    }
}

impl Target<DynamicObject> {
    /// That of a kind without a type, in the namespace of `object`.
    pub(super) fn untyped(client: Client, resource: &ApiResource, object: &DynamicObject) -> Result<Self, WriteError> {
        Ok(Self {
            api: Api::namespaced_with(client, namespace(object, &resource.kind)?, resource),
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
            schema: Schema::of_group(&resource.group),
        })
    }
}

fn namespace<'a>(object: &'a impl Resource, kind: &str) -> Result<&'a str, WriteError> {
    let namespace = object
        .meta()
        .namespace
        .as_deref()
        .filter(|namespace| !namespace.is_empty());
    namespace.ok_or_else(|| WriteError::Internal(format!("{kind} {} has no namespace", object.name_any())))
}
