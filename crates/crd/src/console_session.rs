//! `ConsoleSession`: one time-limited, revocable grant to look at, or drive, one console.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Cidr, Clipboard, ConsoleInput, ConsoleProtocol, Duration, FinishedTtl, Takeover, condition,
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

/// The observed state of a `ConsoleSession`. Only novasphere's own accounts may write it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = tidy)]
pub struct ConsoleSessionStatus {
    /// The `metadata.generation` that this status was worked out from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`, `TargetReady`, `Closed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,

    /// The session's state in one word, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<SessionPhase>,

    /// The UID of the target when the session became ready. Another object of the same name is another target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_uid: Option<String>,

    /// The console that it opens: the spec's, or the target's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ConsoleProtocol>,

    /// Since when the session's time runs: when it first became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// When the session ends and its streams are closed: `startedAt` and the duration, or `notAfter` where that is sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,

    /// What the session may do: its spec, with the target's `console` policy of the time when it became ready for what
    /// the spec leaves out. When the target's policy no longer allows this much, the session ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<GrantedPolicy>,

    /// Where viewers connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<SessionEndpoints>,

    /// The tokens that were given out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub grants: Vec<Grant>,

    /// The streams that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub connections: Vec<Connection>,

    /// The places that those who were let in can come back to: at most one for each stream that the session may have at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub resumes: Vec<ResumePlace>,

    /// Who last got a token, or connected through kube-apiserver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,

    /// How many streams are open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewers: Option<u32>,

    /// How the stream that ended last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_disconnect: Option<LastDisconnect>,

    /// Why the session ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_reason: Option<CloseReason>,

    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Time>,
}

/// A session's state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SessionPhase {
    /// It waits for its target.
    Pending,
    /// Tokens can be had; nobody is connected.
    Ready,
    /// At least one stream is open.
    Active,
    /// It was ended before its time.
    Closed,
    /// Its time is over.
    Expired,
    /// It asks for what the target does not allow.
    Failed,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CloseReason {
    /// Its time is over.
    Expired,
    /// `revoked` was set.
    Revoked,
    /// The object is being deleted.
    Deleted,
    /// The target is gone, or another object has its name.
    TargetGone,
    /// The target's policy no longer allows it.
    PolicyChanged,
    /// The last viewer left a session that was made for one connection.
    Finished,
}

impl CloseReason {
    /// The reason as the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "Expired",
            Self::Revoked => "Revoked",
            Self::Deleted => "Deleted",
            Self::TargetGone => "TargetGone",
            Self::PolicyChanged => "PolicyChanged",
            Self::Finished => "Finished",
        }
    }
}

/// What a session may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantedPolicy {
    /// How long it lasts.
    pub duration: Duration,

    /// A stream without human input for this long is closed. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,

    /// How many streams it may have at once.
    pub max_viewers: u16,

    /// What happens to a present viewer of a console that carries only one.
    pub takeover: Takeover,

    /// Whether keyboard and pointer reach the guest.
    pub input: ConsoleInput,

    /// Which way text may be copied.
    pub clipboard: Clipboard,

    /// Whether viewers may shut down, reboot or reset the guest through the console.
    pub power: bool,

    /// Whether viewers may change the screen's size.
    pub resize: bool,

    /// Whether stock viewers may connect on the raw TCP port.
    pub native: bool,

    /// Client addresses that may open a stream. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub allowed_source_ranges: Vec<Cidr>,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastDisconnect {
    /// Who was connected.
    #[schemars(length(max = 1024))]
    pub user: String,

    /// Why the stream ended, in one word, such as `ViewerLeft`, `Idle`, `AccessWithdrawn` or `TargetStopped`.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z]+$"))]
    pub reason: String,

    /// When.
    pub at: Time,

    /// What the viewer was allowed to do. Absent where it is not known, which counts as `Control`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<ConsoleInput>,
}

/// Where viewers of a session connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionEndpoints {
    /// The WebSocket's URL, without a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<String>,

    /// `host:port` for stock VNC viewers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnc: Option<String>,
}

/// A token that was given out. The token itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The grant's name in this list.
    #[schemars(length(min = 1, max = 63))]
    pub id: String,

    /// SHA-256 of the token, in lower-case hex.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"), length(max = 64))]
    pub sha256: String,

    /// Who asked for it.
    #[schemars(length(max = 1024))]
    pub user: String,

    /// The groups of who asked for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 1024)), extend("x-kubernetes-list-type" = "atomic"))]
    pub groups: Vec<String>,

    /// The UID of who asked for it, when the authenticator gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub uid: Option<String>,

    /// What else the authenticator said of who asked for it, such as the scopes of their token. Their rights are asked for with it when
    /// the token is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub extra: Vec<UserExtra>,

    /// When it was given out.
    pub issued_at: Time,

    /// The token opens no stream after this time.
    pub not_after: Time,

    /// How many more streams the token can open.
    pub uses_left: u32,
}

/// One entry of a user's extra information, as in `SubjectAccessReview.spec.extra`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserExtra {
    /// The entry's key.
    #[schemars(length(min = 1, max = 256))]
    pub key: String,

    /// Its values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 1024)), extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// An open stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The stream's name in this list.
    #[schemars(length(min = 1, max = 63))]
    pub id: String,

    /// Who is connected.
    #[schemars(length(max = 1024))]
    pub user: String,

    /// The Pod that carries the stream.
    #[schemars(length(max = 253))]
    pub gateway: String,

    /// Where the client connects from.
    #[schemars(length(max = 64))]
    pub client_address: String,

    /// How the client connects.
    pub transport: Transport,

    /// Since when.
    pub connected_at: Time,

    /// What the viewer may do: `ViewOnly` also for a user of a session with control who lacks the right to it. One who only views makes
    /// room for one who may control, and is no input. Absent in records of earlier versions, which counts as `Control`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<ConsoleInput>,

    /// When a key or the pointer was last used and reached the guest; written at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_input_at: Option<Time>,

    /// Bytes sent to the client; written at most once a minute.
    #[serde(default)]
    pub bytes_sent: i64,

    /// Bytes received from the client; written at most once a minute.
    #[serde(default)]
    pub bytes_received: i64,
}

/// A place that somebody who was let in can come back to. The credential itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResumePlace {
    /// The place's name in this list.
    #[schemars(length(min = 1, max = 63))]
    pub id: String,

    /// Who was let in.
    #[schemars(length(max = 1024))]
    pub user: String,

    /// What they could do when they were connected last. Who only views makes room for who may control.
    pub input: ConsoleInput,

    /// The stream that the place has, or had last.
    #[schemars(length(min = 1, max = 63))]
    pub connection: String,

    /// The grant whose token let them in; it is kept as long as the place. Absent: kube-apiserver says each time who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub grant: Option<String>,

    /// SHA-256 of the part of the credential that stays the same, in lower-case hex. Absent without a `grant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"), length(max = 64))]
    pub sha256: Option<String>,

    /// SHA-256 of the part that changes, as it was used last. It stays good until one of `successors` is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"), length(max = 64))]
    pub used: Option<String>,

    /// SHA-256 of each that was given out for `used` and was not used yet: an answer may have got lost, so there may be more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 4),
        inner(regex(pattern = "^[0-9a-f]{64}$"), length(max = 64)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub successors: Vec<String>,

    /// When the place's stream ended. From then on the place is kept for `gateway.resumeWindow` of the configuration. Absent while a
    /// stream is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_at: Option<Time>,
}

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Transport {
    /// By WebSocket to novasphere.
    WebSocket,
    /// By RFB over TCP, as stock VNC viewers do.
    Rfb,
    /// By WebSocket through kube-apiserver.
    KubeApiserver,
}
