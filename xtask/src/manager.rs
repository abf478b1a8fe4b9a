//! The objects beside CRDs and RBAC for `config/`, built from the chart's
//! `values.yaml`, so that a default is written down once.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    artifacts::{Files, yaml_header},
    rbac::PASSWORDS,
    yaml,
};

/// Defaults of the chart, relative to the root of the repository.
pub(crate) const VALUES: &str = "charts/novasphere/values.yaml";

/// Where `config/default` installs.
pub(crate) const NAMESPACE: &str = "novasphere-system";

const CONFIG_MAP: &str = "novasphere-config";

/// A role of the program, as a Deployment.
struct Role {
    /// Its name on the command line, in the chart's values and as a component.
    component: &'static str,
    /// The folder of `config/` for its Deployment.
    folder: &'static str,
    /// Name of its `NetworkPolicy`'s file.
    network_policy: &'static str,
    /// Name of its `ServiceMonitor`'s file.
    service_monitor: &'static str,
    /// Name of its `ServiceAccount`'s file.
    service_account: &'static str,
    /// Ports beside that of health and metrics: name and number.
    ports: &'static [(&'static str, u16)],
}

const CONTROLLER: Role = Role {
    component: "controller",
    folder: "manager",
    network_policy: "controller",
    service_monitor: "service_monitor",
    service_account: "service_account",
    ports: &[],
};

const CONSOLE: Role = Role {
    component: "console",
    folder: "console",
    network_policy: "console",
    service_monitor: "console_service_monitor",
    service_account: "console_service_account",
    ports: &[("web", 8443), ("vnc", 5900)],
};

const APISERVER: Role = Role {
    component: "apiserver",
    folder: "apiserver",
    network_policy: "apiserver",
    service_monitor: "apiserver_service_monitor",
    service_account: "apiserver_service_account",
    ports: &[("api", 9443)],
};

/// What `config/` holds beside CRDs and roles.
pub(crate) fn files(root: &Path) -> anyhow::Result<Files> {
    let values = yaml::read(&root.join(VALUES))?;
    let chart = yaml::read(&root.join("charts/novasphere/Chart.yaml"))?;
    let mut objects = vec![("manager/config_map.yaml".to_owned(), config_map(&values)?)];
    for role in [&CONTROLLER, &CONSOLE, &APISERVER] {
        objects.extend(role.objects(&values, &chart)?);
    }
    objects.extend([
        ("console/service.yaml".to_owned(), CONSOLE.console_service(&values)?),
        ("apiserver/service.yaml".to_owned(), APISERVER.api_server_service()),
        ("apiserver/api_service.yaml".to_owned(), APISERVER.api_service()),
        ("admission/session_status.yaml".to_owned(), session_policy()),
        (
            "admission/session_status_binding.yaml".to_owned(),
            admission_binding("session-status"),
        ),
        ("admission/workspace_status.yaml".to_owned(), workspace_policy()),
        (
            "admission/workspace_status_binding.yaml".to_owned(),
            admission_binding("workspace-status"),
        ),
        (
            "rbac/workspace_credentials_role_binding.yaml".to_owned(),
            credentials_binding(),
        ),
    ]);
    objects
        .into_iter()
        .map(|(path, object)| {
            let text = format!("{}{}", yaml_header(VALUES), yaml::print(&object)?);
            Ok((PathBuf::from("config").join(path), text))
        })
        .collect()
}

fn config_map(values: &Value) -> anyhow::Result<Value> {
    Ok(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE, "labels": common_labels()},
        "data": {"config.yaml": yaml::print(at(values, "/config")?)?},
    }))
}

impl Role {
    fn objects(&self, values: &Value, chart: &Value) -> anyhow::Result<Vec<(String, Value)>> {
        let in_folder = |file: &str| format!("{}/{file}.yaml", self.folder);
        Ok(vec![
            (format!("rbac/{}.yaml", self.service_account), self.service_account()),
            (in_folder("deployment"), self.deployment(values, chart)?),
            (in_folder("metrics_service"), self.metrics_service()),
            (in_folder("pod_disruption_budget"), self.pod_disruption_budget(values)?),
            (
                format!("prometheus/{}.yaml", self.service_monitor),
                self.service_monitor(values)?,
            ),
            (
                format!("network-policy/{}.yaml", self.network_policy),
                self.network_policy(),
            ),
        ])
    }

    fn name(&self) -> String {
        format!("novasphere-{}", self.component)
    }

    fn setting<'a>(&self, values: &'a Value, pointer: &str) -> anyhow::Result<&'a Value> {
        at(values, &format!("/{}{pointer}", self.component))
    }

    fn service_account(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": self.metadata(&self.name()),
            "automountServiceAccountToken": false,
        })
    }

    fn deployment(&self, values: &Value, chart: &Value) -> anyhow::Result<Value> {
        let config = serde_json::to_vec(at(values, "/config")?)?;
        let mut digest = String::new();
        for byte in Sha256::digest(&config) {
            write!(digest, "{byte:02x}")?;
        }
        Ok(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(&self.name()),
            "spec": {
                "replicas": self.setting(values, "/replicas")?,
                "selector": {"matchLabels": self.labels()},
                "template": {
                    "metadata": {"annotations": {"novasphere.io/config-sha256": digest}, "labels": self.labels()},
                    "spec": self.pod(values, chart)?,
                },
            },
        }))
    }

    fn pod(&self, values: &Value, chart: &Value) -> anyhow::Result<Value> {
        let spread = self.setting(values, "/topologySpread")?;
        Ok(json!({
            "serviceAccountName": self.name(),
            "automountServiceAccountToken": true,
            "terminationGracePeriodSeconds": self.setting(values, "/terminationGracePeriodSeconds")?,
            "securityContext": self.setting(values, "/podSecurityContext")?,
            "topologySpreadConstraints": [{
                "maxSkew": 1,
                "topologyKey": at(spread, "/topologyKey")?,
                "whenUnsatisfiable": at(spread, "/whenUnsatisfiable")?,
                "labelSelector": {"matchLabels": self.labels()},
            }],
            "containers": [self.container(values, chart)?],
            "volumes": [{"name": "config", "configMap": {"name": CONFIG_MAP}}],
        }))
    }

    fn container(&self, values: &Value, chart: &Value) -> anyhow::Result<Value> {
        let repository = text(values, "/image/repository")?;
        let version = text(chart, "/appVersion")?;
        let own = self
            .ports
            .iter()
            .map(|(name, port)| json!({"name": name, "containerPort": port}));
        let ports: Vec<Value> = [json!({"name": "http", "containerPort": 8080})]
            .into_iter()
            .chain(own)
            .collect();
        Ok(json!({
            "name": self.component,
            "image": format!("{repository}:{version}"),
            "imagePullPolicy": at(values, "/image/pullPolicy")?,
            "args": ["--config=/etc/novasphere/config.yaml", self.component],
            "ports": ports,
            "livenessProbe": self.setting(values, "/livenessProbe")?,
            "readinessProbe": self.setting(values, "/readinessProbe")?,
            "resources": self.setting(values, "/resources")?,
            "securityContext": self.setting(values, "/securityContext")?,
            "volumeMounts": [{"name": "config", "mountPath": "/etc/novasphere", "readOnly": true}],
        }))
    }

    fn metrics_service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(&format!("{}-metrics", self.name())),
            "spec": {
                "clusterIP": "None",
                "selector": self.labels(),
                "ports": [{"name": "metrics", "port": 8080, "targetPort": "http"}],
            },
        })
    }

    fn pod_disruption_budget(&self, values: &Value) -> anyhow::Result<Value> {
        Ok(json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": self.metadata(&self.name()),
            "spec": {
                "maxUnavailable": self.setting(values, "/podDisruptionBudget/maxUnavailable")?,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": self.labels()},
            },
        }))
    }

    fn service_monitor(&self, values: &Value) -> anyhow::Result<Value> {
        Ok(json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": self.metadata(&self.name()),
            "spec": {
                "selector": {"matchLabels": self.labels()},
                "endpoints": [{
                    "port": "metrics",
                    "path": "/metrics",
                    "interval": at(values, "/metrics/serviceMonitor/interval")?,
                }],
            },
        }))
    }

    fn network_policy(&self) -> Value {
        let own = self.ports.iter().map(|(name, _)| *name);
        let ports: Vec<Value> = ["http"]
            .into_iter()
            .chain(own)
            .map(|port| json!({"protocol": "TCP", "port": port}))
            .collect();
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self.metadata(&self.name()),
            "spec": {
                "podSelector": {"matchLabels": self.labels()},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": ports}],
            },
        })
    }

    fn console_service(&self, values: &Value) -> anyhow::Result<Value> {
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(&self.name()),
            "spec": {
                "type": self.setting(values, "/service/type")?,
                "selector": self.labels(),
                "ports": [
                    {"name": "https", "port": 443, "targetPort": "web"},
                    {"name": "vnc", "port": 5900, "targetPort": "vnc"},
                ],
            },
        }))
    }

    fn api_server_service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(&self.name()),
            "spec": {
                "selector": self.labels(),
                "ports": [{"name": "https", "port": 443, "targetPort": "api"}],
            },
        })
    }

    fn api_service(&self) -> Value {
        json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": novasphere_apiserver::API_SERVICE, "labels": self.labels()},
            "spec": {
                "group": novasphere_apiserver::GROUP,
                "version": novasphere_apiserver::VERSION,
                "groupPriorityMinimum": 1000,
                "versionPriority": 15,
                "service": {"name": self.name(), "namespace": NAMESPACE, "port": 443},
            },
        })
    }

    fn metadata(&self, name: &str) -> Value {
        json!({"name": name, "namespace": NAMESPACE, "labels": self.labels()})
    }

    fn labels(&self) -> Map<String, Value> {
        let mut labels = common_labels();
        labels.insert("app.kubernetes.io/component".to_owned(), json!(self.component));
        labels
    }
}

fn common_labels() -> Map<String, Value> {
    ["instance", "name"]
        .into_iter()
        .map(|key| (format!("app.kubernetes.io/{key}"), json!("novasphere")))
        .collect()
}

/// Whether a request is of one of these programs.
fn is_of(roles: &[&Role]) -> String {
    let accounts: Vec<String> = roles
        .iter()
        .map(|role| format!("'system:serviceaccount:{NAMESPACE}:{}'", role.name()))
        .collect();
    format!("request.userInfo.username in [{}]", accounts.join(", "))
}

fn admission_policy(name: &str, resource: &str, validations: &Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": format!("novasphere-{name}"), "labels": common_labels()},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["novasphere.io"],
                "apiVersions": ["*"],
                "operations": ["CREATE", "UPDATE"],
                "resources": [resource],
            }]},
            "validations": validations,
        },
    })
}

/// The status of a session holds who may enter and who is in, so nobody else may write it.
fn session_policy() -> Value {
    let validations = json!([{
        "expression": is_of(&[&CONTROLLER, &CONSOLE, &APISERVER]),
        "message": "only novasphere itself may write the status of a ConsoleSession: it says whose tokens are good",
        "reason": "Forbidden",
    }]);
    admission_policy("session-status", "consolesessions/status", &validations)
}

/// The status of a workspace is what its sleep and its end are decided by. Gateways, which strangers reach, may only wake.
fn workspace_policy() -> Value {
    let only_wakes = "oldObject.status.all(field, field == 'wakeRequestedAt' || (field in object.status && \
                      object.status[field] == oldObject.status[field])) && \
                      object.status.all(field, field == 'wakeRequestedAt' || field in oldObject.status)";
    let validations = json!([
        {
            "expression": is_of(&[&CONTROLLER, &CONSOLE, &APISERVER]),
            "message": "only novasphere itself may write the status of a VncWorkspace: by it desktops sleep, wake and end",
            "reason": "Forbidden",
        },
        {
            "expression": format!("{} || (has(oldObject.status) && has(object.status) && {only_wakes})", is_of(&[&CONTROLLER])),
            "message": "a console gateway may change nothing of a VncWorkspace but status.wakeRequestedAt",
            "reason": "Forbidden",
        },
    ]);
    admission_policy("workspace-status", "vncworkspaces/status", &validations)
}

fn admission_binding(policy: &str) -> Value {
    let name = format!("novasphere-{policy}");
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name, "labels": common_labels()},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    })
}

/// Lets the gateways read the VNC passwords of workspaces, wherever those are.
fn credentials_binding() -> Value {
    let subject = |role: &Role| json!({"kind": "ServiceAccount", "name": role.name(), "namespace": NAMESPACE});
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "novasphere-workspace-credentials", "labels": common_labels()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": PASSWORDS},
        "subjects": [subject(&CONSOLE), subject(&APISERVER)],
    })
}

fn at<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a Value> {
    value.pointer(pointer).with_context(|| format!("{pointer} is missing"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    at(value, pointer)?
        .as_str()
        .with_context(|| format!("{pointer} is not text"))
}
