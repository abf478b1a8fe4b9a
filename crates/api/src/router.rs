//! All paths, topic by topic. Each topic's own file has its handlers.

use axum::Router;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{BASE_PATH, events, http, identity, login, machines, openapi, pods, sessions, state::ApiState, verify, workspaces};

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

/// The service of a process: all paths, inside the layers that every request passes.
#[must_use]
pub fn router(state: ApiState) -> Router {
    let (routes, document) = OpenApiRouter::with_openapi(openapi::head())
        .nest(BASE_PATH, topics())
        .split_for_parts();
    let routes = routes.merge(openapi::routes(&openapi::completed(document)));
    http::layered(routes, state.clone()).with_state(state)
}

/// The `OpenAPI` document, as it is served and committed.
#[must_use]
pub fn document() -> OpenApi {
    let (_, document) = OpenApiRouter::<ApiState>::with_openapi(openapi::head())
        .nest(BASE_PATH, topics())
        .split_for_parts();
    openapi::completed(document)
}
