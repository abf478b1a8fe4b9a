//! The chart on a node: from the first release to what is here, the aggregated API as it installs it, and what is left when it is removed.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Secret},
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use novasphere_apiserver::API_SERVICE;
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    fixtures::{
        apiserver::{BASE, answered, text},
        cluster::Cluster,
        install::{self, NAMESPACE, RELEASE},
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use novasphere_runtime::ca::SECRET_NAME;
use serde_json::json;

use super::{left_behind::LeftBehind, load_balancer, upgraded};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("aggregated::installed::chart", Needs::Node, chart)]
}

async fn chart() -> Result<()> {
    let cluster = Cluster::own_node("agg-chart")?;
    install::install_released(&cluster)?;
    with_namespace(
        &cluster,
        "aggregated::installed::chart",
        PodSecurity::Restricted,
        async |context| {
            Box::pin(upgraded::there_and_back(context))
                .await
                .context("upgrade and rollback")?;
            answered(context, BASE, "discovery", |list| {
                text(list, "/kind") == "APIResourceList"
            })
            .await?;
            trusted(context).await?;
            replicas_serve_in_turn(context).await?;
            status_is_ours(context).await?;
            Box::pin(load_balancer::serves(context))
                .await
                .context("a Service of type LoadBalancer")?;
            Box::pin(removed(context)).await
        },
    )
    .await
}

/// kube-apiserver trusts the server by our own authority, also when that is replaced.
async fn trusted(context: &Context<'_>) -> Result<()> {
    let before = bundle(context).await?;
    ensure!(!before.is_empty(), "the APIService has no caBundle");
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), NAMESPACE);
    let data = secrets.get(SECRET_NAME).await?.data.unwrap_or_default();
    ensure!(
        data.get("ca.crt").is_some_and(|own| own.0 == before),
        "caBundle is not the authority's"
    );
    // As docs/install.md says it: gateways may not create the Secret.
    let empty = Patch::Merge(json!({"data": null}));
    secrets.patch(SECRET_NAME, &PatchParams::default(), &empty).await?;
    wait::until("caBundle follows a new authority", wait::SHORT, || async {
        let now = bundle(context).await?;
        Ok(Seen::some((now != before).then_some(()), "it is the old one"))
    })
    .await?;
    // Those who still trust the old one alone are served until its end; those who trust both in any case.
    answered(context, BASE, "discovery by the new authority", |list| {
        text(list, "/kind") == "APIResourceList"
    })
    .await?;
    Ok(())
}

async fn bundle(context: &Context<'_>) -> Result<Vec<u8>> {
    let api: Api<APIService> = Api::all(context.client.clone());
    let spec = api.get(API_SERVICE).await?.spec.context("no spec")?;
    Ok(spec.ca_bundle.map(|bundle| bundle.0).unwrap_or_default())
}

/// One of the two replicas is restarted after the other, and discovery goes on.
async fn replicas_serve_in_turn(context: &Context<'_>) -> Result<()> {
    let name = format!("{RELEASE}-apiserver");
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), NAMESPACE);
    deployments.restart(&name).await?;
    context.cluster.kubectl(&[
        "--namespace",
        NAMESPACE,
        "rollout",
        "status",
        "--timeout=180s",
        &format!("deployment/{name}"),
    ])?;
    answered(context, BASE, "discovery after a roll-out", |list| {
        text(list, "/kind") == "APIResourceList"
    })
    .await?;
    context.cluster.kubectl(&["api-resources"]).map(drop)
}

/// Not even an administrator writes the status of a session.
async fn status_is_ours(context: &Context<'_>) -> Result<()> {
    let sessions: Api<ConsoleSession> = context.api();
    let session = json!({"metadata": {"name": "mine"}, "spec": {"targetRef": {"name": "web"}}});
    sessions
        .create(&PostParams::default(), &serde_json::from_value(session)?)
        .await?;
    // The controller may, and does.
    wait::object(&sessions, "mine", "a status", wait::SHORT, |session| {
        session.status.as_ref().map(drop).ok_or_else(|| "none".to_owned())
    })
    .await?;
    let forged = json!({"status": {"phase": "Ready"}});
    let written = sessions
        .patch_status("mine", &PatchParams::default(), &Patch::Merge(&forged))
        .await;
    match written {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            ensure!(status.message.contains("only novasphere itself"), "{}", status.message);
        }
        other => anyhow::bail!("a forged status: {other:?}"),
    }
    sessions.delete("mine", &DeleteParams::default()).await?;
    Ok(())
}

/// `helm uninstall` takes the `APIService` away before the server, so nothing of the cluster's API is ever without one. And it takes the finalizer off
/// workspaces before the controller goes.
async fn removed(context: &Context<'_>) -> Result<()> {
    let left = LeftBehind::make(context).await.context("workspaces that are left")?;
    let mark = context.cluster.audit().mark()?;
    context.cluster.helm(&[
        "uninstall",
        RELEASE,
        "--namespace",
        NAMESPACE,
        "--wait",
        "--timeout",
        "120s",
    ])?;
    let writes = context.cluster.audit().since(mark)?;
    let position = |resource: &str, name: &str| {
        let mut writes = writes.iter();
        let found = writes.position(|write| write.resource() == resource && write.name() == name);
        found.with_context(|| format!("{resource} {name} was not deleted"))
    };
    let api_service = position("apiservices", API_SERVICE)?;
    for (resource, name) in [
        ("deployments", format!("{RELEASE}-apiserver")),
        ("services", format!("{RELEASE}-apiserver")),
    ] {
        ensure!(
            api_service < position(resource, &name)?,
            "{resource} {name} went before the APIService"
        );
    }
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), NAMESPACE);
    let running = deployments.list(&ListParams::default()).await?.items;
    ensure!(
        running.is_empty(),
        "left: {:?}",
        running.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
    );
    context.cluster.kubectl(&["api-resources"])?;
    left.goes(mark).await.context("workspaces that were left")?;
    nothing_is_stuck(context)
}

/// In the order of docs/install.md no namespace and no definition waits for somebody who is gone.
fn nothing_is_stuck(context: &Context<'_>) -> Result<()> {
    context
        .cluster
        .kubectl(&["delete", "namespace", NAMESPACE, "--timeout=120s"])?;
    let definitions = novasphere_crd::crds();
    let names: Vec<String> = definitions.iter().map(ResourceExt::name_any).collect();
    let mut arguments = vec!["delete", "crd", "--timeout=60s"];
    arguments.extend(names.iter().map(String::as_str));
    context.cluster.kubectl(&arguments).map(drop)
}
