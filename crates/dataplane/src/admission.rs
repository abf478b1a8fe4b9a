//! Who may enter, decided elsewhere: the interface to it.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use novasphere_wire::{close::Close, rules::Rules, token::TokenHash};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    limits::LimitReached,
    registry::{Protocol, SessionId, Stream, StreamInfo, Transport},
    relay::End,
    upstream::Target,
};

/// A viewer who wants to enter.
#[derive(Clone, Debug)]
pub struct AdmissionRequest {
    /// The hash of the token that the viewer sent.
    pub token: TokenHash,
    /// The session that the viewer named, as `namespace/name`; browsers name none.
    pub session: Option<String>,
    /// Where the viewer connects from.
    pub client: IpAddr,
    /// How the viewer connects.
    pub transport: Transport,
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
    pub target: Target,
    /// When the session ends.
    pub expires: Instant,
    /// The stream ends after this time without human input.
    pub idle_timeout: Option<Duration>,
    /// The stream's place in the session.
    pub place: Place,
}

/// A stream's place in its session, taken before the stream is open and given back when it is over or never opens.
#[derive(Clone, Default)]
pub struct Place(Option<Arc<Taken>>);

struct Taken {
    id: String,
    give_back: Box<dyn Fn(&str) + Send + Sync>,
}

impl Place {
    /// A place of this name. `give_back` is called once, when nobody holds it any more; it must not block.
    pub fn new(id: impl Into<String>, give_back: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Taken {
            id: id.into(),
            give_back: Box::new(give_back),
        })))
    }

    /// Its name; empty when places are not counted.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.as_ref().map_or("", |taken| &taken.id)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Place({})", self.id())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        (self.give_back)(&self.id);
    }
}

/// A viewer who may not enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the viewer is told. [`Close::TokenRefused`] for everything that would tell a stranger something.
    pub why: Close,
    /// What exactly; for logs, never for viewers.
    pub detail: String,
}

/// A viewer who was turned away, or left before the stream was open.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// Why in one word, for metrics: that of [`Refusal::why`], or a more exact one.
    pub reason: &'static str,
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
    /// The place that was taken for the stream.
    pub place: Place,
}

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
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
    fn admit(&self, request: &AdmissionRequest) -> impl Future<Output = Result<Admitted, Refusal>> + Send;

    /// Whose token it is, whether it is still good or not; for logs.
    fn whose(&self, _token: &TokenHash) -> Option<Whose> {
        None
    }

    /// How the target of a token is, from what is known already: it is asked often and must not wait. `None` unless the token
    /// may still open a stream of an open session or a stream that it opened is open, and the client's address is one that
    /// the session allows. Stranger and late comer cannot tell these apart.
    fn target_view(&self, _token: &TokenHash, _client: IpAddr) -> Option<Self::TargetView> {
        None
    }

    /// Finds out why a target closed the connection: consoles close without a word. `None` when it cannot be known. The
    /// viewer waits for it for at most 3 s.
    fn explain(&self, stream: &StreamInfo) -> impl Future<Output = Option<End>> + Send;
}

/// Is told what happens, for status, metrics and the audit log. Calls must not block.
pub trait Observer: Send + Sync + 'static {
    /// Somebody begins to connect: a connection of RFB, a request for a WebSocket. A stream or a refusal follows, as a rule.
    fn began(&self, _transport: Transport) {}
    /// A connection was dropped before a word was said on it.
    fn dropped(&self, _transport: Transport, _limit: LimitReached) {}
    /// A stream is open.
    fn opened(&self, stream: &Stream);
    /// A stream has ended.
    fn closed(&self, stream: &Stream, end: &End);
    /// A viewer was turned away.
    fn refused(&self, refused: &Refused);
}
