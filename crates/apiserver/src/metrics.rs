//! Metrics of the aggregated API.

use http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::route::{Route, Subresource};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    resource: &'static str,
    code: u16,
}

/// Counters; clones share them. One made by `default` is seen by nobody.
#[derive(Clone, Debug, Default)]
pub struct ApiMetrics {
    requests: Family<Labels, Counter>,
}

impl ApiMetrics {
    /// Makes them and enters them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "novasphere_api_requests",
            "Requests to the aggregated API, by resource and HTTP status",
            metrics.requests.clone(),
        );
        metrics
    }

    /// Counts a request that was answered.
    pub(crate) fn answered(&self, route: Option<&Route>, code: StatusCode) {
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
        let code = code.as_u16();
        self.requests.get_or_create(&Labels { resource, code }).inc();
    }
}
