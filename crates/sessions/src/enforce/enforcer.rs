//! Ends streams whose session no longer allows them: on each event of the watches, by looking at all of them again now and then,
//! and by asking for the users' rights again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use novasphere_core::console_session::{close::close_reason, session::expires_at, validate::validate};
use novasphere_crd::{CloseReason, ConsoleSession};
use novasphere_dataplane::{
    admission::{EntryRejected, Observer},
    registry::{SessionId, Stream},
};
use novasphere_runtime::access::{RECHECK_TTL, UserInfo};
use novasphere_wire::close::{EndReason, StreamEnd};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    active::ActiveStream,
    plane::SessionPlane,
    view::{ViewChange, session_id},
};

/// How often it is looked whose rights are to be asked for again.
const TICK_INTERVAL: Duration = Duration::from_secs(5);

/// How many turns until all streams are looked at again. It costs as much as an event of each of their sessions.
const RECHECK_TICKS: u32 = 6;

/// Questions at the same time.
const REVIEWS_LIMIT: usize = 16;

/// Ends streams. Clones are the same.
#[derive(Clone)]
pub(crate) struct Enforcer {
    plane: Arc<SessionPlane>,
    /// Sessions whose duration was shortened, with the end for which a timer runs.
    timers: Arc<Mutex<HashMap<SessionId, Timestamp>>>,
}

/// What viewers are told of a session's end.
pub(crate) const fn end_reason(reason: CloseReason) -> EndReason {
    match reason {
        CloseReason::Expired => EndReason::Expired,
        CloseReason::Revoked => EndReason::Revoked,
        CloseReason::Deleted | CloseReason::Finished => EndReason::Deleted,
        CloseReason::TargetGone => EndReason::TargetGone,
        CloseReason::PolicyChanged => EndReason::PolicyChanged,
    }
}

impl Enforcer {
    pub(crate) fn new(plane: Arc<SessionPlane>) -> Self {
        Self {
            plane,
            timers: Arc::default(),
        }
    }

    /// Looks at the sessions that an event is about. Called from the watches, so that nothing comes between the event and
    /// the end of a stream.
    pub(crate) fn changed(&self, change: &ViewChange) {
        let sessions = self.plane.active.sessions(|id| match change {
            ViewChange::Session(namespace, name) => id.namespace == *namespace && id.name == *name,
            ViewChange::Targets(namespace) => id.namespace == *namespace,
            ViewChange::All => true,
        });
        let is_about_one = matches!(change, ViewChange::Session(..));
        for id in sessions {
            // What was claimed while the watch is behind is in no cache after a while, and is asked about when it is looked again.
            let may_be_there = !is_about_one && self.plane.view.is_behind() && self.plane.view.of(&id).is_none();
            if !may_be_there {
                self.check(&id);
            }
        }
    }

    /// Ends the streams of a session that may not go on, and puts those back into it that it does not know.
    pub(crate) fn check(&self, id: &SessionId) {
        let Some(session) = self.plane.view.of(id) else {
            self.plane.cut_session(id, EndReason::Deleted);
            return;
        };
        for live in self.end_refused(id, &session) {
            self.plane.reporter.restore(live);
        }
    }

    /// Ends the streams of a session that may not go on. Returns those that go on and of which it knows nothing.
    fn end_refused(&self, id: &SessionId, session: &ConsoleSession) -> Vec<Arc<ActiveStream>> {
        let references = self.plane.view.references(session);
        if let Some(reason) = close_reason(session, &references, Timestamp::now()) {
            self.plane.cut_session(id, end_reason(reason));
            return Vec::new();
        }
        self.follow_expiry(session);
        let console = validate(session, &references).map(|valid| valid.target.console).ok();
        let mut unknown = Vec::new();
        for live in self.plane.active.of_session(id) {
            if console.as_ref().is_some_and(|console| *console != live.console) {
                self.end(&live, EndReason::PolicyChanged);
            } else if !is_noted(session, &live) {
                // Somebody took it over, or took this process for dead.
                match live.superseded(session) {
                    Some(why) => self.end(&live, why),
                    None => unknown.push(live),
                }
            }
        }
        unknown
    }

    /// Looks at all sessions that have streams, for what has no event: a session that was deleted before the answer to the
    /// claim of its stream was here is in no watch cache, and is believed to be there for as long as own writes are.
    async fn look_again(&self) {
        let sessions = self.plane.active.sessions(|_| true);
        futures::stream::iter(sessions)
            .for_each_concurrent(REVIEWS_LIMIT, |id| async move {
                // Else a gateway with thousands of streams does nothing else meanwhile.
                tokio::task::yield_now().await;
                let session = self.plane.view.of(&id).filter(|_| self.plane.view.is_watched(&id));
                if let Some(session) = session {
                    self.end_refused(&id, &session);
                } else if self.plane.writer.is_gone(&id).await {
                    self.plane.cut_session(&id, EndReason::Deleted);
                }
            })
            .await;
    }

    fn end(&self, stream: &ActiveStream, reason: EndReason) {
        self.plane.cut(stream.id(), reason);
    }

    /// A stream's own clock knows the end that the session had when it was opened.
    fn follow_expiry(&self, session: &ConsoleSession) {
        let Some(expires) = expires_at(session) else { return };
        let id = session_id(session);
        let is_shorter = self
            .plane
            .active
            .of_session(&id)
            .iter()
            .any(|live| expires.as_second() < live.expires.as_second());
        if !is_shorter {
            return;
        }
        let mut timers = self.timers.lock();
        if timers.insert(id.clone(), expires) == Some(expires) {
            return;
        }
        drop(timers);
        let enforcer = self.clone();
        tokio::spawn(async move {
            let left = expires.duration_since(Timestamp::now());
            sleep(Duration::try_from(left).unwrap_or_default()).await;
            enforcer.timer_is_over(&id, expires);
        });
    }

    fn timer_is_over(&self, id: &SessionId, expires: Timestamp) {
        let mut timers = self.timers.lock();
        if timers.get(id) == Some(&expires) {
            timers.remove(id);
        }
        drop(timers);
        self.check(id);
    }

    /// Looks at the streams and asks for the rights of those who are connected, again and again. An answer that cannot be had
    /// changes nothing.
    pub(crate) async fn watch_rights(self) {
        let mut turns = interval(TICK_INTERVAL);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in (0..RECHECK_TICKS).cycle() {
            turns.tick().await;
            if turn == 0 {
                self.look_again().await;
            }
            let questions = self.questions();
            futures::stream::iter(questions)
                .for_each_concurrent(REVIEWS_LIMIT, |question| self.ask(question))
                .await;
        }
    }

    fn questions(&self) -> Vec<(UserInfo, ResourceAttributes)> {
        let mut questions: Vec<(UserInfo, ResourceAttributes)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for live in self.plane.active.all() {
            let key = (
                live.user.clone(),
                live.session.namespace.clone(),
                live.kind,
                live.target.clone(),
                live.protocol,
                live.has_control,
            );
            if seen.insert(key) {
                questions.extend(live.rights().into_iter().map(|right| (live.user.clone(), right)));
            }
        }
        questions
    }

    async fn ask(&self, (user, right): (UserInfo, ResourceAttributes)) {
        match self.plane.access.allows(&user, &right, RECHECK_TTL).await {
            Ok(true) => {}
            Ok(false) => {
                for live in self.plane.active.all() {
                    if live.user == user && live.rights().contains(&right) {
                        self.end(&live, EndReason::AccessWithdrawn);
                    }
                }
            }
            Err(error) => tracing::warn!("the right of a connected user is not known: {error}"),
        }
    }
}

fn is_noted(session: &ConsoleSession, live: &ActiveStream) -> bool {
    let connections = session.status.iter().flat_map(|status| &status.connections);
    connections.into_iter().any(|connection| connection.id == live.id())
}

/// What happened between the claim and the opening of a stream had no stream to end.
impl Observer for Enforcer {
    fn on_opened(&self, stream: &Stream) {
        self.check(&stream.info.session);
    }

    fn on_closed(&self, _: &Stream, _: &StreamEnd) {}

    fn on_rejected(&self, _: &EntryRejected) {}
}
