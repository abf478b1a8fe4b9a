//! Bodies of `/workspaces`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{time::AnswerTimeZone, watches::WorkspaceRow};

/// Which workspaces are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WorkspaceQuery {
    /// The page, from 1. Default 1.
    #[param(minimum = 1, maximum = 1_000_000)]
    #[serde(default)]
    pub(super) page: Option<usize>,
    /// Rows of a page. Default 10.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default)]
    pub(super) page_size: Option<usize>,
    /// Of one namespace alone.
    #[param(min_length = 1, max_length = 63)]
    #[serde(default)]
    pub(super) namespace: Option<String>,
    /// A part of the name.
    #[param(min_length = 1, max_length = 253)]
    #[serde(default)]
    pub(super) name_like: Option<String>,
    /// Of one person alone.
    #[param(min_length = 1, max_length = 253)]
    #[serde(default)]
    pub(super) user: Option<String>,
}

impl WorkspaceQuery {
    pub(super) fn takes(&self, row: &WorkspaceRow) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == row.namespace)
            && self
                .name_like
                .as_ref()
                .is_none_or(|part| row.name.contains(&part.to_lowercase()))
            && self.user.as_ref().is_none_or(|user| *user == row.user)
    }
}

/// A page of workspaces.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkspacePage {
    /// Rows of all pages.
    pub(super) total: usize,
    /// Pages.
    pub(super) pages: usize,
    /// The rows of this page.
    pub(super) list: Vec<WorkspaceSummary>,
}

/// A workspace.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkspaceSummary {
    /// Its UID.
    id: String,
    /// Its name.
    name: String,
    /// Its namespace.
    namespace: String,
    /// Whose desktop it is.
    user: String,
    /// Starting, Running, Hibernating, Hibernated, Expiring or Failed; `null` before the controller has seen it.
    phase: Option<String>,
    /// Its image.
    image: String,
    /// Its Pod.
    pod_name: Option<String>,
    /// The node that it runs on.
    node_name: Option<String>,
    /// Where its page is.
    web: Option<String>,
    /// Where stock viewers reach it.
    vnc: Option<String>,
    /// Where SSH reaches it.
    ssh: Option<String>,
    /// When it was made.
    create_time: String,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    create_at: String,
    /// When it ends.
    expire_time: Option<String>,
    /// When somebody last typed.
    last_input_time: Option<String>,
    /// When it goes to sleep if nobody types.
    sleep_time: Option<String>,
}

impl WorkspaceSummary {
    pub(crate) fn of(row: &WorkspaceRow, zone: &AnswerTimeZone) -> Self {
        Self {
            id: row.id.clone(),
            name: row.name.clone(),
            namespace: row.namespace.clone(),
            user: row.user.clone(),
            phase: row.phase.map(|phase| format!("{phase:?}")),
            image: row.image.clone(),
            pod_name: row.pod_name.clone(),
            node_name: row.node.clone(),
            web: row.web.clone(),
            vnc: row.vnc.clone(),
            ssh: row.ssh.clone(),
            create_time: zone.text(row.created),
            create_at: row.created.to_string(),
            expire_time: row.expires.map(|time| zone.text(time)),
            last_input_time: row.last_input.map(|time| zone.text(time)),
            sleep_time: row.sleeps.map(|time| zone.text(time)),
        }
    }
}

/// Which console, and for how long.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct WorkspaceConsoleRequest {
    /// `vnc` or `ssh`. Default `vnc`.
    #[schema(min_length = 1, max_length = 16)]
    pub(super) protocol: Option<String>,
    /// Seconds until the console ends, from 60 to 86400. Default 3600.
    #[schema(minimum = 60, maximum = 86400)]
    pub(super) expire_time: Option<u32>,
    /// Only look. Default false.
    pub(super) view_only: bool,
}

/// A desktop to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WorkspaceRequest {
    /// Its namespace.
    #[schema(min_length = 1, max_length = 63)]
    pub(super) namespace: String,
    /// Its name: lower-case letters, digits and `-`, at most 52.
    #[schema(min_length = 1, max_length = 52, pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$")]
    pub(super) name: String,
    /// Whose desktop it is. Default: mine.
    #[schema(min_length = 1, max_length = 253)]
    #[serde(default)]
    pub(super) user: Option<String>,
    /// Its image.
    #[schema(min_length = 1, max_length = 512)]
    pub(super) image: String,
    /// Processors and memory that it may use.
    #[serde(default)]
    pub(super) resources: Option<DesktopResources>,
    /// Bytes of its home, such as `10Gi`.
    #[schema(min_length = 1, max_length = 32)]
    #[serde(default)]
    pub(super) storage: Option<String>,
}

/// Processors and memory of a desktop.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct DesktopResources {
    /// Such as `2` or `500m`.
    #[schema(min_length = 1, max_length = 32)]
    pub(crate) cpu: Option<String>,
    /// Such as `4Gi`.
    #[schema(min_length = 1, max_length = 32)]
    pub(crate) memory: Option<String>,
}
