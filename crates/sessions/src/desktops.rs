//! Desktops that sleep: they are asked to wake when somebody connects, and waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use novasphere_core::console_session::{
    desktop::{self, DesktopUnavailable},
    target::Console,
    target_state::TargetState,
};
use novasphere_crd::{Time, VncWorkspace};
use novasphere_dataplane::upstream::{
    tcp::TcpUpstream,
    wait::{AwaitedUpstream, BoxFuture, Wake},
};
use novasphere_wire::close::{EndReason, StreamEnd};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

use super::{claim::refuse, sessions::Sessions, status::MANAGER, upstream::Consoles};

/// How many viewers of a process wait at a time.
pub const MAX_WAITING: usize = 1024;

/// How long kube-apiserver may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries to wake a desktop, and to find one that says that it is ready: at first, and at most.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Wakes desktops. Clones share who waits.
#[derive(Clone)]
pub(crate) struct Desktops(Arc<Parts>);

struct Parts {
    client: Client,
    sessions: Sessions,
    /// How long a viewer waits at most.
    patience: Duration,
    places: Arc<Semaphore>,
    turns: Mutex<HashMap<String, Weak<Turn>>>,
}

/// Whose turn it is to wake a desktop, and when that failed last.
type Turn = tokio::sync::Mutex<Option<Instant>>;

/// A viewer's place among those who wait. Clones are the same place.
#[derive(Clone, Debug)]
pub(crate) struct WaitingPlace(
    #[expect(dead_code, reason = "it is given back when it is dropped")] Arc<OwnedSemaphorePermit>,
);

/// A workspace as it was when a viewer was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkspaceId {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Desktops {
    pub(crate) fn new(client: Client, sessions: Sessions, patience: Duration) -> Self {
        Self(Arc::new(Parts {
            client,
            sessions,
            patience,
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            turns: Mutex::default(),
        }))
    }

    /// A place among those who wait.
    pub(crate) fn place(&self) -> Result<WaitingPlace, StreamEnd> {
        let place = Arc::clone(&self.0.places).try_acquire_owned();
        place
            .map(|permit| WaitingPlace(Arc::new(permit)))
            .map_err(|_| refuse(EndReason::TooManyWaiting, format!("{MAX_WAITING} viewers wait already")))
    }

    /// The target for a viewer of a desktop. `first` is where the desktop was just seen.
    pub(crate) fn target(
        &self,
        consoles: Consoles,
        id: WorkspaceId,
        console: Console,
        first: Option<TcpUpstream>,
        place: WaitingPlace,
    ) -> AwaitedUpstream {
        AwaitedUpstream {
            wake: Arc::new(Waiter(Arc::new(Waits {
                desktops: self.clone(),
                consoles,
                id,
                console,
                first: Mutex::new(first),
                missing: Mutex::default(),
                _place: place,
            }))),
            timeout: self.0.patience,
        }
    }

    /// Asks a desktop to wake, if it still sleeps. Those who ask for the same one in this process wait for each other, so that
    /// one of them asks for all.
    async fn wake(&self, id: &WorkspaceId) -> Result<(), StreamEnd> {
        let turn = self.turn(&id.uid);
        let mut failed = turn.lock().await;
        let workspace = self.0.sessions.workspace(id).ok_or_else(gone)?;
        let is_too_soon = failed.is_some_and(|at| at.elapsed() < PAUSE);
        if desktop::state(&workspace) != TargetState::Asleep || is_too_soon {
            return Ok(());
        }
        let at = desktop::wake_request_time(&workspace, Timestamp::now());
        // The UID makes it a conflict when another workspace has the name now.
        let patch = json!({"metadata": {"uid": id.uid}, "status": {"wakeRequestedAt": Time(at)}});
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api: Api<VncWorkspace> = Api::namespaced(self.0.client.clone(), &id.namespace);
        let patch = Patch::Merge(&patch);
        match timeout(TIMEOUT, api.patch_status(&id.name, &parameters, &patch)).await {
            Ok(Ok(woken)) => {
                tracing::info!(workspace = %format_args!("{}/{}", id.namespace, id.name), "asked a desktop to wake");
                self.0.sessions.written_workspace(woken);
                return Ok(());
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Err(gone()),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 422) => {
                return Err(refuse(
                    EndReason::TargetRefused,
                    format!(
                        "cannot set wakeRequestedAt of the VncWorkspace {}: {}",
                        id.name, status.message
                    ),
                ));
            }
            Ok(Err(error)) => tracing::warn!("cannot ask a desktop to wake, tries again: {error}"),
            Err(_) => tracing::warn!("cannot ask a desktop to wake in time, tries again"),
        }
        *failed = Some(Instant::now());
        Ok(())
    }

    fn turn(&self, uid: &str) -> Arc<Turn> {
        let mut turns = self.0.turns.lock();
        if let Some(turn) = turns.get(uid).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(uid.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

struct Waiter(Arc<Waits>);

/// A viewer who waits for a desktop.
struct Waits {
    desktops: Desktops,
    consoles: Consoles,
    id: WorkspaceId,
    console: Console,
    first: Mutex<Option<TcpUpstream>>,
    /// Why a desktop that says that it is ready is not found.
    missing: Mutex<Option<String>>,
    _place: WaitingPlace,
}

impl Wake for Waiter {
    fn ready(&self) -> BoxFuture<Result<TcpUpstream, StreamEnd>> {
        let waits = Arc::clone(&self.0);
        Box::pin(async move { waits.ready().await })
    }

    fn waits_for(&self) -> String {
        let missing = self.0.missing.lock().clone();
        missing.unwrap_or_else(|| {
            let workspace = self.0.desktops.0.sessions.workspace(&self.0.id);
            workspace
                .map(|workspace| desktop::message(&workspace))
                .unwrap_or_default()
        })
    }
}

impl Waits {
    async fn ready(&self) -> Result<TcpUpstream, StreamEnd> {
        let first = self.first.lock().take();
        if let Some(first) = first {
            return Ok(first);
        }
        let sessions = &self.desktops.0.sessions;
        let (_, mut targets) = sessions.changes();
        let mut pause = PAUSE;
        loop {
            let workspace = sessions.workspace(&self.id).ok_or_else(gone)?;
            let again = match desktop::state(&workspace) {
                TargetState::Running => match self.consoles.locate(&self.console).await {
                    Ok(target) => return Ok(target),
                    // The endpoints trail behind the Pod.
                    Err(refusal) if is_passing(&refusal) => {
                        *self.missing.lock() = refusal.detail;
                        true
                    }
                    Err(refusal) => return Err(refusal),
                },
                TargetState::Asleep => {
                    self.desktops.wake(&self.id).await?;
                    true
                }
                TargetState::Starting => false,
                TargetState::Stopped => return Err(stopped(&workspace)),
            };
            let next = async {
                if again {
                    sleep(pause).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                changed = targets.changed() => if changed.is_err() {
                    return Err(refuse(EndReason::Internal, "the watch cache is gone"));
                },
                () = next => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }
}

/// Why nobody comes in to this desktop, and waiting does not help.
pub(crate) fn stopped(workspace: &VncWorkspace) -> StreamEnd {
    let why = match desktop::unavailable_reason(workspace) {
        Some(DesktopUnavailable::Deleting) => EndReason::TargetGone,
        Some(DesktopUnavailable::Expired) => EndReason::TargetExpired,
        Some(DesktopUnavailable::Invalid) | None => EndReason::TargetFailed,
    };
    let name = workspace.name_any();
    refuse(
        why,
        format!(
            "the desktop of VncWorkspace {name} does not start: {}",
            desktop::message(workspace)
        ),
    )
}

/// Whether it may be over by itself in a moment.
pub(crate) const fn is_passing(refusal: &StreamEnd) -> bool {
    matches!(refusal.reason, EndReason::TargetUnreachable | EndReason::Unavailable)
}

fn gone() -> StreamEnd {
    refuse(EndReason::TargetGone, "the VncWorkspace is gone")
}
