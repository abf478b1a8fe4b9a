//! What ends a stream.

use super::*;

#[tokio::test]
async fn a_session_that_ends_ends_its_streams() {
    let ends: [(Edit, EndReason); 3] = [
        (|session| session["spec"]["revoked"] = json!(true), EndReason::Revoked),
        (|session| session["spec"]["duration"] = json!("0s"), EndReason::Expired),
        (|session| session["metadata"]["uid"] = json!("s2"), EndReason::Deleted),
    ];
    for (edit, why) in ends {
        let stage = Stage::new(1);
        let admitted = stage.enter().await.unwrap();
        let mut handle = stage.open(&admitted);
        stage.seen(|_| {});
        assert!(futures::FutureExt::now_or_never(handle.ended()).is_none());
        stage.seen(edit);
        assert_eq!(handle.ended().await, why);
        stage.seen(edit);
        let event = if why == EndReason::Revoked { "Revoked" } else { "Cut" };
        assert_eq!(
            stage.audited(),
            [[event, why.reason(), ""]],
            "one line for one decision"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_user_lost_the_right_is_cut_and_it_is_audited() {
    let stage = Stage::new(1);
    let admitted = stage.enter().await.unwrap();
    let mut handle = stage.open(&admitted);
    stage.server.0.lock().allowed = false;
    let mut turns = Tasks::new();
    turns.spawn("enforcer", stage.enforcer.clone().watch_rights());
    assert_eq!(handle.ended().await, EndReason::AccessWithdrawn);
    assert_eq!(stage.audited(), [["Cut", "AccessWithdrawn", "ann"]]);
}

#[tokio::test]
async fn what_ended_between_claim_and_opening_ends_at_once() {
    let stage = Stage::new(1);
    let admitted = stage.enter().await.unwrap();
    stage.seen(|session| session["spec"]["revoked"] = json!(true));
    let mut handle = stage.open(&admitted);
    assert_eq!(handle.ended().await, EndReason::Revoked);
}

#[tokio::test]
async fn a_session_that_was_deleted_while_the_watch_was_down_ends_its_streams() {
    let stage = Stage::new(1);
    // The claim is an own write that the watch does not show any more.
    let admitted = stage.enter().await.unwrap();
    let mut handle = stage.open(&admitted);
    stage.sessions.observe(&WatchEvent::Init);
    stage.sessions.observe(&WatchEvent::InitDone);
    stage.enforcer.changed(&ViewChange::All);
    assert_eq!(
        futures::FutureExt::now_or_never(handle.ended()),
        Some(EndReason::Deleted)
    );
}

#[tokio::test]
async fn a_session_that_becomes_unreadable_loses_its_streams_and_tokens() {
    let stage = Stage::new(1);
    let admitted = stage.enter().await.unwrap();
    stage.seen(|_| {});
    let mut handle = stage.open(&admitted);
    let session = stage.server.session();
    let grants = session.status.iter().flat_map(|status| &status.grants);
    let hashes: Vec<_> = grants.map(|grant| grant.sha256.clone()).collect();
    assert!(!hashes.is_empty());
    assert!(hashes.iter().all(|hash| stage.sessions.known_token(hash).is_some()));
    let name = ObjectName::of(&session);
    stage.server.0.lock().session["spec"]["targetRef"] = json!(5);
    stage.sessions.observe(&WatchEvent::Undecodable(name.clone()));
    stage
        .enforcer
        .changed(&ViewChange::Session(name.namespace.unwrap_or_default(), name.name));
    assert_eq!(
        futures::FutureExt::now_or_never(handle.ended()),
        Some(EndReason::Deleted)
    );
    assert!(hashes.iter().all(|hash| stage.sessions.known_token(hash).is_none()));
    assert!(stage.enter().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_deletion_overtook_the_answer_to_a_claim_ends_its_streams() {
    let stage = Stage::new(1);
    let admitted = stage.enter().await.unwrap();
    let answer = stage.server.session();
    stage.sessions.observe(&WatchEvent::Delete(answer.clone()));
    stage.sessions.insert_own_write(answer);
    let mut handle = stage.open(&admitted);
    let mut turns = Tasks::new();
    turns.spawn("enforcer", stage.enforcer.clone().watch_rights());
    let early = tokio::time::timeout(Duration::from_mins(1), handle.ended()).await;
    assert!(early.is_err(), "the watch need not have seen a session that is there");
    stage.server.0.lock().is_gone = true;
    let late = tokio::time::timeout(Duration::from_secs(31), handle.ended()).await;
    assert_eq!(late, Ok(EndReason::Deleted));
}

#[tokio::test(start_paused = true)]
async fn a_shortened_session_ends_by_the_clock() {
    let stage = Stage::new(1);
    let admitted = stage.enter().await.unwrap();
    let mut handle = stage.open(&admitted);
    stage.seen(|session| session["spec"]["duration"] = json!("20m"));
    let start = tokio::time::Instant::now();
    // The timer runs in the test's time, what it then checks in the real one: there the session is not over yet.
    let early = tokio::time::timeout(Duration::from_mins(21), handle.ended()).await;
    assert!(early.is_err() && start.elapsed() >= Duration::from_mins(20));
    stage.seen(|session| session["status"]["startedAt"] = json!("2020-01-01T00:00:00Z"));
    assert_eq!(handle.ended().await, EndReason::Expired);
}

#[tokio::test]
async fn a_stream_that_was_taken_for_dead_is_put_back_and_one_that_was_replaced_ends() {
    let stage = Stage::new(1);
    let admitted = stage.enter().await.unwrap();
    let mut handle = stage.open(&admitted);
    stage.seen(|session| {
        session["status"]["connections"] = json!([]);
        session["status"]["lastDisconnect"] =
            json!({"user": "ann", "reason": "GatewayLost", "at": jiff::Timestamp::now().to_string()});
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.connections(), 1);
    stage.seen(|session| {
        session["status"]["connections"] = json!([]);
        let later = jiff::Timestamp::now() + Duration::from_secs(1);
        session["status"]["lastDisconnect"] = json!({"user": "ben", "reason": "Replaced", "at": later.to_string()});
    });
    assert_eq!(handle.ended().await, EndReason::Replaced);
}
