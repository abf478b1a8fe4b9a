//! Where the console of a target is right now, and why it went away.

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use k8s_openapi::api::{core::v1::Secret, discovery::v1::EndpointSlice};
use kube::{Api, Client, ResourceExt, api::ListParams};
use novasphere_core::console_session::{
    desktop::{self, DesktopUnavailable},
    target::{self as core, Console, SecretKey},
    target_state::TargetState,
};
use novasphere_crd::{ConsoleProtocol, SessionTargetKind, Takeover};
use novasphere_dataplane::upstream::{
    Upstream,
    kubevirt::{KubeVirtUpstream, Probe},
    reconnect::{Recovery, SerialUpstream},
    tcp::TcpUpstream,
};
use novasphere_foreign::kubevirt::VirtualMachineInstance;
use novasphere_wire::{
    close::{EndReason, StreamEnd},
    rfb::{security::vnc_auth::VncPassword, upstream::Authentication},
};
use rand::seq::IndexedRandom;
use tokio::time::{sleep, timeout};

use super::{
    desktops::{Desktops, WaitingPlace, is_passing},
    live::{Live, Run},
    sessions::Sessions,
};

/// The `ClusterRole` that lets gateways read such Secrets. The chart binds it in every namespace unless that was narrowed;
/// then an administrator binds it in each namespace that needs it.
pub const PASSWORDS_ROLE: &str = "novasphere-console-passwords";

/// How long kube-apiserver may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long a question to KubeVirt about a lost console may take.
const PROBE: Duration = Duration::from_millis(1500);

/// How long a machine whose VNC server has left may take to say that it stops.
const SERVER: Duration = Duration::from_secs(1);

/// How long it may take until a workspace says why its desktop has ended: the Pod goes first.
const DESKTOP: Duration = Duration::from_millis(2500);

/// How often KubeVirt is asked before a lost serial console is given up for somebody else's: a virt-handler that is asked to
/// stop lets its consoles go before it is gone.
const PROBES: u32 = 3;

/// Between two of them.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Finds consoles. Clones are the same.
#[derive(Clone)]
pub(crate) struct Consoles {
    /// For everything but the consoles themselves.
    pub(crate) client: Client,
    /// For the consoles: it tries nothing twice.
    pub(crate) console_client: Client,
    pub(crate) sessions: Sessions,
    pub(crate) desktops: Desktops,
}

/// Where a console is, looked up before the token is used.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    KubeVirt {
        namespace: String,
        name: String,
    },
    Tcp(TcpUpstream),
    /// A desktop, and where it is when it runs.
    Desktop(Option<TcpUpstream>, WaitingPlace),
}

impl Consoles {
    /// Looks up where a console is.
    pub(crate) async fn find(&self, target: &core::Target) -> Result<Found, StreamEnd> {
        if let Console::KubeVirt { namespace, name } = &target.console {
            return Ok(Found::KubeVirt {
                namespace: namespace.clone(),
                name: name.clone(),
            });
        }
        if target.kind != SessionTargetKind::VncWorkspace {
            return Ok(Found::Tcp(self.locate(&target.console).await?));
        }
        let place = self.desktops.place()?;
        let seen = match target.state {
            TargetState::Running => match self.locate(&target.console).await {
                Ok(seen) => Some(seen),
                Err(refusal) if is_passing(&refusal) => None,
                Err(refusal) => return Err(refusal),
            },
            TargetState::Starting | TargetState::Asleep | TargetState::Stopped => None,
        };
        Ok(Found::Desktop(seen, place))
    }

    /// Where a server behind a Service is, with its password.
    pub(crate) async fn locate(&self, console: &Console) -> Result<TcpUpstream, StreamEnd> {
        match console {
            Console::Vnc {
                namespace,
                service,
                port,
                password,
            } => Ok(TcpUpstream {
                address: self.address(namespace, service, port).await?,
                authentication: match password {
                    None => Authentication::None,
                    Some(key) => Authentication::Password(self.password(namespace, key).await?),
                },
            }),
            Console::Ssh {
                namespace,
                service,
                port,
            } => Ok(TcpUpstream {
                address: self.address(namespace, service, port).await?,
                authentication: Authentication::None,
            }),
            Console::KubeVirt { .. } => Err(StreamEnd {
                reason: EndReason::Internal,
                detail: Some("a console of KubeVirt is behind no Service".to_owned()),
            }),
        }
    }

    /// The target for a stream.
    pub(crate) fn target(&self, found: Found, live: &Live, takeover: Takeover) -> Upstream {
        match found {
            Found::Tcp(target) => Upstream::Tcp(target),
            Found::Desktop(seen, place) => {
                let (id, console) = (live.workspace(), live.console.clone());
                Upstream::Awaited(self.desktops.target(self.clone(), id, console, seen, place))
            }
            Found::KubeVirt { namespace, name } => {
                let target = KubeVirtUpstream {
                    client: self.console_client.clone(),
                    namespace,
                    name,
                    takeover: takeover == Takeover::Replace,
                };
                match live.protocol {
                    ConsoleProtocol::Vnc => Upstream::KubeVirt(target),
                    ConsoleProtocol::Serial | ConsoleProtocol::Ssh => Upstream::Serial(SerialUpstream {
                        recovery: Arc::new(Losses {
                            consoles: self.clone(),
                            live: live.clone(),
                        }),
                        target,
                    }),
                }
            }
        }
    }

    /// One of the Service's ready endpoints. They are read rather than the Service's address, so that no kube-proxy is needed.
    async fn address(&self, namespace: &str, service: &str, port: &str) -> Result<String, StreamEnd> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let slices = bounded(slices.list(&of_service), "the endpoints of the console's Service").await?;
        let addresses: Vec<String> = slices.iter().flat_map(|slice| addresses(slice, port)).collect();
        addresses.choose(&mut rand::rng()).cloned().ok_or_else(|| StreamEnd {
            reason: EndReason::TargetUnreachable,
            detail: Some(format!(
                "the Service {namespace}/{service} has no ready endpoint with the port {port:?}; see that what is behind it runs and passes its readiness probe"
            )),
        })
    }

    async fn password(&self, namespace: &str, key: &SecretKey) -> Result<VncPassword, StreamEnd> {
        let SecretKey {
            secret: name,
            key,
            label,
        } = key;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let refused = |detail: String| StreamEnd {
            reason: EndReason::TargetRefused,
            detail: Some(detail),
        };
        let secret = match timeout(TIMEOUT, secrets.get_opt(name)).await {
            Ok(Ok(Some(secret))) => secret,
            Ok(Ok(None)) => {
                return Err(refused(format!(
                    "the Secret {namespace}/{name} with the VNC server's password does not exist"
                )));
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                return Err(refused(format!(
                    "the gateway may not read the Secret {namespace}/{name}; bind the ClusterRole {PASSWORDS_ROLE} to its \
                     ServiceAccount with a RoleBinding in the namespace {namespace}"
                )));
            }
            Ok(Err(error)) => {
                return Err(unavailable(format!(
                    "cannot read the Secret {namespace}/{name}: {error}"
                )));
            }
            Err(_) => {
                return Err(unavailable(format!(
                    "cannot read the Secret {namespace}/{name} in time"
                )));
            }
        };
        if let Some(label) = label
            && secret.labels().get(*label).is_none_or(|value| value != "true")
        {
            return Err(refused(format!(
                "the Secret {namespace}/{name} is not marked as a VNC password; if it is one, let somebody who may change it \
                 label it: kubectl -n {namespace} label secret {name} {label}=true"
            )));
        }
        let password = secret.data.as_ref().and_then(|data| data.get(key));
        password
            .map(|password| VncPassword::new(&password.0))
            .ok_or_else(|| refused(format!("the Secret {namespace}/{name} has no key {key:?}")))
    }

    /// What is known of a console that closed without a word, from the caches alone.
    fn seen(&self, live: &Live) -> Option<EndReason> {
        let (namespace, name) = (&live.session.namespace, live.machine.as_ref()?);
        let Some(instance) = self.sessions.instance(namespace, name) else {
            let is_there = self.sessions.has_machine(namespace, name);
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
        let newest = self
            .sessions
            .streams_of(&live.console, live.protocol)
            .into_iter()
            .next()?;
        (newest.connection != live.id() && newest.connected_at.as_second() >= live.opened_at.as_second())
            .then_some(EndReason::Replaced)
    }

    /// Why a console closed without a word. Takes until something is known, so the caller bounds the time.
    pub(crate) async fn explain(&self, live: &Live) -> Option<StreamEnd> {
        match live.console {
            _ if live.kind == SessionTargetKind::VncWorkspace => self.explain_desktop(live).await,
            Console::KubeVirt { .. } => self.explain_machine(live).await.map(StreamEnd::from),
            Console::Vnc { .. } | Console::Ssh { .. } => self.explain_server(live).await.map(StreamEnd::from),
        }
    }

    async fn explain_machine(&self, live: &Live) -> Option<EndReason> {
        let (mut sessions, mut targets) = self.sessions.changes();
        if let Some(why) = self.seen(live) {
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
                        // The serial console cannot be asked about; whoever has it, it is not restarting.
                        (Probe::InUse, _) | (Probe::Works, ConsoleProtocol::Serial | ConsoleProtocol::Ssh) => {
                            return Some(self.seen(live).unwrap_or(EndReason::Replaced));
                        }
                        (Probe::Works | Probe::NotRunning | Probe::Unreachable, _) => {}
                    }
                }
                _ = sessions.changed() => {}
                _ = targets.changed() => {}
            }
            if let Some(why) = self.seen(live) {
                return Some(why);
            }
        }
    }

    /// A VNC server in a guest ends with its machine, or for reasons of its own.
    async fn explain_server(&self, live: &Live) -> Option<EndReason> {
        let (_, mut targets) = self.sessions.changes();
        let stopped = async {
            loop {
                if let Some(why) = self.seen(live) {
                    return Some(why);
                }
                targets.changed().await.ok()?;
            }
        };
        timeout(SERVER, stopped).await.ok().flatten()
    }

    /// A desktop ends when it goes to sleep or with its workspace, or for reasons of its own.
    async fn explain_desktop(&self, live: &Live) -> Option<StreamEnd> {
        let (_, mut targets) = self.sessions.changes();
        let known = async {
            loop {
                if let Some(end) = self.seen_desktop(live) {
                    return Some(end);
                }
                targets.changed().await.ok()?;
            }
        };
        timeout(DESKTOP, known).await.ok().flatten()
    }

    fn seen_desktop(&self, live: &Live) -> Option<StreamEnd> {
        let Some(workspace) = self.sessions.workspace(&live.workspace()) else {
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

    async fn probe(&self, live: &Live) -> Probe {
        let Console::KubeVirt { namespace, name } = &live.console else {
            return Probe::Works;
        };
        let target = KubeVirtUpstream {
            client: self.console_client.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
            takeover: false,
        };
        timeout(PROBE, target.probe()).await.unwrap_or(Probe::Unreachable)
    }
}

/// Decides about the losses of one serial console.
struct Losses {
    consoles: Consoles,
    live: Live,
}

impl Losses {
    fn instance(&self) -> Option<Arc<VirtualMachineInstance>> {
        let machine = self.live.machine.as_ref()?;
        self.consoles.sessions.instance(&self.live.session.namespace, machine)
    }

    fn has_moved(&self) -> bool {
        let node = self.instance().and_then(|instance| node_of(&instance));
        self.live.run.as_ref().is_some_and(|run| run.node != node)
    }
}

impl Recovery for Losses {
    fn may_reconnect(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let (consoles, live, has_moved) = (self.consoles.clone(), self.live.clone(), self.has_moved());
        Box::pin(async move {
            for turn in 0..PROBES {
                if consoles.seen(&live).is_some() {
                    return false;
                }
                // After a migration the console is on the other node.
                if has_moved {
                    return true;
                }
                if turn > 0 {
                    sleep(PROBE_PAUSE).await;
                }
                match consoles.probe(&live).await {
                    Probe::Unreachable => return true,
                    Probe::NotRunning => return false,
                    Probe::InUse | Probe::Works => {}
                }
            }
            false
        })
    }

    fn is_running(&self) -> bool {
        self.consoles.seen(&self.live).is_none()
    }
}

/// The run of a machine that a stream is of.
pub(crate) fn run_of(instance: &VirtualMachineInstance) -> Option<Run> {
    Some(Run {
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

fn addresses(slice: &EndpointSlice, port: &str) -> Vec<String> {
    let ports = slice.ports.iter().flatten();
    // A Service with a single port without a name has endpoints without one.
    let numbers: Vec<i32> = ports
        .filter(|of_slice| of_slice.name.as_deref().unwrap_or_default() == port)
        .filter_map(|of_slice| of_slice.port)
        .collect();
    let ready = slice
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false));
    let hosts = ready.flat_map(|endpoint| &endpoint.addresses);
    hosts
        .filter_map(|host| host.parse::<IpAddr>().ok())
        .flat_map(|host| numbers.iter().map(move |number| (host, *number)))
        .filter_map(|(host, number)| Some(std::net::SocketAddr::new(host, u16::try_from(number).ok()?).to_string()))
        .collect()
}

fn unavailable(detail: String) -> StreamEnd {
    StreamEnd {
        reason: EndReason::Unavailable,
        detail: Some(detail),
    }
}

async fn bounded<T>(request: impl Future<Output = kube::Result<T>>, what: &str) -> Result<T, StreamEnd> {
    match timeout(TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(unavailable(format!("cannot read {what}: {error}"))),
        Err(_) => Err(unavailable(format!("cannot read {what} in time"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ready_endpoints_with_the_named_port_count() {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv4",
            "ports": [{"name": "vnc", "port": 5901}, {"name": "ssh", "port": 22}],
            "endpoints": [
                {"addresses": ["192.0.2.1"], "conditions": {"ready": true}},
                {"addresses": ["192.0.2.2"], "conditions": {"ready": false}},
                {"addresses": ["192.0.2.3"]},
                {"addresses": ["name.example"]},
            ],
        }))
        .unwrap();
        assert_eq!(addresses(&slice, "vnc"), ["192.0.2.1:5901", "192.0.2.3:5901"]);
        assert!(addresses(&slice, "web").is_empty());
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv6", "ports": [{"name": "vnc", "port": 5901}], "endpoints": [{"addresses": ["2001:db8::1"]}],
        }))
        .unwrap();
        assert_eq!(addresses(&slice, "vnc"), ["[2001:db8::1]:5901"]);
    }
}
