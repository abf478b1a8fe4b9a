//! The documents' `/pods`: a person's own desktop, as a thin view of a `VncWorkspace`.

use axum::extract::State;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    code::Code,
    envelope::{Answer, Envelope},
    error::{ApiError, ApiResult},
    http::{OptionalBody, Path, Query},
    kubernetes::refused,
    machines,
    state::ApiState,
    watches::WorkspaceRow,
    workspaces::{DesktopResources, NewDesktop, make, remove},
};

/// Lines of a log that may be asked for.
const TAIL_LINES_LIMIT: i64 = 10_000;

/// Bytes of a log that are answered.
const LOG_BYTES_LIMIT: i64 = 512 * 1024;

/// The container of a desktop's Pod.
const CONTAINER: &str = "desktop";

/// The paths of this topic.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(get_pod, delete))
        .routes(routes!(logs))
        .routes(routes!(metrics))
}

/// What a desktop may use.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PodRequest {
    /// What it may use.
    resource_quota: Option<ResourceQuotaRequest>,
}

/// What a desktop may use.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ResourceQuotaRequest {
    /// Such as `2` or `500m`.
    #[schema(min_length = 1, max_length = 32)]
    cpu: Option<String>,
    /// Such as `4Gi`.
    #[schema(min_length = 1, max_length = 32)]
    memory: Option<String>,
    /// Bytes of its home, such as `10Gi`.
    #[schema(min_length = 1, max_length = 32)]
    storage: Option<String>,
}

/// A person's desktop.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PodAnswer {
    /// `created` or `exists`.
    status: &'static str,
    /// Names it in paths.
    pod_name: String,
    /// Its namespace.
    namespace: String,
    /// How it is.
    phase: Option<String>,
    /// How it is reached.
    access_info: AccessInfo,
}

/// How a desktop is reached. It has no password of the person's: a token of a console opens it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AccessInfo {
    /// The port of stock viewers.
    vnc_port: Option<u16>,
    /// The page in a browser, which has no port of its own.
    novnc_url: Option<String>,
    /// The port of SSH.
    ssh_port: Option<u16>,
}

/// What has become of a desktop.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PodDeleted {
    /// `deleted`.
    status: &'static str,
    /// Its name.
    pod_name: String,
}

/// Lines of a log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PodLogs {
    /// The desktop.
    pod_name: String,
    /// Its last lines.
    logs: String,
}

/// What a desktop uses.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PodMetrics {
    /// The desktop.
    pod_name: String,
    /// What it uses.
    metrics: PodUsage,
}

/// What a desktop uses, in Kubernetes' units.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PodUsage {
    /// Processors, such as `12m`.
    cpu: String,
    /// Memory, such as `300Mi`.
    memory: String,
    /// When it was measured.
    timestamp: Option<String>,
}

/// How many lines are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// Lines from the end. Default 100.
    #[param(minimum = 1, maximum = 10_000)]
    #[serde(default)]
    tail_lines: Option<i64>,
}

/// Make my desktop. There is one for each person, however often this is called.
#[utoipa::path(post, path = "/pods/create", tag = "pods", operation_id = "createPod",
    request_body = Option<PodRequest>, responses((status = 200, body = Envelope<PodAnswer>)))]
async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    OptionalBody(request): OptionalBody<PodRequest>,
) -> ApiResult<Answer<PodAnswer>> {
    let namespace = namespace(&state, &caller)?;
    let name = desktop_name(&caller.user.name);
    let desktops = &state.config.desktops;
    let image = desktops.image.clone().ok_or(ApiError::with(
        Code::NOT_IMPLEMENTED,
        "this installation has no image for desktops of this kind: api.desktops.image",
    ))?;
    let quota = request.resource_quota.unwrap_or_default();
    let desktop = NewDesktop {
        namespace: namespace.clone(),
        name: name.clone(),
        user: caller.display_name.clone(),
        image,
        resources: Some(DesktopResources {
            cpu: quota.cpu,
            memory: quota.memory,
        }),
        storage: quota.storage,
        storage_class: desktops.storage_class.clone(),
    };
    let status = match make(&state, &caller, desktop).await {
        Ok(_) => "created",
        // The name is the lock: of any number of requests one makes it.
        Err(error) if error.code == Code::ALREADY_EXISTS => "exists",
        Err(error) => return Err(error),
    };
    let row = state.watched.find_workspace(&format!("{namespace}.{name}"));
    Ok(Answer::new(answer(status, namespace, name, row.as_deref())))
}

/// My desktop.
#[utoipa::path(get, path = "/pods/{pod_name}", tag = "pods", operation_id = "getPod",
    params(("pod_name" = String, Path, max_length = 63)), responses((status = 200, body = Envelope<PodAnswer>)))]
async fn get_pod(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
) -> ApiResult<Answer<PodAnswer>> {
    let row = find(&state, &caller, &name).await?;
    let answered = answer("exists", row.namespace.clone(), row.name.clone(), Some(&row));
    Ok(Answer::new(answered))
}

/// Delete my desktop. One that is gone is as good.
#[utoipa::path(delete, path = "/pods/{pod_name}", tag = "pods", operation_id = "deletePod",
    params(("pod_name" = String, Path, max_length = 63)), responses((status = 200, body = Envelope<PodDeleted>)))]
async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
) -> ApiResult<Answer<PodDeleted>> {
    match find(&state, &caller, &name).await {
        Ok(row) => remove(&state, &caller, &row.namespace, &row.name, &row.id).await?,
        Err(error) if error.code == Code::NOT_FOUND => {}
        Err(error) => return Err(error),
    }
    Ok(Answer::new(PodDeleted {
        status: "deleted",
        pod_name: name,
    }))
}

/// The last lines that my desktop has written.
#[utoipa::path(get, path = "/pods/{pod_name}/logs", tag = "pods", operation_id = "podLogs",
    params(("pod_name" = String, Path, max_length = 63), LogQuery), responses((status = 200, body = Envelope<PodLogs>)))]
async fn logs(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> ApiResult<Answer<PodLogs>> {
    let lines = query.tail_lines.unwrap_or(100);
    if !(1..=TAIL_LINES_LIMIT).contains(&lines) {
        return Err(ApiError::parameter(
            "tail_lines",
            format!("tail_lines is from 1 to {TAIL_LINES_LIMIT}"),
        ));
    }
    let row = find(&state, &caller, &name).await?;
    let pod = running_pod(&row)?;
    let pods: Api<Pod> = Api::namespaced(state.client_of(&caller)?, &row.namespace);
    let params = LogParams {
        container: Some(CONTAINER.to_owned()),
        tail_lines: Some(lines),
        limit_bytes: Some(LOG_BYTES_LIMIT),
        ..LogParams::default()
    };
    let logs = pods.logs(&pod, &params).await.map_err(refused)?;
    Ok(Answer::new(PodLogs { pod_name: name, logs }))
}

/// What my desktop uses, where the cluster measures it.
#[utoipa::path(get, path = "/pods/{pod_name}/metrics", tag = "pods", operation_id = "podMetrics",
    params(("pod_name" = String, Path, max_length = 63)), responses((status = 200, body = Envelope<PodMetrics>)))]
async fn metrics(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
) -> ApiResult<Answer<PodMetrics>> {
    let row = find(&state, &caller, &name).await?;
    let pod = running_pod(&row)?;
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods/{pod}", row.namespace);
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|_| ApiError::new(Code::INTERNAL))?;
    let measured = state.client_of(&caller)?.request::<Value>(request).await;
    let measured = measured.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 404 || status.code == 503 => ApiError::with(
            Code::NOT_IMPLEMENTED,
            "the cluster does not measure this Pod (yet): metrics.k8s.io has nothing of it",
        ),
        error => refused(error),
    })?;
    let metrics = usage(&measured).ok_or(ApiError::new(Code::INTERNAL))?;
    Ok(Answer::new(PodMetrics {
        pod_name: name,
        metrics,
    }))
}

fn usage(measured: &Value) -> Option<PodUsage> {
    let containers = measured.get("containers").and_then(Value::as_array)?;
    let of = |container: &Value, name: &str| {
        container
            .pointer(&format!("/usage/{name}"))?
            .as_str()
            .map(str::to_owned)
    };
    let desktop = containers
        .iter()
        .find(|container| container.get("name").and_then(Value::as_str) == Some(CONTAINER));
    let desktop = desktop.or_else(|| containers.first())?;
    Some(PodUsage {
        cpu: of(desktop, "cpu")?,
        memory: of(desktop, "memory")?,
        timestamp: measured.get("timestamp").and_then(Value::as_str).map(str::to_owned),
    })
}

/// Where a person's desktop is.
fn namespace(state: &ApiState, caller: &Caller) -> ApiResult<String> {
    if let Some(tenant) = &caller.tenant {
        let mut namespaces = state.watched.namespaces_of(tenant);
        namespaces.sort_unstable();
        return namespaces.into_iter().next().ok_or(ApiError::with(
            Code::NOT_FOUND,
            "the tenant has no namespace: label one with novasphere.io/tenant",
        ));
    }
    state.config.desktops.namespace.clone().ok_or(ApiError::with(
        Code::NOT_IMPLEMENTED,
        "this installation names no namespace for desktops of this kind: api.desktops.namespace",
    ))
}

async fn find(state: &ApiState, caller: &Caller, name: &str) -> ApiResult<std::sync::Arc<WorkspaceRow>> {
    let namespace = namespace(state, caller)?;
    machines::workspace(state, caller, &format!("{namespace}.{name}")).await
}

fn running_pod(row: &WorkspaceRow) -> ApiResult<String> {
    row.pod_name.clone().ok_or(ApiError::with(
        Code::NOT_RUNNING,
        "the desktop sleeps or starts; wake it first",
    ))
}

fn answer(status: &'static str, namespace: String, name: String, row: Option<&WorkspaceRow>) -> PodAnswer {
    PodAnswer {
        status,
        pod_name: name,
        namespace,
        phase: row.and_then(|row| row.phase).map(|phase| format!("{phase:?}")),
        access_info: row.map(access).unwrap_or_default(),
    }
}

fn access(row: &WorkspaceRow) -> AccessInfo {
    let port = |address: &Option<String>| address.as_deref()?.rsplit_once(':')?.1.parse().ok();
    AccessInfo {
        vnc_port: port(&row.vnc),
        novnc_url: row.web.clone(),
        ssh_port: port(&row.ssh),
    }
}

/// The name of a person's desktop: what of theirs can stand in a name, and a hash, because two of them may look alike.
fn desktop_name(user: &str) -> String {
    let last = user.rsplit(':').next().unwrap_or_default().to_lowercase();
    let readable: String = last
        .chars()
        .filter(|character| character.is_ascii_lowercase() || character.is_ascii_digit())
        .take(30)
        .collect();
    let hash: String = base16ct::lower::encode_string(&Sha256::digest(user))
        .chars()
        .take(8)
        .collect();
    if readable.is_empty() {
        format!("vnc-{hash}")
    } else {
        format!("vnc-{readable}-{hash}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_person_has_a_name_of_their_own() {
        assert!(desktop_name("novasphere:ann").starts_with("vnc-ann-"));
        assert_ne!(desktop_name("novasphere:ann"), desktop_name("oidc:ann"));
        for user in ["novasphere:张伟", "x", &"y".repeat(200)] {
            let name = desktop_name(user);
            assert!(name.len() <= 52 && name.is_ascii(), "{name}");
        }
    }

    #[test]
    fn the_desktop_s_container_is_the_one_that_is_told() {
        let measured = json!({"timestamp": "t", "containers": [
            {"name": "x", "usage": {"cpu": "1", "memory": "1Ki"}}, {"name": "desktop", "usage": {"cpu": "12m", "memory": "300Mi"}}]});
        assert_eq!(usage(&measured).unwrap().memory, "300Mi");
        assert_eq!(usage(&json!({})), None);
    }
}
