//! `VncWorkspace`: one person's desktop.

mod env;
mod lifecycle;
mod network;
mod status;
mod storage;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    env::{EnvVar, EnvVarSource, KeyRef},
    lifecycle::{Lifecycle, LifecycleState, Schedule},
    network::{
        EgressPort, EgressRule, NetworkIngress, WorkspaceNetwork, WorkspaceNodePorts, WorkspacePort, WorkspaceRoute,
        WorkspaceService,
    },
    status::{Hibernation, HibernationReason, SnapshotStatus, VncWorkspaceStatus, WorkspaceEndpoints, WorkspacePhase},
    storage::{Backup, ReclaimPolicy, RestoreFrom, WorkspaceStorage},
};
use crate::{
    ConsolePolicy, RawObject,
    bounds::{bound_foreign, short_keys},
    rule::{
        entry_points_differ, forbidden, http_paths_differ, immutable, invalid, matches, plausible_memory,
        plausible_size, required, ssh_keys, tls_hosts_differ,
    },
    schema::tidy,
};

/// What a `VncWorkspace` asks for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "novasphere.io",
    version = "v1alpha1",
    kind = "VncWorkspace",
    plural = "vncworkspaces",
    singular = "vncworkspace",
    shortname = "vw",
    category = "novasphere",
    namespaced,
    status = "VncWorkspaceStatus",
    derive = "PartialEq",
    doc = "One person's Linux desktop: a Pod with a VNC server, a home volume that outlives it, and the ways to reach it. It \
           sleeps when nobody types and wakes when somebody connects.",
    validation = invalid(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 52",
        "metadata.name must begin with a letter and have only lower-case letters, digits and '-', at most 52: the Pod, Service \
         and home are named after it"
    ),
    printcolumn(name = "User", type_ = "string", description = "Whose desktop it is", json_path = ".spec.user"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Node",
        type_ = "string",
        description = "The node that the desktop runs on",
        json_path = ".status.nodeName"
    ),
    printcolumn(
        name = "Address",
        type_ = "string",
        description = "Where the web page is reached",
        json_path = ".status.endpoints.web"
    ),
    printcolumn(
        name = "Last-Input",
        type_ = "date",
        description = "When somebody last typed or moved the pointer",
        json_path = ".status.lastInputAt"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Expires",
        type_ = "string",
        description = "When the workspace ends",
        json_path = ".status.expiresAt",
        priority = 1
    ),
    printcolumn(
        name = "Image",
        type_ = "string",
        description = "The desktop's image",
        json_path = ".spec.image",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why it is ready or not",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    selectable = ".spec.user",
    selectable = ".spec.lifecycle.state",
    cel
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = tidy, transform = bound_foreign)]
#[x_kube(validation = invalid(
    r"size(bytes(self.user)) <= 253 && self.user.matches(r'^[^\s[:cntrl:]]([^[:cntrl:]]*[^\s[:cntrl:]])?$')",
    "user must be up to 253 bytes without control characters, and not begin or end with white space"
)
.field_path(".user"))]
#[x_kube(validation = matches("image", r"^\S+$", "image must be the name of a container image, without spaces"))]
#[x_kube(validation = forbidden(
    "!has(self.console.protocols) || !('serial' in self.console.protocols)",
    "a desktop has no serial console; remove serial from console.protocols"
)
.field_path(".console"))]
#[x_kube(validation = forbidden(
    "!has(self.console.defaultProtocol) || self.console.defaultProtocol != 'serial'",
    "a desktop has no serial console; remove console.defaultProtocol, or set it to vnc or ssh"
)
.field_path(".console"))]
#[x_kube(validation = plausible_size("sharedMemory"))]
#[x_kube(validation = matches(
    "locale",
    "^(C|[a-z]{2,3}_[A-Z]{2})[.]UTF-8(@[a-z]+)?$",
    "locale must be a UTF-8 locale, such as zh_CN.UTF-8 or de_DE.UTF-8"
))]
#[x_kube(validation = matches(
    "timeZone",
    "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$",
    "timeZone must be a name of the IANA database, such as Asia/Shanghai or Europe/Berlin"
))]
#[x_kube(validation = matches(
    "keyboard",
    "^[a-z]{2,10}([(][a-z0-9_-]{1,40}[)])?$",
    "keyboard must be an XKB layout, with or without a variant, such as de, jp or fr(bepo)"
))]
#[x_kube(validation = forbidden(
    "!has(self.env) || !self.env.exists(e, (e.name == 'LANG' && has(self.locale)) || (e.name == 'TZ' && has(self.timeZone)))",
    "env has LANG beside locale, or TZ beside timeZone; remove the variable"
)
.field_path(".env"))]
#[x_kube(validation = immutable("user", "make another workspace for another person"))]
#[x_kube(validation = forbidden(
    "!has(self.routes) || self.routes.all(r, r.port != 'Ssh' || (has(self.ssh) && self.ssh.enabled))",
    "a route to Ssh needs ssh.enabled; enable it, or remove the route"
)
.field_path(".routes"))]
#[x_kube(validation = forbidden(
    "!has(self.service.nodePorts) || !has(self.service.nodePorts.ssh) || (has(self.ssh) && self.ssh.enabled)",
    "nodePorts.ssh needs ssh.enabled; enable it, or remove the port"
)
.field_path(".service"))]
#[x_kube(validation = entry_points_differ())]
#[x_kube(validation = tls_hosts_differ())]
#[x_kube(validation = http_paths_differ())]
pub struct VncWorkspaceSpec {
    /// Whose desktop it is, as the identity provider writes it: an e-mail address, a name in any alphabet, at most 253 bytes of UTF-8. The
    /// label `novasphere.io/user` of the Pod has it, cut and hashed where it is no value of a label. Who may connect is decided by RBAC.
    /// Immutable.
    #[schemars(length(min = 1, max = 253))]
    pub user: String,

    /// The desktop's container image. A change replaces the Pod.
    #[schemars(length(max = 512))]
    pub image: String,

    /// The screen. Default: 1280 by 800 pixels.
    #[serde(default)]
    pub display: Display,

    /// The language of the desktop's programs, and of its input method where the language is written by one: a UTF-8 locale
    /// such as `zh_CN.UTF-8`. It becomes the variable `LANG`. Default: the image's, `C.UTF-8` in novasphere's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub locale: Option<String>,

    /// The desktop's time zone, by its name in the IANA database, such as `Asia/Shanghai`. It becomes the variable `TZ`.
    /// Default: the image's, UTC in novasphere's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,

    /// The layout of the desktop's keyboard: an XKB layout such as `de`, or one with a variant such as `fr(bepo)`. It becomes
    /// the variable `KEYBOARD_LAYOUT`. Default: the image's, `us` in novasphere's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 52))]
    pub keyboard: Option<String>,

    /// CPU and memory of the desktop. Default: the namespace's defaults. A change is made while the desktop runs where Kubernetes
    /// can do that, and replaces the Pod elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<WorkspaceResources>,

    /// The size of `/dev/shm`, memory that programs share: browsers and databases need more than the 64Mi of container engines. What is in
    /// it counts as memory of the desktop. A change replaces the Pod. Default `512Mi`, from the next Pod on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_memory: Option<Quantity>,

    /// Graphics cards or other devices. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,

    /// The home volume. Default: one of `10Gi` that is retained.
    #[serde(default)]
    pub storage: WorkspaceStorage,

    /// Access by SSH. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<WorkspaceSsh>,

    /// Environment variables of the desktop. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,

    /// Fields of a `core/v1` `PodTemplateSpec`, merged last by strategic merge. It cannot weaken Pod Security `restricted`, nor read
    /// Secrets and mount claims that are not shared with desktops. Labels and annotations of others, and fields by which a Pod does more
    /// than a desktop (`priorityClassName`, `tolerations`, `runtimeClassName`, volumes of type `csi`), are the administrator's to open. At most 16384 characters.
    #[serde(default, skip_serializing_if = "RawObject::is_empty")]
    pub pod_overrides: RawObject,

    /// The Service to the desktop. Default: one of type `ClusterIP`.
    #[serde(default)]
    pub service: WorkspaceService,

    /// Routes of gateways to the desktop. At most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub routes: Vec<WorkspaceRoute>,

    /// What sessions on the desktop may do. Default: the defaults of its fields.
    #[serde(default)]
    pub console: ConsolePolicy,

    /// What may reach the Pod, and what it may reach. Default: the console gateway in, everything out.
    #[serde(default)]
    pub network: WorkspaceNetwork,

    /// When the desktop runs, sleeps and ends. Default: it always runs.
    #[serde(default)]
    pub lifecycle: Lifecycle,

    /// Snapshots of the home. Default: none are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
}

/// A screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Display {
    /// Width in pixels, from 320 to 7680. Default 1280.
    #[serde(default = "width")]
    #[schemars(range(min = 320, max = 7680))]
    pub width: u16,

    /// Height in pixels, from 200 to 4320. Default 800.
    #[serde(default = "height")]
    #[schemars(range(min = 200, max = 4320))]
    pub height: u16,

    /// Bits of a pixel's colour: 16 or 24. Default 24.
    #[serde(default = "depth")]
    #[schemars(range(min = 16, max = 24), extend("enum" = [16, 24]))]
    pub depth: u8,
}

impl Default for Display {
    fn default() -> Self {
        Self {
            width: width(),
            height: height(),
            depth: depth(),
        }
    }
}

const fn width() -> u16 {
    1280
}

const fn height() -> u16 {
    800
}

const fn depth() -> u8 {
    24
}

/// CPU and memory, as a container's `resources`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = forbidden(
    "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || \
     !isQuantity(string(self.requests[name])) || !isQuantity(string(self.limits[name])) || \
     quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
    "a request is above its limit; lower the request, or raise the limit"
))]
#[x_kube(validation = plausible_memory("requests"))]
#[x_kube(validation = plausible_memory("limits"))]
pub struct WorkspaceResources {
    /// What the desktop is sure to get, such as `cpu: 500m` and `memory: 1Gi`. At most 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8, "x-kubernetes-validations" = short_keys()))]
    pub requests: BTreeMap<String, Quantity>,

    /// What it gets at most. At most 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8, "x-kubernetes-validations" = short_keys()))]
    pub limits: BTreeMap<String, Quantity>,
}

/// Devices of a device plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = matches(
    "resourceName",
    "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    "resourceName must be the name of an extended resource, such as nvidia.com/gpu"
))]
pub struct Gpu {
    /// The resource's name, such as `nvidia.com/gpu`.
    #[schemars(length(min = 3, max = 317))]
    pub resource_name: String,

    /// How many, from 1 to 16. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub count: u16,
}

const fn one() -> u16 {
    1
}

/// Access by SSH, as the desktop's user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = required(
    "!self.enabled || (has(self.authorizedKeys) && size(self.authorizedKeys) > 0)",
    "there is no way in by SSH without a key; add one, or set enabled to false"
)
.field_path(".authorizedKeys"))]
pub struct WorkspaceSsh {
    /// Whether the desktop answers SSH. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,

    /// The public keys that are let in, one line each; there is no other way in. From 1 to 16 when `enabled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "ssh_keys")]
    pub authorized_keys: Vec<String>,
}

const fn yes() -> bool {
    true
}
