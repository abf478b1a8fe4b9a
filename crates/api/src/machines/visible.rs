//! One object by its ID, if the caller may see it.

use std::sync::Arc;

use crate::{
    authorization::right,
    caller::Caller,
    code::Code,
    error::{ApiError, ApiResult},
    state::ApiState,
    watches::{MachineKind, MachineRow, WorkspaceRow},
};

/// Bytes of an ID: a namespace and a name.
const ID_BYTES: usize = 63 + 1 + 253;

/// A machine.
///
/// # Errors
///
/// [`Code::NOT_FOUND`] for one that is not there and for one that the caller may not see, with the same words; a review is made in both
/// cases, so that the time does not tell them apart.
pub(crate) async fn machine(state: &ApiState, caller: &Caller, id: &str) -> ApiResult<Arc<MachineRow>> {
    let found = find(id, |id| state.watched.find_machine(id))?;
    let (group, resource) = match found.as_ref().map(|row| row.kind) {
        Some(MachineKind::VirtualMachine) => ("kubevirt.io", "virtualmachines"),
        Some(MachineKind::VmAccess) | None => ("novasphere.io", "vmaccesses"),
    };
    let place = found.as_ref().map(|row| (row.namespace.as_str(), row.name.as_str()));
    see(state, caller, group, resource, place).await?;
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
    see(state, caller, "novasphere.io", "vncworkspaces", place).await?;
    found.ok_or(ApiError::new(Code::NOT_FOUND))
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
