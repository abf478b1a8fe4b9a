//! Writes of session status: optimistic, one at a time per session and process.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Weak},
    time::Duration,
};

use kube::{Api, Client, ResourceExt, api::PostParams};
use novasphere_crd::{ConsoleSession, ConsoleSessionStatus};
use novasphere_dataplane::registry::SessionId;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::sessions::Sessions;

/// The field manager of these writes.
pub const MANAGER: &str = "novasphere/console";

/// Conflicts in a row after which a write is given up. Each means that somebody else's write went through.
const ATTEMPTS: usize = 32;

/// How long a read or a write may take.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The new status was refused by who works it out.
    #[error("the write was refused")]
    Refused(E),
    /// The session does not exist any more, or another one has its name.
    #[error("the session is gone")]
    Gone,
    /// The session is written by too many at once.
    #[error("the session changed {ATTEMPTS} times while its status was written")]
    Contended,
    /// kube-apiserver fails.
    #[error("cannot write the session's status: {0}")]
    Api(#[source] Box<kube::Error>),
    /// kube-apiserver takes too long.
    #[error("kube-apiserver did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// Writes status. Clones share what is being written.
#[derive(Clone)]
pub(crate) struct StatusWriter(Arc<Parts>);

struct Parts {
    client: Client,
    sessions: Sessions,
    turns: Mutex<HashMap<SessionId, Weak<tokio::sync::Mutex<()>>>>,
}

/// What to do about a status.
pub(crate) enum Decision {
    Write(Box<ConsoleSessionStatus>),
    /// It is as it should be.
    Keep,
}

/// Works out a new status.
pub(crate) trait Decide: Send {
    /// Why there is none.
    type Refusal: Send;

    /// What becomes of a session that looks like this. Asked again after a conflict.
    fn decide(&mut self, session: &ConsoleSession) -> impl Future<Output = Result<Decision, Self::Refusal>> + Send;
}

/// Works out a new status without asking anybody and without refusing.
pub(crate) struct Pure<F>(pub(crate) F);

impl<F: FnMut(&ConsoleSession) -> Decision + Send> Decide for Pure<F> {
    type Refusal = Infallible;

    async fn decide(&mut self, session: &ConsoleSession) -> Result<Decision, Infallible> {
        Ok((self.0)(session))
    }
}

impl Decision {
    /// To write `after`, if it differs.
    pub(crate) fn change(before: &ConsoleSessionStatus, after: ConsoleSessionStatus) -> Self {
        if after == *before {
            Self::Keep
        } else {
            Self::Write(Box::new(after))
        }
    }
}

impl StatusWriter {
    pub(crate) fn new(client: Client, sessions: Sessions) -> Self {
        Self(Arc::new(Parts {
            client,
            sessions,
            turns: Mutex::default(),
        }))
    }

    /// Replaces the status of a session with what `decide` makes of the newest one that is known; after a conflict reads it
    /// and asks again. Those who write the same session in this process wait for each other.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; nothing was written then, unless the answer got lost.
    pub(crate) async fn update<D: Decide>(
        &self,
        id: &SessionId,
        decide: &mut D,
    ) -> Result<Arc<ConsoleSession>, WriteError<D::Refusal>> {
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        let api: Api<ConsoleSession> = Api::namespaced(self.0.client.clone(), &id.namespace);
        let mut session = self.0.sessions.of(id).ok_or(WriteError::Gone)?;
        for _ in 0..ATTEMPTS {
            let status = match decide.decide(&session).await.map_err(WriteError::Refused)? {
                Decision::Keep => return Ok(session),
                Decision::Write(status) => status,
            };
            let mut wanted = session.as_ref().clone();
            wanted.status = Some(*status);
            match bounded(api.replace_status(&id.name, &parameters(), &wanted)).await {
                Ok(written) => {
                    self.0.sessions.written(written.clone());
                    return Ok(Arc::new(written));
                }
                Err(WriteError::Api(error)) if code(&error) == 409 => {}
                Err(error) => return Err(error),
            }
            let newest = bounded(api.get(&id.name)).await?;
            if newest.uid().as_deref() != Some(&id.uid) {
                return Err(WriteError::Gone);
            }
            session = Arc::new(newest);
        }
        Err(WriteError::Contended)
    }

    /// Asks whether the session does not exist any more. `false` when that cannot be known now.
    pub(crate) async fn is_gone(&self, id: &SessionId) -> bool {
        let api: Api<ConsoleSession> = Api::namespaced(self.0.client.clone(), &id.namespace);
        match bounded::<_, Infallible>(api.get_metadata(&id.name)).await {
            Ok(there) => there.metadata.uid.as_deref() != Some(&id.uid),
            Err(error) => matches!(error, WriteError::Gone),
        }
    }

    fn turn(&self, id: &SessionId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.turns.lock();
        if let Some(turn) = turns.get(id).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(id.clone(), Arc::downgrade(&turn));
        turn
    }
}

fn parameters() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

async fn bounded<T, E>(request: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError<E>> {
    match timeout(TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if code(&error) == 404 => Err(WriteError::Gone),
        Ok(Err(error)) => Err(WriteError::Api(Box::new(error))),
        Err(_) => Err(WriteError::Timeout),
    }
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}
