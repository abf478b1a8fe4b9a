//! Desktops that people make for themselves by `POST /pods/create`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What such a desktop is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DesktopsConfig {
    /// The namespace in which they are made, in the person's own name: the person needs the right `create vncworkspaces` there. A login for a tenant
    /// uses the tenant's first namespace instead. Default: none; then people name one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,

    /// The image. Default: none; then no desktop can be made by `POST /pods/create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// The storage class of homes. Default: the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class: Option<String>,
}
