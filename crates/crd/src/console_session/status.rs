//! What the status of a `ConsoleSession` says: its policy, tokens, streams, places, and how it ended.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cidr, Clipboard, ConsoleInput, ConsoleProtocol, Duration, Takeover, condition, schema::tidy};

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
