//! What the account of `helm uninstall` may do with workspaces: take the one finalizer off those that are not being deleted, and nothing else.

use anyhow::{Context as _, Result};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use novasphere_core::vnc_workspace::FINALIZER;
use novasphere_crd::VncWorkspace;
use novasphere_e2e::fixtures::{namespace::Context, workspace::apply_workspace};
use serde_json::{Value, json};

use super::{How, Write, attempt, is_refused, write};

/// A workspace that stays, and one that is being deleted.
const KEPT: &str = "kept";
const ENDING: &str = "ending";

/// A finalizer of somebody else.
const OTHER: &str = "example.org/other";

/// Tries all; returns how many writes were refused.
pub(super) async fn is_bounded(context: &Context<'_>, client: &Client) -> Result<usize> {
    let workspaces: Api<VncWorkspace> = context.api();
    for name in [KEPT, ENDING] {
        apply_workspace(context, name, "registry.example.com/desktop:1", &json!({})).await?;
        set_finalizers(&workspaces, name, &[OTHER, FINALIZER]).await?;
    }
    workspaces.delete(ENDING, &DeleteParams::default()).await?;
    let result = tried(context, client).await;
    // No controller does, and the namespace of the case would wait for ever.
    for name in [KEPT, ENDING] {
        set_finalizers(&workspaces, name, &[]).await?;
    }
    result
}

async fn set_finalizers(workspaces: &Api<VncWorkspace>, name: &str, finalizers: &[&str]) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    workspaces.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn tried(context: &Context<'_>, client: &Client) -> Result<usize> {
    let refused = refused();
    for write in &refused {
        is_refused(context, client, write)
            .await
            .with_context(|| format!("uninstall: {}", write.told()))?;
    }
    let allowed = write(
        "its finalizer, taken off",
        How::Merge,
        workspace(KEPT, &json!({"finalizers": [OTHER]})),
    );
    let answer = attempt(context, client, &allowed).await?;
    answer.map_err(|why| anyhow::anyhow!("uninstall may not: {}: {why}", allowed.told()))?;
    Ok(refused.len())
}

fn workspace(name: &str, metadata: &Value) -> Value {
    let mut all = json!({"name": name});
    if let (Some(all), Some(fields)) = (all.as_object_mut(), metadata.as_object()) {
        all.extend(fields.clone());
    }
    json!({"apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace", "metadata": all})
}

fn refused() -> Vec<Write> {
    let spec = json!({
        "apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace", "metadata": {"name": KEPT},
        "spec": {"storage": {"reclaim": "Delete"}},
    });
    let controller = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "novasphere-controller"}, "spec": {"replicas": 0},
    });
    vec![
        write("a spec", How::Merge, spec),
        write(
            "a label",
            How::Merge,
            workspace(KEPT, &json!({"labels": {"team": "theirs"}})),
        ),
        write(
            "another's finalizer, taken off",
            How::Merge,
            workspace(KEPT, &json!({"finalizers": [FINALIZER]})),
        ),
        write(
            "a new finalizer",
            How::Merge,
            workspace(KEPT, &json!({"finalizers": [OTHER, FINALIZER, "example.org/third"]})),
        ),
        write(
            "the finalizer of a workspace whose home is being saved",
            How::Merge,
            workspace(ENDING, &json!({"finalizers": [OTHER]})),
        ),
        write("a workspace, deleted", How::Delete, workspace(KEPT, &json!({}))),
        write("a Deployment beyond its scale", How::Merge, controller),
    ]
}
