use super::*;
use crate::console_session::{
    connection::{ClaimError, NewConnection, claim},
    samples::{at, ready_status},
};

fn new(id: &str, uses: u32) -> NewGrant {
    NewGrant {
        id: id.into(),
        sha256: hash(id),
        user: "ann".into(),
        uid: None,
        groups: vec!["support".into()],
        extra: std::collections::BTreeMap::new(),
        ttl: DEFAULT_TOKEN_TTL,
        uses,
    }
}

/// Stands for the hash of a token: another one for each.
fn hash(token: &str) -> String {
    format!("{token:0>64}")
}

#[test]
fn a_token_is_good_for_its_window() {
    let status = issue(&ready_status(), new("a", 0), at(10)).unwrap();
    let grant = find(&status, &hash("a")).unwrap();
    assert_eq!((grant.not_after.0, grant.uses_left), (at(70), 1));
    assert_eq!(status.user.as_deref(), Some("ann"));
    assert!(is_usable(grant, at(69)) && !is_usable(grant, at(70)));
    assert_eq!(find(&status, &hash("b")), None);
    assert_eq!(find(&status, ""), None);
}

#[test]
fn a_token_does_not_outlive_its_session() {
    let long = NewGrant {
        ttl: Duration::from_hours(48),
        ..new("a", 1)
    };
    let status = issue(&ready_status(), long, at(3590)).unwrap();
    assert_eq!(status.grants[0].not_after.0, at(3600));
    assert_eq!(issue(&ready_status(), new("a", 1), at(3600)), Err(IssueError::Over));
}

#[test]
fn only_a_ready_session_gives_tokens() {
    let mut status = ready_status();
    status.phase = Some(SessionPhase::Pending);
    assert_eq!(issue(&status, new("a", 1), at(1)), Err(IssueError::NotReady));
    status.closed_at = Some(kubernetes_time(at(1)));
    assert_eq!(issue(&status, new("a", 1), at(1)), Err(IssueError::Over));
    assert_eq!(
        issue(&ConsoleSessionStatus::default(), new("a", 1), at(1)),
        Err(IssueError::NotReady)
    );
}

#[test]
fn grants_are_bounded_and_the_dead_ones_make_room() {
    let mut status = ready_status();
    for number in 0..GRANTS_LIMIT {
        status = issue(&status, new(&number.to_string(), 1), at(1)).unwrap();
    }
    assert_eq!(issue(&status, new("more", 1), at(2)), Err(IssueError::TooManyGrants));
    let later = issue(&status, new("more", 1), at(61)).unwrap();
    assert_eq!(later.grants.len(), 1);
    status.grants[0].uses_left = 0;
    assert_eq!(
        issue(&status, new("more", 1), at(2)).unwrap().grants.len(),
        GRANTS_LIMIT
    );
}

#[test]
fn a_grant_is_not_given_twice() {
    let status = issue(&ready_status(), new("a", 1), at(1)).unwrap();
    assert_eq!(issue(&status, new("a", 1), at(1)), Err(IssueError::Duplicate));
    let same_token = NewGrant {
        id: "b".into(),
        ..new("a", 1)
    };
    assert_eq!(issue(&status, same_token, at(1)), Err(IssueError::Duplicate));
}

proptest::proptest! {
    /// However many try, in whatever order of the clock, a token opens as many streams as it was given out for.
    #[test]
    fn a_token_is_used_no_more_often_than_allowed(uses in 1..6_u32, tries in proptest::collection::vec(0..120_i64, 0..40)) {
        let mut status = issue(&ready_status(), new("a", uses), at(0)).unwrap();
        let mut opened = 0;
        for (number, second) in tries.into_iter().enumerate() {
            let connection = NewConnection {
                id: number.to_string(),
                user: String::new(),
                gateway: "g".into(),
                client_address: "192.0.2.1".into(),
                transport: novasphere_crd::Transport::WebSocket,
                input: novasphere_crd::ConsoleInput::Control,
            };
            match claim(&status, &hash("a"), connection, 64, at(second)) {
                Ok(new) => {
                    proptest::prop_assert!(second < 60);
                    status = new;
                    opened += 1;
                }
                Err(error) => proptest::prop_assert!(
                    matches!(error, ClaimError::TokenUsed | ClaimError::TokenExpired | ClaimError::UnknownToken),
                    "{}", error
                ),
            }
        }
        proptest::prop_assert!(opened <= uses);
        proptest::prop_assert_eq!(status.connections.len(), opened as usize);
    }
}

#[test]
fn a_grant_keeps_who_asked_for_it_whole_or_not_at_all() {
    let with = |extra: &[(&str, usize, usize)]| NewGrant {
        uid: Some("42".into()),
        extra: extra
            .iter()
            .map(|(key, values, bytes)| ((*key).to_owned(), vec!["x".repeat(*bytes); *values]))
            .collect(),
        ..new("a", 1)
    };
    for kept in [("scopes", 2, 1024), ("scopes", EXTRA_LIMIT, 1)] {
        let status = issue(&ready_status(), with(&[kept]), at(1)).unwrap();
        let grant = find(&status, &hash("a")).unwrap();
        assert_eq!(grant.uid.as_deref(), Some("42"));
        assert_eq!(extra_of(grant), with(&[kept]).extra);
    }
    let long = "k".repeat(257);
    for large in [
        &[("scopes", EXTRA_LIMIT + 1, 1)][..],
        &[("scopes", EXTRA_LIMIT, 1), ("tenants", 1, 1)],
        &[("scopes", 1, 1025)],
        &[(long.as_str(), 1, 1)],
        &[("", 1, 1)],
    ] {
        assert_eq!(
            issue(&ready_status(), with(large), at(1)),
            Err(IssueError::UserTooLarge)
        );
    }
}
