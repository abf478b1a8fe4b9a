//! A machine with its networks, disks, consoles, and what happened to it.

use axum::extract::State;
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api,
    api::{ListParams, ObjectList},
};
use novasphere_core::vm_access::hardware::MachineConsoles;
use novasphere_crd::{ConsoleProtocol, VmAccess};
use novasphere_foreign::{
    CompactJson,
    kubevirt::{VirtualMachine, VirtualMachineInstance},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{console, list::MachineSummary, machine};
use crate::{
    caller::Caller,
    envelope::{Answer, Envelope},
    error::ApiResult,
    http::Path,
    kubernetes::refused,
    state::ApiState,
    watches::{MachineKind, MachineRow, MachineStatus, mebibytes},
};

/// Events of a machine that are shown.
const EVENTS_LIMIT: usize = 20;

/// Events that are looked through for them.
const LISTED_EVENTS_LIMIT: u32 = 500;

/// A machine.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MachineDetail {
    /// As in lists.
    basic_info: MachineSummary,
    /// Its networks.
    network_info: Vec<NetworkInfo>,
    /// Its disks.
    storage_info: Vec<StorageInfo>,
    /// Its consoles.
    console_info: ConsoleInfo,
    /// What happened to it lately, the last first.
    event_info: Vec<EventInfo>,
    /// What I may do with it now.
    actions: Vec<MachineAction>,
}

/// A network interface.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NetworkInfo {
    /// Its name in the machine's spec.
    interface_name: String,
    /// `pod` or `multus`.
    network_type: &'static str,
    /// Its first address.
    ip: Option<String>,
    /// All its addresses.
    ips: Vec<String>,
    /// Only the guest knows its gateway.
    gateway: Option<String>,
    /// Its hardware address.
    mac: Option<String>,
}

/// A disk.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StorageInfo {
    /// Its name in the machine's spec.
    disk_name: String,
    /// In GB (2^30 bytes), where the spec says so.
    size: Option<u64>,
    /// What it is made of, such as `containerDisk` or `dataVolume`.
    r#type: String,
    /// Its storage class, where the spec says so.
    storage_class: Option<String>,
}

/// The consoles of a machine.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsoleInfo {
    /// Those that it has and that may be opened.
    support_protocols: Vec<&'static str>,
    /// The one that is opened when none is named.
    default_protocol: Option<&'static str>,
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventInfo {
    /// In one word.
    event_type: String,
    /// Who did it: a controller, or a person.
    operator: Option<String>,
    /// When.
    time: Option<String>,
    /// `success` or `failed`.
    status: &'static str,
    /// In a sentence.
    message: Option<String>,
}

/// Something that can be done with a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MachineAction {
    /// `start`, `stop`, `restart`, `console:view`, `console:access` or `delete`.
    name: &'static str,
    /// Whether I may, and whether it can be done now.
    allowed: bool,
    /// Why not, in one word: `Forbidden`, or the machine's state.
    reason: Option<&'static str>,
}

/// A machine with its networks, disks, consoles, and what happened to it.
#[utoipa::path(get, path = "/vms/{vmId}", tag = "machines", operation_id = "getMachine",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317)),
    responses((status = 200, body = Envelope<MachineDetail>)))]
pub(super) async fn detail(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Answer<MachineDetail>> {
    let row = machine(&state, &caller, &id).await?;
    let client = state.client_of(&caller)?;
    let machines: Api<VirtualMachine> = Api::namespaced(client.clone(), &row.namespace);
    let runs: Api<VirtualMachineInstance> = Api::namespaced(client.clone(), &row.namespace);
    let accesses: Api<VmAccess> = Api::namespaced(client.clone(), &row.namespace);
    let events: Api<Event> = Api::namespaced(client, &row.namespace);
    let of_name = |name: &str| {
        ListParams::default()
            .limit(LISTED_EVENTS_LIMIT)
            .fields(&format!("regarding.name={name}"))
    };
    let (of_access, of_machine) = (of_name(&row.name), of_name(&row.machine));
    // What the person may not read is left out: the machine itself they may see.
    let (machine, run, access, mut happenings, others, permissions) = tokio::try_join!(
        async { readable(machines.get(&row.machine).await) },
        async { readable(runs.get(&row.machine).await) },
        async {
            match row.kind {
                MachineKind::VmAccess => readable(accesses.get(&row.name).await),
                MachineKind::VirtualMachine => Ok(None),
            }
        },
        async { readable(events.list(&of_machine).await).map(items) },
        async {
            if row.name == row.machine {
                Ok(Vec::new())
            } else {
                readable(events.list(&of_access).await).map(items)
            }
        },
        state.authorization.permissions(&caller, Some(&row.namespace)),
    )?;
    happenings.extend(others);
    let spec = machine
        .as_ref()
        .and_then(|machine| machine.spec.as_ref())
        .map(CompactJson::to_value);
    let may_see_viewers = permissions.iter().any(|word| word == "session:query");
    let viewers = if may_see_viewers {
        console::viewers(&state.watched.sessions_in_use(), &row)
    } else {
        Vec::new()
    };
    Ok(Answer::new(MachineDetail {
        basic_info: MachineSummary::of(&row, viewers, &state.time_zone),
        network_info: networks(spec.as_ref(), run.as_ref(), access.as_ref()),
        storage_info: disks(spec.as_ref()),
        console_info: consoles(access.as_ref(), MachineConsoles::of(machine.as_ref(), run.as_ref())),
        event_info: happened(&row, happenings, &state),
        actions: actions(row.status, &permissions),
    }))
}

/// What the person may not read, and what is not there, is left out; that the cluster does not answer is no answer.
fn readable<T>(read: kube::Result<T>) -> ApiResult<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(None),
        Err(error) => Err(refused(error)),
    }
}

fn items(list: Option<ObjectList<Event>>) -> Vec<Event> {
    list.map(|list| list.items).unwrap_or_default()
}

fn list_at<'a>(value: Option<&'a Value>, path: &str) -> &'a [Value] {
    let found = value.and_then(|value| value.pointer(path)).and_then(Value::as_array);
    found.map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn networks(spec: Option<&Value>, run: Option<&VirtualMachineInstance>, access: Option<&VmAccess>) -> Vec<NetworkInfo> {
    let declared = list_at(spec, "/template/spec/networks");
    let is_multus = |name: &str| {
        declared
            .iter()
            .any(|network| text(network, "name").as_deref() == Some(name) && network.get("multus").is_some())
    };
    let of = |name: Option<String>, ips: Vec<String>, mac: Option<String>| {
        let name = name.unwrap_or_else(|| "default".to_owned());
        NetworkInfo {
            network_type: if is_multus(&name) { "multus" } else { "pod" },
            interface_name: name,
            ip: ips.first().cloned(),
            ips,
            gateway: None,
            mac,
        }
    };
    if let Some(status) = run.and_then(|run| run.status.as_ref()) {
        let interfaces = status.interfaces.iter();
        return interfaces
            .map(|interface| {
                of(
                    interface.name.clone(),
                    interface.ip_addresses.clone(),
                    interface.mac.clone(),
                )
            })
            .collect();
    }
    let status = access.and_then(|access| access.status.as_ref()?.virtual_machine.as_ref());
    let known = status.map(|machine| machine.interfaces.as_slice()).unwrap_or_default();
    if !known.is_empty() {
        return known
            .iter()
            .map(|interface| {
                of(
                    interface.name.clone(),
                    interface.ip_addresses.clone(),
                    interface.mac_address.clone(),
                )
            })
            .collect();
    }
    declared
        .iter()
        .map(|network| of(text(network, "name"), Vec::new(), None))
        .collect()
}

fn disks(spec: Option<&Value>) -> Vec<StorageInfo> {
    let templates = list_at(spec, "/dataVolumeTemplates");
    let volumes = list_at(spec, "/template/spec/volumes").iter();
    let disks = volumes.filter_map(|volume| {
        let kind = volume.as_object()?.keys().find(|key| *key != "name")?.clone();
        let data_volume = volume.pointer("/dataVolume/name").and_then(Value::as_str);
        let template = templates.iter().find(|template| {
            data_volume.is_some() && template.pointer("/metadata/name").and_then(Value::as_str) == data_volume
        });
        let storage = template.and_then(|template| {
            template
                .pointer("/spec/storage")
                .or_else(|| template.pointer("/spec/pvc"))
        });
        let size = storage.and_then(|storage| storage.pointer("/resources/requests/storage"));
        let size = size
            .or_else(|| volume.pointer("/emptyDisk/capacity"))
            .and_then(Value::as_str);
        Some(StorageInfo {
            disk_name: text(volume, "name")?,
            size: size.and_then(mebibytes).map(|megabytes| megabytes.div_ceil(1024)),
            r#type: kind,
            storage_class: storage.and_then(|storage| text(storage, "storageClassName")),
        })
    });
    disks.collect()
}

fn consoles(access: Option<&VmAccess>, has: MachineConsoles) -> ConsoleInfo {
    let mut available = Vec::new();
    if has.screen {
        available.push(ConsoleProtocol::Vnc);
    }
    if has.serial {
        available.push(ConsoleProtocol::Serial);
    }
    let policy = access.map(|access| &access.spec.console);
    if let Some(allowed) = policy.and_then(|policy| policy.protocols.as_ref()) {
        available.retain(|protocol| allowed.contains(protocol));
    }
    let wanted = policy.and_then(|policy| policy.default_protocol);
    let default = wanted
        .filter(|wanted| available.contains(wanted))
        .or_else(|| available.first().copied());
    ConsoleInfo {
        support_protocols: available.iter().map(|protocol| protocol.as_str()).collect(),
        default_protocol: default.map(ConsoleProtocol::as_str),
    }
}

fn happened(row: &MachineRow, events: Vec<Event>, state: &ApiState) -> Vec<EventInfo> {
    let time = |event: &Event| {
        let series = event.series.as_ref().map(|series| series.last_observed_time.0);
        let stamp = || event.deprecated_last_timestamp.as_ref().map(|time| time.0);
        series
            .or_else(|| event.event_time.as_ref().map(|time| time.0))
            .or_else(stamp)
    };
    let is_of = |event: &Event| {
        let regarding = event.regarding.clone().unwrap_or_default();
        let named = |name: &str| regarding.name.as_deref() == Some(name);
        match regarding.kind.as_deref() {
            Some("VmAccess") => row.kind == MachineKind::VmAccess && named(&row.name),
            Some("VirtualMachine" | "VirtualMachineInstance") => named(&row.machine),
            _ => false,
        }
    };
    let mut events: Vec<Event> = events.into_iter().filter(is_of).collect();
    events.sort_by_key(|event| std::cmp::Reverse(time(event)));
    let shown = events.into_iter().take(EVENTS_LIMIT).map(|event| EventInfo {
        time: time(&event).map(|time| state.time_zone.text(time)),
        event_type: event.reason.unwrap_or_default(),
        operator: event.reporting_controller.filter(|controller| !controller.is_empty()),
        status: if event.type_.as_deref() == Some("Warning") {
            "failed"
        } else {
            "success"
        },
        message: event.note,
    });
    shown.collect()
}

/// What can be done with a machine in this state by somebody with these permissions.
fn actions(status: MachineStatus, permissions: &[String]) -> Vec<MachineAction> {
    use MachineStatus::{Failed, Paused, Pending, Running, Stopped, Stopping, Unknown};
    let is_on = matches!(status, Running | Paused | Pending);
    let fits = |name: &str| match name {
        "start" => matches!(status, Stopped | Failed | Unknown | Stopping),
        "stop" | "restart" => is_on || status == Failed,
        "console:view" | "console:access" => matches!(status, Running | Paused),
        _ => true,
    };
    let state = match status {
        Running => "Running",
        Stopped => "Stopped",
        Pending => "Pending",
        Stopping => "Stopping",
        Paused => "Paused",
        Failed => "Failed",
        Unknown => "Unknown",
    };
    let of = |name: &'static str| {
        let is_permitted = permissions.iter().any(|word| word.strip_prefix("vm:") == Some(name));
        let reason = match (is_permitted, fits(name)) {
            (false, _) => Some("Forbidden"),
            (true, false) => Some(state),
            (true, true) => None,
        };
        MachineAction {
            name,
            allowed: reason.is_none(),
            reason,
        }
    };
    ["start", "stop", "restart", "console:view", "console:access", "delete"]
        .map(of)
        .to_vec()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> Value {
        json!({
            "dataVolumeTemplates": [{"metadata": {"name": "web-root"}, "spec": {"storage": {
                "storageClassName": "local-path", "resources": {"requests": {"storage": "50Gi"}}}}}],
            "template": {"spec": {
                "networks": [{"name": "default", "pod": {}}, {"name": "vlan-100", "multus": {"networkName": "v"}}],
                "volumes": [{"name": "root-disk", "dataVolume": {"name": "web-root"}}, {"name": "seed", "cloudInitNoCloud": {}}],
            }},
        })
    }

    #[test]
    fn networks_are_those_of_the_run_with_the_types_of_the_spec() {
        let run: VirtualMachineInstance = serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "a"},
            "status": {"interfaces": [
                {"name": "default", "ipAddresses": ["10.42.0.10"], "mac": "52:54:00:12:34:56"}, {"name": "vlan-100"}]},
        }))
        .unwrap();
        let found = networks(Some(&spec()), Some(&run), None);
        assert_eq!(
            (found[0].network_type, found[0].ip.as_deref()),
            ("pod", Some("10.42.0.10"))
        );
        assert_eq!(
            (found[1].network_type, found[1].interface_name.as_str()),
            ("multus", "vlan-100")
        );
        assert_eq!(networks(Some(&spec()), None, None).len(), 2, "of a machine that is off");
    }

    #[test]
    fn disks_have_the_size_that_the_spec_says() {
        let found = disks(Some(&spec()));
        let root = StorageInfo {
            disk_name: "root-disk".to_owned(),
            size: Some(50),
            r#type: "dataVolume".to_owned(),
            storage_class: Some("local-path".to_owned()),
        };
        assert_eq!(found[0], root);
        assert_eq!((found[1].r#type.as_str(), found[1].size), ("cloudInitNoCloud", None));
    }

    #[test]
    fn an_action_says_why_it_cannot_be_done() {
        let may = ["vm:start".to_owned(), "vm:stop".to_owned()];
        let find = |status, name: &str| {
            let all = actions(status, &may);
            let found = all.into_iter().find(|action| action.name == name).unwrap();
            (found.allowed, found.reason)
        };
        assert_eq!(find(MachineStatus::Stopped, "start"), (true, None));
        assert_eq!(find(MachineStatus::Running, "start"), (false, Some("Running")));
        assert_eq!(find(MachineStatus::Running, "restart"), (false, Some("Forbidden")));
    }

    #[test]
    fn consoles_are_what_the_machine_has_and_the_policy_allows() {
        let both = MachineConsoles {
            screen: true,
            serial: true,
        };
        assert_eq!(consoles(None, both).support_protocols, ["vnc", "serial"]);
        let none = MachineConsoles {
            screen: false,
            serial: false,
        };
        assert_eq!(consoles(None, none).default_protocol, None);
    }
}
