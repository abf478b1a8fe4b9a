//! The table of merge keys by which an apply is compared agrees with the API server's own OpenAPI.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use http::Request;
use novasphere_e2e::{
    fixtures::cluster::Cluster,
    harness::{Case, Needs},
};
use novasphere_runtime::apply::list_type::{ListType, Schema, list_type};
use serde_json::Value;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "api::merge_keys::as_the_server_says",
        Needs::ControlPlane,
        as_the_server_says,
    )]
}

/// The built-in kinds that novasphere applies: path below `/openapi/v3`, and the name of the schema.
const KINDS: &[(&str, &str)] = &[
    ("api/v1", "io.k8s.api.core.v1.Pod"),
    ("api/v1", "io.k8s.api.core.v1.Service"),
    ("api/v1", "io.k8s.api.core.v1.Secret"),
    ("api/v1", "io.k8s.api.core.v1.PersistentVolumeClaim"),
    ("apis/networking.k8s.io/v1", "io.k8s.api.networking.v1.NetworkPolicy"),
    ("apis/coordination.k8s.io/v1", "io.k8s.api.coordination.v1.Lease"),
];

/// Lists for which the table says otherwise on purpose, with its reason beside the row.
const DIFFERENT: &[(&str, &str)] = &[("spec", "tolerations")];

async fn as_the_server_says() -> Result<()> {
    let client = Cluster::plane()?.client().await?;
    let mut walk = Walk::default();
    for (path, kind) in KINDS {
        let request = Request::get(format!("/openapi/v3/{path}")).body(Vec::new())?;
        let document: Value = client
            .request(request)
            .await
            .with_context(|| format!("/openapi/v3/{path}"))?;
        let schemas = document.pointer("/components/schemas").context("no schemas")?;
        let schema = schemas.get(*kind).with_context(|| format!("no schema {kind}"))?;
        walk.object(schemas, schema, kind, "", &mut Vec::new());
    }
    ensure!(
        walk.wrong.is_empty(),
        "the table in crates/runtime/src/apply/list_type.rs is not what the API server says:\n{}",
        walk.wrong.join("\n")
    );
    ensure!(walk.maps > 10, "only {} lists with merge keys were found", walk.maps);
    println!(
        "api::merge_keys::as_the_server_says: {} lists, {} of them with merge keys",
        walk.lists, walk.maps
    );
    Ok(())
}

#[derive(Default)]
struct Walk {
    lists: usize,
    maps: usize,
    wrong: Vec<String>,
}

impl Walk {
    /// Looks at the lists of an object that stands in the field `parent`. Schemas may hold themselves: `path` has those above.
    fn object<'a>(&mut self, schemas: &'a Value, schema: &'a Value, at: &str, parent: &str, path: &mut Vec<&'a str>) {
        let name = reference(schema);
        if name.is_some_and(|name| path.contains(&name)) {
            return;
        }
        path.extend(name);
        let schema = resolve(schemas, schema);
        let properties = schema.get("properties").and_then(Value::as_object);
        for (key, property) in properties.into_iter().flatten() {
            // What is reported and not applied.
            if key == "status" || key == "managedFields" {
                continue;
            }
            let at = format!("{at}.{key}");
            let resolved = resolve(schemas, property);
            if resolved.get("type").and_then(Value::as_str) == Some("array") {
                self.list(resolved, &at, parent, key);
                if let Some(items) = resolved.get("items") {
                    self.object(schemas, items, &at, key, path);
                }
            } else {
                self.object(schemas, property, &at, key, path);
            }
        }
        if name.is_some() {
            path.pop();
        }
    }

    fn list(&mut self, list: &Value, at: &str, parent: &str, key: &str) {
        self.lists += 1;
        let keys: BTreeSet<&str> = list
            .get("x-kubernetes-list-map-keys")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        self.maps += usize::from(!keys.is_empty());
        let kind = list
            .get("x-kubernetes-list-type")
            .and_then(Value::as_str)
            .unwrap_or("atomic");
        let ours = list_type(Schema::BuiltIn, parent, key);
        let same = match ours {
            ListType::Atomic => kind == "atomic",
            ListType::Set => kind == "set",
            ListType::Map(names) => kind == "map" && names.iter().copied().collect::<BTreeSet<_>>() == keys,
        };
        if !same && !DIFFERENT.contains(&(parent, key)) {
            self.wrong
                .push(format!("{at}: {kind} {keys:?}, and the table says {ours:?}"));
        }
    }
}

/// The name of the schema that this one refers to. A reference with a default of its own is the one of `allOf`.
fn reference(schema: &Value) -> Option<&str> {
    let reference = schema
        .get("$ref")
        .or_else(|| schema.pointer("/allOf/0/$ref"))?
        .as_str()?;
    reference.rsplit('/').next()
}

fn resolve<'a>(schemas: &'a Value, schema: &'a Value) -> &'a Value {
    reference(schema).and_then(|name| schemas.get(name)).unwrap_or(schema)
}
