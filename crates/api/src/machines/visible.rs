//! One object by its ID, if the caller may see it.

use std::{collections::BTreeSet, sync::Arc};

use novasphere_core::name::DnsLabel;

use crate::{
    authorization::{Listed, VisibleNamespaces, right},
    caller::Caller,
    code::Code,
    error::{ApiError, ApiResult},
    state::ApiState,
    watches::{MachineKind, MachineRow, WorkspaceRow},
};

/// Bytes of an ID: a namespace and a name.
const ID_BYTES: usize = 63 + 1 + 253;

/// The namespaces whose machines a caller may list. Machines without a `VmAccess` take the right on themselves.
pub(crate) struct VisibleMachines {
    by_access: VisibleNamespaces,
    bare: VisibleNamespaces,
}

impl VisibleMachines {
    /// Those of one namespace, or of all that have machines.
    ///
    /// # Errors
    ///
    /// As [`crate::authorization::Authorization::visible`].
    pub(crate) async fn look(state: &ApiState, caller: &Caller, namespace: Option<&str>) -> ApiResult<Self> {
        let candidates = |kind| match namespace {
            Some(namespace) => BTreeSet::from([namespace.to_owned()]),
            None => state.watched.machine_namespaces(kind),
        };
        let by_access = candidates(MachineKind::VmAccess);
        let bare = candidates(MachineKind::VirtualMachine);
        let (authorization, watched) = (&state.authorization, &state.watched);
        Ok(Self {
            by_access: authorization
                .visible(caller, Listed::Machines, by_access, watched)
                .await?,
            bare: authorization
                .visible(caller, Listed::BareMachines, bare, watched)
                .await?,
        })
    }

    /// Whether the caller may list a machine.
    pub(crate) fn contains(&self, row: &MachineRow) -> bool {
        match row.kind {
            MachineKind::VmAccess => self.by_access.contains(&row.namespace),
            MachineKind::VirtualMachine => self.bare.contains(&row.namespace),
        }
    }
}

/// Reads the namespace that a query asks for. What cannot be one is not asked about: each new question takes a place among the answers that are
/// remembered.
///
/// # Errors
///
/// [`Code::INVALID_PARAMETER`].
pub(crate) fn wanted_namespace(namespace: Option<&str>) -> ApiResult<()> {
    if namespace.is_none_or(|namespace| DnsLabel::parse(namespace).is_ok()) {
        Ok(())
    } else {
        Err(ApiError::parameter(
            "namespace",
            "namespace has to be the name of a namespace: lower-case letters, digits and '-'",
        ))
    }
}

/// A machine.
///
/// # Errors
///
/// [`Code::NOT_FOUND`] for one that is not there and for one that the caller may not see, with the same words; a review of the same namespace
/// and name is made in both cases, so that the time does not tell them apart.
pub(crate) async fn machine(state: &ApiState, caller: &Caller, id: &str) -> ApiResult<Arc<MachineRow>> {
    let found = find(id, |id| state.watched.find_machine(id))?;
    let (group, resource) = match found.as_ref().map(|row| row.kind) {
        Some(MachineKind::VirtualMachine) => ("kubevirt.io", "virtualmachines"),
        Some(MachineKind::VmAccess) | None => ("novasphere.io", "vmaccesses"),
    };
    let place = found.as_ref().map(|row| (row.namespace.as_str(), row.name.as_str()));
    see(state, caller, group, resource, place.or_else(|| parts_of(id))).await?;
    found.ok_or(ApiError::new(Code::NOT_FOUND))
}

/// A workspace.
///
/// # Errors
///
/// As [`machine`].
pub(crate) async fn workspace(state: &ApiState, caller: &Caller, id: &str) -> ApiResult<Arc<WorkspaceRow>> {
    let found = find(id, |id| state.watched.find_workspace(id))?;
    let place = found.as_ref().map(|row| (row.namespace.as_str(), row.name.as_str()));
    let place = place.or_else(|| parts_of(id));
    see(state, caller, "novasphere.io", "vncworkspaces", place).await?;
    found.ok_or(ApiError::new(Code::NOT_FOUND))
}

/// Namespace and name of an ID that has them.
fn parts_of(id: &str) -> Option<(&str, &str)> {
    let (namespace, name) = id.split_once('.')?;
    Some((namespace, name.trim_start_matches('.')))
}

fn find<R>(id: &str, find: impl Fn(&str) -> Option<Arc<R>>) -> ApiResult<Option<Arc<R>>> {
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if id.is_empty() || id.len() > ID_BYTES || !id.bytes().all(is_id) {
        return Err(ApiError::with(
            Code::INVALID_ID,
            "an ID is a UID, or <namespace>.<name>",
        ));
    }
    Ok(find(id))
}

async fn see(
    state: &ApiState,
    caller: &Caller,
    group: &str,
    resource: &str,
    place: Option<(&str, &str)>,
) -> ApiResult<()> {
    let (namespace, name) = place.unwrap_or(("-", "-"));
    let mut get = right(group, resource, None, "get", Some(namespace));
    get.name = Some(name.to_owned());
    let may_see = state.authorization.allows(caller, &get).await?;
    if place.is_some() {
        state.authorization.within_tenant(caller, namespace, &state.watched)?;
    }
    if may_see {
        Ok(())
    } else {
        Err(ApiError::new(Code::NOT_FOUND))
    }
}
