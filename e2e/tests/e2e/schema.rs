//! The schemas of the three kinds, as the real apiserver takes them.

use anyhow::{Context as _, Result, ensure};
use novasphere_e2e::{
    cluster::Cluster,
    harness::{Case, Needs},
};
use serde_json::Value;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("schema::explained", Needs::ControlPlane, explained)]
}

const KINDS: [(&str, &str); 3] = [
    ("VmAccess", "vmaccess"),
    ("ConsoleSession", "consolesession"),
    ("VncWorkspace", "vncworkspace"),
];

/// `kubectl explain` has a text for every field.
async fn explained() -> Result<()> {
    let cluster = Cluster::plane()?;
    let client = cluster.client().await?;
    let request = http::Request::get("/openapi/v3/apis/novasphere.io/v1alpha1").body(Vec::new())?;
    let document: Value = client.request(request).await?;
    for (kind, singular) in KINDS {
        let schema = document
            .pointer(&format!("/components/schemas/io.novasphere.v1alpha1.{kind}"))
            .with_context(|| format!("the apiserver serves no schema of {kind}"))?;
        let mut silent = Vec::new();
        let mut fields = 0;
        for part in ["spec", "status"] {
            let part_schema = schema
                .pointer(&format!("/properties/{part}"))
                .with_context(|| format!("{kind}.{part}"))?;
            walk(part_schema, part, &mut fields, &mut silent);
        }
        ensure!(
            silent.is_empty(),
            "{kind} has fields without a text: {}",
            silent.join(", ")
        );
        let text = cluster.kubectl(&["explain", &format!("{singular}.spec")])?;
        ensure!(
            text.contains("DESCRIPTION") && text.contains("FIELDS"),
            "kubectl explain {singular}.spec says {text}"
        );
        println!("schema::explained: {kind} has {fields} fields, each with a text");
    }
    Ok(())
}

fn walk(schema: &Value, path: &str, fields: &mut usize, silent: &mut Vec<String>) {
    *fields += 1;
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    if text.trim().is_empty() {
        silent.push(path.to_owned());
    }
    for (name, field) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        walk(field, &format!("{path}.{name}"), fields, silent);
    }
    // An entry of a list is explained by its list, its own fields are not.
    for items in ["items", "additionalProperties"] {
        for (name, field) in schema
            .pointer(&format!("/{items}/properties"))
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            walk(field, &format!("{path}[].{name}"), fields, silent);
        }
    }
}
