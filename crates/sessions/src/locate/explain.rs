//! Why a console closed without a word, and whether a serial console that broke may be opened again.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use kube::{Client, ResourceExt};
use novasphere_core::console_session::{
    desktop::{self, DesktopUnavailable},
    target::Console,
};
use novasphere_crd::{ConsoleProtocol, SessionTargetKind};
use novasphere_dataplane::upstream::{
    kubevirt::{KubeVirtUpstream, Probe},
    reconnect::Recovery,
};
use novasphere_foreign::kubevirt::VirtualMachineInstance;
use novasphere_wire::close::{EndReason, StreamEnd};
use tokio::time::{sleep, timeout};

use crate::{
    active::{ActiveStream, InstanceRef},
    view::SessionView,
};

/// How long a question to KubeVirt about a lost console may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long a machine whose VNC server has left may take to say that it stops.
const SERVER_STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// How long it may take until a workspace says why its desktop has ended: the Pod goes first.
const DESKTOP_STOP_TIMEOUT: Duration = Duration::from_millis(2500);

/// How often KubeVirt is asked before a lost serial console is given up for somebody else's: a virt-handler that is asked to
/// stop lets its consoles go before it is gone.
const PROBES_LIMIT: u32 = 3;

/// Between two of them.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Finds out why consoles close. Clones are the same.
#[derive(Clone)]
pub(crate) struct Explainer {
    /// For the consoles: it tries nothing twice.
    pub(crate) console_client: Client,
    pub(crate) view: SessionView,
}

impl Explainer {
    /// What is known of a console that closed without a word, from the caches alone.
    fn known_end_reason(&self, live: &ActiveStream) -> Option<EndReason> {
        let (namespace, name) = (&live.session.namespace, live.machine.as_ref()?);
        let Some(instance) = self.view.instance(namespace, name) else {
            let is_there = self.view.has_machine(namespace, name);
            return Some(if is_there {
                EndReason::TargetStopped
            } else {
                EndReason::TargetGone
            });
        };
        let is_same = live
            .run
            .as_ref()
            .is_none_or(|run| Some(&run.uid) == instance.uid().as_ref());
        if !is_same || is_ending(&instance) {
            return Some(EndReason::TargetStopped);
        }
        let newest = self.view.streams_of(&live.console, live.protocol).into_iter().next()?;
        let is_newer = newest.connected_at.as_second() >= live.opened_at.as_second();
        if newest.connection == live.id() || !is_newer {
            return None;
        }
        let session = self.view.of(&live.session);
        let why = session.and_then(|session| live.superseded(&session));
        Some(why.unwrap_or(EndReason::Replaced))
    }

    /// Why a console closed without a word. Takes until something is known, so the caller bounds the time.
    pub(crate) async fn explain(&self, live: &ActiveStream) -> Option<StreamEnd> {
        match live.console {
            _ if live.kind == SessionTargetKind::VncWorkspace => self.explain_desktop(live).await,
            Console::KubeVirt { .. } => self.explain_machine(live).await.map(StreamEnd::from),
            Console::Vnc { .. } | Console::Ssh { .. } => self.explain_server(live).await.map(StreamEnd::from),
        }
    }

    async fn explain_machine(&self, live: &ActiveStream) -> Option<EndReason> {
        let (mut sessions, mut targets) = self.view.changes();
        if let Some(why) = self.known_end_reason(live) {
            return Some(why);
        }
        let mut probe = Some(Box::pin(self.probe(live)));
        loop {
            let asked = async {
                match &mut probe {
                    Some(probe) => probe.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = asked => {
                    probe = None;
                    match (answer, live.protocol) {
                        // The serial console cannot be asked about; somebody has it, so it is not restarting.
                        (Probe::InUse, _) | (Probe::Works, ConsoleProtocol::Serial | ConsoleProtocol::Ssh) => {
                            return Some(self.known_end_reason(live).unwrap_or(EndReason::Replaced));
                        }
                        (Probe::Works | Probe::NotRunning | Probe::Unreachable, _) => {}
                    }
                }
                _ = sessions.changed() => {}
                _ = targets.changed() => {}
            }
            if let Some(why) = self.known_end_reason(live) {
                return Some(why);
            }
        }
    }

    /// A VNC server in a guest ends with its machine, or for reasons of its own.
    async fn explain_server(&self, live: &ActiveStream) -> Option<EndReason> {
        let (_, mut targets) = self.view.changes();
        let stopped = async {
            loop {
                if let Some(why) = self.known_end_reason(live) {
                    return Some(why);
                }
                targets.changed().await.ok()?;
            }
        };
        timeout(SERVER_STOP_TIMEOUT, stopped).await.ok().flatten()
    }

    /// A desktop ends when it goes to sleep or with its workspace, or for reasons of its own.
    async fn explain_desktop(&self, live: &ActiveStream) -> Option<StreamEnd> {
        let (_, mut targets) = self.view.changes();
        let known = async {
            loop {
                if let Some(end) = self.known_desktop_end(live) {
                    return Some(end);
                }
                targets.changed().await.ok()?;
            }
        };
        timeout(DESKTOP_STOP_TIMEOUT, known).await.ok().flatten()
    }

    fn known_desktop_end(&self, live: &ActiveStream) -> Option<StreamEnd> {
        let Some(workspace) = self.view.workspace(&live.workspace()) else {
            return Some(EndReason::TargetGone.into());
        };
        let why = match desktop::unavailable_reason(&workspace) {
            Some(DesktopUnavailable::Deleting) => EndReason::TargetGone,
            Some(DesktopUnavailable::Expired) => EndReason::TargetExpired,
            Some(DesktopUnavailable::Invalid) | None if desktop::hibernated_since(&workspace).is_some() => {
                EndReason::TargetHibernated
            }
            Some(DesktopUnavailable::Invalid) | None => return None,
        };
        Some(StreamEnd {
            reason: why,
            detail: Some(desktop::message(&workspace)),
        })
    }

    async fn probe(&self, live: &ActiveStream) -> Probe {
        let Console::KubeVirt { namespace, name } = &live.console else {
            return Probe::Works;
        };
        let target = KubeVirtUpstream {
            client: self.console_client.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
            takeover: false,
        };
        timeout(PROBE_TIMEOUT, target.probe())
            .await
            .unwrap_or(Probe::Unreachable)
    }
}

/// Decides about the losses of one serial console.
pub(super) struct SerialRecovery {
    pub(super) explainer: Explainer,
    pub(super) live: ActiveStream,
}

impl SerialRecovery {
    fn instance(&self) -> Option<Arc<VirtualMachineInstance>> {
        let machine = self.live.machine.as_ref()?;
        self.explainer.view.instance(&self.live.session.namespace, machine)
    }

    fn has_moved(&self) -> bool {
        let node = self.instance().and_then(|instance| node_of(&instance));
        self.live.run.as_ref().is_some_and(|run| run.node != node)
    }
}

impl Recovery for SerialRecovery {
    fn may_reconnect(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let (explainer, live, has_moved) = (self.explainer.clone(), self.live.clone(), self.has_moved());
        Box::pin(async move {
            for turn in 0..PROBES_LIMIT {
                if explainer.known_end_reason(&live).is_some() {
                    return false;
                }
                // After a migration the console is on the other node.
                if has_moved {
                    return true;
                }
                if turn > 0 {
                    sleep(PROBE_INTERVAL).await;
                }
                match explainer.probe(&live).await {
                    Probe::Unreachable => return true,
                    Probe::NotRunning => return false,
                    Probe::InUse | Probe::Works => {}
                }
            }
            false
        })
    }

    fn is_running(&self) -> bool {
        self.explainer.known_end_reason(&self.live).is_none()
    }
}

/// The run of a machine that a stream is of.
pub(crate) fn instance_ref(instance: &VirtualMachineInstance) -> Option<InstanceRef> {
    Some(InstanceRef {
        uid: instance.uid()?,
        node: node_of(instance),
    })
}

fn node_of(instance: &VirtualMachineInstance) -> Option<String> {
    instance.status.as_ref().and_then(|status| status.node_name.clone())
}

fn is_ending(instance: &VirtualMachineInstance) -> bool {
    let phase = instance.status.as_ref().and_then(|status| status.phase.as_deref());
    instance.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
}
