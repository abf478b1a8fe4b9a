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
    yaml,
};

/// Defaults of the chart, relative to the root of the repository.
pub(crate) const VALUES: &str = "charts/novasphere/values.yaml";

const NAME: &str = "novasphere-controller";
const CONFIG_MAP: &str = "novasphere-config";

/// What `config/` holds beside CRDs and roles.
pub(crate) fn files(root: &Path) -> anyhow::Result<Files> {
    let values = yaml::read(&root.join(VALUES))?;
    let chart = yaml::read(&root.join("charts/novasphere/Chart.yaml"))?;
    let objects = [
        ("manager/config_map.yaml", config_map(&values)?),
        ("rbac/service_account.yaml", service_account()),
        ("manager/deployment.yaml", deployment(&values, &chart)?),
        ("manager/metrics_service.yaml", metrics_service()),
        ("manager/pod_disruption_budget.yaml", pod_disruption_budget(&values)?),
        ("prometheus/service_monitor.yaml", service_monitor(&values)?),
        ("network-policy/controller.yaml", network_policy()),
    ];
    objects
        .into_iter()
        .map(|(path, object)| {
            let text = format!("{}{}", yaml_header(VALUES), yaml::print(&object)?);
            Ok((PathBuf::from("config").join(path), text))
        })
        .collect()
}

fn config_map(values: &Value) -> anyhow::Result<Value> {
    let labels = json!({"app.kubernetes.io/name": "novasphere", "app.kubernetes.io/instance": "novasphere"});
    Ok(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": "novasphere-system", "labels": labels},
        "data": {"config.yaml": yaml::print(at(values, "/config")?)?},
    }))
}

fn service_account() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(NAME),
        "automountServiceAccountToken": false,
    })
}

fn deployment(values: &Value, chart: &Value) -> anyhow::Result<Value> {
    let config = serde_json::to_vec(at(values, "/config")?)?;
    let mut digest = String::new();
    for byte in Sha256::digest(&config) {
        write!(digest, "{byte:02x}")?;
    }
    Ok(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(NAME),
        "spec": {
            "replicas": at(values, "/controller/replicas")?,
            "selector": {"matchLabels": labels()},
            "template": {
                "metadata": {"annotations": {"novasphere.io/config-sha256": digest}, "labels": labels()},
                "spec": pod(values, chart)?,
            },
        },
    }))
}

fn pod(values: &Value, chart: &Value) -> anyhow::Result<Value> {
    let spread = at(values, "/controller/topologySpread")?;
    Ok(json!({
        "serviceAccountName": NAME,
        "automountServiceAccountToken": true,
        "terminationGracePeriodSeconds": at(values, "/controller/terminationGracePeriodSeconds")?,
        "securityContext": at(values, "/controller/podSecurityContext")?,
        "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": at(spread, "/topologyKey")?,
            "whenUnsatisfiable": at(spread, "/whenUnsatisfiable")?,
            "labelSelector": {"matchLabels": labels()},
        }],
        "containers": [container(values, chart)?],
        "volumes": [{"name": "config", "configMap": {"name": CONFIG_MAP}}],
    }))
}

fn container(values: &Value, chart: &Value) -> anyhow::Result<Value> {
    let repository = text(values, "/image/repository")?;
    let version = text(chart, "/appVersion")?;
    Ok(json!({
        "name": "controller",
        "image": format!("{repository}:{version}"),
        "imagePullPolicy": at(values, "/image/pullPolicy")?,
        "args": ["--config=/etc/novasphere/config.yaml", "controller"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "livenessProbe": at(values, "/controller/livenessProbe")?,
        "readinessProbe": at(values, "/controller/readinessProbe")?,
        "resources": at(values, "/controller/resources")?,
        "securityContext": at(values, "/controller/securityContext")?,
        "volumeMounts": [{"name": "config", "mountPath": "/etc/novasphere", "readOnly": true}],
    }))
}

fn metrics_service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(&format!("{NAME}-metrics")),
        "spec": {
            "clusterIP": "None",
            "selector": labels(),
            "ports": [{"name": "http", "port": 8080, "targetPort": "http"}],
        },
    })
}

fn pod_disruption_budget(values: &Value) -> anyhow::Result<Value> {
    Ok(json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(NAME),
        "spec": {
            "maxUnavailable": at(values, "/controller/podDisruptionBudget/maxUnavailable")?,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": labels()},
        },
    }))
}

fn service_monitor(values: &Value) -> anyhow::Result<Value> {
    Ok(json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata(NAME),
        "spec": {
            "selector": {"matchLabels": labels()},
            "endpoints": [{
                "port": "http",
                "path": "/metrics",
                "interval": at(values, "/metrics/serviceMonitor/interval")?,
            }],
        },
    }))
}

fn network_policy() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(NAME),
        "spec": {
            "podSelector": {"matchLabels": labels()},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": "http"}]}],
        },
    })
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "namespace": "novasphere-system", "labels": labels()})
}

fn labels() -> Map<String, Value> {
    [
        ("component", "controller"),
        ("instance", "novasphere"),
        ("name", "novasphere"),
    ]
    .into_iter()
    .map(|(key, value)| (format!("app.kubernetes.io/{key}"), json!(value)))
    .collect()
}

fn at<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a Value> {
    value.pointer(pointer).with_context(|| format!("{pointer} is missing"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    at(value, pointer)?
        .as_str()
        .with_context(|| format!("{pointer} is not text"))
}
