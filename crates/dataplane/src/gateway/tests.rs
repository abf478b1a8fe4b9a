//! A gateway without sessions, and what it tells of viewers who get no stream.

use std::future::pending;

use novasphere_wire::{close::StreamEnd, rfb::upstream::Authentication, rules::Rules};
use parking_lot::Mutex;
use tokio::io::duplex;

use super::*;
use crate::{
    admission::{ConnectionSlot, EntryRejected, TokenSubject},
    limits::Limits,
    registry::{SessionId, Stream, StreamInfo},
    upstream::tcp::TcpUpstream,
};

/// Never decides, so nobody enters, and remembers who was refused.
#[derive(Clone, Default)]
pub(crate) struct Porter {
    pub(crate) refused: Arc<Mutex<Vec<EntryRejected>>>,
    subject: Option<TokenSubject>,
}

impl Porter {
    pub(crate) fn gateway(&self) -> Gateway<Self> {
        let observers: Vec<Box<dyn Observer>> = vec![Box::new(self.clone())];
        Gateway::new(self.clone(), observers, ConnectionLimiter::new(Limits::default()))
    }

    fn last(&self) -> EntryRejected {
        let refused = self.refused.lock();
        refused.last().unwrap().clone()
    }
}

impl Admission for Porter {
    type TargetView = ();

    async fn admit(&self, _: &AdmissionRequest) -> Result<Admitted, StreamEnd> {
        pending().await
    }

    fn subject_of(&self, _: &TokenHash) -> Option<TokenSubject> {
        self.subject.clone()
    }

    async fn explain(&self, _: &StreamInfo) -> Option<StreamEnd> {
        None
    }
}

impl Observer for Porter {
    fn on_opened(&self, _: &Stream) {}

    fn on_closed(&self, _: &Stream, _: &StreamEnd) {}

    fn on_rejected(&self, refused: &EntryRejected) {
        self.refused.lock().push(refused.clone());
    }
}

/// A viewer whose console is nowhere.
pub(crate) fn admitted() -> Admitted {
    Admitted {
        session: SessionId {
            namespace: "team".into(),
            name: "a".into(),
            uid: "u".into(),
        },
        user: "ann".into(),
        target_name: "VmAccess/web".into(),
        protocol: Protocol::Vnc,
        rules: Rules::CONTROL,
        target: Upstream::Tcp(TcpUpstream {
            address: ([127, 0, 0, 1], 1).into(),
            authentication: Authentication::None,
        }),
        expires: Instant::now() + Duration::from_hours(1),
        idle_timeout: None,
        slot: ConnectionSlot::default(),
        is_resumable: false,
    }
}

fn request() -> AdmissionRequest {
    AdmissionRequest {
        token: TokenHash::of_token(&[b'A'; 43]).unwrap(),
        session: None,
        session_hint: None,
        client: [192, 0, 2, 1].into(),
        transport: Transport::WebSocket,
        resume: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_runs_out_of_time_is_known_when_the_token_is() {
    let subject = TokenSubject {
        session: "team/a".into(),
        user: "ann".into(),
        target: "VmAccess/web".into(),
    };
    let porter = Porter {
        subject: Some(subject),
        ..Porter::default()
    };
    let (near, _far) = duplex(1024);
    let start = Instant::now();
    porter
        .gateway()
        .serve_websocket(near, Bytes::new(), request(), None)
        .await;
    let waited = start.elapsed();
    let time = Limits::default().handshake;
    assert!(waited >= time && waited <= time + CLOSE_TIMEOUT, "{waited:?}");
    let refused = porter.last();
    assert_eq!(
        (refused.end.reason, refused.counted_as),
        (EndReason::HandshakeTimeout, "HandshakeTimeout")
    );
    let known = (
        refused.session.as_deref(),
        refused.user.as_deref(),
        refused.target.as_deref(),
    );
    assert_eq!(known, (Some("team/a"), Some("ann"), Some("VmAccess/web")));
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_is_not_admitted_yet_makes_room_for_a_newcomer() {
    let porter = Porter::default();
    let limiter = ConnectionLimiter::new(Limits {
        half_open: 1,
        ..Limits::default()
    });
    let observers: Vec<Box<dyn Observer>> = vec![Box::new(porter.clone())];
    let gateway = Gateway::new(porter.clone(), observers, limiter.clone());
    let enter = || limiter.begin(limiter.places().enter([192, 0, 2, 1].into()));
    let (near, _far) = duplex(1024);
    let start = Instant::now();
    let serving = gateway.serve_websocket(near, Bytes::new(), request(), Some(enter()));
    let newcomer = async {
        tokio::task::yield_now().await;
        enter()
    };
    let ((), _newcomer) = tokio::join!(serving, newcomer);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(limiter.half_open(), 1, "the newcomer's");
    assert!(porter.refused.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn work_for_an_admitted_viewer_fails_as_his() {
    let until = Instant::now() + Duration::from_secs(1);
    let late = EntryFailure::late().of(&admitted());
    let failure = before(until, late, pending::<Result<(), EntryFailure>>())
        .await
        .err()
        .unwrap();
    let porter = Porter::default();
    porter.gateway().refused(failure, [192, 0, 2, 1].into(), Transport::Rfb);
    let refused = porter.last();
    assert_eq!(
        (refused.session.as_deref(), refused.user.as_deref()),
        (Some("team/a"), Some("ann"))
    );
}
