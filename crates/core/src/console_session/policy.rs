//! What a session may do: its wishes, where the target's policy allows them, and the policy's values for the rest. A session
//! narrows the policy and never widens it.

use std::time::Duration;

use ipnet::IpNet;
use novasphere_crd::{
    Cidr, Clipboard, ConsoleInput, ConsolePolicy, ConsoleProtocol, ConsoleSessionSpec, DEFAULT_SESSION_DURATION,
    GrantedPolicy, Takeover, Transport,
};

/// What a session may do, every value decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPolicy {
    /// The console that it opens.
    pub protocol: ConsoleProtocol,
    /// How long it lasts.
    pub duration: Duration,
    /// A stream without human input for this long is closed.
    pub idle_timeout: Option<Duration>,
    /// How many streams it may have at once.
    pub max_viewers: u16,
    /// What happens to a present viewer of a console that carries one.
    pub takeover: Takeover,
    /// Whether keyboard and pointer reach the guest.
    pub input: ConsoleInput,
    /// Which way text may be copied.
    pub clipboard: Clipboard,
    /// Whether the guest may be shut down, rebooted and reset through the console.
    pub power: bool,
    /// Whether viewers may change the screen's size.
    pub resize: bool,
    /// Whether stock viewers may connect on the raw TCP port.
    pub native: bool,
    /// Client addresses that may open a stream; empty means all.
    pub allowed_source_ranges: Vec<IpNet>,
}

impl SessionPolicy {
    /// As it is kept in the session's status.
    #[must_use]
    pub fn granted(&self) -> GrantedPolicy {
        let cidr = |range: &IpNet| range.trunc().to_string().parse::<Cidr>().ok();
        GrantedPolicy {
            duration: crd_duration(self.duration),
            idle_timeout: self.idle_timeout.map(crd_duration),
            max_viewers: self.max_viewers,
            takeover: self.takeover,
            input: self.input,
            clipboard: self.clipboard,
            power: self.power,
            resize: self.resize,
            native: self.native,
            allowed_source_ranges: self.allowed_source_ranges.iter().filter_map(cidr).collect(),
        }
    }

    /// The policy that a status holds.
    #[must_use]
    pub fn of_granted(granted: &GrantedPolicy, protocol: ConsoleProtocol) -> Self {
        Self {
            protocol,
            duration: granted.duration.get(),
            idle_timeout: granted.idle_timeout.map(Into::into),
            max_viewers: granted.max_viewers,
            takeover: granted.takeover,
            input: granted.input,
            clipboard: granted.clipboard,
            power: granted.power,
            resize: granted.resize,
            native: granted.native,
            allowed_source_ranges: granted.allowed_source_ranges.iter().map(|range| range.get()).collect(),
        }
    }

    /// Whether a stream may come this way: the raw port is for stock viewers, which speak RFB alone.
    #[must_use]
    pub fn allows_transport(&self, transport: Transport) -> bool {
        match transport {
            Transport::Rfb => self.native && self.protocol == ConsoleProtocol::Vnc,
            Transport::WebSocket | Transport::KubeApiserver => true,
        }
    }

    /// Whether a client at `address` may open a stream.
    #[must_use]
    pub fn allows_address(&self, address: std::net::IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed_source_ranges.is_empty() || self.allowed_source_ranges.iter().any(|range| range.contains(&address))
    }
}

fn crd_duration(duration: Duration) -> novasphere_crd::Duration {
    novasphere_crd::Duration::from(duration)
}

/// What a session wants and the target's policy does not allow. The message begins with the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The policy's list of protocols is empty, or has none of those that the target has.
    #[error("spec.targetRef: the target allows no console; add one that it has to its console.protocols")]
    NoProtocol,
    /// The console is not in the policy's list, or the target does not have it.
    #[error("spec.protocol: the target does not allow {wanted}; choose one of: {allowed}")]
    Protocol {
        /// The console that is wanted.
        wanted: &'static str,
        /// Those that may be opened.
        allowed: String,
    },
    /// An SSH console cannot be view-only.
    #[error(
        "spec.protocol: ssh cannot be view-only; choose vnc, or a target whose console.input is Control and leave \
         spec.input out"
    )]
    SshViewOnly,
    /// A number or duration is above the target's.
    #[error("{field}: {wanted} is more than the {allowed} that the target's {limit} allows; ask for less")]
    AboveLimit {
        /// Where the wish stands.
        field: &'static str,
        /// The requested.
        wanted: String,
        /// The field of the target's policy.
        limit: &'static str,
        /// Its value.
        allowed: String,
    },
    /// A permission that the target does not give.
    #[error(
        "{field}: {wanted} is not allowed by the target's {limit}, which is {allowed}; ask for less, or leave it out"
    )]
    NotAllowed {
        /// Where the wish stands.
        field: &'static str,
        /// The requested.
        wanted: &'static str,
        /// The field of the target's policy.
        limit: &'static str,
        /// Its value.
        allowed: &'static str,
    },
    /// Client addresses that the target does not let in.
    #[error(
        "spec.allowedSourceRanges: {range} does not lie in the target's console.allowedSourceRanges ({allowed}); name \
         ranges within them, or none"
    )]
    SourceRange {
        /// The range that is wanted; `all addresses` when none is named.
        range: String,
        /// The target's ranges.
        allowed: String,
    },
}

impl PolicyError {
    /// The field of the session that asks for too much.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::NoProtocol => "spec.targetRef",
            Self::Protocol { .. } | Self::SshViewOnly => "spec.protocol",
            Self::AboveLimit { field, .. } | Self::NotAllowed { field, .. } => field,
            Self::SourceRange { .. } => "spec.allowedSourceRanges",
        }
    }
}

/// What a session may do under `policy`, on a target that has the consoles `available`.
///
/// # Errors
///
/// The first wish that the policy does not allow.
pub fn narrow(
    policy: &ConsolePolicy,
    available: &[ConsoleProtocol],
    spec: &ConsoleSessionSpec,
) -> Result<SessionPolicy, PolicyError> {
    let requested = requested_policy(policy, available, spec)?;
    check(policy, available, &requested)?;
    Ok(requested)
}

/// What the session asks for, with the policy's values for what it leaves out.
fn requested_policy(
    policy: &ConsolePolicy,
    available: &[ConsoleProtocol],
    spec: &ConsoleSessionSpec,
) -> Result<SessionPolicy, PolicyError> {
    let input = spec.input.unwrap_or(policy.input);
    let ranges = if spec.allowed_source_ranges.is_empty() {
        &policy.allowed_source_ranges
    } else {
        &spec.allowed_source_ranges
    };
    Ok(SessionPolicy {
        protocol: match spec.protocol {
            Some(protocol) => protocol,
            None => default_protocol(policy, available)?,
        },
        duration: requested_duration(policy, spec).get(),
        idle_timeout: spec.idle_timeout.or(policy.idle_timeout).map(Into::into),
        max_viewers: spec.max_viewers.unwrap_or(policy.max_viewers),
        // Not the policy's value: to disconnect another viewer is asked for each time.
        takeover: spec.takeover.unwrap_or_default(),
        input,
        clipboard: spec.clipboard.unwrap_or(policy.clipboard),
        // The schema forbids power beside ViewOnly, so a session that only looks does not inherit it.
        power: spec.power.unwrap_or(policy.power && input == ConsoleInput::Control),
        resize: spec.resize.unwrap_or(policy.resize),
        native: policy.native,
        allowed_source_ranges: ranges.iter().map(|range| range.get()).collect(),
    })
}

/// A session with an absolute end lasts until then, and that end is not in the policy: `status` shortens the duration by it.
fn requested_duration(policy: &ConsolePolicy, spec: &ConsoleSessionSpec) -> novasphere_crd::Duration {
    match (spec.duration, &spec.not_after) {
        (Some(duration), _) => duration,
        (None, Some(_)) => policy.max_session_duration,
        (None, None) => DEFAULT_SESSION_DURATION.min(policy.max_session_duration),
    }
}

/// Whether the policy allows all of `requested`, which may have been decided under an earlier policy.
///
/// # Errors
///
/// The first wish that it does not allow.
pub fn check(
    policy: &ConsolePolicy,
    available: &[ConsoleProtocol],
    requested: &SessionPolicy,
) -> Result<(), PolicyError> {
    let allowed = allowed_protocols(policy, available);
    if allowed.is_empty() {
        return Err(PolicyError::NoProtocol);
    }
    if !allowed.contains(&requested.protocol) {
        return Err(PolicyError::Protocol {
            wanted: requested.protocol.as_str(),
            allowed: joined(&allowed),
        });
    }
    if requested.protocol == ConsoleProtocol::Ssh && requested.input == ConsoleInput::ViewOnly {
        return Err(PolicyError::SshViewOnly);
    }
    check_limits(policy, requested)?;
    check_permissions(policy, requested)?;
    check_source_ranges(policy, requested)
}

fn check_limits(policy: &ConsolePolicy, requested: &SessionPolicy) -> Result<(), PolicyError> {
    if requested.duration > policy.max_session_duration.get() {
        return Err(PolicyError::AboveLimit {
            field: "spec.duration",
            wanted: crd_duration(requested.duration).to_string(),
            limit: "console.maxSessionDuration",
            allowed: policy.max_session_duration.to_string(),
        });
    }
    if let Some(limit) = policy.idle_timeout
        && requested.idle_timeout.is_none_or(|wanted| wanted > limit.get())
    {
        let wanted = requested.idle_timeout.map(|wanted| crd_duration(wanted).to_string());
        return Err(PolicyError::AboveLimit {
            field: "spec.idleTimeout",
            wanted: wanted.unwrap_or_else(|| "no time-out".to_owned()),
            limit: "console.idleTimeout",
            allowed: limit.to_string(),
        });
    }
    if requested.max_viewers > policy.max_viewers {
        return Err(PolicyError::AboveLimit {
            field: "spec.maxViewers",
            wanted: requested.max_viewers.to_string(),
            limit: "console.maxViewers",
            allowed: policy.max_viewers.to_string(),
        });
    }
    Ok(())
}

fn check_permissions(policy: &ConsolePolicy, requested: &SessionPolicy) -> Result<(), PolicyError> {
    let refused = |field, wanted, limit, allowed| {
        Err(PolicyError::NotAllowed {
            field,
            wanted,
            limit,
            allowed,
        })
    };
    if requested.takeover == Takeover::Replace && policy.takeover == Takeover::Refuse {
        return refused("spec.takeover", "Replace", "console.takeover", "Refuse");
    }
    if requested.input == ConsoleInput::Control && policy.input == ConsoleInput::ViewOnly {
        return refused("spec.input", "Control", "console.input", "ViewOnly");
    }
    if !clipboard_allows(policy.clipboard, requested.clipboard) {
        return refused(
            "spec.clipboard",
            requested.clipboard.as_str(),
            "console.clipboard",
            policy.clipboard.as_str(),
        );
    }
    if requested.power && !policy.power {
        return refused("spec.power", "true", "console.power", "false");
    }
    if requested.resize && !policy.resize {
        return refused("spec.resize", "true", "console.resize", "false");
    }
    if requested.native && !policy.native {
        return refused("spec.targetRef", "a stock viewer", "console.native", "false");
    }
    Ok(())
}

fn check_source_ranges(policy: &ConsolePolicy, requested: &SessionPolicy) -> Result<(), PolicyError> {
    if policy.allowed_source_ranges.is_empty() {
        return Ok(());
    }
    let ranges: Vec<IpNet> = policy.allowed_source_ranges.iter().map(|range| range.get()).collect();
    // Two halves that the policy names one by one make a whole.
    let joined = IpNet::aggregate(&ranges);
    let lies_within = |range: &IpNet| joined.iter().any(|allowed| allowed.contains(range));
    let outside = if requested.allowed_source_ranges.is_empty() {
        Some("all addresses".to_owned())
    } else {
        let outside = requested.allowed_source_ranges.iter().find(|range| !lies_within(range));
        outside.map(ToString::to_string)
    };
    match outside {
        None => Ok(()),
        Some(range) => Err(PolicyError::SourceRange {
            range,
            allowed: ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }),
    }
}

fn default_protocol(policy: &ConsolePolicy, available: &[ConsoleProtocol]) -> Result<ConsoleProtocol, PolicyError> {
    let allowed = allowed_protocols(policy, available);
    let first = || allowed.first().copied();
    let vnc = || allowed.contains(&ConsoleProtocol::Vnc).then_some(ConsoleProtocol::Vnc);
    policy
        .default_protocol
        .filter(|default| allowed.contains(default))
        .or_else(vnc)
        .or_else(first)
        .ok_or(PolicyError::NoProtocol)
}

/// The consoles that may be opened, in the policy's order.
#[must_use]
pub fn allowed_protocols(policy: &ConsolePolicy, available: &[ConsoleProtocol]) -> Vec<ConsoleProtocol> {
    match &policy.protocols {
        None => available.to_vec(),
        Some(listed) => listed
            .iter()
            .filter(|protocol| available.contains(protocol))
            .copied()
            .collect(),
    }
}

const fn clipboard_allows(policy: Clipboard, requested: Clipboard) -> bool {
    match requested {
        Clipboard::None => true,
        Clipboard::ToGuest => matches!(policy, Clipboard::Both | Clipboard::ToGuest),
        Clipboard::FromGuest => matches!(policy, Clipboard::Both | Clipboard::FromGuest),
        Clipboard::Both => matches!(policy, Clipboard::Both),
    }
}

/// Some protocols, for a message.
pub(super) fn joined(protocols: &[ConsoleProtocol]) -> String {
    let words: Vec<_> = protocols.iter().map(|protocol| protocol.as_str()).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests;
