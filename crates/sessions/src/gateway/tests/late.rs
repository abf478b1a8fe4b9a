//! Watches that are late, in front of the same apiserver in memory: what they have not shown is not a "no".

use tokio::time::Instant;

use super::*;

impl Stage {
    /// The apiserver has a session with a token that the watch has not shown yet.
    fn behind() -> Self {
        let mut granted = session(1);
        let grants = granted["status"]["grants"].take();
        granted["status"]["grants"] = json!([]);
        let stage = Self::with(granted);
        let mut server = stage.server.0.lock();
        server.session["status"]["grants"] = grants;
        bump(&mut server.session);
        drop(server);
        stage
    }

    /// As the page does, which may name a session.
    async fn ask(&self, token: &str, named: Option<&str>, client: [u8; 4]) -> Result<Admitted, StreamEnd> {
        let request = AdmissionRequest {
            token: TokenHash::of_token(token.as_bytes()).unwrap(),
            session: None,
            session_hint: named.map(str::to_owned),
            client: client.into(),
            transport: Transport::WebSocket,
            resume: None,
        };
        self.admission.admit(&request).await
    }

    /// As a stock viewer does, which names its session as its user.
    async fn log_in(&self, token: &str, client: [u8; 4]) -> Result<Admitted, StreamEnd> {
        let request = AdmissionRequest {
            token: TokenHash::of_token(token.as_bytes()).unwrap(),
            session: Some("team/look".to_owned()),
            session_hint: None,
            client: client.into(),
            transport: Transport::Rfb,
            resume: None,
        };
        self.admission.admit(&request).await
    }

    fn reads(&self) -> usize {
        self.server.0.lock().reads
    }
}

const VIEWER: [u8; 4] = [192, 0, 2, 1];

#[tokio::test(start_paused = true)]
async fn a_token_that_the_watch_has_not_shown_is_good_for_who_names_its_session() {
    let stage = Stage::behind();
    let start = Instant::now();
    let admitted = stage.ask(TOKEN, Some("team/look"), VIEWER).await.unwrap();
    assert_eq!(admitted.user, "ann");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!((stage.reads(), stage.connections()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn strangers_cost_a_bounded_number_of_reads_and_learn_nothing_by_the_time() {
    let stage = Stage::behind();
    let start = Instant::now();
    let stranger = |number: u8| {
        let token = format!("{number:043}");
        let (stage, number) = (&stage, number);
        async move {
            let ended = stage.log_in(&token, [198, 51, 100, number % 4]).await;
            (ended.unwrap_err().reason, start.elapsed())
        }
    };
    let strangers = futures::future::join_all((0..100).map(stranger));
    let (strangers, good) = tokio::join!(strangers, stage.ask(TOKEN, Some("team/look"), VIEWER));
    good.unwrap();
    assert!(stage.reads() <= 41, "{}", stage.reads());
    let refused: Vec<_> = strangers
        .iter()
        .filter(|(why, _)| *why == EndReason::TokenRefused)
        .collect();
    assert!(
        strangers
            .iter()
            .all(|(why, _)| matches!(why, EndReason::TokenRefused | EndReason::Unavailable))
    );
    assert_eq!(refused.len(), 40, "the others were not looked up");
    assert!(
        refused.iter().all(|(_, after)| *after >= Duration::from_secs(1)),
        "{refused:?}"
    );
    let unnamed = Stage::behind();
    let start = Instant::now();
    let refusal = unnamed.ask(&"B".repeat(43), None, VIEWER).await.unwrap_err();
    assert_eq!((refusal.reason, unnamed.reads()), (EndReason::TokenRefused, 0));
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_the_tokens_does_not_matter_to_a_browser() {
    let stage = Stage::new(1);
    stage.ask(TOKEN, Some("team/other"), VIEWER).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_the_watch_is_broken_a_token_is_waited_for_and_never_refused() {
    let stage = Stage::behind();
    stage.sessions.watch_broke();
    let comes = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        stage.seen(|_| {});
    };
    let (admitted, ()) = tokio::join!(stage.ask(TOKEN, None, VIEWER), comes);
    admitted.unwrap();

    let stage = Stage::behind();
    stage.sessions.watch_broke();
    let start = Instant::now();
    let refusal = stage.ask(TOKEN, None, VIEWER).await.unwrap_err();
    assert_eq!(refusal.reason, EndReason::Unavailable);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "the bound of a handshake is 15 s"
    );
    stage.sessions.observe(&WatchEvent::Init);
    stage.sessions.observe(&WatchEvent::InitDone);
    let refusal = stage.ask(TOKEN, None, VIEWER).await.unwrap_err();
    assert_eq!(
        refusal.reason,
        EndReason::TokenRefused,
        "a list has shown what there is"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_read_now_is_not_a_no() {
    let stage = Stage::behind();
    stage.server.0.lock().is_down = true;
    let refusal = stage.ask(TOKEN, Some("team/look"), VIEWER).await.unwrap_err();
    assert_eq!(refusal.reason, EndReason::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_the_watch_has_not_shown_is_not_gone() {
    let ready = json!([{
        "type": "Ready", "status": "True", "reason": "Open", "message": "m", "lastTransitionTime": "2026-03-01T12:00:00Z",
    }]);
    let stage = || {
        let mut session = session(1);
        session["status"]["conditions"] = ready.clone();
        let stage = Stage::with(session);
        let vm_access = stage.sessions.caches().vm_accesses.get("team", "web").unwrap();
        let vm_access = vm_access.as_ref().clone();
        stage
            .sessions
            .caches()
            .vm_accesses
            .observe(&WatchEvent::Delete(vm_access.clone()));
        (stage, vm_access)
    };
    let (unseen, vm_access) = stage();
    assert_eq!(unseen.enter().await.unwrap_err().reason, EndReason::Unavailable);
    let comes = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        unseen
            .sessions
            .caches()
            .vm_accesses
            .observe(&WatchEvent::Apply(vm_access));
        unseen.sessions.target_changed();
    };
    let (admitted, ()) = tokio::join!(unseen.enter(), comes);
    admitted.unwrap();

    let (gone, _) = stage();
    gone.server.0.lock().target_uid = "t2";
    assert_eq!(gone.enter().await.unwrap_err().reason, EndReason::TargetGone);
}

#[tokio::test]
async fn a_stream_whose_session_the_broken_watch_has_not_shown_goes_on() {
    let stage = Stage::new(1);
    let admitted = stage.enter().await.unwrap();
    let mut handle = stage.open(&admitted);
    // As after the 30 s for which an own write is believed.
    stage.sessions.observe(&WatchEvent::Init);
    stage.sessions.observe(&WatchEvent::InitDone);
    stage.sessions.watch_broke();
    stage.enforcer.changed(&ViewChange::Targets("team".into()));
    stage.enforcer.changed(&ViewChange::All);
    assert!(futures::FutureExt::now_or_never(handle.ended()).is_none());
    stage.sessions.observe(&WatchEvent::Init);
    stage.sessions.observe(&WatchEvent::InitDone);
    stage.enforcer.changed(&ViewChange::All);
    assert_eq!(handle.ended().await, EndReason::Deleted, "the list does not have it");
}

#[tokio::test]
async fn a_user_enters_the_session_that_was_just_read_and_not_what_the_watch_has() {
    let mut pending = session(1);
    pending["status"] = json!({"phase": "Pending"});
    let stage = Stage::with(pending);
    let mut ready = session(1);
    ready["metadata"]["resourceVersion"] = json!("5");
    stage.server.0.lock().session = ready;
    let user = UserInfo {
        name: "ann".to_owned(),
        ..UserInfo::default()
    };
    let read = stage.server.session();
    let admitted = stage
        .admission
        .admit_user(&read, &user, VIEWER.into(), Transport::KubeApiserver);
    admitted.await.unwrap();
}
