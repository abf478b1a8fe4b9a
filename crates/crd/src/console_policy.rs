//! What the consoles of one object allow. Sessions can narrow it and never widen it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Cidr, Duration,
    rule::{between, forbidden},
};

/// What sessions on this console may do. Kubernetes RBAC decides who may open one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = forbidden(
    "!has(self.defaultProtocol) || !has(self.protocols) || self.defaultProtocol in self.protocols",
    "defaultProtocol must be one of protocols; add it there, or name another one"
)
.field_path(".defaultProtocol"))]
#[x_kube(validation = between("maxSessionDuration", "1s", "720h"))]
#[x_kube(validation = between("idleTimeout", "1s", "24h"))]
#[x_kube(validation = forbidden(
    "self.input != 'ViewOnly' || !self.power",
    "power drives the guest, which input ViewOnly forbids; set power to false, or input to Control"
)
.field_path(".power"))]
pub struct ConsolePolicy {
    /// The consoles that may be opened. Default: all that the target has. An empty list allows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub protocols: Option<Vec<ConsoleProtocol>>,

    /// The console that a session gets when it names none. Must be in `protocols`. Default: `vnc` when it may be opened,
    /// else the first that may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_protocol: Option<ConsoleProtocol>,

    /// How long a session may last, from 1s to 720h. Default 8h.
    #[serde(default = "max_session_duration")]
    pub max_session_duration: Duration,

    /// A stream without a key press, pointer move or other human input for this long is closed; from 1s to 24h.
    /// Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,

    /// How many sessions may be open at once, from 1 to 100. Default 10. Those that only view do not count before one with control.
    #[serde(default = "max_concurrent_sessions")]
    #[schemars(range(min = 1, max = 100))]
    pub max_concurrent_sessions: u16,

    /// How many streams one session may have at once, from 1 to 64. Default 1.
    #[serde(default = "max_viewers")]
    #[schemars(range(min = 1, max = 64))]
    pub max_viewers: u16,

    /// What happens to a viewer when another one wants a console that carries only one. Default `Refuse`. A viewer who may control the
    /// console takes the place of one who only views it with either, and who only views displaces nobody.
    #[serde(default)]
    pub takeover: Takeover,

    /// Whether keyboard and pointer reach the guest. Default `Control`.
    #[serde(default)]
    pub input: ConsoleInput,

    /// Which way text may be copied. Who only looks gets none. A desktop learns of a change when its Pod starts, so a change
    /// replaces it; sessions keep to it at once. Default `Both`.
    #[serde(default)]
    pub clipboard: Clipboard,

    /// Whether viewers may shut down, reboot or reset the guest through the console. Default false.
    #[serde(default)]
    pub power: bool,

    /// Whether viewers may change the screen's size. A desktop learns of a change when its Pod starts, so a change replaces it; sessions keep
    /// to it at once. Default true.
    #[serde(default = "yes")]
    pub resize: bool,

    /// Whether stock viewers may connect on the raw TCP port, beside browsers. Default true.
    #[serde(default = "yes")]
    pub native: bool,

    /// Client addresses that may open a stream, in CIDR notation. Default: all. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_source_ranges: Vec<Cidr>,
}

impl Default for ConsolePolicy {
    fn default() -> Self {
        Self {
            protocols: None,
            default_protocol: None,
            max_session_duration: max_session_duration(),
            idle_timeout: None,
            max_concurrent_sessions: max_concurrent_sessions(),
            max_viewers: max_viewers(),
            takeover: Takeover::default(),
            input: ConsoleInput::default(),
            clipboard: Clipboard::default(),
            power: false,
            resize: true,
            native: true,
            allowed_source_ranges: Vec::new(),
        }
    }
}

const fn max_session_duration() -> Duration {
    Duration::from_hours(8)
}

const fn max_concurrent_sessions() -> u16 {
    10
}

const fn max_viewers() -> u16 {
    1
}

const fn yes() -> bool {
    true
}

/// A kind of console. Written in lower case, as in URLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleProtocol {
    /// The screen, by RFB.
    #[default]
    Vnc,
    /// The serial console, as text.
    Serial,
    /// Secure shell. Only a `VncWorkspace` with `ssh.enabled` has it.
    Ssh,
}

impl ConsoleProtocol {
    /// The protocol as the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vnc => "vnc",
            Self::Serial => "serial",
            Self::Ssh => "ssh",
        }
    }
}

/// What happens when a console that carries one stream is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Takeover {
    /// The newcomer is refused and told who is connected.
    #[default]
    Refuse,
    /// The newcomer gets the console, the present viewer is disconnected and told so.
    Replace,
}

/// Whether a viewer only looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConsoleInput {
    /// Keyboard and pointer reach the guest.
    #[default]
    Control,
    /// Keyboard, pointer and the clipboard's text, both ways, are dropped on the server.
    ViewOnly,
}

/// Which way clipboard text may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Clipboard {
    /// Both ways.
    #[default]
    Both,
    /// From the viewer to the guest.
    ToGuest,
    /// From the guest to the viewer.
    FromGuest,
    /// Not at all.
    None,
}

impl Clipboard {
    /// The value as the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "Both",
            Self::ToGuest => "ToGuest",
            Self::FromGuest => "FromGuest",
            Self::None => "None",
        }
    }
}
