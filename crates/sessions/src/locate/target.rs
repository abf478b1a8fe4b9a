//! The target of a stream: where the console of an admitted viewer is.

use std::sync::Arc;

use kube::Client;
use novasphere_core::console_session::{
    target::{self as core, Console},
    target_state::TargetState,
};
use novasphere_crd::{ConsoleProtocol, SessionTargetKind};
use novasphere_dataplane::upstream::{
    Upstream, kubevirt::KubeVirtUpstream, reconnect::SerialUpstream, tcp::TcpUpstream,
};
use novasphere_wire::close::StreamEnd;

use super::{
    desktops::{DesktopWaker, WaitPermit, is_transient},
    explain::{Explainer, SerialRecovery},
    locator::Locator,
};
use crate::active::ActiveStream;

/// Finds consoles. Clones are the same.
#[derive(Clone)]
pub(crate) struct TargetLocator {
    pub(crate) locator: Locator,
    /// For the consoles: it tries nothing twice.
    pub(crate) console_client: Client,
    pub(crate) desktops: DesktopWaker,
    pub(crate) explainer: Explainer,
}

/// Where a console is, looked up before the token is used.
#[derive(Clone, Debug)]
pub(crate) enum LocatedTarget {
    KubeVirt {
        namespace: String,
        name: String,
    },
    Tcp(TcpUpstream),
    Desktop {
        /// Where it is when it runs.
        seen: Option<TcpUpstream>,
        place: WaitPermit,
        /// Whether its viewer wakes it.
        may_wake: bool,
    },
}

impl TargetLocator {
    /// Looks up where a console is, for a viewer of this user who wakes a desktop or does not.
    pub(crate) async fn find(
        &self,
        target: &core::Target,
        user: &str,
        may_wake: bool,
    ) -> Result<LocatedTarget, StreamEnd> {
        if let Console::KubeVirt { namespace, name } = &target.console {
            return Ok(LocatedTarget::KubeVirt {
                namespace: namespace.clone(),
                name: name.clone(),
            });
        }
        if target.kind != SessionTargetKind::VncWorkspace {
            return Ok(LocatedTarget::Tcp(self.locator.locate(&target.console).await?));
        }
        let place = self.desktops.place(user)?;
        let seen = match target.state {
            TargetState::Running => match self.locator.locate(&target.console).await {
                Ok(seen) => Some(seen),
                Err(refusal) if is_transient(&refusal) => None,
                Err(refusal) => return Err(refusal),
            },
            TargetState::Starting | TargetState::Asleep | TargetState::Stopped => None,
        };
        Ok(LocatedTarget::Desktop { seen, place, may_wake })
    }

    /// The target for a stream.
    pub(crate) fn target(&self, found: LocatedTarget, live: &ActiveStream, takes_over: bool) -> Upstream {
        match found {
            LocatedTarget::Tcp(target) => Upstream::Tcp(target),
            LocatedTarget::Desktop { seen, place, may_wake } => {
                Upstream::Awaited(self.desktops.target(live, seen, place, may_wake))
            }
            LocatedTarget::KubeVirt { namespace, name } => {
                let target = KubeVirtUpstream {
                    client: self.console_client.clone(),
                    namespace,
                    name,
                    takeover: takes_over,
                };
                match live.protocol {
                    ConsoleProtocol::Vnc => Upstream::KubeVirt(target),
                    ConsoleProtocol::Serial | ConsoleProtocol::Ssh => Upstream::Serial(SerialUpstream {
                        recovery: Arc::new(SerialRecovery {
                            explainer: self.explainer.clone(),
                            live: live.clone(),
                        }),
                        target,
                    }),
                }
            }
        }
    }
}
