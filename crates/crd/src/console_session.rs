//! `ConsoleSession`: one time-limited, revocable grant to look at, or drive, one console.

mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::status::{
    CloseReason, Connection, ConsoleSessionStatus, Grant, GrantedPolicy, LastDisconnect, ResumePlace, SessionEndpoints,
    SessionPhase, Transport, UserExtra,
};
use crate::{
    Cidr, Clipboard, ConsoleInput, ConsoleProtocol, Duration, FinishedTtl, Takeover,
    rule::{at_most_one, between, forbidden, immutable, object_name},
    schema::tidy,
};

/// What a `ConsoleSession` asks for.
///
/// All fields but `revoked`, `duration` and `notAfter` are immutable. An absent limit is the one of the target's `console` policy.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "novasphere.io",
    version = "v1alpha1",
    kind = "ConsoleSession",
    plural = "consolesessions",
    singular = "consolesession",
    // Not `cs`: kubectl takes that for the core kind ComponentStatus, with a warning.
    shortname = "csn",
    category = "novasphere",
    namespaced,
    status = "ConsoleSessionStatus",
    derive = "PartialEq",
    doc = "A time-limited, revocable grant to look at, or drive, one console. It opens nothing by itself: a token of it does. \
           Deleting it ends its streams.",
    printcolumn(
        name = "Target",
        type_ = "string",
        description = "The object whose console it is",
        json_path = ".spec.targetRef.name"
    ),
    printcolumn(
        name = "User",
        type_ = "string",
        description = "Who last got a token, or connected through kube-apiserver",
        json_path = ".status.user"
    ),
    printcolumn(
        name = "Protocol",
        type_ = "string",
        description = "The console that it opens",
        json_path = ".status.protocol"
    ),
    printcolumn(name = "State", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Expires",
        type_ = "string",
        description = "When its streams end",
        json_path = ".status.expiresAt"
    ),
    printcolumn(
        name = "Viewers",
        type_ = "integer",
        description = "Open streams",
        json_path = ".status.viewers"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Kind",
        type_ = "string",
        description = "The kind of the target",
        json_path = ".spec.targetRef.kind",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why it ended",
        json_path = ".status.closeReason",
        priority = 1
    ),
    selectable = ".spec.targetRef.kind",
    selectable = ".spec.targetRef.name",
    selectable = ".status.phase",
    cel
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = tidy)]
#[x_kube(validation = between("duration", "1s", "720h"))]
#[x_kube(validation = between("idleTimeout", "1s", "24h"))]
#[x_kube(validation = between("ttlAfterFinished", "0s", "720h"))]
#[x_kube(validation = forbidden(
    "!has(self.input) || self.input != 'ViewOnly' || !has(self.power) || !self.power",
    "power drives the guest, which input ViewOnly forbids; set power to false, or input to Control"
)
.field_path(".power"))]
#[x_kube(validation = forbidden(
    "self.targetRef.kind != 'VncWorkspace' || !has(self.protocol) || self.protocol != 'serial'",
    "a VncWorkspace has no serial console; remove protocol, or set it to vnc or ssh"
)
.field_path(".protocol"))]
#[x_kube(validation = forbidden(
    "self.targetRef.kind == 'VncWorkspace' || !has(self.protocol) || self.protocol != 'ssh'",
    "only a VncWorkspace has an ssh console; remove protocol, or set it to vnc or serial"
)
.field_path(".protocol"))]
#[x_kube(validation = forbidden(
    "!has(self.protocol) || self.protocol != 'ssh' || !has(self.input) || self.input != 'ViewOnly'",
    "nobody can only look at ssh; set input to Control, or choose another protocol"
)
.field_path(".input"))]
#[x_kube(validation = at_most_one(&["notAfter", "duration"]))]
#[x_kube(validation = only_shorter())]
#[x_kube(validation = only_earlier())]
#[x_kube(validation = forbidden(
    "!oldSelf.revoked || self.revoked",
    "a session that was revoked stays so; make a new one"
)
.field_path(".revoked"))]
#[x_kube(validation = fixed("targetRef"))]
#[x_kube(validation = fixed("protocol"))]
#[x_kube(validation = fixed("idleTimeout"))]
#[x_kube(validation = fixed("maxViewers"))]
#[x_kube(validation = fixed("takeover"))]
#[x_kube(validation = fixed("input"))]
#[x_kube(validation = fixed("clipboard"))]
#[x_kube(validation = fixed("power"))]
#[x_kube(validation = fixed("resize"))]
#[x_kube(validation = fixed("allowedSourceRanges"))]
#[x_kube(validation = fixed("users"))]
#[x_kube(validation = fixed("groups"))]
#[x_kube(validation = fixed("reason"))]
#[x_kube(validation = fixed("ttlAfterFinished"))]
pub struct ConsoleSessionSpec {
    /// Whose console.
    pub target_ref: SessionTargetRef,

    /// Which console. Default: the target's `defaultProtocol`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ConsoleProtocol>,

    /// How long the session lasts, counted from when it is ready; from 1s to 720h. It can be made shorter later, not
    /// longer. Not with `notAfter`. Default, without `notAfter`: 1h, or the target's `maxSessionDuration` when that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,

    /// When the session ends (RFC 3339), however often the object is made again: after this time it is over at once. So a manifest that
    /// a program applies again and again, out of a Git repository, gives access until then and not for good. It lasts no longer than the
    /// target's `maxSessionDuration` from when it is ready. Afterwards it can only be moved nearer. Not with `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,

    /// A stream without human input for this long is closed; from 1s to 24h. Default: the target's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,

    /// How many streams the session may have at once, from 1 to 64. Default: the target's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub max_viewers: Option<u16>,

    /// What happens to a present viewer when this session wants a console that carries only one. Default `Refuse`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takeover: Option<Takeover>,

    /// Whether keyboard and pointer reach the guest. Default: the target's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<ConsoleInput>,

    /// Which way text may be copied. Default: the target's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clipboard: Option<Clipboard>,

    /// Whether viewers may shut down, reboot or reset the guest through the console. Default: the target's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<bool>,

    /// Whether viewers may change the screen's size. Default: the target's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<bool>,

    /// Client addresses that may open a stream, in CIDR notation; they must lie in the target's. Default: the target's. At
    /// most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_source_ranges: Vec<Cidr>,

    /// Kubernetes users who may get a token, out of those who have the right to the console. Default, with `groups`
    /// absent too: all of them. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub users: Vec<String>,

    /// Kubernetes groups whose members may get a token, beside `users`. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub groups: Vec<String>,

    /// Why, in words for the audit log; such as a ticket number. At most 512 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub reason: Option<String>,

    /// The object is deleted this long after the session's end: from 0s to 720h, or `Never`. What applies manifests again and again makes a
    /// deleted session again, with a new `duration`; give such a session a `notAfter`, or `Never`. Default 1h.
    #[serde(default = "ttl_after_finished")]
    pub ttl_after_finished: FinishedTtl,

    /// `true` ends the session and its streams for good. Default false.
    #[serde(default)]
    pub revoked: bool,
}

/// How long a session lasts that does not say it, when the target allows as much.
pub const DEFAULT_SESSION_DURATION: Duration = Duration::from_hours(1);

const fn ttl_after_finished() -> FinishedTtl {
    FinishedTtl::After(Duration::from_hours(1))
}

impl Default for ConsoleSessionSpec {
    fn default() -> Self {
        Self {
            target_ref: SessionTargetRef::default(),
            protocol: None,
            duration: None,
            not_after: None,
            idle_timeout: None,
            max_viewers: None,
            takeover: None,
            input: None,
            clipboard: None,
            power: None,
            resize: None,
            allowed_source_ranges: Vec::new(),
            users: Vec::new(),
            groups: Vec::new(),
            reason: None,
            ttl_after_finished: ttl_after_finished(),
            revoked: false,
        }
    }
}

/// An absent duration is at most [`DEFAULT_SESSION_DURATION`].
fn only_shorter() -> Rule {
    let shorter = format!(
        "!self.duration.matches('{}') || duration(self.duration) <= (has(oldSelf.duration) ? duration(oldSelf.duration) : \
         duration('{DEFAULT_SESSION_DURATION}'))",
        Duration::PATTERN
    );
    forbidden(
        &format!("has(self.duration) ? {shorter} : !has(oldSelf.duration)"),
        "duration can only become shorter; make a new session for more time",
    )
    .field_path(".duration")
}

/// Whether there is one does not change: it decides what the duration means.
fn only_earlier() -> Rule {
    forbidden(
        "has(self.notAfter) == has(oldSelf.notAfter) && (!has(self.notAfter) || self.notAfter <= oldSelf.notAfter)",
        "notAfter can only become earlier; make a new session for another end",
    )
    .field_path(".notAfter")
}

fn fixed(field: &str) -> Rule {
    immutable(field, "delete this session and make a new one")
}

/// Names the object whose console is meant, in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = object_name("name"))]
pub struct SessionTargetRef {
    /// Its kind. Default `VmAccess`.
    #[serde(default)]
    pub kind: SessionTargetKind,

    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A kind of object that has a console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SessionTargetKind {
    /// A `VmAccess`; its `console` policy holds.
    #[default]
    VmAccess,
    /// A `VncWorkspace`; its `console` policy holds.
    VncWorkspace,
    /// A `KubeVirt` `VirtualMachine`; the default policy holds.
    VirtualMachine,
    /// A `KubeVirt` `VirtualMachineInstance`, one run of a machine or one without a machine; the default policy holds. A session ends with
    /// the run.
    VirtualMachineInstance,
}

impl SessionTargetKind {
    /// The kind as the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VmAccess => "VmAccess",
            Self::VncWorkspace => "VncWorkspace",
            Self::VirtualMachine => "VirtualMachine",
            Self::VirtualMachineInstance => "VirtualMachineInstance",
        }
    }
}
