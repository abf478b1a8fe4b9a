//! Reads what a `VmAccess` refers to: from the caches, and from the apiserver what no cache holds. That is the metadata of the Secrets and
//! `ConfigMaps` that its machine names.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{Api, ResourceExt, api::ListParams};
use novasphere_core::{
    vm_access::{
        allowed_references::{KEY_SHARED_WITH_MACHINES, MachineReferences},
        launcher,
        references::{Apis, GrantedObjects, References},
        virtual_machine_name,
    },
    vnc_workspace::KEY_WORKSPACE,
};
use novasphere_crd::VmAccess;
use novasphere_foreign::{
    kubevirt::{LABEL_CREATED_BY, VirtualMachineInstance},
    volume_snapshot::VolumeSnapshot,
};
use novasphere_runtime::apply::{ApiReason, WriteError};
use novasphere_sessions::view::machine_key;

use super::Context;
use crate::{
    pod_events,
    shared_objects::labelled,
    watches::{DATA_VOLUMES, VOLUME_SNAPSHOTS, has_kubevirt},
};

/// How many launcher Pods of one run are looked at: it has a second one while it migrates.
const LAUNCHER_PODS_LIMIT: u32 = 8;

/// A watch that lags is answered by the next event.
///
/// # Errors
///
/// When the apiserver did not answer.
pub(super) async fn dereference(vm_access: &VmAccess, context: &Context) -> Result<References, WriteError> {
    let namespace = vm_access.namespace().unwrap_or_default();
    let virtual_machine_name = virtual_machine_name(vm_access);
    let caches = &context.caches;
    let mut others = caches
        .vm_accesses
        .indexed(&machine_key(&namespace, &virtual_machine_name));
    others.retain(|other| other.uid() != vm_access.uid());
    let instance = caches.virtual_machine_instances.get(&namespace, &virtual_machine_name);
    Ok(References {
        others,
        virtual_machine: caches.virtual_machines.get(&namespace, &virtual_machine_name),
        virtual_machine_instance: instance.clone(),
        virtual_machine_name,
        apis: Apis {
            kubevirt: has_kubevirt(&context.apis),
            cdi: context.apis.served(&DATA_VOLUMES).is_some(),
        },
        launcher_words: launcher_words(instance.as_deref(), &namespace, context).await,
        granted: granted(vm_access, &namespace, context).await?,
        limits: Arc::clone(&context.limits),
    })
}

/// Why the Pod of a run that takes long does not start. It only explains, so what cannot be read is left out.
async fn launcher_words(
    instance: Option<&VirtualMachineInstance>,
    namespace: &str,
    context: &Context,
) -> Option<String> {
    let instance = instance.filter(|instance| launcher::is_overdue(instance, Timestamp::now()))?;
    let of_instance = format!("{LABEL_CREATED_BY}={}", instance.uid()?);
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let pods = pods
        .list(&ListParams::default().labels(&of_instance).limit(LAUNCHER_PODS_LIMIT))
        .await
        .ok()?;
    let pod = pods.items.into_iter().max_by_key(ResourceExt::creation_timestamp)?;
    let events = pod_events::warnings(&context.client, namespace, &pod.uid()?).await;
    launcher::words(&pod, &events)
}

async fn granted(vm_access: &VmAccess, namespace: &str, context: &Context) -> Result<GrantedObjects, WriteError> {
    let MachineReferences {
        secrets,
        config_maps,
        claims,
        snapshots,
    } = MachineReferences::of(vm_access);
    let caches = &context.caches;
    // Of claims, the cache has those of workspaces alone.
    let is_home = |claim: &String| caches.claims.get(namespace, claim).is_some();
    let (client, label) = (&context.client, KEY_SHARED_WITH_MACHINES);
    Ok(GrantedObjects {
        secrets: labelled::<Secret>(client, namespace, secrets, label).await?,
        config_maps: labelled::<ConfigMap>(client, namespace, config_maps, label).await?,
        homes: claims.into_iter().filter(is_home).collect(),
        home_snapshots: home_snapshots(snapshots, namespace, context).await?,
    })
}

/// Those among the named snapshots that are of homes. Until the first list of snapshots has ended, one that the cache does not have is read: it
/// must not pass for one that is of no home.
async fn home_snapshots(
    named: BTreeSet<String>,
    namespace: &str,
    context: &Context,
) -> Result<BTreeSet<String>, WriteError> {
    let is_listed = context.apis.listed(&VOLUME_SNAPSHOTS);
    let api: Api<VolumeSnapshot> = Api::namespaced(context.client.clone(), namespace);
    let mut of_homes = BTreeSet::new();
    for name in named {
        let is_of_home = match context.caches.volume_snapshots.get(namespace, &name) {
            Some(snapshot) => snapshot.labels().contains_key(KEY_WORKSPACE),
            None if is_listed || context.apis.served(&VOLUME_SNAPSHOTS).is_none() => false,
            None => match api.get_metadata_opt(&name).await.map_err(WriteError::from) {
                Ok(snapshot) => snapshot.is_some_and(|snapshot| snapshot.labels().contains_key(KEY_WORKSPACE)),
                Err(error) if error.is(ApiReason::Invalid) => false,
                Err(error) => return Err(error),
            },
        };
        if is_of_home {
            of_homes.insert(name);
        }
    }
    Ok(of_homes)
}
