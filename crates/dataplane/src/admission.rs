//! Who may enter, decided elsewhere: the interface to it.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use novasphere_wire::{
    close::{EndReason, StreamEnd},
    resume::ResumeHash,
    rules::Rules,
    token::TokenHash,
};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    limits::LimitReached,
    registry::{Protocol, SessionId, Stream, StreamInfo, Transport},
    upstream::Upstream,
};

/// A viewer who wants to enter.
#[derive(Clone, Debug)]
pub struct AdmissionRequest {
    /// The hash of the token that the viewer sent.
    pub token: TokenHash,
    /// The session that the viewer says to enter, as `namespace/name`: the token has to be of this one.
    pub session: Option<String>,
    /// The session that the token may be of, as `namespace/name`. It helps to find the token, and is not checked: a person may have pasted
    /// another token into the page of a session.
    pub session_hint: Option<String>,
    /// Where the viewer connects from.
    pub client: IpAddr,
    /// How the viewer connects.
    pub transport: Transport,
    /// What the viewer can come back with when they have entered, if they can keep it.
    pub resume: Option<ResumeOffer>,
}

/// What a browser can come back with when it has entered.
#[derive(Clone, Copy, Debug)]
pub struct ResumeOffer {
    /// What it is given.
    pub credential: ResumeHash,
    /// What it had before, and forgets with that.
    pub superseded: Option<ResumeHash>,
}

/// A viewer who was let in before and wants to come back, by WebSocket.
#[derive(Clone, Debug)]
pub struct ResumeRequest {
    /// The session, as `namespace/name`.
    pub session: String,
    /// What the browser was given when it entered.
    pub presented: ResumeHash,
    /// What it is given for the next time.
    pub successor: ResumeHash,
    /// Where the viewer connects from.
    pub client: IpAddr,
}

/// A viewer who may enter. The use of the token is already claimed.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The session.
    pub session: SessionId,
    /// The user who got the token.
    pub user: String,
    /// The object whose console it is, such as `VmAccess/web-1`.
    pub target_name: String,
    /// Which console it is.
    pub protocol: Protocol,
    /// What the viewer may do.
    pub rules: Rules,
    /// Where the console is.
    pub target: Upstream,
    /// When the session ends.
    pub expires: Instant,
    /// The stream ends after this time without human input.
    pub idle_timeout: Option<Duration>,
    /// The stream's place in the session.
    pub slot: ConnectionSlot,
    /// Whether the viewer can come back with what the request offers.
    pub is_resumable: bool,
}

/// A stream's place in its session, taken before the stream is open and given back when it is over or never opens.
#[derive(Clone, Default)]
pub struct ConnectionSlot(Option<Arc<SlotInner>>);

struct SlotInner {
    id: String,
    give_back: Box<dyn Fn(&str) + Send + Sync>,
}

impl ConnectionSlot {
    /// A slot of this name. `give_back` is called once, when its last clone is dropped; it must not block.
    pub fn new(id: impl Into<String>, give_back: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(SlotInner {
            id: id.into(),
            give_back: Box::new(give_back),
        })))
    }

    /// Its name; empty when slots are not counted.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.as_ref().map_or("", |inner| &inner.id)
    }
}

impl fmt::Debug for ConnectionSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ConnectionSlot({})", self.id())
    }
}

impl Drop for SlotInner {
    fn drop(&mut self) {
        (self.give_back)(&self.id);
    }
}

/// A viewer who was turned away, or left before the stream was open.
#[derive(Clone, Debug)]
pub struct EntryRejected {
    /// Why.
    pub end: StreamEnd,
    /// The reason in one word for metrics: that of [`StreamEnd::reason`], or a more exact one.
    pub counted_as: &'static str,
    /// Where the viewer connected from.
    pub client: IpAddr,
    /// How the viewer connected.
    pub transport: Transport,
    /// The session, as far as it was known or named.
    pub session: Option<String>,
    /// The user, when it was known.
    pub user: Option<String>,
    /// The object whose console was wanted, when it was known.
    pub target: Option<String>,
    /// The slot that was taken for the stream.
    pub slot: ConnectionSlot,
}

/// Who and what a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSubject {
    /// The session, as `namespace/name`.
    pub session: String,
    /// The user who got the token.
    pub user: String,
    /// The object whose console it opens, such as `VmAccess/web-1`.
    pub target: String,
}

/// Decides who may enter.
pub trait Admission: Send + Sync + 'static {
    /// How a target is, as its viewers may know it; written as JSON.
    type TargetView: Serialize;

    /// Decides, and claims one use of the token when the answer is yes.
    fn admit(&self, request: &AdmissionRequest) -> impl Future<Output = Result<Admitted, StreamEnd>> + Send;

    /// Decides about a viewer who was let in before, and claims the place that was kept for them when the answer is yes.
    fn resume(&self, _request: &ResumeRequest) -> impl Future<Output = Result<Admitted, StreamEnd>> + Send {
        std::future::ready(Err(StreamEnd::from(EndReason::ResumeRefused)))
    }

    /// Who and what a token stands for, whether it is still good or not; for logs.
    fn subject_of(&self, _token: &TokenHash) -> Option<TokenSubject> {
        None
    }

    /// How the target of a token is, from what is known already: it is asked often and must not wait. `None` unless the token
    /// may still open a stream of an open session or a stream that it opened is open, and the client's address is one that
    /// the session allows. Stranger and late comer cannot tell these apart.
    fn target_view(&self, _token: &TokenHash, _client: IpAddr) -> Option<Self::TargetView> {
        None
    }

    /// The same for who can come back to a session, `namespace/name`, or is there. It is no use of what the browser was given.
    fn resumable_view(&self, _session: &str, _presented: &ResumeHash, _client: IpAddr) -> Option<Self::TargetView> {
        None
    }

    /// Finds out why a target closed the connection: consoles close without a word. `None` when it cannot be known. The
    /// viewer waits for it for at most 3 s.
    fn explain(&self, stream: &StreamInfo) -> impl Future<Output = Option<StreamEnd>> + Send;
}

/// An answer of the HTTP port.
#[derive(Clone, Copy, Debug)]
pub struct HttpAnswer<'a> {
    /// The method of the request.
    pub method: &'a Method,
    /// What was asked for: one of a fixed list.
    pub route: &'static str,
    /// The answer.
    pub status: StatusCode,
    /// The time that it took.
    pub took: Duration,
}

/// Is told what happens, for status, metrics and the audit log. Calls must not block.
pub trait Observer: Send + Sync + 'static {
    /// A request at the HTTP port was answered.
    fn on_answered(&self, _answer: &HttpAnswer<'_>) {}
    /// A viewer was admitted: a use of their token is claimed. It took this long.
    fn on_admitted(&self, _transport: Transport, _took: Duration) {}
    /// The target of an admitted viewer answers, this long after the admission.
    fn on_target_opened(&self, _protocol: Protocol, _took: Duration) {}
    /// A target that slept or started answers, this long after the viewer began to wait.
    fn on_woken(&self, _took: Duration) {}
    /// Somebody begins to connect: a connection of RFB, a request for a WebSocket. A stream or a refusal follows, as a rule.
    fn on_attempt(&self, _transport: Transport) {}
    /// Somebody has come back to the place that they had.
    fn on_resumed(&self, _transport: Transport) {}
    /// A connection that was not authenticated yet was dropped, and a newcomer got its place.
    fn on_dropped(&self, _transport: Transport, _limit: LimitReached) {}
    /// A stream is open.
    fn on_opened(&self, stream: &Stream);
    /// A stream has ended.
    fn on_closed(&self, stream: &Stream, end: &StreamEnd);
    /// A viewer was turned away.
    fn on_rejected(&self, refused: &EntryRejected);
}
