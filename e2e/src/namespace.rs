//! A namespace for each test, whose state is kept when the test fails.

use std::{
    fs,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::{
    Api, Client, Discovery, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, LogParams, ObjectMeta, PostParams},
    core::NamespaceResourceScope,
    discovery::{Scope, verbs},
};

use crate::{
    cluster::Cluster,
    paths,
    wait::{self, Seen},
};

/// What Pod Security enforces in the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodSecurity {
    /// Anything: for guests, whose Pods are KubeVirt's.
    Privileged,
    /// The strictest level.
    Restricted,
}

/// A test's place in a cluster.
pub struct Context<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The administrator's client.
    pub client: Client,
    /// The test's own namespace.
    pub namespace: String,
    /// `target/e2e/<test>`.
    pub output: PathBuf,
}

impl Context<'_> {
    /// The objects of a kind in the test's namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The objects of a kind that has no Rust type here.
    #[must_use]
    pub fn dynamic(&self, resource: &kube::discovery::ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, resource)
    }
}

/// Runs a test in a namespace of its own. When the test fails or panics, all
/// objects, events and logs of the namespace are written to `target/e2e/<test>`.
///
/// # Errors
/// The error of the test, or why the namespace could not be made.
pub async fn with_namespace<F>(cluster: &Cluster, test: &str, security: PodSecurity, body: F) -> Result<()>
where
    F: AsyncFnOnce(&Context<'_>) -> Result<()>,
{
    let client = cluster.client().await?;
    let namespace = create(&client, test, security).await?;
    let output = paths::output(test)?;
    let context = Context {
        cluster,
        client: client.clone(),
        namespace: namespace.clone(),
        output,
    };
    let result = AssertUnwindSafe(body(&context)).catch_unwind().await;
    if !matches!(result, Ok(Ok(()))) {
        match dump(&client, &namespace, &context.output).await {
            Ok(()) => eprintln!("{test}: the state of {namespace} is in {}", context.output.display()),
            Err(error) => eprintln!("{test}: the state of {namespace} could not be kept: {error:#}"),
        }
    }
    let namespaces: Api<Namespace> = Api::all(client);
    if let Err(error) = namespaces.delete(&namespace, &DeleteParams::background()).await {
        eprintln!("{test}: namespace {namespace} is not deleted: {error}");
    }
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn create(client: &Client, test: &str, security: PodSecurity) -> Result<String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    // A kept cluster has namespaces of earlier runs.
    let name = format!(
        "e2e-{}-{}-{}",
        test.replace("::", "-").replace('_', "-"),
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    );
    let level = match security {
        PodSecurity::Privileged => "privileged",
        PodSecurity::Restricted => "restricted",
    };
    let labels = [
        ("novasphere.io/test", test.replace("::", ".")),
        ("pod-security.kubernetes.io/enforce", level.to_owned()),
    ];
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        ..ObjectMeta::default()
    };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(
            &PostParams::default(),
            &Namespace {
                metadata,
                ..Namespace::default()
            },
        )
        .await?;
    // Pods made before it exists are refused.
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    wait::until(format!("the default ServiceAccount of {name}"), wait::SHORT, || async {
        Ok(Seen::some(
            accounts.get_opt("default").await?.map(drop),
            "it does not exist",
        ))
    })
    .await?;
    Ok(name)
}

/// Writes all that is in a namespace to files: one for each kind, one for each
/// container's log.
///
/// # Errors
/// When the cluster does not answer or the files cannot be written.
pub async fn dump(client: &Client, namespace: &str, output: &Path) -> Result<()> {
    fs::create_dir_all(output)?;
    let discovery = Discovery::new(client.clone()).run().await.context("discovery")?;
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if capabilities.scope != Scope::Namespaced || !capabilities.supports_operation(verbs::LIST) {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            // One kind that cannot be listed must not hide the others.
            let Ok(mut list) = api.list(&ListParams::default()).await else {
                continue;
            };
            if list.items.is_empty() || resource.kind == "Secret" {
                continue;
            }
            for item in &mut list.items {
                item.managed_fields_mut().clear();
            }
            let text = serde_saphyr::to_string(&list.items)?;
            fs::write(
                output.join(format!("{}.{}.yaml", resource.plural, resource.group)),
                text,
            )?;
        }
    }
    dump_logs(client, namespace, output).await
}

async fn dump_logs(client: &Client, namespace: &str, output: &Path) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for pod in pods.list(&ListParams::default()).await? {
        let Some(spec) = &pod.spec else { continue };
        let name = pod.name_any();
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            let parameters = LogParams {
                container: Some(container.name.clone()),
                ..LogParams::default()
            };
            let text = match pods.logs(&name, &parameters).await {
                Ok(text) => text,
                Err(error) => error.to_string(),
            };
            fs::write(output.join(format!("{name}.{}.log", container.name)), text)?;
        }
    }
    Ok(())
}
