//! Desktops that sleep, in front of the same apiserver in memory.

use novasphere_crd::VncWorkspace;
use novasphere_dataplane::{
    registry::Protocol,
    upstream::{Upstream, UpstreamError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::*;

/// A workspace that sleeps.
pub(super) fn workspace() -> Value {
    json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VncWorkspace",
        "metadata": {"name": "desk", "namespace": "team", "uid": "w1", "resourceVersion": "1", "generation": 1},
        "spec": {
            "user": "ann", "image": "registry.example.org/desktop:1", "console": {"maxViewers": 64},
            "ssh": {"authorizedKeys": ["ssh-ed25519 AAAA"]},
        },
        "status": {
            "conditions": [pod_ready("False", "Hibernated", "The desktop sleeps.")],
            "hibernation": {"reason": "Idle", "since": "2026-03-01T12:00:00Z"},
        },
    })
}

fn pod_ready(status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": "PodReady", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-03-01T12:00:00Z",
    })
}

fn running(workspace: &mut Value) {
    workspace["status"]["conditions"] = json!([pod_ready("True", "Running", "The desktop answers.")]);
    workspace["status"]["awakeSince"] = json!("2026-03-01T12:30:00Z");
}

impl Stage {
    /// A session of that workspace with a token for this many streams of this console.
    pub(super) fn of_desktop(uses: u32, protocol: &str) -> Self {
        let mut session = session(uses);
        session["spec"] = json!({"targetRef": {"kind": "VncWorkspace", "name": "desk"}, "protocol": protocol});
        session["status"]["targetUid"] = json!("w1");
        session["status"]["protocol"] = json!(protocol);
        session["status"]["policy"]["maxViewers"] = json!(64);
        let stage = Self::with(session);
        stage.see_desktop(|_| {});
        stage
    }

    pub(super) fn see_desktop(&self, edit: impl Fn(&mut Value)) {
        let mut state = self.server.0.lock();
        edit(&mut state.workspace);
        bump(&mut state.workspace);
        let workspace: VncWorkspace = serde_json::from_value(state.workspace.clone()).unwrap();
        drop(state);
        self.sessions.see(&WatchEvent::Apply(workspace));
        self.enforcer.changed(&ViewChange::Targets("team".into()));
    }

    /// Lets the desktop be at this address from now on.
    fn serve_at(&self, address: std::net::SocketAddr) {
        self.server.0.lock().endpoint = Some(address);
    }

    pub(super) fn wakes(&self) -> usize {
        self.server.0.lock().wakes
    }

    /// Returns when the apiserver was asked to wake the desktop.
    async fn asked_to_wake(&self) {
        let asked = async {
            while self.wakes() == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), asked)
            .await
            .expect("somebody asks the desktop to wake");
    }
}

async fn open(admitted: &Admitted) -> Result<Box<dyn novasphere_dataplane::peer::Peer>, UpstreamError> {
    admitted.target.open(admitted.protocol).await
}

#[tokio::test]
async fn a_crowd_wakes_a_desktop_once_and_all_come_in() {
    let stage = Stage::of_desktop(20, "ssh");
    let entries = futures::future::join_all((0..20).map(|_| stage.enter())).await;
    let admitted: Vec<_> = entries.into_iter().map(Result::unwrap).collect();
    assert_eq!(stage.wakes(), 0, "a token was used, and nobody connects yet");
    assert!(stage.audited().is_empty());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        for _ in 0..20 {
            let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-").await.unwrap();
        }
    });
    let waiting = futures::future::join_all(admitted.iter().map(open));
    let wake = async {
        stage.asked_to_wake().await;
        stage.serve_at(address);
        stage.see_desktop(running);
    };
    let (legs, ()) = tokio::join!(waiting, wake);
    for leg in legs {
        let mut greeting = [0; 4];
        leg.unwrap().read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"SSH-");
    }
    server.await.unwrap();
    assert_eq!(stage.wakes(), 1);
    assert_eq!(stage.audited(), [["Woken", "", "ann"]]);
    let asked = &stage.server.0.lock().workspace["status"]["wakeRequestedAt"];
    assert!(asked.as_str().unwrap() >= "2026-03-01T12:00:00Z", "{asked}");
}

#[tokio::test]
async fn a_desktop_that_somebody_has_asked_for_is_not_asked_again() {
    let stage = Stage::of_desktop(1, "vnc");
    stage.see_desktop(|workspace| workspace["status"]["wakeRequestedAt"] = json!("2026-03-01T12:00:00Z"));
    let admitted = stage.enter().await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(300), open(&admitted)).await;
    assert!(waited.is_err(), "it is not ready");
    assert_eq!(stage.wakes(), 0);
}

#[tokio::test]
async fn a_desktop_that_cannot_start_is_not_waited_for() {
    type Case = (fn(&mut Value), EndReason);
    let cases: [Case; 3] = [
        (
            |workspace| workspace["status"]["conditions"] = json!([pod_ready("False", "Expired", "Over.")]),
            EndReason::TargetExpired,
        ),
        (
            |workspace| workspace["status"]["conditions"] = json!([pod_ready("False", "InvalidSpec", "Correct it.")]),
            EndReason::TargetFailed,
        ),
        (
            |workspace| workspace["metadata"]["uid"] = json!("w2"),
            EndReason::TargetGone,
        ),
    ];
    for (edit, why) in cases {
        let stage = Stage::of_desktop(2, "vnc");
        let admitted = stage.enter().await.unwrap();
        let spoil = async {
            stage.asked_to_wake().await;
            stage.see_desktop(edit);
        };
        let (opened, ()) = tokio::join!(open(&admitted), spoil);
        assert_eq!(opened.err().unwrap().close(), why);
        // A viewer who comes now is told at once, and keeps the use of the token.
        let writes = stage.server.writes();
        assert_eq!(stage.enter().await.unwrap_err().reason, why);
        assert_eq!(stage.server.writes(), writes);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_configuration_says() {
    let stage = Stage::of_desktop(1, "vnc");
    let admitted = stage.enter().await.unwrap();
    let start = Instant::now();
    let error = open(&admitted).await.err().unwrap();
    assert_eq!(error.close(), EndReason::WakeTimeout);
    assert!(
        error
            .to_string()
            .ends_with("(console.wakeTimeout): The desktop sleeps."),
        "{error}"
    );
    assert_eq!(start.elapsed().as_secs(), WAIT.as_secs());
    assert_eq!(stage.wakes(), 1);
}

#[tokio::test]
async fn a_session_that_ends_ends_the_wait() {
    let stage = Stage::of_desktop(1, "vnc");
    let admitted = stage.enter().await.unwrap();
    let mut handle = stage.open(&admitted);
    stage.seen(|session| session["spec"]["revoked"] = json!(true));
    assert_eq!(handle.ended().await, EndReason::Revoked);
}

#[tokio::test]
async fn a_workspace_that_is_deleted_ends_the_wait() {
    let stage = Stage::of_desktop(1, "vnc");
    let admitted = stage.enter().await.unwrap();
    let mut handle = stage.open(&admitted);
    stage.see_desktop(|workspace| workspace["metadata"]["deletionTimestamp"] = json!("2026-03-01T12:00:00Z"));
    assert_eq!(handle.ended().await, EndReason::TargetGone);
}

#[tokio::test]
async fn the_password_is_that_of_the_workspaces_secret() {
    let stage = Stage::of_desktop(3, "vnc");
    stage.serve_at("127.0.0.1:5901".parse().unwrap());
    stage.see_desktop(running);
    let refusal = stage.enter().await.unwrap_err();
    assert_eq!(refusal.reason, EndReason::TargetRefused);
    assert!(
        refusal.detail().contains("team/desk-credentials"),
        "{}",
        refusal.detail()
    );
    // "password" is the key of other VNC servers.
    stage.server.0.lock().secret = Some(json!({"password": "c2VjcmV0"}));
    let refusal = stage.enter().await.unwrap_err();
    assert!(refusal.detail().contains("vnc-password"), "{}", refusal.detail());
    stage.server.0.lock().secret = Some(json!({"vnc-password": "c2VjcmV0"}));
    let admitted = stage.enter().await.unwrap();
    assert!(matches!(admitted.target, Upstream::Awaited(_)));
    assert_eq!(
        (admitted.protocol, admitted.target_name.as_str()),
        (Protocol::Vnc, "VncWorkspace/desk")
    );
}

#[tokio::test]
async fn ssh_is_not_for_view_only() {
    let stage = Stage::of_desktop(1, "ssh");
    stage.server.0.lock().has_control = false;
    let refusal = stage.enter().await.unwrap_err();
    assert_eq!(refusal.reason, EndReason::InputNotAllowed);
    assert!(
        refusal.detail().contains("update vncworkspaces/console"),
        "{}",
        refusal.detail()
    );
    assert_eq!(stage.server.writes(), 0);
}

#[tokio::test]
async fn why_a_desktop_has_gone_is_told() {
    let stage = Stage::of_desktop(1, "ssh");
    stage.serve_at("127.0.0.1:2222".parse().unwrap());
    stage.see_desktop(running);
    let admitted = stage.enter().await.unwrap();
    let handle = stage.open(&admitted);
    let sleep = async {
        tokio::task::yield_now().await;
        stage.see_desktop(|workspace| {
            let message = "The desktop sleeps because nobody typed.";
            let mut hibernated = pod_ready("True", "Idle", message);
            hibernated["type"] = json!("Hibernated");
            workspace["status"]["conditions"] = json!([pod_ready("False", "Hibernated", "x"), hibernated]);
            workspace["status"]["awakeSince"] = Value::Null;
        });
    };
    let (end, ()) = tokio::join!(stage.admission.explain(&handle.stream().info), sleep);
    let end = end.unwrap();
    assert_eq!(end.reason, EndReason::TargetHibernated);
    assert_eq!(end.detail.as_deref(), Some("The desktop sleeps because nobody typed."));
}

#[tokio::test]
async fn a_token_tells_how_its_target_is_while_it_may_open_a_stream_or_has_one() {
    let stage = Stage::of_desktop(1, "vnc");
    let token = TokenHash::of_token(TOKEN.as_bytes()).unwrap();
    let view = || stage.admission.target_view(&token, [192, 0, 2, 1].into());
    let asleep = view().unwrap();
    assert_eq!((asleep.kind, asleep.name.as_str()), ("VncWorkspace", "desk"));
    assert_eq!(<&str>::from(asleep.state), "Asleep");
    let admitted = stage.enter().await.unwrap();
    stage.see_desktop(running);
    // The token is used up; its stream is open.
    stage.seen(|session| session["status"]["grants"] = json!([]));
    let awake = view().unwrap();
    assert_eq!(
        (<&str>::from(awake.state), awake.message.as_str()),
        ("Running", "The desktop answers.")
    );
    drop(admitted);
    stage.report.flush(Duration::from_secs(5)).await;
    stage.seen(|_| {});
    assert_eq!(view(), None);
    let other = TokenHash::of_token("B".repeat(43).as_bytes()).unwrap();
    assert_eq!(stage.admission.target_view(&other, [192, 0, 2, 1].into()), None);
}

#[tokio::test]
async fn a_used_token_tells_how_its_target_is_on_every_replica() {
    let stage = Stage::of_desktop(1, "vnc");
    let token = TokenHash::of_token(TOKEN.as_bytes()).unwrap();
    let is_known = || stage.admission.target_view(&token, [192, 0, 2, 1].into()).is_some();
    assert!(is_known());
    // What another replica writes when the token opens a stream there.
    stage.seen(|session| {
        session["status"]["grants"][0]["usesLeft"] = json!(0);
        session["status"]["connections"] = json!([{
            "id": "elsewhere", "user": "ann", "gateway": "g2", "clientAddress": "192.0.2.1", "transport": "WebSocket",
            "connectedAt": "2026-03-01T12:00:00Z",
        }]);
    });
    assert!(is_known(), "its stream is open");
    stage.seen(|session| session["status"]["grants"] = json!([]));
    assert!(is_known(), "the next change takes the grant away");
    stage.seen(|session| session["status"]["connections"] = json!([]));
    assert!(!is_known(), "its stream has ended");
}
