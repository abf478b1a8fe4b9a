//! The Secret of a workspace: created once, and again when a person asks for other credentials.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt, core::ObjectMeta};
use novasphere_core::{
    child::ChildOutcome,
    label,
    vnc_workspace::{
        build::{ROTATED_FOR_ANNOTATION, build_secret},
        credentials::{DesktopCredentials, Seed, credentials},
        validated::ValidatedWorkspace,
    },
};
use novasphere_runtime::{apply::WriteError, lease::NotLeader};
use rand::Rng as _;

use super::super::Reconciliation;
use crate::children::Children;

/// Makes sure that the Secret exists, and returns its UID. Only its metadata is read, by its name: this process keeps no Secret, and
/// cannot list any.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn ensure(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    valid: &ValidatedWorkspace,
    desired: &Secret,
) -> Result<ChildOutcome<String>, NotLeader> {
    let secrets: Api<Secret> = Api::namespaced(of.context.client.clone(), &valid.owner.namespace);
    let live = match secrets.get_metadata_opt(&desired.name_any()).await {
        Ok(live) => live.map(|live| live.metadata),
        Err(error) => return children.record(desired, Err(WriteError::from(error))),
    };
    if let Some(live) = live.as_ref().filter(|live| is_current(live, valid)) {
        return Ok(ChildOutcome::Applied(live.uid.clone().unwrap_or_default()));
    }
    let secret = build_secret(&valid.owner, &valid.rotation, Some(generate(&valid.owner.name)));
    let live = live.map(|mut metadata| {
        metadata.managed_fields = None;
        Secret {
            metadata,
            ..Secret::default()
        }
    });
    let result = children.applier().apply_over(&secret, live.as_ref()).await;
    children.record(
        desired,
        result.map(|written| written.object().uid().unwrap_or_default()),
    )
}

/// Whether the Secret belongs to the workspace and has been rotated as often as was asked for.
fn is_current(live: &ObjectMeta, valid: &ValidatedWorkspace) -> bool {
    let annotations = live.annotations.as_ref();
    let is_rotated = annotations.and_then(|all| all.get(ROTATED_FOR_ANNOTATION)) == Some(&valid.rotation);
    is_rotated && label::owner_uid(live) == Some(&valid.owner.uid)
}

fn generate(comment: &str) -> DesktopCredentials {
    loop {
        let mut seed = Seed {
            password: [0; 64],
            host_key: [0; 32],
        };
        let mut random = rand::rng();
        random.fill_bytes(&mut seed.password);
        random.fill_bytes(&mut seed.host_key);
        // That 64 random bytes are too few for 8 characters does not happen in practice.
        if let Some(credentials) = credentials(&seed, comment) {
            return credentials;
        }
    }
}
