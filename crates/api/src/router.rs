//! All paths, topic by topic. Each topic's own file has its handlers.

use axum::Router;
use novasphere_runtime::metrics::HttpMetrics;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    BASE_PATH, events, http, identity, login, machines, openapi, pods, sessions, state::ApiState, verify, workspaces,
};

/// The paths below [`BASE_PATH`], with their description.
fn topics() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(login::routes())
        .merge(identity::routes())
        .merge(verify::routes())
        .merge(machines::routes())
        .merge(sessions::routes())
        .merge(workspaces::routes())
        .merge(pods::routes())
        .merge(events::routes())
}

fn described() -> (Router<ApiState>, Value) {
    let (routes, document) = OpenApiRouter::with_openapi(openapi::head())
        .nest(BASE_PATH, topics())
        .split_for_parts();
    (routes, openapi::completed(&document))
}

/// The service of a process: all paths, inside the layer that every request passes.
pub fn router(state: ApiState, metrics: HttpMetrics) -> Router {
    let (routes, document) = described();
    let templates = openapi::paths(&document);
    let routes = routes.merge(openapi::routes(&document));
    http::layered(routes, state.clone(), metrics, templates).with_state(state)
}

/// The `OpenAPI` document, as it is served and committed.
#[must_use]
pub fn document() -> Value {
    described().1
}
