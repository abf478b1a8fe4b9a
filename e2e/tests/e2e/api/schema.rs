//! The schemas of the three kinds, as the real apiserver takes them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        namespace::{Context, PodSecurity, with_namespace},
        paths,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::Value;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("api::schema::explained", Needs::ControlPlane, explained),
        Case::new("api::schema::good_and_bad", Needs::ControlPlane, good_and_bad),
    ]
}

/// Every manifest of `crates/crd/manifests`. The last document of a file is what
/// it is about; those before it are what it changes. A bad one begins with
/// `# expect: ` and the apiserver's words, exactly.
async fn good_and_bad() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "api::schema::good_and_bad",
        PodSecurity::Restricted,
        async |context| {
            let folder = paths::repository()?.join("crates/crd/manifests");
            let (good, bad) = (manifests(&folder.join("good"))?, manifests(&folder.join("bad"))?);
            ensure!(!good.is_empty() && !bad.is_empty(), "there are no manifests");
            let mut wrong = Vec::new();
            for path in good.iter().chain(&bad) {
                if let Err(error) = as_expected(context, path).await {
                    wrong.push(format!("{}: {error:#}", path.file_name().unwrap_or_default().display()));
                }
            }
            ensure!(
                wrong.is_empty(),
                "{} manifests are not answered as expected:\n{}",
                wrong.len(),
                wrong.join("\n")
            );
            println!(
                "api::schema::good_and_bad: {} good manifests accepted, {} bad ones refused",
                good.len(),
                bad.len()
            );
            Ok(())
        },
    )
    .await
}

fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

async fn as_expected(context: &Context<'_>, path: &Path) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let expected = text.lines().next().and_then(|line| line.strip_prefix("# expect: "));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    let (last, before) = documents.split_last().context("the file is empty")?;
    let objects = path_of(context, last)?;
    let mut made = None;
    for document in before {
        made = Some(
            write(context, &objects, document, made.as_ref())
                .await
                .context("a document before the last")?,
        );
    }
    let answer = write(context, &objects, last, made.as_ref()).await;
    if let Some(object) = answer.as_ref().ok().or(made.as_ref()) {
        let request = http::Request::delete(format!("{objects}/{}", name_of(object))).body(Vec::new())?;
        context.client.request::<Value>(request).await.context("delete it")?;
    }
    match (expected, answer) {
        (None, Ok(_)) => Ok(()),
        (None, Err(error)) => Err(error).context("refused"),
        (Some(expected), Ok(_)) => bail!("accepted, but expected {expected:?}"),
        (Some(expected), Err(kube::Error::Api(status))) => {
            let words = status
                .message
                .split_once(" is invalid: ")
                .map_or(status.message.as_str(), |(_, words)| words);
            ensure!(words == expected, "expected {expected:?}\n  got      {words:?}");
            Ok(())
        }
        (Some(_), Err(error)) => Err(error.into()),
    }
}

/// The path of the objects of a document's kind.
fn path_of(context: &Context<'_>, document: &Value) -> Result<String> {
    let kind = document.get("kind").and_then(Value::as_str).context("it has no kind")?;
    let (_, _, plural) = KINDS
        .iter()
        .find(|(known, ..)| *known == kind)
        .with_context(|| format!("unknown kind {kind}"))?;
    Ok(format!(
        "/apis/novasphere.io/v1alpha1/namespaces/{}/{plural}",
        context.namespace
    ))
}

/// Makes the object, or changes the one that was made before, as `kubectl` does:
/// with strict field validation.
async fn write(
    context: &Context<'_>,
    path: &str,
    document: &Value,
    made: Option<&Value>,
) -> Result<Value, kube::Error> {
    let mut document = document.clone();
    let request = match made {
        None => http::Request::post(format!("{path}?fieldValidation=Strict")),
        Some(made) => {
            let known = |field: &str| made.pointer(&format!("/metadata/{field}")).cloned().unwrap_or_default();
            if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("resourceVersion".to_owned(), known("resourceVersion"));
            }
            http::Request::put(format!("{path}/{}?fieldValidation=Strict", name_of(made)))
        }
    };
    let body = serde_json::to_vec(&document).map_err(kube::Error::SerdeError)?;
    let request = request
        .header("content-type", "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    context.client.request(request).await
}

fn name_of(object: &Value) -> &str {
    object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Kind, singular and plural.
const KINDS: [(&str, &str, &str); 3] = [
    ("VmAccess", "vmaccess", "vmaccesses"),
    ("ConsoleSession", "consolesession", "consolesessions"),
    ("VncWorkspace", "vncworkspace", "vncworkspaces"),
];

/// `kubectl explain` has a text for every field.
async fn explained() -> Result<()> {
    let cluster = Cluster::plane()?;
    let client = cluster.client().await?;
    // The documents follow the CRDs after a while.
    let document = wait::until("the apiserver serves the schema of each kind", wait::SHORT, || async {
        let request = http::Request::get("/openapi/v3/apis/novasphere.io/v1alpha1").body(Vec::new())?;
        let document: Value = client.request(request).await?;
        let has = |kind| {
            document
                .pointer(&format!("/components/schemas/io.novasphere.v1alpha1.{kind}"))
                .is_some()
        };
        let missing: Vec<_> = KINDS
            .iter()
            .map(|(kind, ..)| *kind)
            .filter(|kind| !has(*kind))
            .collect();
        Ok(Seen::some(
            missing.is_empty().then_some(document),
            format!("no {missing:?}"),
        ))
    })
    .await?;
    for (kind, singular, _) in KINDS {
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
        println!("api::schema::explained: {kind} has {fields} fields, each with a text");
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
