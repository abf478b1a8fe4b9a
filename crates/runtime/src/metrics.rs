//! Metrics of every role. No label ever holds an object's name, so that their number stays bounded.

mod http;
mod readings;

use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use self::readings::Readings;
pub use self::{http::HttpMetrics, readings::QueueReading};

/// Upper bounds in seconds: a settled object takes below 1 ms, one with several writes tens of ms, one behind a slow webhook seconds.
const RECONCILE_BUCKETS: [f64; 11] = [0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// The metrics of this module as queries name them; histograms without the ending of their series. `docs/monitoring.md` has all.
pub const NAMES: [&str; 17] = [
    "http_request_duration_seconds",
    "novasphere_applies_total",
    "novasphere_cache_objects",
    "novasphere_certificate_expiry_timestamp_seconds",
    "novasphere_configuration_rejected",
    "novasphere_gateway_findings",
    "novasphere_leading",
    "novasphere_optional_api_available",
    "novasphere_queue_depth",
    "novasphere_queue_oldest_seconds",
    "novasphere_reconcile_duration_seconds",
    "novasphere_reconciles_total",
    "novasphere_undecodable_objects_total",
    "novasphere_warnings_total",
    "novasphere_watch_errors_total",
    "novasphere_watch_forbidden",
    "novasphere_writes_total",
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ControllerLabels {
    controller: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ApplyLabels {
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WriteLabels {
    kind: String,
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WarningLabels {
    kind: String,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FindingLabels {
    /// As the configuration names it.
    gateway: String,
    severity: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ApiLabels {
    api: String,
}

/// Counters and histograms shared by all controllers of a process. Clones share them; one made by `default` is seen by nobody.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_duration: Family<ControllerLabels, Histogram, fn() -> Histogram>,
    applies: Family<ApplyLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    leading: Gauge,
    configuration_rejected: Gauge,
    gateway_findings: Family<FindingLabels, Gauge>,
    undecodable: Family<KindLabels, Counter>,
    watch_errors: Family<KindLabels, Counter>,
    watch_forbidden: Family<KindLabels, Gauge>,
    api_available: Family<ApiLabels, Gauge>,
    warnings: Family<WarningLabels, Counter>,
    http: HttpMetrics,
    readings: Readings,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            reconciles: Family::default(),
            reconcile_duration: Family::new_with_constructor(|| Histogram::new(RECONCILE_BUCKETS)),
            applies: Family::default(),
            writes: Family::default(),
            leading: Gauge::default(),
            configuration_rejected: Gauge::default(),
            gateway_findings: Family::default(),
            undecodable: Family::default(),
            watch_errors: Family::default(),
            watch_forbidden: Family::default(),
            api_available: Family::default(),
            warnings: Family::default(),
            http: HttpMetrics::default(),
            readings: Readings::default(),
        }
    }
}

impl Metrics {
    /// Makes the metrics and registers them under `novasphere_`, those of HTTP under the name that all programs use.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.http.register(registry);
        let registry = registry.sub_registry_with_prefix("novasphere");
        registry.register(
            "reconciles",
            "Reconciles by controller and result",
            metrics.reconciles.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Time of one reconcile",
            Unit::Seconds,
            metrics.reconcile_duration.clone(),
        );
        registry.register(
            "applies",
            "Objects compared with the cluster, by kind and by what had to be done",
            metrics.applies.clone(),
        );
        registry.register(
            "writes",
            "Requests that write, by kind, verb and result",
            metrics.writes.clone(),
        );
        registry.register(
            "leading",
            "1 while this process holds the leader lease",
            metrics.leading.clone(),
        );
        registry.register(
            "configuration_rejected",
            "1 while the configuration file was changed to something that is not used",
            metrics.configuration_rejected.clone(),
        );
        registry.register(
            "gateway_findings",
            "What is wrong with the gateways of the configuration, by gateway and severity",
            metrics.gateway_findings.clone(),
        );
        metrics.register_watches(registry);
        registry.register(
            "warnings",
            "Warning events that the controller wrote, by kind and reason",
            metrics.warnings.clone(),
        );
        registry.register_collector(Box::new(metrics.readings.clone()));
        metrics
    }

    fn register_watches(&self, registry: &mut Registry) {
        registry.register(
            "undecodable_objects",
            "Objects seen in the cluster that could not be decoded",
            self.undecodable.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that broke and were begun again",
            self.watch_errors.clone(),
        );
        registry.register(
            "watch_forbidden",
            "1 while the apiserver denies this process a watch, by kind",
            self.watch_forbidden.clone(),
        );
        registry.register(
            "optional_api_available",
            "1 while the cluster serves an optional API",
            self.api_available.clone(),
        );
    }

    /// Notes one reconcile. `reason` is `Succeeded` or an error's `reason()`.
    pub fn reconciled(&self, controller: &'static str, reason: &'static str, took: Duration) {
        self.reconciles
            .get_or_create(&ReconcileLabels { controller, reason })
            .inc();
        self.reconcile_duration
            .get_or_create(&ControllerLabels { controller })
            .observe(took.as_secs_f64());
    }

    /// Notes one apply. `outcome` is `Unchanged`, `Created`, `Patched`, `Deleted` or an error's `reason()`.
    pub fn applied(&self, kind: &str, outcome: &'static str) {
        self.applies
            .get_or_create(&ApplyLabels {
                kind: kind.to_owned(),
                outcome,
            })
            .inc();
    }

    /// Notes one request that writes. `outcome` is `Succeeded` or an error's `reason()`.
    pub fn written(&self, kind: &str, verb: &'static str, outcome: &'static str) {
        self.writes
            .get_or_create(&WriteLabels {
                kind: kind.to_owned(),
                verb,
                outcome,
            })
            .inc();
    }

    /// Shows what waits in the queue of a controller, each time that the metrics are read.
    pub fn show_queue(&self, controller: &'static str, read: impl Fn() -> QueueReading + Send + Sync + 'static) {
        self.readings.add_queue(controller, Box::new(read));
    }

    /// Shows how many objects a cache holds, each time that the metrics are read.
    pub fn show_cache(&self, kind: &str, read: impl Fn() -> usize + Send + Sync + 'static) {
        self.readings.add_cache(kind.to_owned(), Box::new(read));
    }

    /// Shows when a certificate ends, each time that the metrics are read. `name` is the setting that it comes from.
    pub fn show_certificate(&self, name: &'static str, read: impl Fn() -> Option<Timestamp> + Send + Sync + 'static) {
        self.readings.add_certificate(name, Box::new(read));
    }

    /// Those of HTTP servers.
    #[must_use]
    pub fn http(&self) -> HttpMetrics {
        self.http.clone()
    }

    /// Notes a Warning event.
    pub fn warned(&self, kind: &str, reason: &str) {
        let labels = WarningLabels {
            kind: kind.to_owned(),
            reason: reason.to_owned(),
        };
        self.warnings.get_or_create(&labels).inc();
    }

    /// Notes whether this process leads.
    pub fn leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    /// Notes whether the configuration file was changed to something that is not used.
    pub fn configuration_rejected(&self, is_rejected: bool) {
        self.configuration_rejected.set(i64::from(is_rejected));
    }

    /// Notes how much is wrong with each gateway: its name, the severity, and how often. Others have nothing any more.
    pub fn gateway_findings(&self, counts: Vec<(String, &'static str, usize)>) {
        self.gateway_findings.clear();
        for (gateway, severity, count) in counts {
            self.gateway_findings
                .get_or_create(&FindingLabels { gateway, severity })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Notes an object that could not be decoded.
    pub fn undecodable(&self, kind: &str) {
        self.undecodable
            .get_or_create(&KindLabels { kind: kind.to_owned() })
            .inc();
    }

    /// Notes a watch that broke.
    pub fn watch_error(&self, kind: &str) {
        self.watch_errors
            .get_or_create(&KindLabels { kind: kind.to_owned() })
            .inc();
    }

    /// Notes whether the apiserver denies a watch.
    pub fn watch_forbidden(&self, kind: &str, is_forbidden: bool) {
        self.watch_forbidden
            .get_or_create(&KindLabels { kind: kind.to_owned() })
            .set(i64::from(is_forbidden));
    }

    /// Notes whether an optional API (`plural.group`) is served.
    pub fn api_available(&self, api: &str, available: bool) {
        self.api_available
            .get_or_create(&ApiLabels { api: api.to_owned() })
            .set(i64::from(available));
    }

    /// How many writes of a kind have had this outcome so far.
    #[must_use]
    pub fn writes(&self, kind: &str, verb: &'static str, outcome: &'static str) -> u64 {
        let labels = WriteLabels {
            kind: kind.to_owned(),
            verb,
            outcome,
        };
        self.writes.get_or_create(&labels).get()
    }

    /// 1 while the apiserver denies a watch.
    #[must_use]
    pub fn watch_forbidden_value(&self, kind: &str) -> i64 {
        self.watch_forbidden
            .get_or_create(&KindLabels { kind: kind.to_owned() })
            .get()
    }

    /// How many objects of `kind` could not be decoded so far.
    #[must_use]
    pub fn undecodable_count(&self, kind: &str) -> u64 {
        self.undecodable
            .get_or_create(&KindLabels { kind: kind.to_owned() })
            .get()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_metric_is_exposed_with_its_labels() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.reconciled("vmaccess", "Succeeded", Duration::from_millis(3));
        metrics.applied("Service", "Unchanged");
        metrics.written("Service", "merge", "Conflict");
        metrics.leading(true);
        metrics.configuration_rejected(true);
        metrics.gateway_findings(vec![("former".to_owned(), "error", 3)]);
        metrics.gateway_findings(vec![("edge".to_owned(), "error", 2)]);
        metrics.undecodable("VmAccess");
        metrics.watch_error("Service");
        metrics.watch_forbidden("Pod", true);
        metrics.api_available("virtualmachines.kubevirt.io", false);
        metrics.show_queue("vmaccess", || QueueReading {
            depth: 3,
            oldest: Duration::from_millis(1500),
        });
        metrics.show_cache("VmAccess", || 7);
        metrics.show_certificate("console.tls", || Timestamp::from_second(1_800_000_000).ok());
        metrics.show_certificate("unreadable", || None);
        metrics.warned("VncWorkspace", "SnapshotFailed");
        let took = Duration::from_millis(3);
        metrics
            .http()
            .answered(&::http::Method::GET, "/", ::http::StatusCode::OK, took);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"novasphere_reconciles_total{controller="vmaccess",reason="Succeeded"} 1"#,
            r#"novasphere_reconcile_duration_seconds_bucket{le="0.005",controller="vmaccess"} 1"#,
            r#"novasphere_applies_total{kind="Service",outcome="Unchanged"} 1"#,
            r#"novasphere_writes_total{kind="Service",verb="merge",outcome="Conflict"} 1"#,
            "novasphere_leading 1",
            "novasphere_configuration_rejected 1",
            r#"novasphere_gateway_findings{gateway="edge",severity="error"} 2"#,
            r#"novasphere_undecodable_objects_total{kind="VmAccess"} 1"#,
            r#"novasphere_watch_errors_total{kind="Service"} 1"#,
            r#"novasphere_watch_forbidden{kind="Pod"} 1"#,
            r#"novasphere_optional_api_available{api="virtualmachines.kubevirt.io"} 0"#,
            r#"novasphere_queue_depth{controller="vmaccess"} 3"#,
            r#"novasphere_queue_oldest_seconds{controller="vmaccess"} 1.5"#,
            r#"novasphere_cache_objects{kind="VmAccess"} 7"#,
            r#"novasphere_certificate_expiry_timestamp_seconds{certificate="console.tls"} 1800000000"#,
            r#"novasphere_warnings_total{kind="VncWorkspace",reason="SnapshotFailed"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("former"), "{text}");
        assert_eq!(names(&text), NAMES);
    }

    /// As queries name them: the exposition leaves the ending of counters out.
    fn names(text: &str) -> Vec<String> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut names: Vec<_> = types
            .map(|line| match line.strip_suffix(" counter") {
                Some(name) => format!("{name}_total"),
                None => line.split(' ').next().unwrap_or_default().to_owned(),
            })
            .collect();
        names.sort();
        names
    }
}
