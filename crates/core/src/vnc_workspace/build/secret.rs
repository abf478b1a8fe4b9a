//! The Secret with a workspace's credentials.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::super::{KEY_WORKSPACE, PASSWORD_KEY, credentials::DesktopCredentials, secret_name};
use crate::label::{Component, Owner};

/// Annotation of the Secret: the rotation that it was made for.
pub const ROTATED_FOR_ANNOTATION: &str = "novasphere.io/rotated-for";

/// The Secret of a workspace.
#[must_use]
pub fn build(owner: &Owner, rotation: &str, credentials: Option<DesktopCredentials>) -> Secret {
    let mut labels = owner.labels(Component::Desktop);
    labels.insert(KEY_WORKSPACE.to_owned(), owner.name.clone());
    let data = credentials.map(|credentials| {
        BTreeMap::from([
            (PASSWORD_KEY.to_owned(), ByteString(credentials.password.into_bytes())),
            (
                "ssh_host_ed25519_key".to_owned(),
                ByteString(credentials.host_key.into_bytes()),
            ),
            (
                "ssh_host_ed25519_key.pub".to_owned(),
                ByteString(credentials.host_key_public.into_bytes()),
            ),
        ])
    });
    Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(&owner.name)),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(
                ROTATED_FOR_ANNOTATION.to_owned(),
                rotation.to_owned(),
            )])),
            owner_references: Some(vec![owner.reference()]),
            ..ObjectMeta::default()
        },
        data,
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}
