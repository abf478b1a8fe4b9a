use super::*;
use crate::console_session::{
    grant::{DEFAULT_TOKEN_TTL, NewGrant, issue},
    samples::{at, ready_status},
};

const HASH: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

fn new(id: &str) -> NewConnection {
    NewConnection {
        id: id.into(),
        user: "somebody".into(),
        gateway: "gateway-1".into(),
        client_address: "192.0.2.1".into(),
        transport: Transport::WebSocket,
        input: ConsoleInput::Control,
    }
}

fn view(id: &str) -> NewConnection {
    NewConnection {
        input: ConsoleInput::ViewOnly,
        ..new(id)
    }
}

fn granted(uses: u32) -> ConsoleSessionStatus {
    let grant = NewGrant {
        id: "g".into(),
        sha256: HASH.into(),
        user: "ann".into(),
        uid: None,
        groups: Vec::new(),
        extra: std::collections::BTreeMap::new(),
        ttl: DEFAULT_TOKEN_TTL,
        uses,
    };
    issue(&ready_status(), grant, at(0)).unwrap()
}

fn left(user: &str, reason: &str) -> LastDisconnect {
    LastDisconnect {
        user: user.into(),
        reason: reason.into(),
        at: Time(at(5)),
        input: None,
    }
}

#[test]
fn who_may_control_displaces_the_newest_of_a_full_session_who_only_views() {
    let full = [view("a"), new("b"), view("c")]
        .into_iter()
        .fold(ready_status(), |status, viewer| {
            connect(&status, viewer, 3, at(1)).unwrap()
        });
    assert_eq!(view_to_displace(&full, &[], 4), None, "there is room");
    assert_eq!(view_to_displace(&full, &[], 3).as_deref(), Some("c"));
    assert_eq!(
        view_to_displace(&full, &["b".to_owned()], 3),
        None,
        "room is made already"
    );
    assert_eq!(view_to_displace(&full, &["c".to_owned()], 2).as_deref(), Some("a"));
    let controlled = connect(&ready_status(), new("b"), 1, at(1)).unwrap();
    assert_eq!(
        view_to_displace(&controlled, &[], 1),
        None,
        "nobody with control is displaced so"
    );
}

#[test]
fn the_last_disconnect_says_what_the_viewer_was_allowed_to_do() {
    let both = [view("a"), new("b")]
        .into_iter()
        .fold(ready_status(), |status, viewer| {
            connect(&status, viewer, 3, at(1)).unwrap()
        });
    let last = |ids: &[&str]| {
        disconnect(&both, ids, left("ann", "ViewerLeft"), at(5))
            .last_disconnect
            .unwrap()
            .input
    };
    assert_eq!(last(&["a"]), Some(ConsoleInput::ViewOnly));
    assert_eq!(last(&["a", "b"]), Some(ConsoleInput::Control));
}

#[test]
fn a_stream_belongs_to_who_got_the_token() {
    let status = claim(&granted(1), HASH, new("a"), 1, at(1)).unwrap();
    assert_eq!((status.phase, status.viewers), (Some(SessionPhase::Active), Some(1)));
    assert_eq!(status.connections[0].user, "ann");
    assert_eq!(
        status.grants[0].uses_left, 0,
        "it is kept, to tell a second use from a wrong token"
    );
    assert_eq!(claim(&status, HASH, new("b"), 2, at(1)), Err(ClaimError::TokenUsed));
    let left = disconnect(&status, &["a"], left("ann", "ViewerLeft"), at(5));
    assert_eq!((left.phase, left.viewers), (Some(SessionPhase::Ready), Some(0)));
    assert_eq!(left.last_disconnect.unwrap().reason, "ViewerLeft");
    assert!(left.grants.is_empty(), "a used grant goes with the next write");
}

#[test]
fn a_token_that_is_wrong_used_or_late_opens_nothing() {
    let status = granted(1);
    assert_eq!(
        claim(&status, &"f".repeat(64), new("a"), 1, at(1)),
        Err(ClaimError::UnknownToken)
    );
    assert_eq!(claim(&status, HASH, new("a"), 1, at(60)), Err(ClaimError::TokenExpired));
    let over = ConsoleSessionStatus {
        closed_at: Some(Time(at(1))),
        ..status.clone()
    };
    assert_eq!(claim(&over, HASH, new("a"), 1, at(1)), Err(ClaimError::Over));
    let waiting = ConsoleSessionStatus {
        phase: Some(SessionPhase::Pending),
        ..status
    };
    assert_eq!(claim(&waiting, HASH, new("a"), 1, at(1)), Err(ClaimError::NotReady));
}

#[test]
fn viewers_are_bounded_and_a_refused_one_uses_nothing_up() {
    let status = claim(&granted(2), HASH, new("a"), 1, at(1)).unwrap();
    assert_eq!(
        claim(&status, HASH, new("b"), 1, at(1)),
        Err(ClaimError::TooManyViewers)
    );
    assert_eq!(status.grants[0].uses_left, 1);
    assert_eq!(connect(&status, new("a"), 9, at(1)), Err(ClaimError::Duplicate));
    assert_eq!(
        connect(&status, new("b"), 2, at(1)).unwrap().connections[1].user,
        "somebody"
    );
}

#[test]
fn who_comes_through_kube_apiserver_is_named_like_who_got_a_token() {
    let by_token = connect(&granted(1), new("a"), 1, at(1)).unwrap();
    assert_eq!(by_token.user.as_deref(), Some("ann"));
    let through = NewConnection {
        transport: Transport::KubeApiserver,
        ..new("a")
    };
    let status = connect(&granted(1), through, 1, at(1)).unwrap();
    assert_eq!(status.user.as_deref(), Some("somebody"));
}

#[test]
fn leaving_twice_changes_nothing_more() {
    let status = claim(&granted(1), HASH, new("a"), 1, at(1)).unwrap();
    let first = disconnect(&status, &["a"], left("ann", "Idle"), at(5));
    assert_eq!(disconnect(&first, &["a"], left("ann", "Expired"), at(6)), first);
}

#[test]
fn a_session_that_is_over_keeps_its_phase_while_its_viewers_leave() {
    let mut status = claim(&granted(1), HASH, new("a"), 1, at(1)).unwrap();
    status.phase = Some(SessionPhase::Closed);
    let status = disconnect(&status, &["a"], left("ann", "Revoked"), at(5));
    assert_eq!((status.phase, status.viewers), (Some(SessionPhase::Closed), Some(0)));
}

#[test]
fn what_a_stream_carried_is_told() {
    let status = claim(&granted(1), HASH, new("a"), 1, at(1)).unwrap();
    let counted = record_usage(&status, "a", 10, u64::MAX, Some(at(3)));
    let connection = &counted.connections[0];
    assert_eq!((connection.bytes_sent, connection.bytes_received), (10, i64::MAX));
    assert_eq!(connection.last_input_at, Some(Time(at(3))));
    assert_eq!(record_usage(&counted, "a", 10, u64::MAX, None), counted);
    assert_eq!(record_usage(&status, "other", 1, 1, None), status);
}
