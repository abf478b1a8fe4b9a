//! The claim that is a workspace's home.

use k8s_openapi::{
    Resource as _,
    api::core::v1::{
        PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference, VolumeResourceRequirements,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use novasphere_crd::VolumeAccessMode;
use novasphere_foreign::volume_snapshot::VolumeSnapshot;

use super::super::{
    KEY_WORKSPACE,
    validated::{HomeSource, ValidatedWorkspace},
};
use crate::label::Component;

/// The home of a workspace.
pub(super) fn build(workspace: &ValidatedWorkspace) -> PersistentVolumeClaim {
    let (owner, home) = (&workspace.owner, &workspace.home);
    let mut labels = owner.labels(Component::Home);
    labels.insert(KEY_WORKSPACE.to_owned(), owner.name.clone());
    // A home that outlives its workspace must not be collected with it, also not by a foreground deletion, which takes the
    // dependents first. It is known by the label with the owner's UID.
    let owner_references = home.goes_along.then(|| vec![owner.reference()]);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(home.name.clone()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels),
            owner_references,
            ..ObjectMeta::default()
        },
        // The spec of a claim that was left by another workspace stays as it is: most of it is immutable.
        spec: (home.source != HomeSource::Claim).then(|| spec(workspace)),
        status: None,
    }
}

fn spec(workspace: &ValidatedWorkspace) -> PersistentVolumeClaimSpec {
    let home = &workspace.home;
    let data_source = match &home.source {
        HomeSource::Snapshot(name) => Some(TypedLocalObjectReference {
            api_group: Some(VolumeSnapshot::GROUP.to_owned()),
            kind: VolumeSnapshot::KIND.to_owned(),
            name: name.clone(),
        }),
        HomeSource::Empty | HomeSource::Claim => None,
    };
    PersistentVolumeClaimSpec {
        access_modes: Some(
            home.access_modes
                .iter()
                .map(|mode| access_mode(*mode).to_owned())
                .collect(),
        ),
        resources: Some(VolumeResourceRequirements {
            requests: Some([("storage".to_owned(), home.size.clone())].into()),
            limits: None,
        }),
        storage_class_name: home.storage_class_name.clone(),
        data_source,
        ..PersistentVolumeClaimSpec::default()
    }
}

const fn access_mode(mode: VolumeAccessMode) -> &'static str {
    match mode {
        VolumeAccessMode::ReadWriteOnce => "ReadWriteOnce",
        VolumeAccessMode::ReadOnlyMany => "ReadOnlyMany",
        VolumeAccessMode::ReadWriteMany => "ReadWriteMany",
        VolumeAccessMode::ReadWriteOncePod => "ReadWriteOncePod",
    }
}
