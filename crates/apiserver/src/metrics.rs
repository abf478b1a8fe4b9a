//! Metrics of the aggregated API.

use std::time::Duration;

use http::{Method, StatusCode};
use novasphere_runtime::metrics::HttpMetrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::route::{Route, Subresource};

/// The metrics of this module as queries name them. `docs/monitoring.md` has all.
pub const NAMES: [&str; 1] = ["novasphere_api_requests_total"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    resource: &'static str,
    code: u16,
}

/// Counters; clones share them. One made by `default` is seen by nobody.
#[derive(Clone, Debug, Default)]
pub struct ApiMetrics {
    requests: Family<Labels, Counter>,
    http: HttpMetrics,
}

impl ApiMetrics {
    /// Makes them and enters them; `http` is entered already.
    pub fn register(registry: &mut Registry, http: HttpMetrics) -> Self {
        let metrics = Self {
            http,
            ..Self::default()
        };
        registry.register(
            "novasphere_api_requests",
            "Requests to the aggregated API, by resource and HTTP status",
            metrics.requests.clone(),
        );
        metrics
    }

    /// Counts a request that was answered.
    pub(crate) fn answered(&self, method: &Method, route: Option<&Route>, code: StatusCode, took: Duration) {
        let resource = match route {
            None => "unknown",
            Some(Route::Object { subresource, .. }) => match subresource {
                Subresource::VmAccessConsole => "vmaccesses/console",
                Subresource::VncWorkspaceConsole => "vncworkspaces/console",
                Subresource::SessionConnect => "consolesessions/connect",
                Subresource::SessionToken => "consolesessions/token",
            },
            Some(Route::Livez | Route::Readyz) => "health",
            Some(Route::OpenApiV2 | Route::OpenApiV3Index | Route::OpenApiV3) => "openapi",
            Some(Route::Root | Route::Groups | Route::Group | Route::Resources) => "discovery",
        };
        self.http.answered(method, resource, code, took);
        let code = code.as_u16();
        self.requests.get_or_create(&Labels { resource, code }).inc();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn an_answer_is_counted_by_what_was_asked_for() {
        let mut registry = Registry::default();
        let metrics = ApiMetrics::register(&mut registry, HttpMetrics::default());
        metrics.answered(&Method::GET, Some(&Route::Livez), StatusCode::OK, Duration::ZERO);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = format!("{}{{resource=\"health\",code=\"200\"}} 1", NAMES[0]);
        assert!(text.contains(&line), "{text}");
    }
}
