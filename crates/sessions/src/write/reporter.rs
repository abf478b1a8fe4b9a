//! Reports of streams: their ends in the sessions' status, and events.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use novasphere_core::console_session::{
    connection::{connect, disconnect},
    grant::NewGrant,
    resume::keep,
};
use novasphere_crd::{ConsoleSession, LastDisconnect, Time};
use novasphere_dataplane::{
    admission::{EntryRejected, Observer},
    registry::{SessionId, Stream},
};
use novasphere_runtime::{
    events,
    optimistic::{Infallibly, UpdateError},
    tasks::Tasks,
};
use novasphere_wire::close::{EndReason, StreamEnd};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::{sleep, timeout},
};

use crate::{
    active::{ActiveStream, ActiveStreams},
    write::{SessionWriter, StatusDecision},
};

/// How long to wait after a write that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Sessions that are written at the same time.
const WRITES_LIMIT: usize = 16;

/// Events that wait to be written; more are lost, for events are best effort.
const EVENTS_LIMIT: usize = 256;

/// What is told about streams. Clones share it.
#[derive(Clone)]
pub(crate) struct SessionReporter(Arc<ReporterInner>);

struct ReporterInner {
    writer: SessionWriter,
    live: ActiveStreams,
    news: mpsc::Sender<SessionEvent>,
    leaving: Mutex<HashMap<SessionId, Vec<Leaving>>>,
    wake: Notify,
    /// Sessions whose leave is being written.
    busy: AtomicUsize,
    idle: Notify,
}

struct Leaving {
    connection: String,
    /// Whether the viewer's place is kept.
    keeps_place: bool,
    last: LastDisconnect,
}

/// How a viewer goes whose stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// They said that they are done.
    ForGood,
    /// They said nothing, or their line broke.
    MayReturn,
}

impl Departure {
    /// Whether the viewer's place is kept when their stream ends so. It is not when they have lost it, or when they were away themselves.
    const fn keeps_place(self, why: EndReason) -> bool {
        match why {
            EndReason::Expired
            | EndReason::Revoked
            | EndReason::Deleted
            | EndReason::Idle
            | EndReason::TargetGone
            | EndReason::TargetExpired
            | EndReason::PolicyChanged
            | EndReason::AccessWithdrawn
            | EndReason::Replaced
            | EndReason::Moved
            | EndReason::CredentialReused
            | EndReason::TokenRefused
            | EndReason::ResumeRefused
            | EndReason::InUse
            | EndReason::TooManyViewers
            | EndReason::AddressNotAllowed
            | EndReason::TransportNotAllowed
            | EndReason::TooManyAttempts
            | EndReason::InputNotAllowed => false,
            EndReason::ViewerLeft => matches!(self, Self::MayReturn),
            EndReason::Internal
            | EndReason::Restarting
            | EndReason::TargetStopped
            | EndReason::TargetDisconnected
            | EndReason::TargetUnreachable
            | EndReason::TargetRefused
            | EndReason::TargetNotRunning
            | EndReason::WakeTimeout
            | EndReason::TargetFailed
            | EndReason::TargetHibernated
            | EndReason::TooManyWaiting
            | EndReason::Unavailable
            | EndReason::ProtocolError
            | EndReason::MessageNotAllowed
            | EndReason::MessageTooLarge
            | EndReason::HandshakeTimeout
            | EndReason::ViewerLost => true,
        }
    }
}

/// An event to be written.
struct SessionEvent {
    session: SessionId,
    warning: bool,
    reason: &'static str,
    note: String,
}

impl SessionReporter {
    /// A report, and the tasks that write it into `tasks`.
    pub(crate) fn start(
        writer: SessionWriter,
        live: ActiveStreams,
        reporter: events::Reporter,
        tasks: &mut Tasks,
    ) -> Self {
        let (news, pending) = mpsc::channel(EVENTS_LIMIT);
        let report = Self(Arc::new(ReporterInner {
            writer,
            live,
            news,
            leaving: Mutex::default(),
            wake: Notify::new(),
            busy: AtomicUsize::new(0),
            idle: Notify::new(),
        }));
        tasks.spawn("session status writer", report.clone().write_leaves());
        tasks.spawn("session events", write_events(reporter, pending));
        report
    }

    /// Notes that a stream is over; does nothing when that was noted already.
    pub(crate) fn closed(&self, session: &SessionId, connection: &str, why: EndReason, how: Departure) {
        if let Some(live) = self.0.live.remove(session, connection) {
            self.left(&live, why, how);
        }
    }

    fn left(&self, live: &ActiveStream, why: EndReason, how: Departure) {
        let leaving = Leaving {
            connection: live.id().to_owned(),
            keeps_place: how.keeps_place(why),
            last: LastDisconnect {
                user: live.user.name.clone(),
                reason: why.reason().to_owned(),
                at: Time(Timestamp::now()),
                input: None,
            },
        };
        self.lock().entry(live.session.clone()).or_default().push(leaving);
        self.0.wake.notify_one();
    }

    /// Notes connections that the status has and that nobody carries.
    pub(crate) fn orphaned(&self, session: &SessionId, user: &str, connection: &str) {
        let leaving = Leaving {
            connection: connection.to_owned(),
            // The answer to a claim got lost, and its viewer tries again.
            keeps_place: true,
            last: LastDisconnect {
                user: user.to_owned(),
                reason: EndReason::ViewerLost.reason().to_owned(),
                at: Time(Timestamp::now()),
                input: None,
            },
        };
        let mut all = self.lock();
        let of_session = all.entry(session.clone()).or_default();
        // It is noted again and again while it cannot be written.
        if !of_session.iter().any(|waiting| waiting.connection == connection) {
            of_session.push(leaving);
        }
        drop(all);
        self.0.wake.notify_one();
    }

    /// Notes that a token of a session was given out.
    pub(crate) fn granted(&self, session: &SessionId, grant: &NewGrant) {
        let streams = if grant.uses == 1 { "one stream" } else { "its streams" };
        let seconds = grant.ttl.as_secs();
        self.tell(SessionEvent {
            session: session.clone(),
            warning: false,
            reason: "Granted",
            note: format!("{} got a token that opens {streams} within {seconds} s.", grant.user),
        });
    }

    /// Notes that a known user was turned away from a session.
    pub(crate) fn rejected(&self, session: &SessionId, user: &str, end: &StreamEnd) {
        self.tell(SessionEvent {
            session: session.clone(),
            warning: true,
            reason: "ConnectionRefused",
            note: format!("{user} was turned away ({}): {}", end.reason.reason(), refusal(end)),
        });
    }

    /// Puts a stream that lives back into its session: while this process could not renew its lease, somebody may have
    /// taken it for dead.
    pub(crate) fn restore(&self, live: Arc<ActiveStream>) {
        let report = self.clone();
        tokio::spawn(async move {
            let mut again = Infallibly(|session: &ConsoleSession| {
                let status = session.status.clone().unwrap_or_default();
                let connected = connect(&status, live.connection.clone(), u16::MAX, Timestamp::now());
                // A refusal means that it is there, or that the session is over and the stream with it.
                connected.map_or(StatusDecision::Keep, |status| StatusDecision::Write(Box::new(status)))
            });
            if let Err(error) = report.0.writer.update(&live.session, &mut again).await {
                tracing::debug!(session = %live.session, "a stream is not put back into its session: {error}");
            }
        });
    }

    /// Returns when every end is in its session's status, at the latest after `bound`.
    pub(crate) async fn flush(&self, bound: Duration) {
        let all = async {
            loop {
                let idle = self.0.idle.notified();
                if self.lock().is_empty() && self.0.busy.load(SeqCst) == 0 {
                    return;
                }
                idle.await;
            }
        };
        if timeout(bound, all).await.is_err() {
            tracing::warn!("not every end of a stream could be written; the controller puts that right");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Vec<Leaving>>> {
        self.0.leaving.lock()
    }

    fn tell(&self, news: SessionEvent) {
        if self.0.news.try_send(news).is_err() {
            tracing::debug!("too many events about sessions; one is not told");
        }
    }

    async fn write_leaves(self) {
        let places = Arc::new(Semaphore::new(WRITES_LIMIT));
        loop {
            self.0.wake.notified().await;
            let due: Vec<_> = {
                let mut leaving = self.lock();
                self.0.busy.fetch_add(leaving.len(), SeqCst);
                leaving.drain().collect()
            };
            for (session, leaving) in due {
                // Never closed.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let report = self.clone();
                tokio::spawn(async move {
                    report.write_leave(session, leaving).await;
                    drop(place);
                    report.0.busy.fetch_sub(1, SeqCst);
                    report.0.idle.notify_waiters();
                });
            }
        }
    }

    async fn write_leave(&self, id: SessionId, leaving: Vec<Leaving>) {
        let Some(last) = leaving.last().map(|leaving| leaving.last.clone()) else {
            return;
        };
        let ids: Vec<_> = leaving.iter().map(|leaving| leaving.connection.as_str()).collect();
        let keep_theirs = leaving.iter().filter(|leaving| leaving.keeps_place);
        let kept: Vec<_> = keep_theirs.map(|leaving| leaving.connection.as_str()).collect();
        let mut without = Infallibly(|session: &ConsoleSession| {
            let before = session.status.clone().unwrap_or_default();
            let now = Timestamp::now();
            let after = disconnect(&keep(before.clone(), &kept, now), &ids, last.clone(), now);
            StatusDecision::change(&before, after)
        });
        match self.0.writer.update(&id, &mut without).await {
            Ok(_) | Err(UpdateError::Gone | UpdateError::Refused(_)) => {}
            Err(error @ (UpdateError::Contended | UpdateError::Write(_))) => {
                tracing::warn!(session = %id, "the end of a stream is not in its session's status yet: {error}");
                let mut waiting = self.lock();
                waiting.entry(id).or_default().extend(leaving);
                drop(waiting);
                let report = self.clone();
                tokio::spawn(async move {
                    sleep(RETRY_INTERVAL).await;
                    report.0.wake.notify_one();
                });
            }
        }
    }
}

async fn write_events(reporter: events::Reporter, mut pending: mpsc::Receiver<SessionEvent>) {
    while let Some(news) = pending.recv().await {
        let SessionEvent {
            session,
            warning,
            reason,
            note,
        } = news;
        let about = ObjectReference {
            api_version: Some(ConsoleSession::api_version(&()).into_owned()),
            kind: Some(ConsoleSession::kind(&()).into_owned()),
            namespace: Some(session.namespace),
            name: Some(session.name),
            uid: Some(session.uid),
            ..ObjectReference::default()
        };
        if warning {
            reporter.warning(&about, reason, "Connect", &note).await;
        } else {
            reporter.normal(&about, reason, "Connect", &note).await;
        }
    }
}

impl Observer for SessionReporter {
    fn on_opened(&self, stream: &Stream) {
        let info = &stream.info;
        let transport: &str = info.transport.into();
        self.tell(SessionEvent {
            session: info.session.clone(),
            warning: false,
            reason: "Connected",
            note: format!("{} connected to {} by {transport}.", info.user, info.target),
        });
    }

    fn on_closed(&self, stream: &Stream, end: &StreamEnd) {
        let info = &stream.info;
        let how = if stream.counters.has_left_for_good() {
            Departure::ForGood
        } else {
            Departure::MayReturn
        };
        self.closed(&info.session, &info.connection, end.reason, how);
        self.tell(SessionEvent {
            session: info.session.clone(),
            warning: false,
            reason: "Disconnected",
            note: format!("{} ({}): {}", info.user, end.reason.reason(), words(end)),
        });
    }

    fn on_rejected(&self, rejected: &EntryRejected) {
        let Some(live) = self.0.live.find(rejected.slot.id()) else {
            return;
        };
        self.closed(&live.session, live.id(), rejected.end.reason, Departure::MayReturn);
        self.rejected(&live.session, &live.user.name, &rejected.end);
    }
}

/// The longest text of a target that an event repeats, in characters.
const DETAIL_LENGTH_LIMIT: usize = 500;

/// What people are told of a stream that was not opened. What a target says when it turns the gateway away is for those who see its events.
fn refusal(end: &StreamEnd) -> String {
    match (end.reason, &end.detail) {
        (EndReason::TargetRefused, Some(detail)) => {
            let detail: String = detail.chars().take(DETAIL_LENGTH_LIMIT).collect();
            format!("{} {detail}", end.reason.sentence())
        }
        (why, _) => why.sentence().to_owned(),
    }
}

/// What people are told of the end of a stream. Why a desktop went to sleep is in its workspace's own words.
fn words(end: &StreamEnd) -> &str {
    match (end.reason, &end.detail) {
        (EndReason::TargetHibernated | EndReason::TargetExpired, Some(detail)) => detail,
        (why, _) => why.sentence(),
    }
}
