//! Who gets a stream when several claim it, and what is written for it.

use super::*;

#[tokio::test]
async fn a_crowd_with_one_token_gets_as_many_streams_as_it_is_good_for() {
    for uses in [1, 3] {
        let stage = Stage::new(uses);
        let entries = futures::future::join_all((0..100).map(|_| stage.enter())).await;
        let (open, refused): (Vec<_>, Vec<_>) = entries.into_iter().partition(Result::is_ok);
        assert_eq!(open.len(), uses as usize);
        for entry in refused {
            assert_eq!(entry.unwrap_err().reason, EndReason::TokenRefused);
        }
        assert_eq!(stage.server.writes(), uses as usize, "who is refused writes nothing");
        assert_eq!(stage.connections(), uses as usize);
    }
}

#[tokio::test]
async fn a_use_that_another_replica_has_claimed_first_is_gone() {
    let stage = Stage::new(1);
    stage.server.0.lock().before_next_write = Some(|session| {
        session["status"]["grants"][0]["usesLeft"] = json!(0);
    });
    assert_eq!(stage.enter().await.unwrap_err().reason, EndReason::TokenRefused);
    assert_eq!(stage.server.writes(), 0);
}

#[tokio::test]
async fn another_write_in_between_does_not_matter() {
    let stage = Stage::new(1);
    stage.server.0.lock().before_next_write = Some(|session| {
        session["status"]["conditions"] = json!([]);
    });
    let admitted = stage.enter().await.unwrap();
    assert_eq!(
        (admitted.user.as_str(), admitted.target_name.as_str()),
        ("ann", "VmAccess/web")
    );
    assert!(admitted.rules.input && admitted.rules.clipboard_to_guest && !admitted.rules.clipboard_from_guest);
    assert_eq!(stage.connections(), 1);
}

#[tokio::test]
async fn a_place_that_nobody_opens_is_given_back() {
    let stage = Stage::new(1);
    drop(stage.enter().await.unwrap());
    stage.report.flush(Duration::from_secs(5)).await;
    assert_eq!(stage.connections(), 0);
    let last = stage.server.session().status.unwrap().last_disconnect.unwrap();
    assert_eq!((last.user.as_str(), last.reason.as_str()), ("ann", "HandshakeTimeout"));
}

#[tokio::test]
async fn who_may_not_look_is_turned_away_and_nothing_is_written() {
    let stage = Stage::new(1);
    stage.server.0.lock().allowed = false;
    let refusal = stage.enter().await.unwrap_err();
    assert_eq!(refusal.reason, EndReason::AccessWithdrawn);
    assert!(refusal.detail().contains("vmaccesses/console"), "{}", refusal.detail());
    assert_eq!(stage.server.writes(), 0);
}
