//! Deleting machines, and what goes and stays with them.

use axum::extract::State;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Preconditions},
};
use novasphere_core::vm_access::virtual_machine_name;
use novasphere_crd::{DeletionPolicy, DiskSource, VmAccess};
use novasphere_foreign::{CompactJson, kubevirt::VirtualMachine};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::machine;
use crate::{
    audit::{ActionRecord, AuditAction},
    caller::Caller,
    envelope::{Answer, Envelope},
    error::ApiResult,
    http::{Path, Query},
    kubernetes::refused,
    state::ApiState,
    watches::MachineKind,
};

/// Whether it is meant.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeletionQuery {
    /// Only say what would go. Default false.
    #[serde(default)]
    dry_run: bool,
}

/// What becomes of a machine's parts.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MachineDeletion {
    /// Whether it was only asked.
    dry_run: bool,
    /// What goes, now or soon.
    goes: Vec<DeletedPart>,
    /// What stays.
    stays: Vec<DeletedPart>,
}

/// A part of a machine.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeletedPart {
    /// Its kind: `VmAccess`, `VirtualMachine`, `Service`, `Route`, `Volume` or `PersistentVolumeClaim`.
    kind: &'static str,
    /// Its name; of a volume, the disk's.
    name: String,
    /// Whether it holds data that are nowhere else.
    has_data: bool,
}

/// Delete a machine. The answer says what goes with it and what stays; with `dryRun` nothing goes.
#[utoipa::path(delete, path = "/vms/{vmId}", tag = "machines", operation_id = "deleteMachine",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317), DeletionQuery),
    responses((status = 200, body = Envelope<MachineDeletion>)))]
pub(super) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<DeletionQuery>,
) -> ApiResult<Answer<MachineDeletion>> {
    let row = machine(&state, &caller, &id).await?;
    let client = state.client_of(&caller)?;
    // The object is read as the person, and its UID is a condition: another one that has got its name since is not deleted.
    let deletion = match row.kind {
        MachineKind::VmAccess => {
            let objects: Api<VmAccess> = Api::namespaced(client, &row.namespace);
            let object = objects.get(&row.name).await.map_err(refused)?;
            let params = params(Some(row.id.clone()), query.dry_run);
            objects.delete(&row.name, &params).await.map_err(refused)?;
            MachineDeletion::of_vm_access(&object)
        }
        MachineKind::VirtualMachine => {
            let objects: Api<VirtualMachine> = Api::namespaced(client, &row.namespace);
            let object = objects.get(&row.machine).await.map_err(refused)?;
            let params = params(object.uid(), query.dry_run);
            objects.delete(&row.machine, &params).await.map_err(refused)?;
            MachineDeletion::of_machine(&object)
        }
    };
    if !query.dry_run {
        let record = ActionRecord {
            user: Some(&caller.user.name),
            client: Some(caller.client),
            target: Some(format!("{:?}/{}/{}", row.kind, row.namespace, row.name)),
            reason: Some("delete"),
            ..ActionRecord::default()
        };
        state.audit.record(AuditAction::MachineChanged, &record);
    }
    Ok(Answer::new(MachineDeletion {
        dry_run: query.dry_run,
        ..deletion
    }))
}

fn params(uid: Option<String>, dry_run: bool) -> DeleteParams {
    DeleteParams {
        dry_run,
        preconditions: Some(Preconditions {
            uid,
            resource_version: None,
        }),
        ..DeleteParams::default()
    }
}

impl DeletedPart {
    fn new(kind: &'static str, name: impl Into<String>, has_data: bool) -> Self {
        Self {
            kind,
            name: name.into(),
            has_data,
        }
    }
}

impl MachineDeletion {
    fn of_vm_access(object: &VmAccess) -> Self {
        let mut deletion = Self::default();
        deletion
            .goes
            .push(DeletedPart::new("VmAccess", object.name_any(), false));
        for service in &object.spec.services {
            let name = format!("{}-{}", object.name_any(), service.name);
            deletion.goes.push(DeletedPart::new("Service", name, false));
        }
        for route in &object.spec.routes {
            deletion.goes.push(DeletedPart::new("Route", route.name.clone(), false));
        }
        let source = &object.spec.virtual_machine;
        let machine = DeletedPart::new("VirtualMachine", virtual_machine_name(object), false);
        let Some(template) = &source.template else {
            deletion.stays.push(machine);
            return deletion;
        };
        let stays = source.deletion_policy == Some(DeletionPolicy::Orphan);
        deletion.with_machine(machine, stays);
        deletion.with_disk("root", &template.root_disk.source, stays);
        for disk in &template.disks {
            deletion.with_disk(&disk.name, &disk.source, stays);
        }
        deletion
    }

    fn of_machine(object: &VirtualMachine) -> Self {
        let mut deletion = Self::default();
        deletion
            .goes
            .push(DeletedPart::new("VirtualMachine", object.name_any(), false));
        let spec = object.spec.as_ref().map(CompactJson::to_value).unwrap_or_default();
        let templates = spec.get("dataVolumeTemplates").and_then(Value::as_array);
        for template in templates.into_iter().flatten() {
            if let Some(name) = template.pointer("/metadata/name").and_then(Value::as_str) {
                deletion.goes.push(DeletedPart::new("Volume", name, true));
            }
        }
        let volumes = spec.pointer("/template/spec/volumes").and_then(Value::as_array);
        for volume in volumes.into_iter().flatten() {
            let claim = volume.pointer("/persistentVolumeClaim/claimName");
            if let Some(claim) = claim.and_then(Value::as_str) {
                deletion
                    .stays
                    .push(DeletedPart::new("PersistentVolumeClaim", claim, true));
            }
        }
        deletion
    }

    fn with_machine(&mut self, machine: DeletedPart, stays: bool) {
        if stays {
            self.stays.push(machine);
        } else {
            self.goes.push(machine);
        }
    }

    /// A volume that was made for the machine goes with it, and a claim that was there before stays. Images hold nothing of the guest's.
    fn with_disk(&mut self, name: &str, source: &DiskSource, stays: bool) {
        if source.data_volume.is_some() {
            self.with_machine(DeletedPart::new("Volume", name, true), stays);
        }
        for claim in [&source.persistent_volume_claim, &source.ephemeral]
            .into_iter()
            .flatten()
        {
            self.stays.push(DeletedPart::new(
                "PersistentVolumeClaim",
                claim.claim_name.clone(),
                true,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deletion(spec: &Value) -> (Vec<String>, Vec<String>) {
        let object: VmAccess = serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess", "metadata": {"name": "web", "namespace": "team"}, "spec": spec,
        }))
        .unwrap();
        let deletion = MachineDeletion::of_vm_access(&object);
        let names = |parts: Vec<DeletedPart>| {
            parts
                .into_iter()
                .map(|part| format!("{}/{}", part.kind, part.name))
                .collect()
        };
        (names(deletion.goes), names(deletion.stays))
    }

    #[test]
    fn volumes_of_the_machine_go_and_claims_stay() {
        let template = json!({
            "memory": "1Gi",
            "rootDisk": {"dataVolume": {"source": {"blank": {}}, "size": "1Gi"}},
            "disks": [{"name": "data", "persistentVolumeClaim": {"claimName": "old"}}, {"name": "tools", "containerDisk": {"image": "a:1"}}],
        });
        let services = json!([{"name": "ssh", "ports": [{"name": "ssh", "port": 22}]}]);
        let (goes, stays) = deletion(&json!({"virtualMachine": {"template": template}, "services": services}));
        assert_eq!(
            goes,
            ["VmAccess/web", "Service/web-ssh", "VirtualMachine/web", "Volume/root"]
        );
        assert_eq!(stays, ["PersistentVolumeClaim/old"]);
        let (goes, stays) = deletion(&json!({"virtualMachine": {"template": template, "deletionPolicy": "Orphan"}}));
        assert_eq!(goes, ["VmAccess/web"]);
        assert_eq!(
            stays,
            ["VirtualMachine/web", "Volume/root", "PersistentVolumeClaim/old"]
        );
    }

    #[test]
    fn a_machine_that_was_there_before_stays() {
        let (goes, stays) = deletion(&json!({"virtualMachine": {"name": "old"}}));
        assert_eq!(
            (goes, stays),
            (vec!["VmAccess/web".to_owned()], vec!["VirtualMachine/old".to_owned()])
        );
    }

    #[test]
    fn a_bare_machine_takes_its_volumes_with_it() {
        let object: VirtualMachine = serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "old"},
            "spec": {
                "dataVolumeTemplates": [{"metadata": {"name": "old-root"}}],
                "template": {"spec": {"volumes": [
                    {"name": "root", "dataVolume": {"name": "old-root"}}, {"name": "data", "persistentVolumeClaim": {"claimName": "kept"}}]}},
            },
        }))
        .unwrap();
        let deletion = MachineDeletion::of_machine(&object);
        assert_eq!(deletion.goes.len(), 2);
        assert_eq!(deletion.goes[1], DeletedPart::new("Volume", "old-root", true));
        assert_eq!(
            deletion.stays,
            [DeletedPart::new("PersistentVolumeClaim", "kept", true)]
        );
    }
}
