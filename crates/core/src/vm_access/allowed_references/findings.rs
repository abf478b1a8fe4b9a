//! What a `VirtualMachineSpec` names outside itself (kubevirt.io/api `core/v1/schema.go` and `types.go`, cdi `core/v1beta1/types.go`).

use serde_json::{Map, Value};

/// What a value of a field needs to be allowed.
type RequirementOf = fn(String) -> Requirement;

/// Something that a spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The field in the spec of the machine. Elements of lists go by their name.
    pub(super) path: String,
    /// What it asks for.
    pub(super) requirement: Requirement,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    Secret(String),
    ConfigMap(String),
    Claim(String),
    Snapshot(String),
    /// The network of another namespace.
    NetworkOf(String),
    /// The key of a label of the machine's Pods.
    Label(String),
    /// The key of an annotation of the machine's Pods.
    Annotation(String),
    PriorityClass(String),
    Scheduler(String),
    /// The key of a tolerated taint; `*` for all.
    Toleration(String),
    /// What no machine gets, and why.
    Refused(&'static str),
}

/// All that `spec` names. `namespace` is that of the machine.
pub(super) fn findings(spec: &Value, namespace: &str) -> Vec<Finding> {
    let mut found = FindingList::default();
    found.pods(spec);
    for (place, volume) in elements(spec, "/template/spec/volumes") {
        found.volume(&format!("template.spec.volumes[{place}]"), volume);
    }
    for (place, volume) in elements(spec, "/template/spec/utilityVolumes") {
        let place = format!("template.spec.utilityVolumes[{place}].claimName");
        found.text(&place, volume.get("claimName"), Requirement::Claim);
    }
    for (place, credential) in elements(spec, "/template/spec/accessCredentials") {
        for kind in ["sshPublicKey", "userPassword"] {
            let secret = credential.pointer(&format!("/{kind}/source/secret/secretName"));
            let place = format!("template.spec.accessCredentials[{place}].{kind}.source.secret");
            found.text(&place, secret, Requirement::Secret);
        }
    }
    for (place, network) in elements(spec, "/template/spec/networks") {
        let name = network.pointer("/multus/networkName").and_then(Value::as_str);
        if let Some((other, _)) = name.and_then(|name| name.split_once('/'))
            && other != namespace
        {
            let place = format!("template.spec.networks[{place}].multus.networkName");
            found.add(place, Requirement::NetworkOf(other.to_owned()));
        }
    }
    for (place, volume) in elements(spec, "/dataVolumeTemplates") {
        found.data_volume(&format!("dataVolumeTemplates[{place}].spec"), volume, namespace);
    }
    found.0
}

#[derive(Default)]
struct FindingList(Vec<Finding>);

impl FindingList {
    fn add(&mut self, path: String, requirement: Requirement) {
        self.0.push(Finding { path, requirement });
    }

    fn text(&mut self, path: &str, value: Option<&Value>, requirement: RequirementOf) {
        if let Some(text) = value.and_then(Value::as_str).filter(|text| !text.is_empty()) {
            self.add(path.to_owned(), requirement(text.to_owned()));
        }
    }

    /// What the Pods of the machine ask for.
    fn pods(&mut self, spec: &Value) {
        let keys: [(&str, RequirementOf); 2] =
            [("labels", Requirement::Label), ("annotations", Requirement::Annotation)];
        for (kind, requirement) in keys {
            for key in fields(spec, &format!("/template/metadata/{kind}")).map(|(key, _)| key) {
                self.add(format!("template.metadata.{kind}[{key}]"), requirement(key.clone()));
            }
        }
        let names: [(&str, RequirementOf); 2] = [
            ("priorityClassName", Requirement::PriorityClass),
            ("schedulerName", Requirement::Scheduler),
        ];
        for (field, requirement) in names {
            let name = spec.pointer(&format!("/template/spec/{field}"));
            self.text(&format!("template.spec.{field}"), name, requirement);
        }
        for (index, toleration) in elements(spec, "/template/spec/tolerations") {
            let key = toleration.get("key").and_then(Value::as_str);
            let key = key.filter(|key| !key.is_empty()).unwrap_or("*");
            let place = format!("template.spec.tolerations[{index}]");
            self.add(place, Requirement::Toleration(key.to_owned()));
        }
    }

    fn volume(&mut self, place: &str, volume: &Value) {
        for (kind, source) in volume.as_object().into_iter().flatten() {
            if source.is_null() {
                continue;
            }
            let place = format!("{place}.{kind}");
            let text = |path: &str| source.pointer(path);
            match kind.as_str() {
                "name" | "containerDisk" | "emptyDisk" | "downwardAPI" | "downwardMetrics" => {}
                "cloudInitNoCloud" | "cloudInitConfigDrive" => {
                    for field in ["secretRef", "networkDataSecretRef"] {
                        let name = text(&format!("/{field}/name"));
                        self.text(&format!("{place}.{field}"), name, Requirement::Secret);
                    }
                }
                "secret" => self.text(&place, text("/secretName"), Requirement::Secret),
                "configMap" => self.text(&place, text("/name"), Requirement::ConfigMap),
                "sysprep" => {
                    self.text(&format!("{place}.secret"), text("/secret/name"), Requirement::Secret);
                    self.text(&format!("{place}.configMap"), text("/configMap/name"), Requirement::ConfigMap);
                }
                "persistentVolumeClaim" | "memoryDump" => self.text(&place, text("/claimName"), Requirement::Claim),
                "ephemeral" => self.text(&place, text("/persistentVolumeClaim/claimName"), Requirement::Claim),
                // The claim of a data volume has its name, also when somebody else made it.
                "dataVolume" => self.text(&place, text("/name"), Requirement::Claim),
                "serviceAccount" => self.add(
                    place,
                    Requirement::Refused("a machine gets no token of a ServiceAccount; remove the volume"),
                ),
                "hostDisk" => self.add(
                    place,
                    Requirement::Refused("a machine gets no file of its node; remove the volume"),
                ),
                _ => self.add(
                    place,
                    Requirement::Refused(
                        "novasphere does not know what this source of a volume reads; remove it, or adopt a machine that has it, \
                         by spec.virtualMachine.name",
                    ),
                ),
            }
        }
    }

    fn data_volume(&mut self, place: &str, volume: &Value, namespace: &str) {
        for (kind, source) in fields(volume, "/spec/source") {
            let place = format!("{place}.source.{kind}");
            self.text(
                &format!("{place}.secretRef"),
                source.get("secretRef"),
                Requirement::Secret,
            );
            let headers = source.get("secretExtraHeaders").and_then(Value::as_array);
            for header in headers.into_iter().flatten() {
                self.text(
                    &format!("{place}.secretExtraHeaders"),
                    Some(header),
                    Requirement::Secret,
                );
            }
            let copied: Option<fn(String) -> Requirement> = match kind.as_str() {
                "pvc" => Some(Requirement::Claim),
                "snapshot" => Some(Requirement::Snapshot),
                _ => None,
            };
            let Some(copied) = copied else { continue };
            let other = source.get("namespace").and_then(Value::as_str);
            if other.is_some_and(|other| !other.is_empty() && other != namespace) {
                let problem = "a disk is a copy of what is in the namespace of its machine; remove namespace";
                self.add(format!("{place}.namespace"), Requirement::Refused(problem));
            }
            self.text(&place, source.get("name"), copied);
        }
        for field in ["pvc", "storage"] {
            for source in ["dataSource", "dataSourceRef"] {
                let path = format!("{place}.{field}.{source}");
                let Some(source) = volume.pointer(&format!("/spec/{field}/{source}")) else {
                    continue;
                };
                match source.get("kind").and_then(Value::as_str) {
                    Some("PersistentVolumeClaim") => self.text(&path, source.get("name"), Requirement::Claim),
                    Some("VolumeSnapshot") => self.text(&path, source.get("name"), Requirement::Snapshot),
                    _ => {}
                }
            }
        }
    }
}

/// The elements of a list, each with its name, or else its index.
fn elements<'a>(spec: &'a Value, path: &str) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
    let list = spec.pointer(path).and_then(Value::as_array);
    list.into_iter().flatten().enumerate().map(|(index, element)| {
        let name = element.get("name").or_else(|| element.pointer("/metadata/name"));
        let name = name.and_then(Value::as_str).map(str::to_owned);
        (name.unwrap_or_else(|| index.to_string()), element)
    })
}

fn fields<'a>(spec: &'a Value, path: &str) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    let object: Option<&Map<String, Value>> = spec.pointer(path).and_then(Value::as_object);
    object.into_iter().flatten().filter(|(_, value)| !value.is_null())
}
