//! Viewers who come back without a token, in front of the same apiserver in memory.

use futures::FutureExt as _;
use novasphere_core::console_session::resume::CREDENTIAL_REUSED;
use novasphere_dataplane::{
    admission::{ResumeOffer, ResumeRequest},
    registry::StreamHandle,
};
use novasphere_wire::resume::ResumeCredential;

use super::*;
use crate::write::Departure;

/// What a browser keeps: of one place, with the secret of this number.
fn credential(number: u8) -> ResumeCredential {
    ResumeCredential::new([7; 32], [number; 32])
}

fn request(presented: &ResumeCredential, successor: &ResumeCredential) -> ResumeRequest {
    ResumeRequest {
        session: "team/look".into(),
        presented: presented.hash(),
        successor: successor.hash(),
        client: [192, 0, 2, 1].into(),
    }
}

impl Stage {
    /// Enters by the page of the session, which can come back with this.
    async fn enter_by_page(
        &self,
        given: &ResumeCredential,
        before: Option<&ResumeCredential>,
    ) -> Result<Admitted, StreamEnd> {
        let request = AdmissionRequest {
            token: TokenHash::of_token(TOKEN.as_bytes()).unwrap(),
            session: None,
            session_hint: Some("team/look".into()),
            client: [192, 0, 2, 1].into(),
            transport: Transport::WebSocket,
            resume: Some(ResumeOffer {
                credential: given.hash(),
                superseded: before.map(ResumeCredential::hash),
            }),
        };
        self.admission.admit(&request).await
    }

    /// Comes back with the secret of one number, and is given that of another.
    async fn back(&self, shown: u8, given: u8) -> Result<Admitted, StreamEnd> {
        self.admission
            .resume(&request(&credential(shown), &credential(given)))
            .await
    }

    async fn told(&self, shown: u8) -> EndReason {
        self.back(shown, 99).await.unwrap_err().reason
    }

    /// The stream ends, and its end is written.
    async fn ends(&self, admitted: Admitted, why: EndReason, how: Departure) {
        self.report.closed(&admitted.session, admitted.slot.id(), why, how);
        drop(admitted);
        self.report.flush(Duration::from_secs(5)).await;
    }

    async fn breaks(&self, admitted: Admitted) {
        self.ends(admitted, EndReason::ViewerLost, Departure::MayReturn).await;
    }

    fn status(&self) -> novasphere_crd::ConsoleSessionStatus {
        self.server.session().status.unwrap()
    }

    /// The watch shows what the API server has.
    fn catches_up(&self) {
        self.sessions.observe(&WatchEvent::Apply(self.server.session()));
        self.enforcer
            .changed(&ViewChange::Session("team".into(), "look".into()));
    }
}

fn end_of(handle: &mut StreamHandle) -> Option<EndReason> {
    handle.ended().now_or_never()
}

#[tokio::test]
async fn who_was_let_in_comes_back_with_one_write_and_no_token() {
    let stage = Stage::new(1);
    let admitted = stage.enter_by_page(&credential(1), None).await.unwrap();
    assert!(admitted.is_resumable);
    stage.breaks(admitted).await;
    assert_eq!(stage.connections(), 0);
    let writes = stage.server.writes();
    let back = stage.back(1, 2).await.unwrap();
    assert_eq!((back.user.as_str(), back.is_resumable), ("ann", true));
    assert_eq!(stage.server.writes(), writes + 1);
    assert_eq!(stage.connections(), 1);
    assert_eq!(stage.status().grants[0].uses_left, 0);
    assert_eq!(
        stage.enter().await.unwrap_err().reason,
        EndReason::TokenRefused,
        "the token stays used"
    );
    assert_eq!(stage.audited(), [["Resumed", "", "ann"]]);
    let written = stage.server.0.lock().session.to_string();
    for number in [1, 2] {
        assert!(
            !written.contains(&credential(number).text()[..43]) && !written.contains(&credential(number).text()[43..])
        );
    }
}

#[tokio::test]
async fn each_use_replaces_what_is_shown_and_a_lost_answer_loses_nothing() {
    let stage = Stage::new(1);
    let first = stage.enter_by_page(&credential(1), None).await.unwrap();
    stage.breaks(first).await;
    // The answers with 2 and 3 do not arrive.
    let _lost = stage.back(1, 2).await.unwrap();
    let _lost = stage.back(1, 3).await.unwrap();
    let back = stage.back(1, 4).await.unwrap();
    stage.breaks(back).await;
    let back = stage.back(4, 5).await.unwrap();
    stage.breaks(back).await;
    assert_eq!(stage.told(3).await, EndReason::CredentialReused);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_again_and_again_has_to_pause() {
    let stage = Stage::new(1);
    let mut streams = vec![stage.enter_by_page(&credential(1), None).await.unwrap()];
    for number in 1..=20 {
        streams.push(stage.back(number, number + 1).await.unwrap());
    }
    let writes = stage.server.writes();
    for _ in 0..100 {
        assert_eq!(stage.told(21).await, EndReason::TooManyAttempts);
    }
    assert_eq!(stage.server.writes(), writes);
    tokio::time::advance(Duration::from_secs(3)).await;
    streams.push(stage.back(21, 22).await.unwrap());
    assert_eq!(stage.connections(), 1, "what was refused took nothing from it");
}

#[tokio::test(start_paused = true)]
async fn what_was_used_before_ends_the_stream_and_opens_nothing_more() {
    let stage = Stage::new(1);
    let _first = stage.enter_by_page(&credential(1), None).await.unwrap();
    let _thief = stage.back(1, 2).await.unwrap();
    let thief = stage.back(2, 3).await.unwrap();
    let mut handle = stage.open(&thief);
    assert_eq!(end_of(&mut handle), None);
    assert_eq!(stage.told(1).await, EndReason::CredentialReused);
    assert_eq!(end_of(&mut handle), Some(EndReason::CredentialReused));
    let status = stage.status();
    assert!(status.resumes.is_empty() && status.connections.is_empty());
    assert_eq!(status.last_disconnect.unwrap().reason, CREDENTIAL_REUSED);
    let lines = stage.audited();
    let line = ["CredentialReused", "CredentialReused", "ann"].map(str::to_owned);
    assert_eq!(lines.iter().filter(|known| **known == line).count(), 1, "{lines:?}");
    for number in [1, 2, 3] {
        assert_eq!(stage.told(number).await, EndReason::ResumeRefused, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_gateway_knows_who_may_come_back_and_a_late_watch_accuses_nobody() {
    let one = Stage::new(1);
    let two = Stage::at(one.server.clone());
    let admitted = one.enter_by_page(&credential(1), None).await.unwrap();
    let mut old = one.open(&admitted);
    // The watch of the second has shown no place at all, that of the first not what the second writes.
    let moved = two.back(1, 2).await.unwrap();
    let mut there = two.open(&moved);
    let _again = one.back(2, 3).await.unwrap();
    assert_eq!(one.connections(), 1);
    one.catches_up();
    two.catches_up();
    assert_eq!(end_of(&mut old), Some(EndReason::Moved));
    assert_eq!(end_of(&mut there), Some(EndReason::Moved));
    assert!(!one.audited().iter().any(|line| line[0] == "CredentialReused"));
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_was_used_twice_ends_the_stream_on_another_gateway() {
    let one = Stage::new(1);
    let two = Stage::at(one.server.clone());
    let _first = one.enter_by_page(&credential(1), None).await.unwrap();
    let _second = one.back(1, 2).await.unwrap();
    let third = one.back(2, 3).await.unwrap();
    let mut handle = one.open(&third);
    assert_eq!(two.told(1).await, EndReason::CredentialReused);
    one.catches_up();
    assert_eq!(end_of(&mut handle), Some(EndReason::CredentialReused));
}

#[tokio::test]
async fn another_tab_moves_the_stream_and_tells_the_old_one() {
    let stage = Stage::new(1);
    let admitted = stage.enter_by_page(&credential(1), None).await.unwrap();
    let mut old = stage.open(&admitted);
    let new = stage.back(1, 2).await.unwrap();
    assert_eq!(end_of(&mut old), Some(EndReason::Moved));
    let mut handle = stage.open(&new);
    // The end of the old stream is written later, and is nothing to the new one.
    stage.ends(admitted, EndReason::Moved, Departure::MayReturn).await;
    assert_eq!((end_of(&mut handle), stage.connections()), (None, 1));
    assert_eq!(stage.status().resumes[0].left_at, None);
    stage.breaks(new).await;
    let _back = stage.back(2, 3).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_place_is_kept_for_its_window_and_not_for_strangers() {
    let mut full = session(2);
    full["status"]["policy"]["maxViewers"] = json!(1);
    let stage = Stage::with(full);
    let admitted = stage.enter_by_page(&credential(1), None).await.unwrap();
    stage.breaks(admitted).await;
    stage.seen(|session| session["status"]["grants"][0]["user"] = json!("ben"));
    // The grant is what says who comes, so the place is another's now.
    let refusal = stage.enter().await.unwrap_err();
    assert_eq!(refusal.reason, EndReason::TooManyViewers);
    stage.seen(|session| session["status"]["grants"][0]["user"] = json!("ann"));
    let left = |session: &mut Value, seconds: i64| {
        let at = jiff::Timestamp::now().as_second() - seconds;
        session["status"]["resumes"][0]["leftAt"] = json!(jiff::Timestamp::from_second(at).unwrap().to_string());
    };
    stage.seen(|session| left(session, 290));
    let back = stage.back(1, 2).await.unwrap();
    stage.breaks(back).await;
    stage.seen(|session| left(session, 302));
    assert_eq!(stage.told(2).await, EndReason::ResumeRefused);
    let _newcomer = stage.enter().await.unwrap();
    assert_eq!(stage.status().resumes.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_comes_back_who_left_for_good_was_idle_or_has_no_right_any_more() {
    for (why, how) in [
        (EndReason::ViewerLeft, Departure::ForGood),
        (EndReason::Idle, Departure::MayReturn),
        (EndReason::AccessWithdrawn, Departure::MayReturn),
        (EndReason::Replaced, Departure::MayReturn),
    ] {
        let stage = Stage::new(1);
        let admitted = stage.enter_by_page(&credential(1), None).await.unwrap();
        stage.ends(admitted, why, how).await;
        assert!(stage.status().resumes.is_empty(), "{why:?}");
        assert_eq!(stage.told(1).await, EndReason::ResumeRefused, "{why:?}");
    }
    let stage = Stage::new(1);
    let admitted = stage.enter_by_page(&credential(1), None).await.unwrap();
    stage.ends(admitted, EndReason::ViewerLeft, Departure::MayReturn).await;
    stage.server.0.lock().allowed = false;
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(
        stage.told(1).await,
        EndReason::AccessWithdrawn,
        "rights are asked for again"
    );
}

#[tokio::test]
async fn nobody_comes_back_to_a_session_that_is_over() {
    let stage = Stage::new(1);
    let admitted = stage.enter_by_page(&credential(1), None).await.unwrap();
    stage.breaks(admitted).await;
    stage.seen(|session| session["spec"]["revoked"] = json!(true));
    let writes = stage.server.writes();
    assert_eq!(stage.told(1).await, EndReason::Revoked);
    assert_eq!(stage.server.writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn strangers_learn_nothing_and_cost_a_bounded_number_of_reads() {
    let stage = Stage::new(1);
    let _admitted = stage.enter_by_page(&credential(1), None).await.unwrap();
    let (stranger, start) = (ResumeCredential::new([8; 32], [1; 32]), tokio::time::Instant::now());
    let writes = stage.server.writes();
    for session in ["team/look", "team/other", "nothing", "../x"] {
        let request = ResumeRequest {
            session: session.into(),
            ..request(&stranger, &credential(9))
        };
        let refusal = stage.admission.resume(&request).await.unwrap_err();
        assert_eq!(refusal.reason, EndReason::ResumeRefused, "{session}");
    }
    assert!(start.elapsed() >= Duration::from_secs(3), "each no takes its time");
    let asked = request(&stranger, &credential(9));
    let crowd = futures::future::join_all((0..50).map(|_| stage.admission.resume(&asked))).await;
    assert!(crowd.iter().all(Result::is_err));
    assert!(stage.server.0.lock().reads <= 10);
    assert_eq!(stage.server.writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_brings_a_token_gives_up_what_it_had() {
    let mut full = session(2);
    full["status"]["policy"]["maxViewers"] = json!(1);
    let stage = Stage::with(full);
    let first = stage.enter_by_page(&credential(1), None).await.unwrap();
    stage.breaks(first).await;
    let other = ResumeCredential::new([9; 32], [1; 32]);
    let second = stage.enter_by_page(&other, Some(&credential(1))).await.unwrap();
    assert!(second.is_resumable);
    assert_eq!(stage.status().resumes.len(), 1);
    assert_eq!(stage.told(1).await, EndReason::ResumeRefused);
    stage.breaks(second).await;
    let next = other.successor([2; 32]);
    let _back = stage.admission.resume(&request(&other, &next)).await.unwrap();
}

#[tokio::test]
async fn a_token_of_another_session_than_the_pages_gives_nothing_to_come_back_with() {
    let stage = Stage::new(1);
    let request = AdmissionRequest {
        token: TokenHash::of_token(TOKEN.as_bytes()).unwrap(),
        session: None,
        session_hint: Some("team/other".into()),
        client: [192, 0, 2, 1].into(),
        transport: Transport::WebSocket,
        resume: Some(ResumeOffer {
            credential: credential(1).hash(),
            superseded: None,
        }),
    };
    let admitted = stage.admission.admit(&request).await.unwrap();
    assert!(!admitted.is_resumable);
    assert!(stage.status().resumes.is_empty());
}

#[tokio::test]
async fn the_target_is_told_to_who_can_come_back_and_it_is_no_use() {
    let stage = Stage::new(1);
    let admitted = stage.enter_by_page(&credential(1), None).await.unwrap();
    let (writes, client) = (stage.server.writes(), [192, 0, 2, 1].into());
    let view = |shown: &ResumeCredential| stage.admission.resumable_view("team/look", &shown.hash(), client);
    assert_eq!(view(&credential(1)).unwrap().name, "web");
    assert!(view(&credential(2)).is_none() && view(&ResumeCredential::new([8; 32], [1; 32])).is_none());
    assert_eq!(stage.server.writes(), writes);
    drop(admitted);
}

/// A console of KubeVirt, which carries one viewer, where ann's line has broken.
async fn away_from_one_viewer() -> Stage {
    let stage = Stage::new(2);
    let vm_access = json!({
        "metadata": {"name": "web", "namespace": "team", "uid": "t1"},
        "spec": {"virtualMachine": {"name": "web"}, "console": {"maxViewers": 8, "takeover": "Replace"}},
    });
    let instance =
        json!({"metadata": {"name": "web", "namespace": "team", "uid": "i1"}, "status": {"phase": "Running"}});
    stage.sessions.fill(
        serde_json::from_value(vm_access).unwrap(),
        serde_json::from_value(instance).unwrap(),
    );
    let admitted = stage.enter_by_page(&credential(1), None).await.unwrap();
    stage.breaks(admitted).await;
    stage
}

#[tokio::test(start_paused = true)]
async fn a_kept_place_counts_at_a_console_that_carries_one_viewer() {
    let as_ben = |session: &mut Value| {
        let mut bens = session["status"]["grants"][0].clone();
        bens["id"] = json!("b");
        bens["user"] = json!("ben");
        bens["usesLeft"] = json!(1);
        bens["sha256"] = json!(TokenHash::of_token(TOKEN.as_bytes()).unwrap().to_hex());
        session["status"]["grants"][0]["sha256"] = json!("0".repeat(64));
        session["status"]["grants"].as_array_mut().unwrap().push(bens);
    };
    let stage = away_from_one_viewer().await;
    stage.seen(as_ben);
    let refusal = stage.enter().await.unwrap_err();
    assert_eq!(refusal.reason, EndReason::InUse, "{}", refusal.detail());
    assert!(refusal.detail().contains("kept"), "{}", refusal.detail());
    let _back = stage.back(1, 2).await.unwrap();

    let own = away_from_one_viewer().await;
    let _elsewhere = own.enter().await.unwrap();
    assert_eq!(
        own.connections(),
        1,
        "the same user by another way takes their own place"
    );
    assert_eq!(own.told(1).await, EndReason::ResumeRefused);
}
