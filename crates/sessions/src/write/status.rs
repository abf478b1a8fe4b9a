//! Writes of session status by a gateway: optimistic, one at a time per session and process.

use std::{sync::Arc, time::Duration};

use kube::{Api, Client, ResourceExt};
use novasphere_crd::{ConsoleSession, ConsoleSessionStatus};
use novasphere_dataplane::registry::SessionId;
use novasphere_runtime::{
    apply::Applier,
    optimistic::{self, Decide, UpdateError, Updater},
};
use tokio::time::timeout;

use crate::view::SessionView;

/// The field manager of these writes.
pub const FIELD_MANAGER: &str = "novasphere/console";

/// How long the question may take whether a session exists.
const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// What to do about a session's status.
pub(crate) type StatusDecision = optimistic::Decision<ConsoleSessionStatus>;

/// Writes status. Clones share what is being written.
#[derive(Clone)]
pub(crate) struct SessionWriter {
    client: Client,
    view: SessionView,
    updater: Updater<ConsoleSession>,
}

impl SessionWriter {
    pub(crate) fn new(client: Client, view: SessionView, applier: Applier) -> Self {
        Self {
            client,
            view,
            updater: Updater::new(applier),
        }
    }

    /// Replaces the status of a session with what `decide` makes of the newest one that is known; see [`Updater::update`].
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; nothing was written then, unless the answer got lost.
    pub(crate) async fn update<D: Decide<ConsoleSession>>(
        &self,
        id: &SessionId,
        decide: &mut D,
    ) -> Result<Arc<ConsoleSession>, UpdateError<D::Refusal>> {
        let updated = self.updater.update(id, &self.view.caches().sessions, decide).await?;
        self.view.session_changed();
        Ok(updated.into_object())
    }

    /// Asks whether the session does not exist any more. `false` when that cannot be known now.
    pub(crate) async fn is_gone(&self, id: &SessionId) -> bool {
        let api: Api<ConsoleSession> = Api::namespaced(self.client.clone(), &id.namespace);
        match timeout(READ_TIMEOUT, api.get_metadata(&id.name)).await {
            Ok(Ok(there)) => there.uid().as_deref() != Some(&id.uid),
            Ok(Err(kube::Error::Api(status))) => status.code == 404,
            Ok(Err(_)) | Err(_) => false,
        }
    }
}
