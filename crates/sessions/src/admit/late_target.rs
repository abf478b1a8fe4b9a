//! The target of a session while its watch is late: what the session's own status says is there must not pass for gone.

use std::{future::Future, time::Duration};

use kube::{Api, Client, ResourceExt, core::PartialObjectMeta};
use novasphere_core::{
    condition::find,
    console_session::{
        references::References,
        validate::{SessionError, ValidatedSession, validate},
    },
};
use novasphere_crd::{ConsoleSession, SessionTargetKind, VmAccess, VncWorkspace, condition as types};
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};
use novasphere_runtime::namespaced::Namespaced;
use novasphere_wire::close::{EndReason, StreamEnd};
use tokio::time::timeout;

use super::entry::refuse;
use crate::view::SessionView;

/// How long the watches may take to show what the controller has seen. A viewer waits for it, also when the target just stopped.
const SYNC_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long kube-apiserver may take to show a target.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// Looks targets up for admissions. Clones are the same.
#[derive(Clone)]
pub(crate) struct TargetReader {
    client: Client,
    view: SessionView,
}

impl TargetReader {
    pub(crate) const fn new(client: Client, view: SessionView) -> Self {
        Self { client, view }
    }

    /// What a session refers to, when the watches show what the session's status says; else after a moment.
    ///
    /// # Errors
    ///
    /// [`EndReason::Unavailable`] for a target that is there and that no watch has shown.
    pub(crate) async fn references(&self, session: &ConsoleSession) -> Result<References, StreamEnd> {
        // Before the first look, so that no change is missed.
        let mut changes = self.view.target_changes();
        let references = self.view.references(session);
        if !is_late(session, &validate(session, &references)) {
            return Ok(references);
        }
        let caught_up = changes.wait_for(|_| !is_late(session, &validate(session, &self.view.references(session))));
        let _ = timeout(SYNC_TIMEOUT, caught_up).await;
        let references = self.view.references(session);
        let is_missing = matches!(
            validate(session, &references),
            Err(SessionError::TargetNotFound { .. } | SessionError::TargetReplaced)
        );
        if is_missing && self.is_there(session).await? {
            let target = &session.spec.target_ref;
            return Err(refuse(
                EndReason::Unavailable,
                format!(
                    "the watch has not shown the {} {} yet",
                    target.kind.as_str(),
                    target.name
                ),
            ));
        }
        Ok(references)
    }

    /// Whether the API server has the very target that the session was made ready for.
    async fn is_there(&self, session: &ConsoleSession) -> Result<bool, StreamEnd> {
        let (namespace, name) = (session.namespace().unwrap_or_default(), &session.spec.target_ref.name);
        let found = match session.spec.target_ref.kind {
            SessionTargetKind::VmAccess => bounded(self.api::<VmAccess>(&namespace).get_metadata_opt(name)).await?,
            SessionTargetKind::VncWorkspace => {
                bounded(self.api::<VncWorkspace>(&namespace).get_metadata_opt(name)).await?
            }
            SessionTargetKind::VirtualMachine => {
                bounded(self.api::<VirtualMachine>(&namespace).get_metadata_opt(name)).await?
            }
            SessionTargetKind::VirtualMachineInstance => {
                bounded(self.api::<VirtualMachineInstance>(&namespace).get_metadata_opt(name)).await?
            }
        };
        let wanted = session.status.as_ref().and_then(|status| status.target_uid.as_ref());
        Ok(found.is_some_and(|(uid, is_leaving)| !is_leaving && uid.as_ref() == wanted))
    }

    fn api<K: Namespaced>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Whether the session was told that its console can be opened, and the caches say that it cannot.
fn is_late(session: &ConsoleSession, validated: &Result<ValidatedSession, SessionError>) -> bool {
    let can_be_opened = validated
        .as_ref()
        .is_ok_and(|valid| valid.target.state.admits_viewers());
    let conditions = session.status.as_ref().map(|status| status.conditions.as_slice());
    !can_be_opened && find(conditions.unwrap_or_default(), types::READY).is_some_and(|ready| ready.status == "True")
}

/// UID, and whether it is being deleted.
type Found = (Option<String>, bool);

async fn bounded<K>(
    request: impl Future<Output = kube::Result<Option<PartialObjectMeta<K>>>>,
) -> Result<Option<Found>, StreamEnd> {
    let unavailable = |why: String| refuse(EndReason::Unavailable, format!("cannot read the target: {why}"));
    match timeout(READ_TIMEOUT, request).await {
        Ok(Ok(found)) => Ok(found.map(|found| (found.metadata.uid, found.metadata.deletion_timestamp.is_some()))),
        Ok(Err(error)) => Err(unavailable(error.to_string())),
        Err(_) => Err(unavailable(format!("no answer within {} s", READ_TIMEOUT.as_secs()))),
    }
}
