//! The table of good and bad manifests (`manifests/`), without a cluster: what CEL says, and what the Rust types keep. The
//! end-to-end tests apply the same files to a real kube-apiserver, which also checks types, lengths and enums.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions, and these are their helpers"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use kube::core::cel::{CompiledSchema, Validator, apply_defaults, compile_schema};
use novasphere_crd::{ConsoleSession, VmAccess, VncWorkspace};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

struct Manifest {
    file: String,
    /// The words of the apiserver, for a bad one.
    expected: Option<String>,
    /// What is there before.
    before: Option<Value>,
    /// What is applied.
    object: Value,
}

fn manifests(folder: &str) -> Vec<Manifest> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(folder);
    let mut manifests: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let mut documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
            Manifest {
                file: path.file_name().unwrap().to_str().unwrap().to_owned(),
                expected: text
                    .lines()
                    .next()
                    .unwrap()
                    .strip_prefix("# expect: ")
                    .map(str::to_owned),
                object: documents.pop().unwrap(),
                before: documents.pop(),
            }
        })
        .collect();
    manifests.sort_by(|a, b| a.file.cmp(&b.file));
    assert!(!manifests.is_empty());
    manifests
}

/// The schemas by kind.
fn schemas() -> BTreeMap<String, Value> {
    novasphere_crd::crds()
        .into_iter()
        .map(|crd| {
            let schema = crd.spec.versions[0]
                .schema
                .as_ref()
                .unwrap()
                .open_api_v3_schema
                .as_ref()
                .unwrap();
            (crd.spec.names.kind, serde_json::to_value(schema).unwrap())
        })
        .collect()
}

struct Rules(BTreeMap<String, CompiledSchema>);

impl Rules {
    fn compile() -> Self {
        Self(
            schemas()
                .into_iter()
                .map(|(kind, schema)| (kind, compile_schema(&schema)))
                .collect(),
        )
    }

    /// The broken ones, as `<field>: <message>`.
    fn broken_by(&self, manifest: &Manifest) -> Vec<String> {
        let schema = &self.0[kind(&manifest.object)];
        let Err(errors) = Validator::new().validate_compiled(schema, &manifest.object, manifest.before.as_ref()) else {
            return Vec::new();
        };
        let place = |path: &str| {
            if path.is_empty() {
                "<nil>".to_owned()
            } else {
                path.trim_start_matches('.').to_owned()
            }
        };
        errors
            .iter()
            .map(|error| format!("{}: {}", place(&error.field_path), error.message))
            .collect()
    }
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}

/// All rules of all kinds, as `(rule, message)`.
fn rules() -> BTreeSet<(String, String)> {
    fn collect(value: &Value, rules: &mut BTreeSet<(String, String)>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| collect(value, rules)),
            Value::Object(fields) => {
                if let (Some(Value::String(rule)), Some(Value::String(message))) =
                    (fields.get("rule"), fields.get("message"))
                {
                    rules.insert((rule.clone(), message.clone()));
                }
                fields.values().for_each(|value| collect(value, rules));
            }
            _ => {}
        }
    }
    let mut rules = BTreeSet::new();
    collect(&serde_json::to_value(novasphere_crd::crds()).unwrap(), &mut rules);
    rules
}

#[test]
fn good_manifests_break_no_rule() {
    let rules = Rules::compile();
    for manifest in manifests("good") {
        assert_eq!(rules.broken_by(&manifest), Vec::<String>::new(), "{}", manifest.file);
    }
}

/// The words of a bad manifest are either those of a rule, which must be broken here too and be the only one, or of the
/// apiserver's own checks of types, lengths and enums, of which kube's CEL knows nothing.
#[test]
fn bad_manifests_break_the_rule_they_name() {
    let messages: BTreeSet<_> = rules().into_iter().map(|(_, message)| message).collect();
    let compiled = Rules::compile();
    for manifest in manifests("bad") {
        let expected = manifest
            .expected
            .as_deref()
            .unwrap_or_else(|| panic!("{} expects nothing", manifest.file));
        let Some(message) = messages
            .iter()
            .find(|message| expected.ends_with(&format!(": {message}")))
        else {
            continue;
        };
        let (field, _) = expected.split_once(": ").unwrap();
        // kube's CEL writes the keys of maps as fields.
        let field = field.replace("limits[memory]", "limits.memory");
        assert_eq!(
            compiled.broken_by(&manifest),
            [format!("{field}: {message}")],
            "{}",
            manifest.file
        );
    }
}

#[test]
fn every_rule_is_broken_by_a_bad_manifest() {
    let bad = manifests("bad");
    let untested: Vec<_> = rules()
        .into_iter()
        .filter(|(_, message)| {
            !bad.iter()
                .any(|manifest| manifest.expected.as_ref().is_some_and(|words| words.ends_with(message)))
        })
        .collect();
    assert!(untested.is_empty(), "{untested:#?}");
}

/// Where each value of an object is.
fn places(value: &Value, at: &str, places: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                self::places(value, &format!("{at}.{name}"), places);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                self::places(value, &format!("{at}[{index}]"), places);
            }
        }
        _ => {
            places.insert(at.to_owned());
        }
    }
}

/// Reads it as the Rust type and writes it again: nothing is lost, and nothing is added that the apiserver did not add.
fn round_trip<K: DeserializeOwned + Serialize>(manifest: &Manifest, schema: &Value) {
    let mut defaulted = apply_defaults(schema, &manifest.object);
    // What the status of a new object says is the apiserver's word alone.
    if manifest.object.get("status").is_none()
        && let Some(fields) = defaulted.as_object_mut()
    {
        fields.remove("status");
    }
    let written = |value: &Value| {
        let object: K =
            serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{}: {error}", manifest.file));
        let mut all = BTreeSet::new();
        places(&serde_json::to_value(object).unwrap(), "", &mut all);
        all
    };
    let mut expected = BTreeSet::new();
    places(&defaulted, "", &mut expected);
    assert_eq!(written(&defaulted), expected, "{}", manifest.file);
    // The Rust types know the same defaults as the schema.
    assert_eq!(
        written(&manifest.object),
        expected,
        "{}: defaults in Rust",
        manifest.file
    );
}

#[test]
fn the_rust_types_keep_everything() {
    let schemas = schemas();
    for manifest in manifests("good") {
        let kind = kind(&manifest.object);
        match kind {
            "VmAccess" => round_trip::<VmAccess>(&manifest, &schemas[kind]),
            "ConsoleSession" => round_trip::<ConsoleSession>(&manifest, &schemas[kind]),
            "VncWorkspace" => round_trip::<VncWorkspace>(&manifest, &schemas[kind]),
            other => panic!("{}: unknown kind {other}", manifest.file),
        }
    }
}
