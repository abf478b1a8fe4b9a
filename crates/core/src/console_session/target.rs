//! Whose console a session opens, and where that is.

use std::sync::Arc;

use kube::ResourceExt as _;
use novasphere_crd::{
    ConsolePolicy, ConsoleProtocol, ConsoleSession, PortProtocol, SessionTargetKind, VmAccess, VncServer, VncWorkspace,
};
use novasphere_foreign::kubevirt::VirtualMachineInstance;

use super::{desktop, references::References, target_state::TargetState, validate::SessionError};
use crate::{
    name,
    vm_access::{self, hardware::MachineConsoles},
    vnc_workspace,
};

/// A target that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its kind.
    pub kind: SessionTargetKind,
    /// Its name, in the session's namespace.
    pub name: String,
    /// Its UID: another object of the same name is another target.
    pub uid: String,
    /// Where its console is.
    pub console: Console,
    /// Whether the console can be opened now.
    pub state: TargetState,
}

impl Target {
    /// Whether its screen takes keys and no text: a machine's own does, and what a key means depends on the guest's layout.
    #[must_use]
    pub const fn takes_keys_only(&self, protocol: ConsoleProtocol) -> bool {
        matches!(
            (&self.console, protocol),
            (Console::KubeVirt { .. }, ConsoleProtocol::Vnc)
        )
    }
}

/// Where a console is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// `vnc` or `console` of a `VirtualMachineInstance`, through kube-apiserver.
    KubeVirt {
        /// Its namespace.
        namespace: String,
        /// Its name, which is that of its machine.
        name: String,
    },
    /// A VNC server behind a Service: in a guest, or of a desktop.
    Vnc {
        /// The namespace of the Service and the Secret.
        namespace: String,
        /// The name of the Service object.
        service: String,
        /// The UID of the target, which the Service has to be labelled with: its name alone may be that of somebody else's.
        owner_uid: String,
        /// The name of its port.
        port: String,
        /// The password; `None` for a server that asks for none.
        password: Option<SecretKey>,
    },
    /// The SSH server of a desktop.
    Ssh {
        /// The namespace of the Service.
        namespace: String,
        /// The name of the Service object.
        service: String,
        /// The UID of the target, which the Service has to be labelled with.
        owner_uid: String,
        /// The name of its port.
        port: String,
    },
}

/// A value of a Secret, in the namespace of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKey {
    /// The name of the Secret.
    pub secret: String,
    /// The key in it.
    pub key: String,
    /// The label, with the value `true`, without which the Secret is not read from.
    pub label: Option<&'static str>,
}

/// The key under which the Secret of a [`VncServer`] has its password.
pub const VNC_SERVER_PASSWORD: &str = "password";

/// Label of a Secret that a [`VncServer`] may name, with the value `true`. Users who may make `VmAccess` objects need not have the
/// right to read Secrets, and VNC's authentication sends the server that they name enough to guess a password from.
pub const KEY_VNC_PASSWORD: &str = "novasphere.io/vnc-password";

/// The consoles that a virtual machine can have.
const MACHINE_PROTOCOLS: &[ConsoleProtocol] = &[ConsoleProtocol::Vnc, ConsoleProtocol::Serial];

/// The consoles that targets of a kind can have. A `VncWorkspace` has `ssh` when it is enabled there.
#[must_use]
pub const fn protocols_of(kind: SessionTargetKind) -> &'static [ConsoleProtocol] {
    match kind {
        SessionTargetKind::VmAccess | SessionTargetKind::VirtualMachine | SessionTargetKind::VirtualMachineInstance => {
            MACHINE_PROTOCOLS
        }
        SessionTargetKind::VncWorkspace => &[ConsoleProtocol::Vnc, ConsoleProtocol::Ssh],
    }
}

/// The consoles that a machine has. `vnc` is also that of a VNC server in its guest.
fn machine_protocols(references: &References, has_vnc_server: bool) -> &'static [ConsoleProtocol] {
    let machine = references.virtual_machine.as_deref();
    let MachineConsoles { screen, serial } =
        MachineConsoles::of(machine, references.virtual_machine_instance.as_deref());
    match (screen || has_vnc_server, serial) {
        (true, true) => MACHINE_PROTOCOLS,
        (true, false) => &[ConsoleProtocol::Vnc],
        (false, true) => &[ConsoleProtocol::Serial],
        (false, false) => &[],
    }
}

/// A target's UID, and what holds for its consoles.
pub(super) struct ResolvedTarget {
    pub(super) uid: String,
    pub(super) policy: ConsolePolicy,
    /// The protocols of the consoles that it has.
    pub(super) protocols: &'static [ConsoleProtocol],
    object: TargetObject,
}

enum TargetObject {
    VmAccess(Arc<VmAccess>),
    VirtualMachine,
    Workspace(Arc<VncWorkspace>),
}

/// Looks the target up among the references.
pub(super) fn resolve(session: &ConsoleSession, references: &References) -> Result<ResolvedTarget, SessionError> {
    let target = &session.spec.target_ref;
    let missing = || SessionError::TargetNotFound {
        kind: target.kind.as_str(),
        name: target.name.clone(),
    };
    match target.kind {
        SessionTargetKind::VncWorkspace => {
            let workspace = not_deleting(references.vnc_workspace.as_ref()).ok_or_else(missing)?;
            Ok(ResolvedTarget {
                uid: workspace.uid().ok_or(SessionError::NoIdentity)?,
                policy: workspace.spec.console.clone(),
                protocols: desktop::protocols(workspace),
                object: TargetObject::Workspace(Arc::clone(workspace)),
            })
        }
        SessionTargetKind::VmAccess => {
            let vm_access = not_deleting(references.vm_access.as_ref()).ok_or_else(missing)?;
            Ok(ResolvedTarget {
                uid: vm_access.uid().ok_or(SessionError::NoIdentity)?,
                policy: vm_access.spec.console.clone(),
                protocols: machine_protocols(references, vm_access.spec.vnc_server.is_some()),
                object: TargetObject::VmAccess(Arc::clone(vm_access)),
            })
        }
        SessionTargetKind::VirtualMachine | SessionTargetKind::VirtualMachineInstance if !references.kubevirt => {
            Err(SessionError::KubeVirtNotInstalled)
        }
        SessionTargetKind::VirtualMachineInstance => {
            let instance = not_deleting(references.virtual_machine_instance.as_ref()).ok_or_else(missing)?;
            Ok(ResolvedTarget {
                uid: instance.uid().ok_or(SessionError::NoIdentity)?,
                policy: ConsolePolicy::default(),
                protocols: machine_protocols(references, false),
                object: TargetObject::VirtualMachine,
            })
        }
        SessionTargetKind::VirtualMachine => {
            let instance = references.virtual_machine_instance.as_ref();
            let is_alone = references.virtual_machine.is_none() && instance.is_some_and(|run| !has_owner(run));
            if is_alone {
                let name = target.name.clone();
                return Err(SessionError::InstanceAlone { name });
            }
            let machine = not_deleting(references.virtual_machine.as_ref()).ok_or_else(missing)?;
            Ok(ResolvedTarget {
                uid: machine.uid().ok_or(SessionError::NoIdentity)?,
                policy: ConsolePolicy::default(),
                protocols: machine_protocols(references, false),
                object: TargetObject::VirtualMachine,
            })
        }
    }
}

impl ResolvedTarget {
    /// Whether it is a machine.
    pub(super) const fn is_machine(&self) -> bool {
        !matches!(self.object, TargetObject::Workspace(_))
    }

    /// Where the console for `protocol` is.
    pub(super) fn target(
        &self,
        session: &ConsoleSession,
        references: &References,
        protocol: ConsoleProtocol,
    ) -> Result<Target, SessionError> {
        let target = &session.spec.target_ref;
        let namespace = session.namespace().ok_or(SessionError::NoIdentity)?;
        let (console, state) = match &self.object {
            TargetObject::Workspace(workspace) => (
                console_of(&workspace.name_any(), self.uid.clone(), namespace, protocol),
                desktop::state(workspace),
            ),
            _ if !references.kubevirt => return Err(SessionError::KubeVirtNotInstalled),
            TargetObject::VirtualMachine => (kubevirt(namespace, target.name.clone()), state_of(references)),
            TargetObject::VmAccess(vm_access) => {
                let server = vm_access.spec.vnc_server.as_ref();
                let console = match server.filter(|_| protocol == ConsoleProtocol::Vnc) {
                    Some(server) => vnc_server_of(vm_access, self.uid.clone(), server, namespace)?,
                    None => kubevirt(namespace, vm_access::virtual_machine_name(vm_access)),
                };
                (console, state_of(references))
            }
        };
        Ok(Target {
            kind: target.kind,
            name: target.name.clone(),
            uid: self.uid.clone(),
            console,
            state,
        })
    }
}

const fn kubevirt(namespace: String, name: String) -> Console {
    Console::KubeVirt { namespace, name }
}

fn state_of(references: &References) -> TargetState {
    match references.virtual_machine_instance.as_deref() {
        Some(instance) if is_running(instance) => TargetState::Running,
        _ => TargetState::Stopped,
    }
}

/// The console of a desktop. It has no serial one: see [`desktop::protocols`].
fn console_of(workspace: &str, owner_uid: String, namespace: String, protocol: ConsoleProtocol) -> Console {
    let service = vnc_workspace::service_name(workspace);
    match protocol {
        ConsoleProtocol::Ssh => Console::Ssh {
            namespace,
            service,
            owner_uid,
            port: vnc_workspace::SSH_PORT.to_owned(),
        },
        ConsoleProtocol::Vnc | ConsoleProtocol::Serial => Console::Vnc {
            namespace,
            service,
            owner_uid,
            port: vnc_workspace::VNC_PORT.to_owned(),
            password: Some(SecretKey {
                secret: vnc_workspace::secret_name(workspace),
                key: vnc_workspace::PASSWORD_KEY.to_owned(),
                label: None,
            }),
        },
    }
}

fn vnc_server_of(
    vm_access: &VmAccess,
    owner_uid: String,
    server: &VncServer,
    namespace: String,
) -> Result<Console, SessionError> {
    let service = vm_access
        .spec
        .services
        .iter()
        .find(|service| service.name == server.service);
    let port = service
        .into_iter()
        .flat_map(|service| &service.ports)
        .find(|port| port.port == server.port && port.protocol == PortProtocol::Tcp)
        .ok_or_else(|| SessionError::VncServer {
            service: server.service.clone(),
            port: server.port,
        })?;
    Ok(Console::Vnc {
        namespace,
        service: name::joined(&[&vm_access.name_any(), &server.service]).to_string(),
        owner_uid,
        port: port.name.clone(),
        password: server.password_secret_name.clone().map(|secret| SecretKey {
            secret,
            key: VNC_SERVER_PASSWORD.to_owned(),
            label: Some(KEY_VNC_PASSWORD),
        }),
    })
}

/// Whether a run was made by something, as that of a machine is, which the watch may show later than the run.
fn has_owner(instance: &VirtualMachineInstance) -> bool {
    instance
        .metadata
        .owner_references
        .as_ref()
        .is_some_and(|owners| !owners.is_empty())
}

fn not_deleting<K: kube::Resource>(object: Option<&Arc<K>>) -> Option<&Arc<K>> {
    object.filter(|object| !is_deleting(object.as_ref()))
}

/// An object that is being deleted comes back under another UID, if at all.
fn is_deleting(object: &impl kube::Resource) -> bool {
    object.meta().deletion_timestamp.is_some()
}

fn is_running(instance: &VirtualMachineInstance) -> bool {
    let phase = instance.status.as_ref().and_then(|status| status.phase.as_deref());
    !is_deleting(instance) && phase == Some("Running")
}
