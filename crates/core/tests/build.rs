//! What `build` makes of each feature of a template, compared with the snapshots beside this file.
//!
//! The inputs are `fixtures/vm_access/*.yaml`, one feature each; `e2e` sends what is built from the same files to a real
//! apiserver with strict field validation.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions, and these are their helpers"
)]

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc};

use novasphere_core::vm_access::{
    allowed_references::MachineReferences,
    build::build,
    limits::MachineLimits,
    references::{Apis, GrantedObjects, References},
    validate::validate,
    virtual_machine_name,
};
use novasphere_crd::VmAccess;
use serde_json::{Value, json};

fn fixtures() -> Vec<(String, VmAccess)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vm_access");
    let mut fixtures = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let value: Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut vm_access: VmAccess =
            serde_json::from_value(value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        vm_access.metadata.namespace = Some("team-a".into());
        vm_access.metadata.uid = Some("5f0b6a4e-6d0a-4c6e-8f43-0d2f1f3f0c11".into());
        vm_access.metadata.generation = Some(1);
        fixtures.push((name, vm_access));
    }
    fixtures.sort_by(|a, b| a.0.cmp(&b.0));
    fixtures
}

/// All that it names is shared with machines.
fn granted_to(vm_access: &VmAccess) -> GrantedObjects {
    let named = MachineReferences::of(vm_access);
    GrantedObjects {
        secrets: named.secrets,
        config_maps: named.config_maps,
        ..GrantedObjects::default()
    }
}

fn built(vm_access: &VmAccess) -> Value {
    let references = References {
        virtual_machine_name: virtual_machine_name(vm_access),
        apis: Apis {
            kubevirt: true,
            cdi: true,
        },
        granted: granted_to(vm_access),
        limits: Arc::new(MachineLimits::unlimited()),
        ..References::default()
    };
    let prepared = build(&validate(vm_access, &references).unwrap(), Vec::new());
    let services: Vec<_> = prepared.services.iter().map(|service| &service.service).collect();
    json!({"virtualMachine": prepared.virtual_machine, "services": services})
}

#[test]
fn every_feature_is_built_as_its_snapshot_says() {
    for (name, vm_access) in fixtures() {
        insta::assert_yaml_snapshot!(name, built(&vm_access));
    }
}

/// A snapshot that no fixture writes any more would go unnoticed.
#[test]
fn every_snapshot_has_its_fixture() {
    let names: BTreeSet<_> = fixtures()
        .into_iter()
        .map(|(name, _)| format!("build__{name}.snap"))
        .collect();
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    for entry in fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            !file.starts_with("build__") || names.contains(&file),
            "{file} has no fixture; delete it"
        );
    }
}

/// The fields of every fixture are those of the schema: nothing in it is a slip that decoding dropped.
#[test]
fn every_field_of_a_fixture_is_read() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vm_access");
    for (name, vm_access) in fixtures() {
        let text = fs::read_to_string(directory.join(format!("{name}.yaml"))).unwrap();
        let written: Value = serde_saphyr::from_str(&text).unwrap();
        let read = serde_json::to_value(&vm_access).unwrap();
        assert_contains(&read["spec"], &written["spec"], &name);
    }
}

fn assert_contains(read: &Value, written: &Value, place: &str) {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            for (key, value) in written {
                let place = format!("{place}.{key}");
                assert_contains(
                    read.get(key).unwrap_or_else(|| panic!("{place} was not read")),
                    value,
                    &place,
                );
            }
        }
        (Value::Array(read), Value::Array(written)) => {
            assert_eq!(read.len(), written.len(), "{place}");
            for (index, (read, written)) in read.iter().zip(written).enumerate() {
                assert_contains(read, written, &format!("{place}[{index}]"));
            }
        }
        _ => assert_eq!(read, written, "{place}"),
    }
}
