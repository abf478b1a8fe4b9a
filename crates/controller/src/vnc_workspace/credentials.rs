//! The Secret of a workspace: made once, and made anew when a person asks for other credentials.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use novasphere_core::{
    failure::Failure,
    label,
    vnc_workspace::{
        build::{ROTATED_FOR, build_secret},
        credentials::{DesktopCredentials, Seed, credentials},
        validated::ValidatedWorkspace,
    },
};
use novasphere_runtime::{apply::WriteError, lease::NotLeader};
use rand::Rng as _;

use super::Look;
use crate::applying::refused;

/// Makes the Secret be there, and returns its UID. Only its metadata is read, by its name: this process keeps no Secret, and cannot
/// list any.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn ensure(
    look: &mut Look<'_>,
    valid: &ValidatedWorkspace,
    wanted: &Secret,
) -> Result<Result<String, Failure>, NotLeader> {
    let secrets: Api<Secret> = Api::namespaced(look.context.client.clone(), &valid.owner.namespace);
    let live = match secrets.get_metadata_opt(&wanted.name_any()).await {
        Ok(live) => live.map(|live| live.metadata),
        Err(error) => return Ok(Err(refused(wanted, &WriteError::from(error), &mut look.retry)?)),
    };
    let rotated = |live: &&kube::core::ObjectMeta| {
        let annotations = live.annotations.as_ref();
        annotations.and_then(|all| all.get(ROTATED_FOR)) == Some(&valid.rotation)
    };
    let is_ours = |live: &&kube::core::ObjectMeta| label::owner_uid(live) == Some(&valid.owner.uid);
    if let Some(live) = live.as_ref().filter(is_ours).filter(rotated) {
        return Ok(Ok(live.uid.clone().unwrap_or_default()));
    }
    let secret = build_secret(&valid.owner, &valid.rotation, Some(new(&valid.owner.name)));
    let live = live.map(|mut metadata| {
        metadata.managed_fields = None;
        Secret {
            metadata,
            ..Secret::default()
        }
    });
    match look.context.applier.apply_over(&secret, live.as_ref()).await {
        Ok(written) => Ok(Ok(written.object().uid().unwrap_or_default())),
        Err(error) => Ok(Err(refused(wanted, &error, &mut look.retry)?)),
    }
}

fn new(comment: &str) -> DesktopCredentials {
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
