//! CPU and memory of a desktop change while it runs, where Kubernetes can do that.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::change,
        cluster::Cluster,
        condition::{message, wait_for},
        event::wait_for_event,
        namespace::{Context, PodSecurity, with_namespace},
        wait,
        workspace_plane::{NodeStandIn, apply_desk, is_running, provision, start_resyncing, unprovision},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

const NAME: &str = "alice";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "workspace::resize::in_place_or_new",
        Needs::ControlPlane,
        in_place_or_new,
    )]
}

async fn in_place_or_new() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "workspace::resize::in_place_or_new",
        PodSecurity::Restricted,
        async |context| {
            let homes = [NAME.to_owned()];
            provision(context, &homes).await?;
            let _kubelet = NodeStandIn::start(context, false).await?;
            let account = Account::create(cluster, &context.namespace, "controller").await?;
            let controller = start_resyncing(context, &account).await?;
            let resources = json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}});
            apply_desk(context, NAME, &json!({ "resources": resources })).await?;
            ready(context).await?;

            let first = pod(context).await?;
            let mark = cluster.audit().mark()?;
            resize(
                context,
                &json!({"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "4Gi"}}),
            )
            .await?;
            let grown = has(context, "/limits/memory", "4Gi").await?;
            ensure!(grown.uid() == first.uid(), "the Pod was replaced to grow");
            resize(
                context,
                &json!({"requests": {"cpu": "250m", "memory": "2Gi"}, "limits": {"memory": "4Gi", "cpu": "2"}}),
            )
            .await?;
            let shrunk = has(context, "/limits/cpu", "2").await?;
            ensure!(
                shrunk.uid() == first.uid(),
                "the Pod was replaced to shrink, or to get another limit"
            );
            ready(context).await?;
            controller.reconciles_pass(3).await?;
            let written = context.cluster.audit().by(&account.user(), mark)?;
            let resized = written.iter().filter(|write| write.resource() == "pods/resize").count();
            ensure!(resized == 2, "{resized} resizes for two wishes");
            let mark = cluster.audit().mark()?;
            controller.reconciles_pass(5).await?;
            ensure!(
                context.cluster.audit().by(&account.user(), mark)?.is_empty(),
                "a Pod that was resized is not settled"
            );

            quota(context).await.context("a quota")?;
            full_node(context).await.context("a node without room")?;
            small_node(context).await.context("a node that is too small")?;
            other_class(context).await.context("another QoS class")?;
            controller.stop().await?;
            unprovision(context, &homes).await
        },
    )
    .await
}

async fn resize(context: &Context<'_>, resources: &Value) -> Result<()> {
    // What is not given goes: as an apply of the whole.
    let all = json!({"resources": {"requests": null, "limits": null}});
    let mut patch = all.clone();
    if let (Some(patch), Some(resources)) = (patch.pointer_mut("/resources"), resources.as_object()) {
        for (kind, quantities) in resources {
            if let Some(kind) = patch.get_mut(kind) {
                kind.clone_from(quantities);
            }
        }
    }
    change::<VncWorkspace>(context, NAME, &patch).await.map(drop)
}

async fn ready(context: &Context<'_>) -> Result<()> {
    let workspaces = context.api();
    wait::object(&workspaces, NAME, "it runs", wait::SHORT, is_running)
        .await
        .map(drop)
}

async fn pod(context: &Context<'_>) -> Result<Pod> {
    Ok(context.api::<Pod>().get(NAME).await?)
}

/// Waits until the Pod has this resource.
async fn has(context: &Context<'_>, pointer: &str, wanted: &str) -> Result<Pod> {
    let pods: Api<Pod> = context.api();
    wait::object(&pods, NAME, format!("{pointer} {wanted}"), wait::SHORT, |pod: &Pod| {
        let container = pod.spec.iter().flat_map(|spec| &spec.containers).next();
        let resources = container.and_then(|container| serde_json::to_value(&container.resources).ok());
        let resources = resources.unwrap_or_default();
        let has = resources.pointer(pointer).and_then(Value::as_str);
        if has == Some(wanted) {
            Ok(())
        } else {
            Err(resources.to_string())
        }
    })
    .await
}

/// The desktop keeps what it has, and gets more when there is more.
async fn quota(context: &Context<'_>) -> Result<()> {
    let before = pod(context).await?;
    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"requests.memory": "2Gi"}}});
    let quotas: Api<ResourceQuota> = context.api();
    quotas
        .create(&PostParams::default(), &serde_json::from_value(quota)?)
        .await?;
    wait::object(&quotas, "small", "counted", wait::SHORT, |quota: &ResourceQuota| {
        let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
        used.map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .await?;
    resize(
        context,
        &json!({"requests": {"cpu": "250m", "memory": "3Gi"}, "limits": {"memory": "4Gi", "cpu": "2"}}),
    )
    .await?;
    wait_for_event(context, NAME, "reason=ResizeRefused", "exceeded quota").await?;
    let workspace = wait_for::<VncWorkspace>(context, NAME, ("PodReady", "True", "Running"), wait::LONG).await?;
    wait::object(
        &context.api::<VncWorkspace>(),
        NAME,
        "it says why",
        wait::SHORT,
        |workspace| {
            let said = message(workspace, "PodReady");
            if said.contains("exceeded quota") {
                Ok(())
            } else {
                Err(said.to_owned())
            }
        },
    )
    .await?;
    ensure!(workspace.metadata.generation.is_some(), "no generation");
    quotas.delete("small", &DeleteParams::default()).await?;
    let after = has(context, "/requests/memory", "3Gi").await?;
    ensure!(after.uid() == before.uid(), "the Pod was replaced because of a quota");
    Ok(())
}

/// The kubelet says that there is no room now.
async fn full_node(context: &Context<'_>) -> Result<()> {
    let before = pod(context).await?;
    kubelet_says(context, "Deferred", "Node didn't have enough resource: cpu").await?;
    wait::object(
        &context.api::<VncWorkspace>(),
        NAME,
        "it says what it waits for",
        wait::SHORT,
        |workspace| {
            let said = message(workspace, "PodReady");
            if said.contains("enough resource: cpu") {
                Ok(())
            } else {
                Err(said.to_owned())
            }
        },
    )
    .await?;
    ensure!(
        pod(context).await?.uid() == before.uid(),
        "the Pod was replaced although it may get its resources yet"
    );
    Ok(())
}

/// The kubelet says that the node can never do it.
async fn small_node(context: &Context<'_>) -> Result<()> {
    let before = pod(context).await?;
    kubelet_says(context, "Infeasible", "Node didn't have enough capacity: cpu").await?;
    another(context, &before).await?;
    wait_for_event(context, NAME, "reason=PodReplaced", "enough capacity: cpu").await?;
    ready(context).await
}

/// Without any resources, the Pod has another `QoS` class.
async fn other_class(context: &Context<'_>) -> Result<()> {
    let before = pod(context).await?;
    resize(
        context,
        &json!({"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "4Gi", "cpu": "2"}}),
    )
    .await?;
    another(context, &before).await?;
    wait_for_event(context, NAME, "reason=PodReplaced", "QOS").await?;
    ready(context).await?;
    let guaranteed = pod(context).await?;
    resize(context, &json!({})).await?;
    another(context, &guaranteed).await?;
    wait_for_event(context, NAME, "reason=PodReplaced", "cannot be taken away").await?;
    ready(context).await
}

async fn kubelet_says(context: &Context<'_>, reason: &str, words: &str) -> Result<()> {
    let generation = pod(context).await?.metadata.generation;
    let status = json!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T00:00:00Z"},
        {"type": "PodResizePending", "status": "True", "reason": reason, "message": words, "observedGeneration": generation},
    ]}});
    let pods: Api<Pod> = context.api();
    pods.patch_status(NAME, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

async fn another(context: &Context<'_>, before: &Pod) -> Result<()> {
    wait::object(&context.api::<Pod>(), NAME, "another Pod", wait::SHORT, |pod: &Pod| {
        let is_new = pod.uid() != before.uid();
        if is_new {
            Ok(())
        } else {
            Err("it is the same".to_owned())
        }
    })
    .await
    .map(drop)
}
