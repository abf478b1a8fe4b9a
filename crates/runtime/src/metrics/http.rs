//! How long HTTP requests take, under the name that dashboards for any HTTP server look for.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Upper bounds in seconds: a file of the page takes below 1 ms, a token some writes, an opened console what its target takes.
const REQUEST_BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    status_code: u16,
}

/// The requests to all HTTP servers of the process but that for health and metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self {
            durations: Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
        }
    }
}

impl HttpMetrics {
    /// Registers them, without the prefix of ours.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request to its answer, which for a WebSocket is that of its opening",
            Unit::Seconds,
            self.durations.clone(),
        );
    }

    /// Notes an answer. `route` is one of a fixed list: what a client writes into a path must not become a label.
    pub fn answered(&self, method: &Method, route: &'static str, status: StatusCode, took: Duration) {
        let labels = RequestLabels {
            method: known(method),
            route,
            status_code: status.as_u16(),
        };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// A client may send any word as a method.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_client_makes_no_label_of_its_own() {
        let mut registry = Registry::default();
        let metrics = HttpMetrics::default();
        metrics.register(&mut registry);
        let took = Duration::from_millis(3);
        metrics.answered(&Method::GET, "/a", StatusCode::OK, took);
        let method = Method::from_bytes(b"NONSENSE").unwrap();
        metrics.answered(&method, "unknown", StatusCode::NOT_FOUND, took);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"http_request_duration_seconds_bucket{le="0.005",method="GET",route="/a",status_code="200"} 1"#,
            r#"http_request_duration_seconds_count{method="other",route="unknown",status_code="404"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
