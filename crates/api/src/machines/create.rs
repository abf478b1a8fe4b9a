//! Making machines: a `VmAccess` from the few members that most machines need. Everything else is for manifests.

use axum::extract::State;
use kube::{Api, ResourceExt as _, api::PostParams};
use novasphere_core::name::DnsLabel;
use novasphere_crd::VmAccess;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{
    FIELD_MANAGER,
    audit::{ActionRecord, AuditAction},
    caller::Caller,
    code::Code,
    envelope::{Answer, Envelope},
    error::{ApiError, ApiResult},
    http::JsonBody,
    kubernetes::refused,
    language::Sentence,
    state::ApiState,
};

const MADE: Sentence = Sentence {
    english: "the machine is being made",
    chinese: "虚拟机正在创建",
};

/// Bytes of a reference to an image, as in the schema of a `VmAccess`.
const IMAGE_BYTES: usize = 2048;

/// SSH keys of a machine, as in that schema.
const SSH_KEYS_LIMIT: usize = 16;

/// Processors of a machine.
const VCPU_LIMIT: u32 = 512;

/// MiB of memory: 16 TiB, more than KVM gives a guest.
const MEMORY_MEBIBYTES_LIMIT: u64 = 16 * 1024 * 1024;

/// GiB of a disk: 64 TiB.
const DISK_GIBIBYTES_LIMIT: u64 = 64 * 1024;

/// A machine to make, or one that exists and is to be listed by a `VmAccess`.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MachineRequest {
    /// Its namespace.
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    namespace: String,
    /// Its name: lower-case letters, digits and `-`, the first a letter.
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$")]
    name: String,
    /// A virtual machine that exists in the namespace: it is taken over as it is, and the members that describe a machine stay out.
    #[schema(min_length = 1, max_length = 253)]
    #[serde(default)]
    virtual_machine: Option<String>,
    /// Virtual processors. Default 1. Not with `instancetype`.
    #[schema(minimum = 1, maximum = 512)]
    #[serde(default, rename = "vCPU")]
    vcpu: Option<u32>,
    /// Memory in MB (2^20 bytes). Required without `instancetype`.
    #[schema(minimum = 1, maximum = 16_777_216)]
    #[serde(default)]
    memory: Option<u64>,
    /// A `VirtualMachineClusterInstancetype` of KubeVirt, which says processors and memory.
    #[schema(min_length = 1, max_length = 253)]
    #[serde(default)]
    instancetype: Option<String>,
    /// The image of the root disk: a container image, or with `diskSize` also the `http(s)://` URL of an image file.
    #[schema(min_length = 1, max_length = 2048)]
    #[serde(default)]
    image: Option<String>,
    /// Copy the image onto a volume of this many GB (2^30 bytes), which keeps what the guest writes. Default: the image itself, and what the guest writes
    /// is lost when it stops.
    #[schema(minimum = 1, maximum = 65536)]
    #[serde(default)]
    disk_size: Option<u64>,
    /// The storage class of that volume. Default: the cluster's.
    #[schema(min_length = 1, max_length = 253)]
    #[serde(default)]
    storage_class: Option<String>,
    /// SSH public keys of the guest's default user.
    #[schema(max_items = 16)]
    #[serde(default)]
    ssh_authorized_keys: Vec<String>,
    /// User data of cloud-init.
    #[schema(min_length = 1, max_length = 2048)]
    #[serde(default)]
    user_data: Option<String>,
    /// Start it. Default: false, and nothing decides about its power but `start` and `stop`.
    #[serde(default)]
    start: bool,
    /// Only say whether the cluster would take it. Default false.
    #[serde(default)]
    dry_run: bool,
}

/// A machine that was made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MachineMade {
    /// Its ID; `null` when nothing was made.
    id: Option<String>,
    /// Its name.
    name: String,
    /// Its namespace.
    namespace: String,
    /// Whether it was only asked.
    dry_run: bool,
}

/// Make a machine.
#[utoipa::path(post, path = "/vms", tag = "machines", operation_id = "createMachine", request_body = MachineRequest,
    responses((status = 200, body = Envelope<MachineMade>)))]
pub(super) async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(request): JsonBody<MachineRequest>,
) -> ApiResult<Answer<MachineMade>> {
    let wanted = wanted(&request)?;
    let MachineRequest {
        namespace,
        name,
        dry_run,
        ..
    } = request;
    state.authorization.within_tenant(&caller, &namespace, &state.watched)?;
    let objects: Api<VmAccess> = Api::namespaced(state.client_of(&caller)?, &namespace);
    let params = PostParams {
        dry_run,
        field_manager: Some(FIELD_MANAGER.to_owned()),
    };
    let made = objects.create(&params, &wanted).await.map_err(refused)?;
    if !dry_run {
        let record = ActionRecord {
            user: Some(&caller.user.name),
            client: Some(caller.client),
            target: Some(format!("VmAccess/{namespace}/{name}")),
            reason: Some("create"),
            ..ActionRecord::default()
        };
        state.audit.record(AuditAction::MachineChanged, &record);
    }
    // A dry run is answered with a UID, too, which nothing has.
    let id = made.uid().filter(|_| !dry_run);
    Ok(Answer::new(MachineMade {
        id,
        name,
        namespace,
        dry_run,
    })
    .saying(MADE))
}

fn between<N: PartialOrd + Copy>(field: &str, number: Option<N>, first: N, last: N, range: &str) -> ApiResult<()> {
    match number {
        Some(number) if number < first || number > last => Err(ApiError::parameter(field, range)),
        _ => Ok(()),
    }
}

/// The object. What its schema decides is decided by kube-apiserver, whose words the answer has; what is refused here would be refused there in words of
/// members that the caller has not written.
fn wanted(request: &MachineRequest) -> ApiResult<VmAccess> {
    if DnsLabel::parse(&request.namespace).is_err() {
        return Err(ApiError::parameter("namespace", "namespace is no name of a namespace"));
    }
    let begins_with_a_letter = request.name.starts_with(|first: char| first.is_ascii_lowercase());
    if !begins_with_a_letter || DnsLabel::parse(&request.name).is_err() {
        return Err(ApiError::parameter(
            "name",
            "name begins with a letter and has lower-case letters, digits and '-', at most 63",
        ));
    }
    let machine = match &request.virtual_machine {
        Some(existing) => adopted(request, existing)?,
        None => json!({"template": template(request)?}),
    };
    let mut spec = Map::new();
    spec.insert("virtualMachine".to_owned(), machine);
    if request.start {
        spec.insert("power".to_owned(), json!({"state": "Running"}));
    }
    let object = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VmAccess",
        "metadata": {"name": request.name, "namespace": request.namespace},
        "spec": spec,
    });
    serde_json::from_value(object).map_err(|error| ApiError::with(Code::INVALID_BODY, error.to_string()))
}

fn adopted(request: &MachineRequest, existing: &str) -> ApiResult<Value> {
    let described = [
        ("vCPU", request.vcpu.is_some()),
        ("memory", request.memory.is_some()),
        ("instancetype", request.instancetype.is_some()),
        ("image", request.image.is_some()),
        ("diskSize", request.disk_size.is_some()),
        ("storageClass", request.storage_class.is_some()),
        ("sshAuthorizedKeys", !request.ssh_authorized_keys.is_empty()),
        ("userData", request.user_data.is_some()),
    ];
    if let Some((field, _)) = described.into_iter().find(|(_, is_given)| *is_given) {
        return Err(ApiError::parameter(
            field,
            format!("{field} describes a new machine; a machine that exists (virtualMachine) stays as it is"),
        ));
    }
    Ok(json!({ "name": existing }))
}

fn template(request: &MachineRequest) -> ApiResult<Value> {
    between("vCPU", request.vcpu, 1, VCPU_LIMIT, "vCPU is from 1 to 512")?;
    between(
        "memory",
        request.memory,
        1,
        MEMORY_MEBIBYTES_LIMIT,
        "memory is from 1 to 16777216 MB",
    )?;
    if request.ssh_authorized_keys.len() > SSH_KEYS_LIMIT {
        return Err(ApiError::parameter(
            "sshAuthorizedKeys",
            "a machine has 16 keys at most",
        ));
    }
    let mut template = Map::new();
    match (&request.instancetype, request.memory) {
        (Some(_), _) if request.vcpu.is_some() || request.memory.is_some() => {
            return Err(ApiError::parameter(
                "instancetype",
                "instancetype says processors and memory; leave vCPU and memory out",
            ));
        }
        (Some(instancetype), _) => {
            template.insert("instancetype".to_owned(), json!({ "name": instancetype }));
        }
        (None, None) => return Err(ApiError::parameter("memory", "give memory, or instancetype")),
        (None, Some(memory)) => {
            template.insert("memory".to_owned(), json!(format!("{memory}Mi")));
            template.insert("cpu".to_owned(), json!({"cores": request.vcpu.unwrap_or(1)}));
        }
    }
    template.insert("rootDisk".to_owned(), root_disk(request)?);
    if !request.ssh_authorized_keys.is_empty() {
        template.insert("sshAuthorizedKeys".to_owned(), json!(request.ssh_authorized_keys));
    }
    if let Some(user_data) = &request.user_data {
        template.insert("cloudInit".to_owned(), json!({ "userData": user_data }));
    }
    Ok(Value::Object(template))
}

fn root_disk(request: &MachineRequest) -> ApiResult<Value> {
    let image = request.image.as_deref().unwrap_or_default();
    if image.is_empty() || image.len() > IMAGE_BYTES {
        return Err(ApiError::parameter("image", "image names the image of the root disk"));
    }
    let is_file = image.starts_with("http://") || image.starts_with("https://");
    let Some(size) = request.disk_size else {
        if is_file {
            return Err(ApiError::parameter(
                "diskSize",
                "an image file is copied onto a volume; give its size",
            ));
        }
        if request.storage_class.is_some() {
            return Err(ApiError::parameter(
                "storageClass",
                "storageClass is that of a volume; give diskSize as well",
            ));
        }
        return Ok(json!({"containerDisk": {"image": image}}));
    };
    between(
        "diskSize",
        Some(size),
        1,
        DISK_GIBIBYTES_LIMIT,
        "diskSize is from 1 to 65536 GB",
    )?;
    let source = if is_file {
        json!({"http": {"url": image}})
    } else {
        json!({"registry": {"url": format!("docker://{image}")}})
    };
    let mut volume = json!({"source": source, "size": format!("{size}Gi")});
    if let (Some(class), Some(volume)) = (&request.storage_class, volume.as_object_mut()) {
        volume.insert("storageClassName".to_owned(), json!(class));
    }
    Ok(json!({ "dataVolume": volume }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(body: Value) -> ApiResult<Value> {
        let made = wanted(&serde_json::from_value(body).unwrap())?;
        Ok(serde_json::to_value(made.spec).unwrap())
    }

    #[test]
    fn a_machine_has_what_was_asked_for() {
        let spec = spec(json!({
            "namespace": "team", "name": "web", "vCPU": 2, "memory": 4096, "image": "quay.io/containerdisks/debian:13", "diskSize": 20,
            "storageClass": "fast", "sshAuthorizedKeys": ["ssh-ed25519 AAAA ann"], "start": true,
        }))
        .unwrap();
        let template = &spec["virtualMachine"]["template"];
        assert_eq!(
            (&template["memory"], &template["cpu"]["cores"]),
            (&json!("4096Mi"), &json!(2))
        );
        let volume = &template["rootDisk"]["dataVolume"];
        assert_eq!(
            volume["source"]["registry"]["url"],
            "docker://quay.io/containerdisks/debian:13"
        );
        assert_eq!(
            (&volume["size"], &volume["storageClassName"]),
            (&json!("20Gi"), &json!("fast"))
        );
        assert_eq!(template["sshAuthorizedKeys"], json!(["ssh-ed25519 AAAA ann"]));
        assert_eq!(spec["power"]["state"], "Running");
    }

    #[test]
    fn small_requests_have_defaults() {
        let made = spec(json!({"namespace": "team", "name": "web", "memory": 512, "image": "a:1"})).unwrap();
        let template = &made["virtualMachine"]["template"];
        assert_eq!(template["rootDisk"]["containerDisk"]["image"], "a:1");
        assert_eq!(template["cpu"]["cores"], 1);
        assert_eq!(made.get("power"), None);
        let adopted = spec(json!({"namespace": "team", "name": "web", "virtualMachine": "old"})).unwrap();
        assert_eq!(adopted["virtualMachine"], json!({"name": "old"}));
        let typed =
            spec(json!({"namespace": "team", "name": "web", "instancetype": "u1.small", "image": "a:1"})).unwrap();
        assert_eq!(typed["virtualMachine"]["template"]["instancetype"]["name"], "u1.small");
    }

    #[test]
    fn what_cannot_be_a_machine_is_refused_with_its_member() {
        for (more, field) in [
            (json!({"name": "Web"}), "name"),
            (json!({"name": "1web"}), "name"),
            (json!({"namespace": "a.b"}), "namespace"),
            (json!({"memory": 0}), "memory"),
            (json!({"memory": null}), "memory"),
            (json!({"vCPU": 513}), "vCPU"),
            (json!({"image": ""}), "image"),
            (json!({"image": null}), "image"),
            (json!({"image": "https://example.org/a.qcow2"}), "diskSize"),
            (json!({"diskSize": 0}), "diskSize"),
            (json!({"storageClass": "fast"}), "storageClass"),
            (json!({"instancetype": "u1.small"}), "instancetype"),
            (json!({"virtualMachine": "old"}), "memory"),
        ] {
            let mut body = json!({"namespace": "team", "name": "web", "memory": 512, "image": "a:1"});
            if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
                body.extend(more.clone());
            }
            assert_eq!(spec(body).unwrap_err().field.as_deref(), Some(field), "{more}");
        }
    }
}
