//! Sessions that several replicas start at the same moment, and how many of them begin.

use novasphere_core::console_session::start::{START_CHECK_TIMEOUT, StartCheck, StartVerdict};
use novasphere_crd::ConsoleInput;

use super::*;

/// As many as may run of a target that says nothing else.
const LIMIT: usize = 10;

/// A session that the aggregated API has just made for a connection of ann.
fn for_connection() -> Value {
    let mut made = session(1);
    made["metadata"]["labels"] = json!({"novasphere.io/made-for": "console"});
    made["metadata"]["creationTimestamp"] = made["status"]["startedAt"].clone();
    made["spec"]["users"] = json!(["ann"]);
    made["spec"]["maxViewers"] = json!(1);
    made.as_object_mut().unwrap().remove("status");
    made
}

/// One that runs, last written with this version.
fn running(name: &str, version: u32) -> ConsoleSession {
    let mut other = session(1);
    other["metadata"] = json!({"name": name, "namespace": "team", "uid": name, "resourceVersion": version.to_string()});
    other["status"]["grants"] = json!([]);
    serde_json::from_value(other).unwrap()
}

fn crowd(size: usize) -> Vec<ConsoleSession> {
    (0..size).map(|number| running(&format!("other-{number}"), 1)).collect()
}

impl Stage {
    async fn connect(&self) -> Result<Admitted, StreamEnd> {
        let made = self.server.session();
        let user = UserInfo {
            name: "ann".to_owned(),
            ..UserInfo::default()
        };
        let client = [192, 0, 2, 1].into();
        self.admission
            .admit_user(&made, &user, client, Transport::KubeApiserver)
            .await
    }

    /// Connects, and the watch shows what others have started before the start of this session.
    async fn connect_behind(&self, others: Vec<ConsoleSession>) -> Result<Admitted, StreamEnd> {
        let watch = async {
            while self.server.writes() == 0 {
                tokio::task::yield_now().await;
            }
            for other in others {
                self.sessions.observe(&WatchEvent::Apply(other));
            }
            self.sessions.observe(&WatchEvent::Apply(self.server.session()));
        };
        let (entered, ()) = tokio::join!(self.connect(), watch);
        entered
    }

    async fn has_given_its_place_back(&self) -> bool {
        self.report.flush(Duration::from_secs(5)).await;
        self.connections() == 0 && self.server.writes() == 2
    }
}

#[tokio::test]
async fn a_session_begins_when_others_have_left_a_place() {
    let stage = Stage::with(for_connection());
    let admitted = stage.connect_behind(crowd(LIMIT - 1)).await.unwrap();
    assert_eq!(admitted.user, "ann");
    assert_eq!(
        (stage.connections(), stage.server.writes()),
        (1, 1),
        "one write for all of it"
    );
}

#[tokio::test]
async fn a_session_that_others_came_before_does_not_begin_and_gives_its_place_back() {
    let stage = Stage::with(for_connection());
    let refusal = stage.connect_behind(crowd(LIMIT)).await.unwrap_err();
    assert_eq!(refusal.reason, EndReason::TargetRefused);
    assert!(
        refusal.detail().contains("maxConcurrentSessions"),
        "{}",
        refusal.detail()
    );
    assert!(stage.has_given_its_place_back().await);
}

#[tokio::test]
async fn a_session_that_is_known_to_find_no_place_is_not_started() {
    let stage = Stage::with(for_connection());
    for other in crowd(LIMIT) {
        stage.sessions.observe(&WatchEvent::Apply(other));
    }
    assert_eq!(stage.connect().await.unwrap_err().reason, EndReason::TargetRefused);
    assert_eq!(stage.server.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_does_not_come_so_far_lets_nobody_in_and_is_no_refusal() {
    let stage = Stage::with(for_connection());
    assert_eq!(stage.connect().await.unwrap_err().reason, EndReason::Unavailable);
    assert!(stage.has_given_its_place_back().await);
}

#[tokio::test]
async fn a_user_has_as_many_consoles_of_a_target_as_they_may_over_all_replicas() {
    let stage = Stage::with(for_connection());
    // Those that are over count as well until they are deleted, and hold no place.
    let over = (0..32).map(|number| {
        let mut other = serde_json::to_value(running(&format!("other-{number}"), 1)).unwrap();
        other["metadata"]["labels"] = json!({"novasphere.io/made-for": "console"});
        other["spec"]["users"] = json!(["ann"]);
        other["status"]["closedAt"] = other["status"]["startedAt"].clone();
        serde_json::from_value::<ConsoleSession>(other).unwrap()
    });
    let refusal = stage.connect_behind(over.collect()).await.unwrap_err();
    assert_eq!(refusal.reason, EndReason::TooManyAttempts);
    assert!(refusal.detail().contains("at most 32"), "{}", refusal.detail());
    assert!(stage.has_given_its_place_back().await);
}

/// A session that the controller has just started; nobody has a token.
fn without_token(version: u32) -> Value {
    let mut made = session(1);
    made["metadata"]["resourceVersion"] = json!(version.to_string());
    made["status"]["grants"] = json!([]);
    made
}

impl Stage {
    async fn ask_for_token(&self) -> Result<Arc<ConsoleSession>, UpdateError<IssueError>> {
        let grant = NewGrant {
            id: "first".to_owned(),
            sha256: "0".repeat(64),
            user: "ann".to_owned(),
            uid: None,
            groups: Vec::new(),
            extra: std::collections::BTreeMap::new(),
            ttl: Duration::from_mins(1),
            uses: 1,
        };
        self.admission.grant(&self.server.session(), &grant).await
    }
}

#[tokio::test]
async fn the_first_token_is_given_out_when_the_session_has_a_place() {
    for (others, is_given) in [(LIMIT - 1, true), (LIMIT, false)] {
        let stage = Stage::with(without_token(5));
        for other in crowd(others) {
            stage.sessions.observe(&WatchEvent::Apply(other));
        }
        let granted = stage.ask_for_token().await;
        if is_given {
            assert_eq!(granted.unwrap().status.clone().unwrap().grants.len(), 1);
        } else {
            assert!(
                matches!(granted, Err(UpdateError::Refused(IssueError::TooManySessions))),
                "{granted:?}"
            );
        }
        assert_eq!(stage.server.writes(), usize::from(is_given));
        let joins = stage.connect().await;
        assert_eq!(joins.is_ok(), is_given, "the same of one who joins without a token");
    }
}

#[tokio::test(start_paused = true)]
async fn no_first_token_is_given_out_while_the_watch_is_behind_the_session() {
    let stage = Stage::with(without_token(5));
    stage.server.0.lock().session = without_token(6);
    let granted = stage.ask_for_token().await;
    assert!(
        matches!(granted, Err(UpdateError::Refused(IssueError::Undecided))),
        "{granted:?}"
    );
    assert_eq!(stage.server.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_for_the_first_token_while_the_watch_is_late_do_not_wait_for_each_other() {
    let stage = Stage::with(without_token(5));
    stage.server.0.lock().session = without_token(6);
    let began = tokio::time::Instant::now();
    let asked = tokio::join!(stage.ask_for_token(), stage.ask_for_token(), stage.ask_for_token());
    assert!(asked.0.is_err() && asked.1.is_err() && asked.2.is_err());
    let waited = began.elapsed();
    assert!(waited < START_CHECK_TIMEOUT * 2, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn those_who_join_without_a_token_while_the_watch_is_late_do_not_wait_for_each_other() {
    let stage = Stage::with(without_token(5));
    stage.server.0.lock().session = without_token(6);
    let began = tokio::time::Instant::now();
    let joined = tokio::join!(stage.connect(), stage.connect(), stage.connect());
    for end in [joined.0, joined.1, joined.2] {
        assert_eq!(end.unwrap_err().reason, EndReason::Unavailable);
    }
    let waited = began.elapsed();
    assert!(waited < START_CHECK_TIMEOUT * 2, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_target_is_gone_is_not_waited_for() {
    let stage = Stage::with(without_token(5));
    let caches = stage.sessions.caches();
    let target = caches.vm_accesses.get("team", "web").unwrap();
    caches.vm_accesses.observe(&WatchEvent::Delete(target.as_ref().clone()));
    let began = tokio::time::Instant::now();
    assert_eq!(stage.connect().await.unwrap_err().reason, EndReason::TargetGone);
    let granted = stage.ask_for_token().await;
    assert!(
        matches!(granted, Err(UpdateError::Refused(IssueError::NotReady))),
        "{granted:?}"
    );
    assert_eq!(stage.server.writes(), 0, "it would count as entered");
    assert!(began.elapsed() < START_CHECK_TIMEOUT, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_goes_while_room_is_waited_for_ends_the_wait_and_nobody_is_let_in() {
    let stage = Stage::with(without_token(5));
    stage.server.0.lock().session = without_token(6);
    let began = tokio::time::Instant::now();
    let goes = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let caches = stage.sessions.caches();
        let target = caches.vm_accesses.get("team", "web").unwrap();
        caches.vm_accesses.observe(&WatchEvent::Delete(target.as_ref().clone()));
        stage.sessions.target_changed();
    };
    let (entered, ()) = tokio::join!(stage.connect(), goes);
    assert_eq!(entered.unwrap_err().reason, EndReason::TargetGone);
    assert_eq!(stage.server.writes(), 0);
    assert!(began.elapsed() < START_CHECK_TIMEOUT, "{:?}", began.elapsed());
}

#[test]
fn two_replicas_agree_on_who_was_first() {
    let (first, second) = (running("z", 11), running("a", 12));
    let verdict = |view: &SessionView, of: &ConsoleSession| view.start_check(of, ConsoleInput::Control).verdict(1);
    let (one, two) = (SessionView::with_kubevirt(), SessionView::with_kubevirt());
    let see = |view: &SessionView, session: &ConsoleSession| view.observe(&WatchEvent::Apply(session.clone()));
    // Each has started one and knows of no other.
    two.insert_own_write(second.clone());
    assert_eq!(verdict(&two, &second), StartVerdict::Undecided, "its watch is behind");
    see(&one, &first);
    assert_eq!(verdict(&one, &first), StartVerdict::Begins);
    see(&two, &first);
    assert_eq!(verdict(&two, &second), StartVerdict::Undecided);
    see(&two, &second);
    assert_eq!(verdict(&two, &second), StartVerdict::Full { open: 1 });

    // A list shows them in no order.
    let late = SessionView::with_kubevirt();
    late.observe(&WatchEvent::Init);
    late.observe(&WatchEvent::InitApply(second.clone()));
    assert_eq!(late.start_check(&second, ConsoleInput::Control), StartCheck::Unseen);
    late.observe(&WatchEvent::InitApply(first));
    late.observe(&WatchEvent::InitDone);
    assert_eq!(verdict(&late, &second), StartVerdict::Full { open: 1 });
}
