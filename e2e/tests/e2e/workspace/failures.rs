//! What keeps a desktop from running on a real node, each as the condition that docs/workspace.md explains.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, Pod, ResourceQuota};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        apply::change,
        cluster::Cluster,
        condition::{message, wait_for},
        desktop_image,
        namespace::{Context, PodSecurity, with_namespace},
        wait,
        workspace::{apply_workspace, desktop_answers},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace::failures::of_the_pod", Needs::Node, of_the_pod),
        Case::new("workspace::failures::of_the_namespace", Needs::Node, of_the_namespace),
    ]
}

/// One that nothing answers at: port 1 of the node's own loopback. Nothing is asked of the network.
const NO_REGISTRY: &str = "127.0.0.1:1/desktop:1";

/// A cause, and the condition that reports it.
struct Failure {
    name: &'static str,
    spec: Value,
    condition: (&'static str, &'static str, &'static str),
    /// What the words have to name.
    says: &'static str,
}

/// An override of the desktop's own container.
fn container(fields: &Value) -> Value {
    let mut container = json!({"name": "desktop"});
    if let (Some(container), Some(fields)) = (container.as_object_mut(), fields.as_object()) {
        container.extend(fields.clone());
    }
    json!({"podOverrides": {"spec": {"containers": [container]}}})
}

/// One that mounts what is not there.
fn unmounted() -> Value {
    json!({"podOverrides": {"spec": {
        "containers": [{"name": "desktop", "volumeMounts": [{"name": "missing", "mountPath": "/missing"}]}],
        "volumes": [{"name": "missing", "configMap": {"name": "missing"}}],
    }}})
}

fn with(mut spec: Value, field: &str, value: Value) -> Value {
    if let Some(spec) = spec.as_object_mut() {
        spec.insert(field.to_owned(), value);
    }
    spec
}

/// A sidecar that passes `restricted` but for its probe, which would let the node ask anybody.
fn probing_sidecar(image: &str) -> Value {
    json!({"podOverrides": {"spec": {"containers": [{
        "name": "probing",
        "image": image,
        "livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}},
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    }]}}})
}

fn failures(image: &str) -> Vec<Failure> {
    let pod = |reason| ("PodReady", "False", reason);
    let limit = json!({"limits": {"memory": "64Mi"}});
    vec![
        Failure {
            name: "pull",
            spec: json!({"image": NO_REGISTRY}),
            condition: pod("ImagePullError"),
            says: NO_REGISTRY,
        },
        Failure {
            name: "huge",
            spec: json!({"resources": {"requests": {"memory": "64Ti"}}}),
            condition: pod("Unschedulable"),
            says: "Insufficient memory",
        },
        Failure {
            name: "variable",
            spec: json!({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "missing", "key": "x"}}}]}),
            condition: pod("ContainerError"),
            says: "configmap \"missing\" not found",
        },
        Failure {
            name: "silent",
            spec: container(&json!({"command": ["sleep", "infinity"]})),
            condition: pod("NotAnswering"),
            says: "Unhealthy: Startup probe failed",
        },
        Failure {
            name: "unmounted",
            spec: unmounted(),
            condition: pod("VolumeNotFound"),
            says: "configmap \"missing\" not found",
        },
        Failure {
            name: "greedy",
            // The program itself, not a child of it: what the kernel ends is the container.
            spec: with(
                container(&json!({"command": ["tail", "/dev/zero"]})),
                "resources",
                limit,
            ),
            condition: pod("OutOfMemory"),
            says: "spec.resources.limits.memory",
        },
        Failure {
            name: "crashing",
            spec: container(&json!({"command": ["sh", "-c", "exit 3"]})),
            condition: pod("CrashLoop"),
            says: "last with code 3",
        },
        Failure {
            name: "command",
            spec: container(&json!({"command": ["/nothing"]})),
            condition: pod("ContainerError"),
            says: "/nothing",
        },
        Failure {
            name: "privileged",
            spec: container(&json!({"securityContext": {"privileged": true}})),
            condition: pod("InvalidSpec"),
            says: "spec.containers[desktop].securityContext.privileged",
        },
        Failure {
            name: "probing",
            spec: probing_sidecar(image),
            condition: pod("InvalidSpec"),
            says: "spec.containers[probing].livenessProbe.httpGet.host",
        },
        Failure {
            name: "classless",
            spec: json!({"storage": {"storageClassName": "missing"}}),
            condition: ("StorageReady", "False", "StorageClassNotFound"),
            says: "local",
        },
    ]
}

/// In a namespace that enforces nothing: what weakens a Pod is refused by novasphere itself.
async fn of_the_pod() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let story = async |context: &Context<'_>| {
        let image = desktop_image::load(cluster, "desktop")?;
        let failures = failures(&image);
        for failure in &failures {
            let applied = apply_workspace(context, failure.name, &image, &failure.spec).await;
            applied.with_context(|| failure.name)?;
        }
        for failure in &failures {
            is_reported(context, failure).await?;
        }
        // What a person does about it helps: the sleeping need no room, and the crashing one gets its program back.
        change::<VncWorkspace>(context, "crashing", &json!({"podOverrides": null})).await?;
        desktop_answers(context, "crashing").await?;
        Ok(())
    };
    Box::pin(with_namespace(
        cluster,
        "workspace::failures::of_the_pod",
        PodSecurity::Privileged,
        story,
    ))
    .await
}

async fn is_reported(context: &Context<'_>, failure: &Failure) -> Result<()> {
    let (kind, ..) = failure.condition;
    let workspace = wait_for::<VncWorkspace>(context, failure.name, failure.condition, wait::LONG).await?;
    let said = message(&workspace, kind);
    ensure!(
        said.contains(failure.says),
        "{}: {said:?} does not name {}",
        failure.name,
        failure.says
    );
    println!("workspace::failures: {:?}: {said}", failure.condition);
    Ok(())
}

/// Policies of the namespace refuse the Pod or the home, and let them in when they fit.
async fn of_the_namespace() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let story = async |context: &Context<'_>| {
        let image = desktop_image::load(cluster, "desktop")?;
        quota(context, &image).await.context("ResourceQuota")?;
        limit_range(context, &image).await.context("LimitRange")?;
        pod_security(context, &image).await.context("Pod Security")
    };
    let case = "workspace::failures::of_the_namespace";
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}

async fn quota(context: &Context<'_>, image: &str) -> Result<()> {
    let quotas: Api<ResourceQuota> = context.api();
    let quota = json!({
        "metadata": {"name": "team"},
        "spec": {"hard": {"requests.memory": "300Mi", "requests.storage": "16Gi"}},
    });
    quotas
        .create(&PostParams::default(), &serde_json::from_value(quota)?)
        .await?;
    wait::object(&quotas, "team", "counted", wait::SHORT, |quota| {
        let hard = quota.status.as_ref().and_then(|status| status.hard.as_ref());
        hard.map(drop).ok_or_else(|| "not counted".to_owned())
    })
    .await?;
    let sized = |memory: &str| json!({"resources": {"requests": {"memory": memory}}});
    apply_workspace(context, "first", image, &sized("256Mi")).await?;
    desktop_answers(context, "first").await?;
    for failure in [
        Failure {
            name: "second",
            spec: with(sized("256Mi"), "storage", json!({"size": "5Gi"})),
            condition: ("PodReady", "False", "QuotaExceeded"),
            says: "exceeded quota: team, requested: requests.memory=256Mi, used: requests.memory=256Mi",
        },
        Failure {
            name: "unsized",
            spec: json!({"storage": {"size": "1Gi"}}),
            condition: ("PodReady", "False", "QuotaExceeded"),
            says: "must specify requests.memory",
        },
        Failure {
            name: "homeless",
            spec: sized("1Mi"),
            condition: ("StorageReady", "False", "QuotaExceeded"),
            says: "requests.storage",
        },
    ] {
        // The home of the one before is counted by now; else the next would get the room.
        apply_workspace(context, failure.name, image, &failure.spec).await?;
        is_reported(context, &failure).await?;
    }
    // Another one that sleeps makes room, without a word to the one that waits.
    change::<VncWorkspace>(context, "first", &json!({"lifecycle": {"state": "Hibernated"}})).await?;
    desktop_answers(context, "second").await?;
    quotas.delete("team", &DeleteParams::default()).await?;
    clear(context).await
}

async fn limit_range(context: &Context<'_>, image: &str) -> Result<()> {
    let ranges: Api<LimitRange> = context.api();
    let range = json!({
        "metadata": {"name": "small"},
        "spec": {"limits": [
            {"type": "Container", "max": {"memory": "1Gi"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "5Gi"}},
        ]},
    });
    ranges
        .create(&PostParams::default(), &serde_json::from_value(range)?)
        .await?;
    let big = json!({"requests": {"memory": "256Mi"}, "limits": {"memory": "2Gi"}});
    for failure in [
        Failure {
            name: "big",
            spec: json!({"resources": big, "storage": {"size": "1Gi"}}),
            condition: ("PodReady", "False", "LimitRangeViolation"),
            says: "maximum memory usage per Container is 1Gi, but limit is 2Gi",
        },
        Failure {
            name: "roomy",
            spec: json!({}),
            condition: ("StorageReady", "False", "LimitRangeViolation"),
            says: "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 10Gi",
        },
    ] {
        apply_workspace(context, failure.name, image, &failure.spec).await?;
        is_reported(context, &failure).await?;
    }
    change::<VncWorkspace>(context, "big", &json!({"resources": {"limits": {"memory": "1Gi"}}})).await?;
    desktop_answers(context, "big").await?;
    ranges.delete("small", &DeleteParams::default()).await?;
    clear(context).await
}

/// A namespace may enforce more than today's `restricted`: that of Kubernetes 1.18 looks at an annotation that means nothing any more.
async fn pod_security(context: &Context<'_>, image: &str) -> Result<()> {
    let old = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce-version": "v1.18"}}});
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    namespaces
        .patch(&context.namespace, &PatchParams::default(), &Patch::Merge(old))
        .await?;
    let annotated = json!({"podOverrides": {"metadata": {"annotations": {
        "container.seccomp.security.alpha.kubernetes.io/desktop": "unconfined",
    }}}});
    let failure = Failure {
        name: "unconfined",
        spec: annotated,
        condition: ("PodReady", "False", "PodSecurityViolation"),
        says: "violates PodSecurity \"restricted:v1.18\"",
    };
    apply_workspace(context, failure.name, image, &failure.spec).await?;
    is_reported(context, &failure).await?;
    change::<VncWorkspace>(context, failure.name, &json!({"podOverrides": null})).await?;
    desktop_answers(context, failure.name).await?;
    clear(context).await
}

/// Deletes all workspaces of the namespace.
async fn clear(context: &Context<'_>) -> Result<()> {
    let workspaces: Api<VncWorkspace> = context.api();
    workspaces
        .delete_collection(&DeleteParams::default(), &kube::api::ListParams::default())
        .await?;
    wait::until("no Pod is left", wait::SHORT, || async {
        let left = context
            .api::<Pod>()
            .list(&kube::api::ListParams::default())
            .await?
            .items
            .len();
        Ok(wait::Seen::some((left == 0).then_some(()), format!("{left} are left")))
    })
    .await
}
