//! What `build` makes of every feature of a template is what the real schemas,
//! and KubeVirt's own admission, accept.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use kube::api::{DynamicObject, PatchParams};
use novasphere_core::vm_access::{
    allowed_references::MachineReferences,
    build::build,
    limits::MachineLimits,
    references::{Apis, GrantedObjects, References},
    validate::validate,
    virtual_machine_name,
};
use novasphere_crd::VmAccess;
use novasphere_e2e::{
    fixtures::{
        apply::{apply, as_person},
        cluster::Cluster,
        namespace::{Context, PodSecurity, with_namespace},
        paths,
    },
    harness::{Case, Needs},
};
use serde_json::Value;

/// How many are tried: more than all cases have at once.
const NODE_PORT_ATTEMPTS_LIMIT: usize = 1_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("vm_access::dry_run::schemas", Needs::ControlPlane, || async {
            every_fixture(Cluster::plane()?, "vm_access::dry_run::schemas").await
        }),
        Case::new("vm_access::dry_run::kubevirt_admission", Needs::Node, || async {
            every_fixture(Cluster::with_novasphere()?, "vm_access::dry_run::kubevirt_admission").await
        }),
    ]
}

async fn every_fixture(cluster: &Cluster, test: &str) -> Result<()> {
    with_namespace(cluster, test, PodSecurity::Restricted, async |context| {
        let mut refusals = Vec::new();
        let fixtures = fixtures(&context.namespace)?;
        ensure!(!fixtures.is_empty(), "there are no fixtures");
        for (name, vm_access) in &fixtures {
            if let Err(error) = accepted(context, vm_access).await {
                refusals.push(format!("{name}: {error:#}"));
            }
        }
        ensure!(
            refusals.is_empty(),
            "{} of {} refused:\n{}",
            refusals.len(),
            fixtures.len(),
            refusals.join("\n")
        );
        println!("{test}: what is built from {} fixtures is accepted", fixtures.len());
        Ok(())
    })
    .await
}

/// The inputs of the golden tests of `build`.
fn fixtures(namespace: &str) -> Result<Vec<(String, VmAccess)>> {
    let folder = paths::repository()?.join("crates/core/tests/fixtures/vm_access");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let name = path.display().to_string();
            let value: Value = serde_saphyr::from_str(&fs::read_to_string(&path)?).with_context(|| name.clone())?;
            let mut vm_access: VmAccess = serde_json::from_value(value).with_context(|| name.clone())?;
            vm_access.metadata.namespace = Some(namespace.to_owned());
            vm_access.metadata.uid = Some("5f0b6a4e-6d0a-4c6e-8f43-0d2f1f3f0c11".to_owned());
            Ok((path.file_stem().unwrap_or_default().display().to_string(), vm_access))
        })
        .collect()
}

async fn accepted(context: &Context<'_>, vm_access: &VmAccess) -> Result<()> {
    // The input itself first: a fixture that the schema refuses proves nothing.
    let mut own = serde_json::to_value(vm_access)?;
    if let Some(metadata) = own.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("uid");
    }
    try_out(context, own).await.context("the fixture")?;
    let named = MachineReferences::of(vm_access);
    let references = References {
        virtual_machine_name: virtual_machine_name(vm_access),
        apis: Apis {
            kubevirt: true,
            cdi: true,
        },
        granted: GrantedObjects {
            secrets: named.secrets,
            config_maps: named.config_maps,
            ..GrantedObjects::default()
        },
        limits: Arc::new(MachineLimits::unlimited()),
        ..References::default()
    };
    let prepared = build(&validate(vm_access, &references)?, Vec::new());
    if let Some(machine) = &prepared.virtual_machine {
        try_out(context, serde_json::to_value(machine)?)
            .await
            .context("the VirtualMachine")?;
    }
    for service in &prepared.services {
        service_accepted(context, serde_json::to_value(&service.service)?)
            .await
            .context("a Service")?;
    }
    Ok(())
}

/// The cluster has other cases' Services too. A fixed node port that one of them was given is asked for as the next one.
async fn service_accepted(context: &Context<'_>, mut service: Value) -> Result<()> {
    for _ in 0..NODE_PORT_ATTEMPTS_LIMIT {
        match try_out(context, service.clone()).await {
            Err(error) if format!("{error:#}").contains("provided port is already allocated") => {
                let ports = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
                for port in ports.into_iter().flatten() {
                    if let Some(fixed) = port.get("nodePort").and_then(Value::as_u64) {
                        port["nodePort"] = (fixed + 1).into();
                    }
                }
            }
            other => return other,
        }
    }
    bail!("{NODE_PORT_ATTEMPTS_LIMIT} node ports in a row are taken")
}

/// Applies an object without keeping it.
async fn try_out(context: &Context<'_>, object: Value) -> Result<()> {
    let parameters = PatchParams {
        dry_run: true,
        ..as_person().force()
    };
    apply::<DynamicObject>(&context.client, Some(&context.namespace), object, &parameters)
        .await
        .map(drop)
}
