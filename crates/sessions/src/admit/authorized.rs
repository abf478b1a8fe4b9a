//! What is checked of a viewer beside their credential, and the stream of one who has the right to it.

use jiff::Timestamp;
use novasphere_core::console_session::{
    access::{ConsoleRight, console_right},
    connection::NewConnection,
    references::{References, machine_name},
    validate::ValidatedSession,
};
use novasphere_crd::{ConsoleInput, ConsoleProtocol, ConsoleSession};
use novasphere_runtime::access::{FRESH_TTL, UserInfo, missing_right};
use novasphere_wire::close::{EndReason, StreamEnd};

use super::{
    SessionAdmission,
    entry::{Credential, EntryRequest, refuse},
};
use crate::{
    active::ActiveStream,
    locate::{desktops::unavailable_reason, instance_ref},
    view::session_id,
};

/// A viewer who has the right to what they ask for.
pub(super) struct AuthorizedViewer<'a> {
    pub(super) session: &'a ConsoleSession,
    pub(super) request: &'a EntryRequest,
    pub(super) references: &'a References,
    pub(super) valid: &'a ValidatedSession,
    pub(super) user: UserInfo,
    pub(super) has_control: bool,
    pub(super) now: Timestamp,
}

impl AuthorizedViewer<'_> {
    /// Their stream, with the place that they can come back to. The session ends at `expires`.
    pub(super) fn stream(self, connection: NewConnection, place: Option<String>, expires: Timestamp) -> ActiveStream {
        let (target, references) = (&self.valid.target, self.references);
        ActiveStream {
            session: session_id(self.session),
            connection,
            user: self.user,
            kind: target.kind,
            target: target.name.clone(),
            target_uid: target.uid.clone(),
            token: match &self.request.credential {
                Credential::Token(token) => Some(*token),
                Credential::Resume { .. } | Credential::User(_) => None,
            },
            place,
            console: target.console.clone(),
            machine: machine_name(self.session, references.vm_access.as_deref()),
            protocol: self.valid.policy.protocol,
            has_control: self.has_control,
            opened_at: self.now,
            expires,
            run: references.virtual_machine_instance.as_deref().and_then(instance_ref),
        }
    }
}

/// Whether the target runs or can be woken.
pub(super) fn check_running(valid: &ValidatedSession, references: &References) -> Result<(), StreamEnd> {
    if valid.target.state.admits_viewers() {
        return Ok(());
    }
    Err(match &references.vnc_workspace {
        Some(workspace) => unavailable_reason(workspace),
        None => refuse(EndReason::TargetNotRunning, "the machine does not run"),
    })
}

impl SessionAdmission {
    /// Whether the user may control the console; an error when they may not even view it, or when it cannot be viewed only.
    pub(super) async fn rights(
        &self,
        valid: &ValidatedSession,
        user: &UserInfo,
        namespace: &str,
    ) -> Result<bool, StreamEnd> {
        let (target, protocol) = (&valid.target, valid.policy.protocol);
        let right = |right| console_right(target.kind, protocol, namespace, &target.name, right);
        let allows = async |attributes| {
            let allowed = self.0.access.allows(user, attributes, FRESH_TTL).await;
            allowed.map_err(|error| refuse(EndReason::Unavailable, error.to_string()))
        };
        let view_right = right(ConsoleRight::View);
        if !allows(&view_right).await? {
            return Err(refuse(
                EndReason::AccessWithdrawn,
                missing_right(&user.name, &view_right),
            ));
        }
        let control_right = right(ConsoleRight::Control);
        let has_control = valid.policy.input != ConsoleInput::ViewOnly && allows(&control_right).await?;
        if protocol == ConsoleProtocol::Ssh && !has_control {
            return Err(refuse(
                EndReason::InputNotAllowed,
                missing_right(&user.name, &control_right),
            ));
        }
        Ok(has_control)
    }
}
