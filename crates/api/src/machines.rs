//! Virtual machines: lists, details, power, consoles and Services.

mod access_services;
mod batch;
mod console;
mod create;
mod delete;
mod detail;
mod list;
mod power;
mod task;
mod visible;

use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use self::{
    console::{expire_seconds, protocol},
    visible::{machine, wanted_namespace, workspace},
};
use crate::state::ApiState;

/// The paths of this topic.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list::list, create::create))
        .routes(routes!(batch::batch))
        .routes(routes!(detail::detail, delete::delete))
        .routes(routes!(power::start))
        .routes(routes!(power::stop))
        .routes(routes!(power::restart))
        .routes(routes!(task::task))
        .routes(routes!(console::open))
        .routes(routes!(console::status))
        .routes(routes!(console::disconnect))
        .routes(routes!(access_services::create))
        .routes(routes!(access_services::list))
        .routes(routes!(access_services::update, access_services::delete))
}
