use novasphere_crd::Transport;

use super::*;
use crate::console_session::{
    connection::claim,
    grant::{DEFAULT_TOKEN_TTL, NewGrant, issue},
    samples::{at, ready_status},
};

const WINDOW: Duration = DEFAULT_RESUME_WINDOW;

/// Stands for the hash of a token or of a part of a credential: another one for each.
fn hash(of: &str) -> String {
    format!("{of:0>64}")
}

fn shown(secret: &str) -> CredentialHashes {
    CredentialHashes {
        place: hash("p"),
        secret: hash(secret),
    }
}

fn stream(id: &str) -> NewConnection {
    NewConnection {
        id: id.into(),
        user: "ann".into(),
        gateway: "gateway-1".into(),
        client_address: "192.0.2.1".into(),
        transport: Transport::WebSocket,
        input: ConsoleInput::Control,
    }
}

/// Ann has entered by a token, with the stream `a`, and was given the secret 1.
fn entered() -> ConsoleSessionStatus {
    let grant = NewGrant {
        id: "g".into(),
        sha256: hash("token"),
        user: "ann".into(),
        uid: None,
        groups: vec!["support".into()],
        extra: std::collections::BTreeMap::new(),
        ttl: DEFAULT_TOKEN_TTL,
        uses: 1,
    };
    let granted = issue(&ready_status(), grant, at(0)).unwrap();
    let claimed = claim(&granted, &hash("token"), stream("a"), 1, at(1)).unwrap();
    let new = NewPlace::Credential {
        grant: "g".into(),
        hashes: shown("1"),
    };
    with_place(&claimed, "place", "a", new)
}

fn last(reason: &str) -> LastDisconnect {
    LastDisconnect {
        user: "ann".into(),
        reason: reason.into(),
        at: Time(at(5)),
        input: None,
    }
}

/// The stream breaks, and its place is kept.
fn broken(status: &ConsoleSessionStatus, id: &str, second: i64) -> ConsoleSessionStatus {
    let kept = keep(status.clone(), &[id], at(second));
    disconnect(&kept, &[id], last("ViewerLost"), at(second))
}

fn back(
    status: &ConsoleSessionStatus,
    secret: &str,
    successor: &str,
    id: &str,
    second: i64,
) -> Result<TakenBack, ClaimError> {
    take_back(
        status,
        &shown(secret),
        &hash(successor),
        stream(id),
        1,
        WINDOW,
        at(second),
    )
}

fn worth(status: &ConsoleSessionStatus, secret: &str, second: i64) -> &'static str {
    match presented(status, &shown(secret), WINDOW, at(second)) {
        PresentedCredential::Unknown => "unknown",
        PresentedCredential::Good(_) => "good",
        PresentedCredential::UsedBefore(_) => "used before",
    }
}

fn connections(status: &ConsoleSessionStatus) -> Vec<&str> {
    status.connections.iter().map(|stream| stream.id.as_str()).collect()
}

#[test]
fn who_was_let_in_comes_back_after_a_break_long_after_the_tokens_window() {
    let away = broken(&entered(), "a", 200);
    assert_eq!((away.viewers, connections(&away)), (Some(0), vec![]));
    let place = &away.resumes[0];
    assert_eq!(
        grant_of(&away, place).unwrap().groups,
        ["support"],
        "who it is, is kept"
    );
    let TakenBack { status, moved } = back(&away, "1", "2", "b", 210).unwrap();
    assert_eq!((moved, connections(&status)), (None, vec!["b"]));
    let place = &status.resumes[0];
    assert_eq!((place.connection.as_str(), &place.left_at), ("b", &None));
    assert_eq!(grant_of(&status, place).unwrap().uses_left, 0, "no token is good again");
}

#[test]
fn a_place_is_kept_for_the_window_and_whole_seconds_shorten_it_not() {
    let away = broken(&entered(), "a", 200);
    for (second, worth_of_it) in [(500, "good"), (501, "unknown")] {
        assert_eq!(worth(&away, "1", second), worth_of_it, "{second}");
    }
    assert_eq!(back(&away, "1", "2", "b", 501), Err(ClaimError::UnknownToken));
    assert_eq!(worth(&entered(), "1", 3000), "good", "who is connected keeps the place");
    let off = presented(&away, &shown("1"), Duration::ZERO, at(201));
    assert_eq!(off, PresentedCredential::Unknown);
}

#[test]
fn each_use_replaces_the_secret() {
    let once = back(&entered(), "1", "2", "b", 10).unwrap().status;
    let twice = back(&once, "2", "3", "c", 20).unwrap().status;
    assert_eq!(
        ["1", "2", "3"].map(|secret| worth(&twice, secret, 30)),
        ["used before", "good", "good"]
    );
    let thrice = back(&twice, "3", "4", "d", 30).unwrap().status;
    assert_eq!(
        ["2", "3", "4"].map(|secret| worth(&thrice, secret, 40)),
        ["used before", "good", "good"]
    );
    assert_eq!(thrice.resumes.len(), 1);
}

#[test]
fn an_answer_that_got_lost_loses_nothing() {
    let mut status = entered();
    // No answer with a successor arrives, and any of the last could be the one that does.
    for (number, successor) in ["2", "3", "4", "5", "6"].into_iter().enumerate() {
        status = back(&status, "1", successor, successor, 10).unwrap().status;
        assert_eq!(status.resumes[0].successors.len(), (number + 1).min(SUCCESSORS_LIMIT));
    }
    assert_eq!(worth(&status, "1", 20), "good");
    for arrived in ["3", "4", "5", "6"] {
        let after = back(&status, arrived, "7", "z", 20).unwrap().status;
        assert_eq!(worth(&after, "1", 30), "used before", "{arrived} was used");
        assert_eq!(worth(&after, arrived, 30), "good");
    }
}

#[test]
fn a_credential_that_two_hold_opens_nothing_for_either() {
    // Somebody has copied 1 and is faster; then its owner reloads.
    let stolen = back(&entered(), "1", "2", "thief", 10).unwrap();
    assert_eq!(stolen.moved.as_deref(), Some("a"), "the owner is told at once");
    let owner = back(&stolen.status, "1", "3", "owner", 20).unwrap().status;
    let again = back(&owner, "2", "4", "thief-2", 30).unwrap().status;
    assert_eq!(worth(&again, "3", 40), "used before");
    let PresentedCredential::UsedBefore(place) = presented(&again, &shown("3"), WINDOW, at(40)) else {
        panic!("two hold it")
    };
    let after = withdraw(&again, place, at(40));
    assert!(after.resumes.is_empty() && after.connections.is_empty());
    assert_eq!(after.last_disconnect.unwrap().reason, CREDENTIAL_REUSED);
    for secret in ["1", "2", "3", "4"] {
        let after = withdraw(&again, place, at(40));
        assert_eq!(worth(&after, secret, 41), "unknown", "{secret}");
    }
    assert_eq!(
        worth(&again, "guess", 40),
        "used before",
        "who has the first part has held it"
    );
}

#[test]
fn another_tab_moves_the_stream() {
    let TakenBack { status, moved } = back(&entered(), "1", "2", "b", 10).unwrap();
    assert_eq!((moved.as_deref(), connections(&status)), (Some("a"), vec!["b"]));
    let said = status.last_disconnect.as_ref().unwrap();
    assert_eq!((said.reason.as_str(), said.user.as_str()), (MOVED, "ann"));
    assert_eq!(status.grants.len(), 1, "it says who comes back next time");
    // The old tab's gateway writes its end later.
    let late = broken(&status, "a", 11);
    assert_eq!(late, status);
}

fn newcomer(user: &str, has_control: bool) -> Newcomer<'_> {
    Newcomer { user, has_control }
}

#[test]
fn a_kept_place_stands_against_newcomers_but_not_against_its_own_user_nor_a_view_against_control() {
    let away = broken(&entered(), "a", 10);
    let mut views = away.clone();
    views.resumes[0].input = ConsoleInput::ViewOnly;
    let free = |status: &ConsoleSessionStatus, newcomer, second| {
        let made = make_room(status, newcomer, &[], 1, WINDOW, at(second));
        free_places(&made, 1, WINDOW, at(second))
    };
    assert_eq!(free(&away, newcomer("ben", true), 20), 0);
    assert_eq!(free(&away, newcomer("ann", true), 20), 1);
    assert_eq!(free(&views, newcomer("ben", true), 20), 1);
    assert_eq!(free(&views, newcomer("ben", false), 20), 0);
    assert_eq!(free(&away, newcomer("ben", true), 400), 1, "the window is over");
    let roomy = make_room(&away, newcomer("ann", true), &[], 2, WINDOW, at(20));
    assert_eq!(roomy.resumes.len(), 1, "nobody gives up what nobody needs");
}

#[test]
fn connections_and_kept_places_together_are_bounded() {
    let away = broken(&entered(), "a", 10);
    let free = free_places(&away, 2, WINDOW, at(20));
    let ben = NewConnection {
        user: "ben".into(),
        ..stream("ben")
    };
    let one = connect(&away, ben.clone(), free, at(20)).unwrap();
    let free = free_places(&one, 2, WINDOW, at(20));
    let another = NewConnection {
        id: "ben-2".into(),
        ..ben
    };
    assert_eq!(connect(&one, another, free, at(20)), Err(ClaimError::TooManyViewers));
    let status = take_back(&one, &shown("1"), &hash("2"), stream("b"), 2, WINDOW, at(21))
        .unwrap()
        .status;
    assert_eq!(connections(&status), ["ben", "b"]);
}

#[test]
fn who_leaves_for_good_keeps_no_place_and_their_grant_goes() {
    let left = disconnect(&entered(), &["a"], last("Idle"), at(10));
    assert!(left.resumes.is_empty());
    assert!(left.grants.is_empty());
}

#[test]
fn a_stream_that_is_put_back_has_its_place_back() {
    let away = broken(&entered(), "a", 10);
    let restored = connect(&away, stream("a"), u16::MAX, at(12)).unwrap();
    assert_eq!(restored.resumes[0].left_at, None);
    assert_eq!(worth(&restored, "1", 1000), "good");
}

#[test]
fn a_user_whom_kube_apiserver_knows_has_a_place_without_a_credential() {
    let connected = connect(&ready_status(), stream("a"), 1, at(1)).unwrap();
    let away = broken(&with_place(&connected, "place", "a", NewPlace::User), "a", 10);
    assert_eq!(away.resumes[0].sha256, None);
    assert_eq!(
        presented(&away, &shown("1"), WINDOW, at(11)),
        PresentedCredential::Unknown
    );
    let empty = CredentialHashes {
        place: String::new(),
        secret: String::new(),
    };
    assert_eq!(presented(&away, &empty, WINDOW, at(11)), PresentedCredential::Unknown);
    let made = make_room(&away, newcomer("ann", true), &[], 1, WINDOW, at(11));
    assert!(made.resumes.is_empty());
}

#[test]
fn places_are_bounded_and_one_of_no_stream_is_none() {
    let mut full = entered();
    let place = full.resumes[0].clone();
    full.resumes = (0..PLACES_LIMIT)
        .map(|number| ResumePlace {
            id: number.to_string(),
            ..place.clone()
        })
        .collect();
    assert_eq!(with_place(&full, "more", "a", NewPlace::User), full);
    assert_eq!(with_place(&entered(), "more", "nothing", NewPlace::User), entered());
}
