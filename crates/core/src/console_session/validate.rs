//! A session and what it refers to → [`ValidatedSession`], or what stands in the way.

use novasphere_crd::{ConsoleProtocol, ConsoleSession, ConsoleSessionSpec};

use super::{
    policy::{PolicyError, SessionPolicy, check, joined, narrow},
    reason::{ReadyReason, TargetReason},
    references::References,
    session::granted_policy,
    start::{StartVerdict, awaits_entry},
    target::{self, Console, ResolvedTarget, Target},
};

/// A session that may open its console, as soon as the target runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedSession {
    /// What it may do. Of a session that has started: what it was given then, with a duration that was shortened since.
    pub policy: SessionPolicy,
    /// Whose console it opens.
    pub target: Target,
    /// Whether more viewers are asked for than the console carries: `KubeVirt` carries one.
    pub wants_more_viewers: bool,
    /// How many sessions of the target may run at once.
    pub session_limit: u16,
}

/// Why a session cannot open its console.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The object has no name, namespace or UID.
    #[error("the object has no name, namespace or UID: it does not come from an apiserver")]
    NoIdentity,
    /// The target does not exist, or is being deleted.
    #[error(
        "spec.targetRef: there is no {kind} {name} in this namespace; make it, or make a session for another target"
    )]
    TargetNotFound {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// There is a run of that name, and no machine.
    #[error(
        "spec.targetRef: there is a VirtualMachineInstance {name} without a VirtualMachine in this namespace, which \
         is another kind; set kind to VirtualMachineInstance"
    )]
    InstanceAlone {
        /// Its name.
        name: String,
    },
    /// The target was made again since the session started.
    #[error("spec.targetRef: another object has the target's name now; make a new session for it")]
    TargetReplaced,
    /// The target's kind has no such console.
    #[error("spec.protocol: a {kind} has no {protocol} console; remove protocol, or set it to one of: {has}")]
    NoSuchConsole {
        /// The kind.
        kind: &'static str,
        /// What is wanted.
        protocol: &'static str,
        /// What it can have.
        has: String,
    },
    /// The machine has no such console.
    #[error("spec.protocol: {problem}")]
    ConsoleMissing {
        /// What it lacks, why, and what to do.
        problem: &'static str,
    },
    /// The cluster has no `KubeVirt`.
    #[error("KubeVirt is not installed in this cluster, so no virtual machine has a console; install it")]
    KubeVirtNotInstalled,
    /// The target's VNC server is not to be found in its services.
    #[error(
        "the target's vncServer names TCP port {port} of a service {service:?}, which its spec.services does not have; correct \
         one of the two"
    )]
    VncServer {
        /// The service that is named.
        service: String,
        /// The port that is named.
        port: u16,
    },
    /// The session asks for what the target's policy does not allow.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The target has as many sessions as it may have.
    #[error(
        "the target has {open} open sessions and its console.maxConcurrentSessions is {limit}; the session waits until one \
         ends. End one, or raise the limit"
    )]
    TooManySessions {
        /// The limit.
        limit: u16,
        /// How many sessions are before this one.
        open: usize,
    },
}

impl SessionError {
    /// One word for the condition, the event and the metric.
    #[must_use]
    pub const fn reason(&self) -> ReadyReason {
        match self {
            Self::NoIdentity | Self::NoSuchConsole { .. } => ReadyReason::InvalidSpec,
            Self::TargetNotFound { .. } | Self::InstanceAlone { .. } | Self::TargetReplaced => {
                ReadyReason::TargetNotFound
            }
            Self::KubeVirtNotInstalled => ReadyReason::KubeVirtNotInstalled,
            Self::VncServer { .. } => ReadyReason::VncServerInvalid,
            Self::Policy(_) | Self::ConsoleMissing { .. } => ReadyReason::PolicyRefused,
            Self::TooManySessions { .. } => ReadyReason::TooManySessions,
        }
    }

    /// Whether it stays so until the target is changed or another session is made.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Policy(_) | Self::NoSuchConsole { .. } | Self::ConsoleMissing { .. }
        )
    }

    /// The reason of `TargetReady`, when it is about the target rather than about what the session asks for.
    #[must_use]
    pub const fn target_reason(&self) -> Option<TargetReason> {
        match self {
            Self::TargetNotFound { .. } | Self::InstanceAlone { .. } | Self::TargetReplaced => {
                Some(TargetReason::TargetNotFound)
            }
            Self::KubeVirtNotInstalled => Some(TargetReason::KubeVirtNotInstalled),
            Self::VncServer { .. } => Some(TargetReason::VncServerInvalid),
            Self::NoIdentity
            | Self::NoSuchConsole { .. }
            | Self::ConsoleMissing { .. }
            | Self::Policy(_)
            | Self::TooManySessions { .. } => None,
        }
    }
}

/// Checks a session against its target. [`close_reason`](super::close::close_reason) says whether it is closed.
///
/// # Errors
///
/// What stands in the way, see [`SessionError`].
pub fn validate(session: &ConsoleSession, references: &References) -> Result<ValidatedSession, SessionError> {
    let spec = &session.spec;
    check_protocol(spec)?;
    let found = target::resolve(session, references)?;
    let granted = granted_policy(session);
    let is_granted = granted.is_some();
    let session_limit = found.policy.max_concurrent_sessions;
    let mut policy = if let Some(granted) = granted {
        let uid = session.status.as_ref().and_then(|status| status.target_uid.as_deref());
        if uid != Some(found.uid.as_str()) {
            return Err(SessionError::TargetReplaced);
        }
        check_machine_has(&found, Some(granted.protocol))?;
        check(&found.policy, found.protocols, &granted)?;
        check_start(session, session_limit, references)?;
        granted
    } else {
        check_machine_has(&found, spec.protocol)?;
        let policy = narrow(&found.policy, found.protocols, spec)?;
        check_session_limit(session_limit, references)?;
        policy
    };
    let target = found.target(session, references, policy.protocol)?;
    let is_single = matches!(target.console, Console::KubeVirt { .. });
    let wants_more_viewers = is_single && spec.max_viewers.unwrap_or(found.policy.max_viewers) > 1;
    if is_single && !is_granted {
        policy.max_viewers = 1;
    }
    Ok(ValidatedSession {
        policy,
        target,
        wants_more_viewers,
        session_limit,
    })
}

/// Refuses a console that a machine could have and this one has not.
fn check_machine_has(found: &ResolvedTarget, wanted: Option<ConsoleProtocol>) -> Result<(), SessionError> {
    let Some(wanted) = wanted.filter(|wanted| found.is_machine() && !found.protocols.contains(wanted)) else {
        return Ok(());
    };
    Err(SessionError::ConsoleMissing {
        problem: match wanted {
            ConsoleProtocol::Vnc => {
                "the machine has no screen, because its autoattachGraphicsDevice is false; set protocol to serial, or change the machine"
            }
            _ => {
                "the machine has no serial console, because its autoattachSerialConsole is false; set protocol to vnc, or change the \
                 machine"
            }
        },
    })
}

/// The schema refuses the same; objects from before it did are there for long.
fn check_protocol(spec: &ConsoleSessionSpec) -> Result<(), SessionError> {
    let kind = spec.target_ref.kind;
    let protocols = target::protocols_of(kind);
    match spec.protocol {
        Some(protocol) if !protocols.contains(&protocol) => Err(SessionError::NoSuchConsole {
            kind: kind.as_str(),
            protocol: protocol.as_str(),
            has: joined(protocols),
        }),
        _ => Ok(()),
    }
}

fn check_session_limit(limit: u16, references: &References) -> Result<(), SessionError> {
    let open = references.sessions_ahead;
    if open < usize::from(limit) {
        Ok(())
    } else {
        Err(SessionError::TooManySessions { limit, open })
    }
}

/// Refuses a session that was started together with others for which there is no room, before anybody is let in.
fn check_start(session: &ConsoleSession, limit: u16, references: &References) -> Result<(), SessionError> {
    match references.start.verdict(usize::from(limit)) {
        StartVerdict::Full { open } if awaits_entry(session) => Err(SessionError::TooManySessions { limit, open }),
        StartVerdict::Full { .. } | StartVerdict::Begins | StartVerdict::Undecided => Ok(()),
    }
}

#[cfg(test)]
mod tests;
