//! Sessions in front of an apiserver in memory: claims, conflicts, ends and what is written about them.

mod claims;
mod desktops;
mod ends;
mod late;
mod limits;
mod refused;
mod resume;
mod targets;
mod view_only;

use std::{io, sync::Arc, time::Duration};

use http::{Method, Request, Response};
use kube::{Client, client::Body};
use novasphere_dataplane::{
    admission::{Admission, AdmissionRequest},
    registry::StreamInfo,
};
use novasphere_runtime::watch::{ObjectName, WatchEvent};
use novasphere_runtime::{events, tasks::Tasks};
use novasphere_wire::{close::EndReason, token::TokenHash};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::view::ViewChange;

const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// How long viewers wait for a desktop.
const WAIT: Duration = Duration::from_mins(5);

/// How long their places are kept.
const WINDOW: Duration = Duration::from_mins(5);

type Edit = fn(&mut Value);

/// An apiserver with one session.
#[derive(Clone)]
struct Server(Arc<Mutex<State>>);

#[expect(clippy::struct_excessive_bools, reason = "each is what one test sets")]
struct State {
    session: Value,
    /// Somebody else's write that comes before the next one of ours.
    before_next_write: Option<Edit>,
    writes: usize,
    allowed: bool,
    /// Whether `update` is allowed as well.
    has_control: bool,
    workspace: Value,
    /// How often the workspace was asked to wake.
    wakes: usize,
    /// Where a desktop is.
    endpoint: Option<std::net::SocketAddr>,
    /// The UID of the objects that the Services are made for.
    service_owners: Vec<&'static str>,
    /// The data of a desktop's Secret.
    secret: Option<Value>,
    /// The labels of the Secret `guest`, with the password of a VNC server in a guest.
    labels: Value,
    /// The session was deleted.
    is_gone: bool,
    /// No read is answered.
    is_down: bool,
    /// Reads of the session.
    reads: usize,
    /// Events that were written.
    events: Vec<Value>,
    /// The UID of the target.
    target_uid: &'static str,
}

impl Server {
    fn new(session: Value) -> Self {
        Self(Arc::new(Mutex::new(State {
            session,
            before_next_write: None,
            writes: 0,
            allowed: true,
            has_control: true,
            workspace: desktops::workspace(),
            wakes: 0,
            endpoint: None,
            service_owners: vec!["t1", "w1"],
            secret: None,
            labels: json!({}),
            is_gone: false,
            is_down: false,
            reads: 0,
            events: Vec::new(),
            target_uid: "t1",
        })))
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                // Others run in between, as they do on a network.
                tokio::task::yield_now().await;
                let query = parts.uri.query().unwrap_or_default();
                let (code, answer) = server.answer(&parts.method, parts.uri.path(), query, body);
                let response = Response::builder().status(code);
                Ok::<_, io::Error>(response.body(Body::from(serde_json::to_vec(&answer).unwrap())).unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &Method, path: &str, query: &str, mut body: Value) -> (u16, Value) {
        let mut state = self.0.lock();
        if path.ends_with("/subjectaccessreviews") {
            let is_update = body["spec"]["resourceAttributes"]["verb"] == "update";
            body["status"] = json!({"allowed": state.allowed && (state.has_control || !is_update)});
            return (201, body);
        }
        if let Some(answer) = state.answer_of_desktop(path, &body) {
            return answer;
        }
        if path.ends_with("/endpointslices") {
            return (200, state.slices(query));
        }
        if path.ends_with("/events") {
            state.events.push(body.clone());
            return (201, body);
        }
        if path.ends_with("/secrets/guest") {
            let secret =
                json!({"metadata": {"name": "guest", "labels": state.labels}, "data": {"password": "c2VjcmV0"}});
            return (200, secret);
        }
        if path.ends_with("/vmaccesses/web") {
            let metadata = json!({"name": "web", "namespace": "team", "uid": state.target_uid});
            return (
                200,
                json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata}),
            );
        }
        if path.ends_with("/consolesessions/other") {
            return (404, not_found());
        }
        assert!(
            path.starts_with("/apis/novasphere.io/v1alpha1/namespaces/team/consolesessions/look"),
            "{path}"
        );
        if state.is_gone {
            return (404, not_found());
        }
        if *method == Method::GET {
            if state.is_down {
                return (
                    503,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503}),
                );
            }
            state.reads += 1;
            return (200, state.session.clone());
        }
        if let Some(edit) = state.before_next_write.take() {
            edit(&mut state.session);
            bump(&mut state.session);
        }
        if body["metadata"]["resourceVersion"] != state.session["metadata"]["resourceVersion"] {
            let conflict = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "message": "", "code": 409});
            return (409, conflict);
        }
        state.writes += 1;
        state.session["status"] = body["status"].clone();
        bump(&mut state.session);
        (200, state.session.clone())
    }

    fn session(&self) -> ConsoleSession {
        serde_json::from_value(self.0.lock().session.clone()).unwrap()
    }

    fn writes(&self) -> usize {
        self.0.lock().writes
    }
}

impl State {
    fn answer_of_desktop(&mut self, path: &str, body: &Value) -> Option<(u16, Value)> {
        if path.ends_with("/vncworkspaces/desk/status") {
            assert_eq!(body["metadata"], json!({"uid": "w1"}));
            self.wakes += 1;
            self.workspace["status"]["wakeRequestedAt"] = body["status"]["wakeRequestedAt"].clone();
            bump(&mut self.workspace);
            return Some((200, self.workspace.clone()));
        }
        if path.ends_with("/secrets/desk-credentials") {
            return Some(self.secret.as_ref().map_or((404, not_found()), |data| {
                (200, json!({"metadata": {"name": "desk-credentials"}, "data": data}))
            }));
        }
        None
    }

    /// The slices of one Service, when they carry the UID that is asked for.
    fn slices(&self, query: &str) -> Value {
        let endpoint = self.endpoint.unwrap_or_else(|| ([192, 0, 2, 7], 5901).into());
        let names: &[&str] = if self.endpoint.is_some() {
            &["vnc", "ssh"]
        } else {
            &["vnc"]
        };
        let ports: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "port": endpoint.port()}))
            .collect();
        let slice = json!({
            "metadata": {"name": "s"}, "addressType": "IPv4", "ports": ports,
            "endpoints": [{"addresses": [endpoint.ip().to_string()]}],
        });
        let is_of = |owner: &&str| query.contains(&format!("owner-uid%3D{owner}"));
        let items: Vec<_> = self
            .service_owners
            .iter()
            .find(|owner| is_of(owner))
            .map(|_| slice)
            .into_iter()
            .collect();
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": {}, "items": items})
    }
}

fn not_found() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "", "code": 404})
}

fn bump(session: &mut Value) {
    let version: u64 = session["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    session["metadata"]["resourceVersion"] = json!((version + 1).to_string());
}

/// A session that is ready, with a token for this many streams.
fn session(uses: u32) -> Value {
    let now = jiff::Timestamp::now();
    let later = now + Duration::from_hours(1);
    let second = |time: jiff::Timestamp| json!(jiff::Timestamp::from_second(time.as_second()).unwrap());
    json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "ConsoleSession",
        "metadata": {"name": "look", "namespace": "team", "uid": "s1", "resourceVersion": "1", "generation": 1},
        "spec": {"targetRef": {"kind": "VmAccess", "name": "web"}},
        "status": {
            "phase": "Ready",
            "targetUid": "t1",
            "protocol": "vnc",
            "startedAt": second(now),
            "expiresAt": second(later),
            "policy": {
                "duration": "1h", "maxViewers": 8, "takeover": "Refuse", "input": "Control", "clipboard": "ToGuest", "power": false,
                "resize": true, "native": true,
            },
            "grants": [{
                "id": "g", "sha256": TokenHash::of_token(TOKEN.as_bytes()).unwrap().to_hex(), "user": "ann",
                "issuedAt": second(now), "notAfter": second(later), "usesLeft": uses,
            }],
        },
    })
}

/// What was written into the audit log.
#[derive(Clone, Default)]
struct SharedOutput(Arc<Mutex<Vec<u8>>>);

impl Write for SharedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Stage {
    server: Server,
    sessions: SessionView,
    registry: novasphere_dataplane::registry::Registry,
    enforcer: Enforcer,
    report: crate::write::SessionReporter,
    output: SharedOutput,
    admission: SessionAdmission,
    _tasks: Tasks,
}

impl Stage {
    fn new(uses: u32) -> Self {
        Self::with(session(uses))
    }

    fn with(session: Value) -> Self {
        Self::at(Server::new(session))
    }

    /// A gateway beside others of the same sessions, whose watch shows no more after this.
    fn at(server: Server) -> Self {
        let sessions = SessionView::with_kubevirt();
        sessions.observe(&WatchEvent::Apply(server.session()));
        let vm_access = json!({
            "metadata": {"name": "web", "namespace": "team", "uid": "t1"},
            "spec": {
                "virtualMachine": {"name": "web"},
                "services": [{"name": "desk", "ports": [{"name": "vnc", "port": 5901}]}],
                "vncServer": {"service": "desk", "port": 5901},
                "console": {"maxViewers": 8},
            },
        });
        let instance =
            json!({"metadata": {"name": "web", "namespace": "team", "uid": "i1"}, "status": {"phase": "Running"}});
        sessions.fill(
            serde_json::from_value(vm_access).unwrap(),
            serde_json::from_value(instance).unwrap(),
        );
        let (client, mut tasks) = (server.client(), Tasks::new());
        let applier = Applier::new(client.clone(), FIELD_MANAGER, RuntimeMetrics::default());
        let clients = Clients {
            console_client: client.clone(),
            events: events::Reporter::new(&applier, REPORTER, "g1"),
            applier,
            client,
        };
        let view = sessions.clone();
        let output = SharedOutput::default();
        let audit = AuditLog::new("g1".to_owned(), Box::new(output.clone()));
        let times = SessionTimes {
            wake_timeout: WAIT,
            resume_window: WINDOW,
        };
        let plane = SessionPlane::start(clients, view, "g1", Endpoints::default(), times, audit, &mut tasks);
        Self {
            server,
            sessions,
            registry: plane.registry.clone(),
            enforcer: Enforcer::new(Arc::clone(&plane)),
            report: plane.reporter.clone(),
            output,
            admission: SessionAdmission::new(plane),
            _tasks: tasks,
        }
    }

    async fn enter(&self) -> Result<Admitted, StreamEnd> {
        let request = AdmissionRequest {
            token: TokenHash::of_token(TOKEN.as_bytes()).unwrap(),
            session: Some("team/look".into()),
            session_hint: None,
            client: [192, 0, 2, 1].into(),
            transport: Transport::WebSocket,
            resume: None,
        };
        self.admission.admit(&request).await
    }

    /// The watch sees the session like this.
    fn seen(&self, edit: impl Fn(&mut Value)) {
        let mut state = self.server.0.lock();
        edit(&mut state.session);
        bump(&mut state.session);
        drop(state);
        self.sessions.observe(&WatchEvent::Apply(self.server.session()));
        self.enforcer
            .changed(&ViewChange::Session("team".into(), "look".into()));
    }

    fn open(&self, admitted: &Admitted) -> novasphere_dataplane::registry::StreamHandle {
        let handle = self.registry.open(StreamInfo {
            session: admitted.session.clone(),
            connection: admitted.slot.id().to_owned(),
            user: admitted.user.clone(),
            target: admitted.target_name.clone(),
            client: [192, 0, 2, 1].into(),
            transport: Transport::WebSocket,
            protocol: admitted.protocol,
        });
        Observer::on_opened(&self.enforcer, handle.stream());
        handle
    }

    /// Event, reason and user of the lines of the audit log.
    fn audited(&self) -> Vec<[String; 3]> {
        let text = String::from_utf8(self.output.0.lock().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let word = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        lines
            .map(|line| ["event", "reason", "user"].map(|name| word(&line, name)))
            .collect()
    }

    fn connections(&self) -> usize {
        self.server.session().status.unwrap_or_default().connections.len()
    }
}
