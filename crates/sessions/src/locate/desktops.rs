//! Desktops that sleep: they are asked to wake when somebody connects, and waited for.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt;
use novasphere_core::console_session::{
    desktop::{self, DesktopUnavailable},
    target_state::TargetState,
};
use novasphere_crd::{Time, VncWorkspace};
use novasphere_dataplane::{
    audit::{AuditEvent, AuditLog},
    upstream::{
        tcp::TcpUpstream,
        wait::{AwaitedUpstream, BoxFuture, Wake},
    },
};
use novasphere_runtime::{
    apply::{ApiReason, Applier},
    keyed_lock::KeyedLock,
    optimistic::ObjectKey,
    shares::{HeldPlace, NoPlace, Shares},
};
use novasphere_wire::close::{EndReason, StreamEnd};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::locator::Locator;
use crate::{active::ActiveStream, view::SessionView};

/// How many viewers of a process wait at a time, and those of one user among them. A portal may have all its users' tokens issued for an
/// account of its own, so the share is large.
pub const WAITING_VIEWERS_LIMIT: usize = 1024;
const WAITING_VIEWERS_PER_USER_LIMIT: usize = 256;

/// How long kube-apiserver may take.
const WAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries to wake a desktop, and to find one that says that it is ready: at first, and at most.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
const RETRY_INTERVAL_LIMIT: Duration = Duration::from_secs(2);

/// Wakes desktops. Clones share who waits.
#[derive(Clone)]
pub(crate) struct DesktopWaker(Arc<WakerInner>);

struct WakerInner {
    applier: Applier,
    locator: Locator,
    view: SessionView,
    audit: AuditLog,
    /// How long a viewer waits at most.
    timeout: Duration,
    places: Shares,
    /// By UID of the workspace: when waking it failed last.
    wakes: KeyedLock<String, Option<Instant>>,
}

/// A viewer's place among those who wait. Clones are the same place.
#[derive(Clone, Debug)]
pub(crate) struct WaitPermit(#[expect(dead_code, reason = "it is given back when it is dropped")] Arc<HeldPlace>);

impl DesktopWaker {
    pub(crate) fn new(
        applier: Applier,
        locator: Locator,
        view: SessionView,
        audit: AuditLog,
        timeout: Duration,
    ) -> Self {
        Self(Arc::new(WakerInner {
            applier: applier.within(WAKE_TIMEOUT),
            locator,
            view,
            audit,
            timeout,
            places: waiting_places(),
            wakes: KeyedLock::default(),
        }))
    }

    /// A place for a viewer of this user among those who wait.
    pub(crate) fn place(&self, user: &str) -> Result<WaitPermit, StreamEnd> {
        let place = self.0.places.take(user);
        let place = place.map_err(|why| crowded(why, user))?;
        Ok(WaitPermit(Arc::new(place)))
    }

    /// The target for a viewer of a desktop. `first` is where the desktop was just seen. A viewer who may not wake it waits for one that
    /// starts, and is turned away from one that sleeps.
    pub(crate) fn target(
        &self,
        live: &ActiveStream,
        first: Option<TcpUpstream>,
        place: WaitPermit,
        may_wake: bool,
    ) -> AwaitedUpstream {
        AwaitedUpstream {
            wake: Arc::new(WakeWaiter(Arc::new(WakeState {
                desktops: self.clone(),
                id: live.workspace(),
                live: live.clone(),
                first: Mutex::new(first),
                may_wake,
                missing: Mutex::default(),
                _place: place,
            }))),
            timeout: self.0.timeout,
        }
    }

    /// Asks a desktop to wake, if it still sleeps, and says whether it did. Those who ask for the same one in this process wait for each
    /// other, so that one of them asks for all.
    async fn wake(&self, id: &ObjectKey) -> Result<bool, StreamEnd> {
        let mut failed = self.0.wakes.lock(&id.uid).await;
        let workspace = self.0.view.workspace(id).ok_or_else(target_gone)?;
        let is_too_soon = failed.is_some_and(|at| at.elapsed() < RETRY_INTERVAL);
        if desktop::state(&workspace) != TargetState::Asleep || is_too_soon {
            return Ok(false);
        }
        let at = desktop::wake_request_time(&workspace, Timestamp::now());
        let status = json!({"wakeRequestedAt": Time(at)});
        let workspaces = &self.0.view.caches().vnc_workspaces;
        let applier = &self.0.applier;
        match applier.merge_status(workspace.as_ref(), status, workspaces).await {
            Ok(_) => {
                tracing::info!(workspace = %id, "asked a desktop to wake");
                self.0.view.target_changed();
                return Ok(true);
            }
            Err(error) if error.is(ApiReason::NotFound) => return Err(target_gone()),
            Err(error) if error.is(ApiReason::Forbidden) || error.is(ApiReason::Invalid) => {
                return Err(StreamEnd::new(
                    EndReason::TargetRefused,
                    format!("cannot set wakeRequestedAt of the VncWorkspace {}: {error}", id.name),
                ));
            }
            Err(error) => tracing::warn!(workspace = %id, "cannot ask a desktop to wake, tries again: {error}"),
        }
        *failed = Some(Instant::now());
        Ok(false)
    }
}

fn waiting_places() -> Shares {
    Shares::new(WAITING_VIEWERS_LIMIT, WAITING_VIEWERS_PER_USER_LIMIT)
}

fn crowded(why: NoPlace, user: &str) -> StreamEnd {
    let detail = match why {
        NoPlace::Full(limit) => format!("{limit} viewers wait for desktops already; try again in a minute"),
        NoPlace::ShareUsed(share) => format!(
            "{share} viewers of {user:?} wait for desktops already, and a user may have no more; close some of them, or try again in a minute"
        ),
    };
    StreamEnd::new(EndReason::TooManyWaiting, detail)
}

struct WakeWaiter(Arc<WakeState>);

/// A viewer who waits for a desktop.
struct WakeState {
    desktops: DesktopWaker,
    id: ObjectKey,
    live: ActiveStream,
    first: Mutex<Option<TcpUpstream>>,
    may_wake: bool,
    /// Why a desktop that says that it is ready is not found.
    missing: Mutex<Option<String>>,
    _place: WaitPermit,
}

impl Wake for WakeWaiter {
    fn ready(&self) -> BoxFuture<Result<TcpUpstream, StreamEnd>> {
        let waits = Arc::clone(&self.0);
        Box::pin(async move { waits.ready().await })
    }

    fn waits_for(&self) -> String {
        let missing = self.0.missing.lock().clone();
        missing.unwrap_or_else(|| {
            let workspace = self.0.desktops.0.view.workspace(&self.0.id);
            workspace
                .map(|workspace| desktop::message(&workspace))
                .unwrap_or_default()
        })
    }
}

impl WakeState {
    async fn ready(&self) -> Result<TcpUpstream, StreamEnd> {
        let first = self.first.lock().take();
        if let Some(first) = first {
            return Ok(first);
        }
        let sessions = &self.desktops.0.view;
        let (_, mut targets) = sessions.changes();
        let mut pause = RETRY_INTERVAL;
        loop {
            let workspace = sessions.workspace(&self.id).ok_or_else(target_gone)?;
            let again = match desktop::state(&workspace) {
                TargetState::Running => match self.desktops.0.locator.locate(&self.live.console).await {
                    Ok(target) => return Ok(target),
                    // The endpoints trail behind the Pod.
                    Err(refusal) if is_transient(&refusal) => {
                        *self.missing.lock() = refusal.detail;
                        true
                    }
                    Err(refusal) => return Err(refusal),
                },
                TargetState::Asleep if !self.may_wake => return Err(asleep()),
                TargetState::Asleep => {
                    if self.desktops.wake(&self.id).await? {
                        let audit = &self.desktops.0.audit;
                        audit.record(AuditEvent::Woken, &self.live.audit_record());
                    }
                    true
                }
                TargetState::Starting => false,
                TargetState::Stopped => return Err(unavailable_reason(&workspace)),
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
                    return Err(StreamEnd::new(EndReason::Internal, "the watch cache is gone"));
                },
                () = next => pause = (pause * 2).min(RETRY_INTERVAL_LIMIT),
            }
        }
    }
}

/// Why nobody comes in to this desktop, and waiting does not help.
pub(crate) fn unavailable_reason(workspace: &VncWorkspace) -> StreamEnd {
    let why = match desktop::unavailable_reason(workspace) {
        Some(DesktopUnavailable::Deleting) => EndReason::TargetGone,
        Some(DesktopUnavailable::Expired) => EndReason::TargetExpired,
        Some(DesktopUnavailable::Invalid) | None => EndReason::TargetFailed,
    };
    let name = workspace.name_any();
    StreamEnd::new(
        why,
        format!(
            "the desktop of VncWorkspace {name} does not start: {}",
            desktop::message(workspace)
        ),
    )
}

/// Why a viewer who may only view does not come in to a desktop that sleeps.
pub(crate) fn asleep() -> StreamEnd {
    StreamEnd::new(
        EndReason::TargetNotRunning,
        "the desktop sleeps, and a viewer who may only view it does not wake it; connect with the right to control it, or set \
         spec.lifecycle.wakeOnView of the VncWorkspace",
    )
}

/// Whether it may be over by itself in a moment.
pub(crate) const fn is_transient(refusal: &StreamEnd) -> bool {
    matches!(refusal.reason, EndReason::TargetUnreachable | EndReason::Unavailable)
}

fn target_gone() -> StreamEnd {
    StreamEnd::new(EndReason::TargetGone, "the VncWorkspace is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_whose_viewers_wait_keeps_no_other_user_from_waiting() {
        let places = waiting_places();
        let taken: Vec<_> = std::iter::from_fn(|| places.take("jane").ok()).collect();
        assert_eq!(taken.len(), WAITING_VIEWERS_PER_USER_LIMIT);
        let refused = crowded(places.take("jane").unwrap_err(), "jane");
        assert_eq!(refused.reason, EndReason::TooManyWaiting);
        let detail = refused.detail.unwrap();
        assert!(detail.starts_with("256 viewers of \"jane\" wait"), "{detail}");
        assert!(places.take("joe").is_ok());
        let others: Vec<_> = (0..WAITING_VIEWERS_LIMIT)
            .map(|number| places.take(&number.to_string()))
            .collect();
        let refused = crowded(*others.last().unwrap().as_ref().unwrap_err(), "late");
        assert!(refused.detail.unwrap().starts_with("1024 viewers wait"));
    }
}
