//! Every query of the dashboard and of the alerts, asked of a real Prometheus that has scraped the installed roles.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use novasphere_crd::VmAccess;
use novasphere_e2e::{
    fixtures::{
        apiserver::{BASE, answered, text},
        cluster::Cluster,
        install::{NAMESPACE, RELEASE},
        installed,
        namespace::{Context, PodSecurity, with_namespace},
        paths,
        prometheus::Prometheus,
        vm_access::{apply_vm_access, ready_as, sample, vm_access_is_gone},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(CASE, Needs::Node, queries)]
}

const CASE: &str = "monitoring::queries::dashboard_and_alerts";

const NAME: &str = "web";

/// How often the roles are scraped: a rate needs two values.
const ROLE_INTERVAL: &str = "2s";

/// How often what has megabytes of metrics is scraped.
const LARGE_INTERVAL: &str = "10s";

/// How the names of metrics begin that are looked for in queries.
const PREFIXES: [&str; 4] = ["novasphere_", "http_request_", "aggregator_", "kubelet_"];

/// Metrics without a series until something happens that this case does not bring about: a person at a console, a fault, a home that
/// the kubelet has measured.
const NEED_AN_EVENT: [&str; 11] = [
    "kubelet_volume_stats_",
    "novasphere_console_claim_duration_seconds",
    "novasphere_console_handshakes_total",
    "novasphere_console_open_duration_seconds",
    "novasphere_console_refusals_total",
    "novasphere_console_streams_closed_total",
    "novasphere_console_streams_opened_total",
    "novasphere_undecodable_objects_total",
    "novasphere_warnings_total",
    "novasphere_watch_errors_total",
    "novasphere_watch_forbidden",
];

/// A query and where it stands.
struct Query {
    place: String,
    expression: String,
}

async fn queries() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let _undisturbed = installed::undisturbed().await;
    with_namespace(cluster, CASE, PodSecurity::Privileged, async |context| {
        let prometheus = Prometheus::start(&context.output, &scrapes(context).await?).await?;
        work(context).await.context("work for the roles")?;
        for panel in panels()? {
            shows(&prometheus, &panel).await?;
        }
        for alert in alerts()? {
            asks_what_exists(&prometheus, &alert).await?;
        }
        let api: Api<VmAccess> = context.api();
        api.delete(NAME, &DeleteParams::default()).await?;
        vm_access_is_gone(context, NAME).await
    })
    .await
}

/// The roles' Pods, with the labels that a PodMonitor gives their metrics, kube-apiserver and the kubelet: all through kube-apiserver.
async fn scrapes(context: &Context<'_>) -> Result<Vec<Value>> {
    let cluster = context.cluster;
    let config = cluster.config("novasphere-e2e").await?;
    let server = config
        .cluster_url
        .authority()
        .context("the cluster has no address")?
        .to_string();
    let scrape = |name: &str, path: &str, interval: &str, labels: Value| {
        json!({
            "job_name": name,
            "scheme": "https",
            "metrics_path": path,
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "tls_config": {
                "ca_file": cluster.pki("ca.crt"),
                "cert_file": cluster.pki("admin.crt"),
                "key_file": cluster.pki("admin.key"),
            },
            "static_configs": [{"targets": [server], "labels": labels}],
        })
    };
    let mut scrapes = vec![scrape("kube-apiserver", "/metrics", LARGE_INTERVAL, json!({}))];
    let nodes: Api<Node> = Api::all(context.client.clone());
    for node in nodes.list(&ListParams::default()).await? {
        let path = format!("/api/v1/nodes/{}/proxy/metrics", node.name_any());
        scrapes.push(scrape("kubelet", &path, LARGE_INTERVAL, json!({})));
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), NAMESPACE);
    let of_release = ListParams::default().labels(&format!("app.kubernetes.io/instance={RELEASE}"));
    for pod in pods.list(&of_release).await? {
        let name = pod.name_any();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics");
        scrapes.push(scrape(
            &name,
            &path,
            ROLE_INTERVAL,
            json!({"namespace": NAMESPACE, "pod": name}),
        ));
    }
    Ok(scrapes)
}

/// Something to reconcile and to write, and a request to the aggregated API.
async fn work(context: &Context<'_>) -> Result<()> {
    apply_vm_access(context, NAME, &sample("Stopped", "Delete")?).await?;
    ready_as(context, NAME, "Stopped", wait::LONG).await?;
    answered(context, BASE, "discovery", |list| {
        text(list, "/kind") == "APIResourceList"
    })
    .await
    .map(drop)
}

/// A panel is not empty, and the labels by which it groups are there.
async fn shows(prometheus: &Prometheus, panel: &Query) -> Result<()> {
    let Query { place, expression } = panel;
    // What Prometheus does not understand gets no better by waiting.
    let mut series = prometheus.query(expression).with_context(|| place.clone())?;
    if !metrics(expression).iter().any(|name| needs_an_event(name)) {
        series = wait::until(format!("{place}: {expression}"), wait::SHORT, || async {
            let series = prometheus.query(expression)?;
            Ok(Seen::some((!series.is_empty()).then_some(series), "no series"))
        })
        .await?;
    }
    for label in grouping(expression) {
        let has_label = series.iter().all(|labels| labels.contains_key(label));
        ensure!(
            has_label,
            "{place}: {expression}: a series without the label {label}: {series:?}"
        );
    }
    Ok(())
}

/// An alert can be asked, and what it asks about exists, also while it is silent.
async fn asks_what_exists(prometheus: &Prometheus, alert: &Query) -> Result<()> {
    let Query { place, expression } = alert;
    prometheus.query(expression).with_context(|| place.clone())?;
    for name in metrics(expression) {
        if needs_an_event(name) {
            continue;
        }
        wait::until(format!("{place}: {name}"), wait::SHORT, || async {
            let series = prometheus.query(&format!("count({name})"))?;
            Ok(Seen::some((!series.is_empty()).then_some(()), "no series"))
        })
        .await?;
    }
    Ok(())
}

fn needs_an_event(metric: &str) -> bool {
    NEED_AN_EVENT.iter().any(|name| metric.starts_with(name))
}

/// The names of metrics in a query.
fn metrics(expression: &str) -> Vec<&str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix)))
        .collect()
}

/// The labels behind the first `by`, which the answer has; not `le`, which `histogram_quantile` takes away.
fn grouping(expression: &str) -> Vec<&str> {
    let behind = expression.split_once(" by (").map_or("", |(_, behind)| behind);
    let list = behind.split_once(')').map_or("", |(list, _)| list);
    let labels = list.split(',').map(str::trim);
    labels.filter(|label| !label.is_empty() && *label != "le").collect()
}

/// The queries of the dashboard, with Grafana's variables filled in.
fn panels() -> Result<Vec<Query>> {
    let file = paths::repository()?.join("charts/novasphere/files/dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let mut queries = Vec::new();
    for panel in list(&dashboard, "panels") {
        for target in list(panel, "targets") {
            let expression = text(target, "/expr");
            queries.push(Query {
                place: format!("the panel {:?}", text(panel, "/title")),
                expression: expression.replace("$__rate_interval", "5m").replace("$namespace", ".*"),
            });
        }
    }
    ensure!(!queries.is_empty(), "the dashboard has no query");
    Ok(queries)
}

fn alerts() -> Result<Vec<Query>> {
    let file = paths::repository()?.join("charts/novasphere/files/alerts.yaml");
    let rules: Value = serde_saphyr::from_str(&std::fs::read_to_string(file)?)?;
    let mut queries = Vec::new();
    for rule in list(&rules, "groups").iter().flat_map(|group| list(group, "rules")) {
        queries.push(Query {
            place: format!("the alert {}", text(rule, "/alert")),
            expression: text(rule, "/expr").to_owned(),
        });
    }
    ensure!(!queries.is_empty(), "there are no alerts");
    Ok(queries)
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    let list = value.get(field).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}
