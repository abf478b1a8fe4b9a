//! Services to ports of a guest: entries of the `services` of a `VmAccess`.
//!
//! Each entry is applied under a field manager of its own, so that this API takes nothing from what a GitOps tool or `kubectl apply` declares, and
//! they take nothing from it.

use std::collections::BTreeMap;

use axum::extract::State;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use novasphere_core::label::KEY_OWNER_UID;
use novasphere_crd::{AccessServiceStatus, VmAccess};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::machine;
use crate::{
    FIELD_MANAGER,
    audit::{ActionRecord, AuditAction},
    caller::Caller,
    code::Code,
    envelope::{Answer, Envelope, Nothing},
    error::{ApiError, ApiResult},
    http::{JsonBody, Path},
    kubernetes::refused,
    language::Sentence,
    state::ApiState,
    time::AnswerTimeZone,
    watches::{MachineKind, MachineRow, service_type},
};

const CREATED: Sentence = Sentence {
    english: "the Service is being made",
    chinese: "Service创建成功",
};

/// Ports of a Service.
const PORTS_LIMIT: usize = 32;

/// Characters of an entry's name. Those of the Service, `<metadata.name>-<name>`, are counted by kube-apiserver.
const NAME_LENGTH_LIMIT: usize = 61;

/// Services of a machine that are looked at for their age: more than its spec may have.
const SERVICES_LIMIT: u32 = 64;

/// A Service to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ServiceRequest {
    /// `NodePort` or `LoadBalancer`; `ClusterIP` is taken, too.
    #[schema(min_length = 1, max_length = 16)]
    service_type: String,
    /// Its name among those of the machine: lower-case letters, digits and `-`, at most 61. Default: made of the first port.
    #[schema(min_length = 1, max_length = 61, pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    #[serde(default)]
    service_name: Option<String>,
    /// Its ports.
    #[schema(min_items = 1, max_items = 32)]
    ports: Vec<PortRequest>,
}

/// A port of a Service.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PortRequest {
    /// The port of the Service.
    #[schema(minimum = 1, maximum = 65535)]
    port: u16,
    /// The port of the guest. Default: the same.
    #[schema(minimum = 1, maximum = 65535)]
    #[serde(default)]
    target_port: Option<u16>,
    /// The port of the nodes. Default: a free one.
    #[schema(minimum = 1, maximum = 65535)]
    #[serde(default)]
    node_port: Option<u16>,
    /// `TCP` or `UDP`. Default `TCP`.
    #[schema(min_length = 3, max_length = 3)]
    #[serde(default)]
    protocol: Option<String>,
}

/// A Service of a machine.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccessServiceEntry {
    /// Names it in paths.
    service_id: String,
    /// The name of the Service in Kubernetes.
    service_name: String,
    /// Its type.
    service_type: &'static str,
    /// `host:port` of its first port, once it is known.
    access_addr: Option<String>,
    /// Its ports.
    ports: Vec<AccessPort>,
    /// When the Service was made; `null` until it is there, and for who may not see Services.
    create_time: Option<String>,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    create_at: Option<String>,
    /// `running` once it has an address, else `pending`.
    status: &'static str,
}

/// A port of a Service.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccessPort {
    /// The port of the Service.
    port: u16,
    /// The port of the guest.
    target_port: u16,
    /// The port of the nodes.
    node_port: Option<u16>,
    /// `TCP` or `UDP`.
    protocol: String,
}

/// Make a Service to ports of the guest. The same name again changes it.
#[utoipa::path(post, path = "/vms/{vmId}/access-service", tag = "services", operation_id = "createAccessService",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317)),
    request_body = ServiceRequest, responses((status = 200, body = Envelope<AccessServiceEntry>)))]
pub(super) async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(request): JsonBody<ServiceRequest>,
) -> ApiResult<Answer<AccessServiceEntry>> {
    let entry = entry(&request)?;
    let row = of_vm_access(&state, &caller, &id).await?;
    let name = entry.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let applied = apply(&state, &caller, &row, &name, Some(entry)).await?;
    note(&state, &caller, &row, &name, "apply");
    Ok(Answer::new(named(&state, &caller, &applied, &name).await?).saying(CREATED))
}

/// Change a Service that was made here.
#[utoipa::path(put, path = "/vms/{vmId}/access-services/{serviceId}", tag = "services", operation_id = "updateAccessService",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317),
        ("serviceId" = String, Path, description = "Its name among those of the machine", max_length = 61)),
    request_body = ServiceRequest, responses((status = 200, body = Envelope<AccessServiceEntry>)))]
pub(super) async fn update(
    State(state): State<ApiState>,
    caller: Caller,
    Path((id, service)): Path<(String, String)>,
    JsonBody(request): JsonBody<ServiceRequest>,
) -> ApiResult<Answer<AccessServiceEntry>> {
    let request = renamed(request, &service)?;
    let entry = entry(&request)?;
    let row = of_vm_access(&state, &caller, &id).await?;
    let objects: Api<VmAccess> = Api::namespaced(state.client_of(&caller)?, &row.namespace);
    let object = objects.get(&row.name).await.map_err(refused)?;
    if !has(&object, &service) {
        return Err(ApiError::new(Code::NOT_FOUND));
    }
    let applied = apply(&state, &caller, &row, &service, Some(entry)).await?;
    note(&state, &caller, &row, &service, "apply");
    Ok(Answer::new(named(&state, &caller, &applied, &service).await?))
}

/// The Services of a machine.
#[utoipa::path(get, path = "/vms/{vmId}/access-services", tag = "services", operation_id = "listAccessServices",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317)),
    responses((status = 200, body = Envelope<Vec<AccessServiceEntry>>)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Answer<Vec<AccessServiceEntry>>> {
    let row = machine(&state, &caller, &id).await?;
    if row.kind == MachineKind::VirtualMachine {
        return Ok(Answer::new(Vec::new()));
    }
    let objects: Api<VmAccess> = Api::namespaced(state.client_of(&caller)?, &row.namespace);
    let object = objects.get(&row.name).await.map_err(refused)?;
    let ages = ages(&state, &caller, &object).await?;
    Ok(Answer::new(entries(&object, &ages, &state.time_zone)))
}

/// Delete a Service that was made here. One that is gone is as good.
#[utoipa::path(delete, path = "/vms/{vmId}/access-services/{serviceId}", tag = "services", operation_id = "deleteAccessService",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317),
        ("serviceId" = String, Path, description = "Its name among those of the machine", max_length = 61)),
    responses((status = 200, body = Envelope<Nothing>)))]
pub(super) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    Path((id, service)): Path<(String, String)>,
) -> ApiResult<Answer<()>> {
    if !is_entry_name(&service) {
        return Err(ApiError::new(Code::INVALID_ID));
    }
    let row = of_vm_access(&state, &caller, &id).await?;
    let applied = apply(&state, &caller, &row, &service, None).await?;
    if has(&applied, &service) {
        return Err(ApiError::with(
            Code::CONFLICT,
            "the service is declared elsewhere, such as in Git or by kubectl; delete it there",
        ));
    }
    note(&state, &caller, &row, &service, "delete");
    Ok(Answer::new(()))
}

async fn of_vm_access(state: &ApiState, caller: &Caller, id: &str) -> ApiResult<std::sync::Arc<MachineRow>> {
    let row = machine(state, caller, id).await?;
    match row.kind {
        MachineKind::VmAccess => Ok(row),
        MachineKind::VirtualMachine => Err(ApiError::with(
            Code::CONFLICT,
            "this machine has no VmAccess; make one that names it, and give that its services",
        )),
    }
}

/// Whether a machine has an entry of this name.
fn has(object: &VmAccess, service: &str) -> bool {
    object.spec.services.iter().any(|entry| entry.name == service)
}

/// The request for the entry that the path names.
fn renamed(request: ServiceRequest, service: &str) -> ApiResult<ServiceRequest> {
    if !is_entry_name(service) {
        return Err(ApiError::new(Code::INVALID_ID));
    }
    if request.service_name.as_deref().is_some_and(|name| name != service) {
        return Err(ApiError::parameter(
            "serviceName",
            "a Service keeps its name; make another one, and delete this one",
        ));
    }
    Ok(ServiceRequest {
        service_name: Some(service.to_owned()),
        ..request
    })
}

/// One entry of a machine that was just applied.
async fn named(state: &ApiState, caller: &Caller, object: &VmAccess, name: &str) -> ApiResult<AccessServiceEntry> {
    let ages = ages(state, caller, object).await?;
    let entries = entries(object, &ages, &state.time_zone);
    let entry = entries.into_iter().find(|entry| entry.service_id == name);
    entry.ok_or(ApiError::new(Code::INTERNAL))
}

/// When the Services of a machine were made, by name. Who may see the machine need not have the right to see Services.
async fn ages(state: &ApiState, caller: &Caller, object: &VmAccess) -> ApiResult<BTreeMap<String, Timestamp>> {
    let namespace = object.namespace().unwrap_or_default();
    let services: Api<Service> = Api::namespaced(state.client_of(caller)?, &namespace);
    let selector = format!("{KEY_OWNER_UID}={}", object.uid().unwrap_or_default());
    let params = ListParams::default().labels(&selector).limit(SERVICES_LIMIT);
    let found = match services.list(&params).await {
        Ok(found) => found.items,
        Err(kube::Error::Api(status)) if status.code == 403 => Vec::new(),
        Err(error) => return Err(refused(error)),
    };
    let ages = found.into_iter().filter_map(|service| {
        let made = service.metadata.creation_timestamp.as_ref()?.0;
        Some((service.name_any(), made))
    });
    Ok(ages.collect())
}

/// Applies an entry under its own manager; without an entry, takes away what that manager has applied.
async fn apply(
    state: &ApiState,
    caller: &Caller,
    row: &MachineRow,
    name: &str,
    entry: Option<Value>,
) -> ApiResult<VmAccess> {
    let objects: Api<VmAccess> = Api::namespaced(state.client_of(caller)?, &row.namespace);
    let services: Vec<Value> = entry.into_iter().collect();
    let wanted = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VmAccess",
        "metadata": {"name": row.name, "namespace": row.namespace, "uid": row.id},
        "spec": if services.is_empty() { json!({}) } else { json!({ "services": services }) },
    });
    let params = PatchParams {
        field_manager: Some(format!("{FIELD_MANAGER}/{name}")),
        ..PatchParams::default()
    };
    let applied = objects.patch(&row.name, &params, &Patch::Apply(&wanted)).await;
    applied.map_err(refused)
}

fn note(state: &ApiState, caller: &Caller, row: &MachineRow, service: &str, reason: &str) {
    let record = ActionRecord {
        user: Some(&caller.user.name),
        client: Some(caller.client),
        target: Some(format!("VmAccess/{}/{}", row.namespace, row.name)),
        reason: Some(reason),
        detail: Some(service),
    };
    state.audit.record(AuditAction::ServiceChanged, &record);
}

fn is_entry_name(name: &str) -> bool {
    (1..=NAME_LENGTH_LIMIT).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The entry that a request asks for.
fn entry(request: &ServiceRequest) -> ApiResult<Value> {
    if !["NodePort", "LoadBalancer", "ClusterIP"].contains(&request.service_type.as_str()) {
        return Err(ApiError::parameter(
            "serviceType",
            "serviceType is NodePort, LoadBalancer or ClusterIP",
        ));
    }
    if request.ports.is_empty() || request.ports.len() > PORTS_LIMIT {
        return Err(ApiError::parameter(
            "ports",
            format!("a Service has 1 to {PORTS_LIMIT} ports"),
        ));
    }
    let ports: Vec<Value> = request.ports.iter().map(port).collect::<ApiResult<_>>()?;
    let first = request.ports.first().map_or(0, |port| port.port);
    let name = request.service_name.clone().unwrap_or_else(|| format!("port-{first}"));
    if !is_entry_name(&name) {
        return Err(ApiError::parameter(
            "serviceName",
            "serviceName has lower-case letters, digits and '-' between them, at most 61",
        ));
    }
    Ok(json!({"name": name, "type": request.service_type, "ports": ports}))
}

fn port(port: &PortRequest) -> ApiResult<Value> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    if !["TCP", "UDP"].contains(&protocol) {
        return Err(ApiError::parameter("ports.protocol", "protocol is TCP or UDP"));
    }
    if port.port == 0 || port.target_port == Some(0) || port.node_port == Some(0) {
        return Err(ApiError::parameter("ports", "a port is from 1 to 65535"));
    }
    let mut entry = json!({
        "name": format!("{}-{}", protocol.to_lowercase(), port.port),
        "port": port.port,
        "targetPort": port.target_port.unwrap_or(port.port),
        "protocol": protocol,
    });
    if let (Some(node_port), Some(entry)) = (port.node_port, entry.as_object_mut()) {
        entry.insert("nodePort".to_owned(), json!(node_port));
    }
    Ok(entry)
}

/// What the spec declares, with what the status and the Services say of it.
fn entries(object: &VmAccess, ages: &BTreeMap<String, Timestamp>, zone: &AnswerTimeZone) -> Vec<AccessServiceEntry> {
    let status = object.status.clone().unwrap_or_default();
    let entries = object.spec.services.iter().map(|service| {
        let known = status.services.iter().find(|known| known.name == service.name);
        let ports = service.ports.iter().map(|port| AccessPort {
            port: port.port,
            target_port: port.target_port.unwrap_or(port.port),
            node_port: port
                .node_port
                .or_else(|| known.and_then(|known| node_port(known, port.port))),
            protocol: format!("{:?}", port.protocol).to_uppercase(),
        });
        let access_addr = known.and_then(|known| known.endpoint.clone());
        let service_name = format!("{}-{}", object.name_any(), service.name);
        let made = ages.get(&service_name).copied();
        AccessServiceEntry {
            service_id: service.name.clone(),
            service_name,
            service_type: service_type(service.r#type),
            status: if access_addr.is_some() { "running" } else { "pending" },
            access_addr,
            ports: ports.collect(),
            create_time: made.map(|time| zone.text(time)),
            create_at: made.map(|time| time.to_string()),
        }
    });
    entries.collect()
}

fn node_port(known: &AccessServiceStatus, port: u16) -> Option<u16> {
    known.ports.iter().find(|known| known.port == port)?.node_port
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: Value) -> ApiResult<Value> {
        entry(&serde_json::from_value(body).unwrap())
    }

    #[test]
    fn an_entry_has_what_was_asked_for() {
        let entry = request(json!({
            "serviceType": "NodePort", "serviceName": "web", "ports": [{"port": 8080, "targetPort": 80, "nodePort": 30080}],
        }));
        assert_eq!(
            entry.unwrap(),
            json!({"name": "web", "type": "NodePort", "ports": [
                {"name": "tcp-8080", "port": 8080, "targetPort": 80, "nodePort": 30080, "protocol": "TCP"},
            ]})
        );
        let generated = request(json!({"serviceType": "LoadBalancer", "ports": [{"port": 22}]})).unwrap();
        assert_eq!(generated["name"], "port-22");
    }

    #[test]
    fn a_list_has_what_is_declared_with_what_is_known() {
        let object: VmAccess = serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess", "metadata": {"name": "vm", "namespace": "team"},
            "spec": {"virtualMachine": {"name": "vm"}, "services": [
                {"name": "web", "type": "NodePort", "ports": [{"name": "http", "port": 8080, "targetPort": 80}]},
                {"name": "ssh", "ports": [{"name": "ssh", "port": 22}]},
            ]},
            "status": {"services": [{"name": "web", "type": "NodePort", "endpoint": "192.0.2.1:30080",
                "ports": [{"name": "http", "port": 8080, "nodePort": 30080}]}]},
        }))
        .unwrap();
        let zone = AnswerTimeZone::named("UTC").unwrap();
        let ages = BTreeMap::from([("vm-web".to_owned(), Timestamp::UNIX_EPOCH)]);
        let entries = entries(&object, &ages, &zone);
        assert_eq!((entries[0].status, entries[1].status), ("running", "pending"));
        assert_eq!(entries[0].create_time.as_deref(), Some("1970-01-01 00:00:00"));
        assert_eq!(entries[1].create_time, None);
        let port = &entries[0].ports[0];
        assert_eq!((port.target_port, port.node_port), (80, Some(30080)));
        assert_eq!(entries[1].ports[0].target_port, 22);
    }

    #[test]
    fn a_changed_service_keeps_its_name() {
        let request = |name: Value| {
            let body = json!({"serviceType": "NodePort", "serviceName": name, "ports": [{"port": 1}]});
            serde_json::from_value::<ServiceRequest>(body).unwrap()
        };
        assert_eq!(
            renamed(request(Value::Null), "web").unwrap().service_name.as_deref(),
            Some("web")
        );
        assert_eq!(
            renamed(request(json!("web")), "web").unwrap().service_name.as_deref(),
            Some("web")
        );
        assert_eq!(
            renamed(request(json!("ssh")), "web").unwrap_err().field.as_deref(),
            Some("serviceName")
        );
        assert_eq!(renamed(request(Value::Null), "Web").unwrap_err().code, Code::INVALID_ID);
    }

    #[test]
    fn what_cannot_be_a_service_is_refused_with_its_field() {
        for (body, field) in [
            (json!({"serviceType": "X", "ports": [{"port": 1}]}), "serviceType"),
            (json!({"serviceType": "NodePort", "ports": []}), "ports"),
            (json!({"serviceType": "NodePort", "ports": [{"port": 0}]}), "ports"),
            (
                json!({"serviceType": "NodePort", "serviceName": "Web", "ports": [{"port": 1}]}),
                "serviceName",
            ),
            (
                json!({"serviceType": "NodePort", "ports": [{"port": 1, "protocol": "xyz"}]}),
                "ports.protocol",
            ),
        ] {
            assert_eq!(
                request(body.clone()).unwrap_err().field.as_deref(),
                Some(field),
                "{body}"
            );
        }
    }
}
