//! An apiserver in memory, as far as the reconcile of a workspace needs one.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, Request, Response};
use kube::client::Body;
use novasphere_core::label::KEY_OWNER_UID;
use novasphere_runtime::{metrics::Metrics, namespaced::Namespaced, watch::WatchEvent};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::*;
use crate::{
    config::{NodePortsConfig, PortRangeConfig},
    watches::VOLUME_SNAPSHOTS,
};

pub(super) const WORKSPACE: &str = "vncworkspaces/alice";

pub(super) const POD: &str = "pods/alice";

/// A request that is refused.
pub(super) struct Refusal {
    /// How the call begins.
    call: String,
    code: u16,
    message: String,
    once: bool,
}

impl Refusal {
    pub(super) fn new(call: &str, code: u16, message: &str) -> Self {
        Self {
            call: call.to_owned(),
            code,
            message: message.to_owned(),
            once: false,
        }
    }

    pub(super) fn once(call: &str, code: u16, message: &str) -> Self {
        Self {
            once: true,
            ..Self::new(call, code, message)
        }
    }
}

#[derive(Default)]
struct Server {
    /// By plural and name.
    objects: BTreeMap<String, Value>,
    /// Those that no watch shows.
    unseen: BTreeSet<String>,
    calls: Vec<String>,
    refusals: Vec<Refusal>,
    version: u64,
}

/// A namespace with workspace alice, and a controller whose caches are filled from it before each reconcile.
pub(super) struct Cluster {
    server: Arc<Mutex<Server>>,
    pub(super) context: Context,
}

impl Cluster {
    pub(super) fn new(spec: Value) -> Self {
        let server = Arc::new(Mutex::new(Server::default()));
        let answering = Arc::clone(&server);
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&answering);
            async move { Ok::<_, std::convert::Infallible>(answer(request, &server).await) }
        });
        let cluster = Self {
            server,
            context: context(Client::new(service, "default")),
        };
        let mut all = json!({"user": "alice", "image": "registry.example.org/desktop:1"});
        merge(&mut all, &spec);
        cluster.put(
            WORKSPACE,
            json!({
                "apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace",
                "metadata": {"uid": "alice-1", "generation": 1, "creationTimestamp": "2025-01-01T00:00:00Z"},
                "spec": all,
            }),
        );
        cluster
    }

    /// Refuses this from now on.
    pub(super) fn refuse(&self, refusal: Refusal) {
        self.server.lock().refusals.push(refusal);
    }

    pub(super) fn get(&self, path: &str) -> Option<Value> {
        self.server.lock().objects.get(path).cloned()
    }

    pub(super) fn put(&self, path: &str, object: Value) {
        self.server.lock().store(path, object);
    }

    pub(super) fn merge(&self, key: &str, patch: Value) {
        let mut object = self.get(key).unwrap_or_default();
        merge(&mut object, &patch);
        self.put(key, object);
    }

    /// An object that the controller does not watch.
    pub(super) fn unseen(&self, path: &str, object: Value) {
        let mut server = self.server.lock();
        server.store(path, object);
        server.unseen.insert(path.to_owned());
    }

    /// Changes the spec of the workspace.
    pub(super) fn change(&self, spec: Value) {
        let generation = self.get(WORKSPACE).unwrap()["metadata"]["generation"].as_u64();
        self.merge(
            WORKSPACE,
            json!({"metadata": {"generation": generation.unwrap() + 1}, "spec": spec}),
        );
    }

    pub(super) fn gone(&self, path: &str) {
        self.server.lock().objects.remove(path);
    }

    /// Asks for the deletion of the workspace.
    pub(super) fn delete_workspace(&self) {
        self.merge(
            WORKSPACE,
            json!({"metadata": {"deletionTimestamp": Timestamp::now().to_string()}}),
        );
    }

    /// The one object of a kind.
    pub(super) fn only(&self, kind: &str) -> String {
        let server = self.server.lock();
        let mut all = server.objects.keys().filter(|path| path.starts_with(kind));
        let only = all.next().unwrap().clone();
        assert_eq!(all.next(), None);
        only
    }

    /// Binds the home and starts the desktop.
    pub(super) fn runs(&self) {
        self.merge(
            "persistentvolumeclaims/alice-home",
            json!({"spec": {"volumeName": "v"}, "status": {"phase": "Bound"}}),
        );
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": Timestamp::now().to_string()}]);
        self.merge(
            POD,
            json!({"spec": {"nodeName": "node-1"}, "status": {"phase": "Running", "conditions": ready}}),
        );
        let _ = self.calls();
    }

    pub(super) fn workspace(&self) -> VncWorkspace {
        serde_json::from_value(self.get(WORKSPACE).unwrap()).unwrap()
    }

    /// Reconciles what is there; the caches have seen all of it.
    pub(super) async fn reconcile(&self) -> Result<Action, ReconcileError> {
        self.fill();
        self.context.reconcile(&self.workspace()).await
    }

    pub(super) async fn reconciled(&self) -> Action {
        self.reconcile().await.unwrap()
    }

    /// What was asked since this was last called.
    pub(super) fn calls(&self) -> Vec<String> {
        let mut calls = std::mem::take(&mut self.server.lock().calls);
        // Pod and home are read at the same time.
        let (pod, home) = ("GET pods/alice", "GET persistentvolumeclaims/alice-home");
        if let Some(at) = calls.windows(2).position(|pair| pair == [home, pod]) {
            calls.swap(at, at + 1);
        }
        calls
    }

    pub(super) fn status(&self) -> Value {
        self.get(WORKSPACE).unwrap()["status"].clone()
    }

    pub(super) fn reason(&self, type_: &str) -> String {
        self.condition(type_)["reason"].as_str().unwrap().to_owned()
    }

    pub(super) fn message(&self, type_: &str) -> String {
        self.condition(type_)["message"].as_str().unwrap().to_owned()
    }

    fn condition(&self, type_: &str) -> Value {
        let status = self.status();
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|condition| condition["type"] == type_);
        found.unwrap_or_else(|| panic!("no condition {type_}: {status}"))
    }

    /// Lets the watches catch up.
    pub(super) fn fill(&self) {
        let caches = &self.context.caches;
        self.fill_one(&caches.vnc_workspaces, "vncworkspaces/");
        self.fill_one(&caches.pods, "pods/");
        self.fill_one(&caches.services, "services/");
        self.fill_one(&caches.claims, "persistentvolumeclaims/");
        self.fill_one(&caches.network_policies, "networkpolicies/");
        self.fill_one(&caches.volume_snapshots, "volumesnapshots/");
    }

    fn fill_one<K: Namespaced + DeserializeOwned + std::fmt::Debug>(&self, cache: &Cache<K>, kind: &str) {
        cache.observe(&WatchEvent::Init);
        let server = self.server.lock();
        for (path, object) in &server.objects {
            if path.starts_with(kind) && !server.unseen.contains(path) {
                cache.observe(&WatchEvent::InitApply(serde_json::from_value(object.clone()).unwrap()));
            }
        }
        drop(server);
        cache.observe(&WatchEvent::InitDone);
    }
}

fn context(client: Client) -> Context {
    let range = |first| PortRangeConfig { first, last: first + 2 };
    let apis = OptionalApis::fixed([(VOLUME_SNAPSHOTS, "v1")].into());
    let applier = Applier::new(client.clone(), VNC_WORKSPACE_MANAGER, Metrics::default()).owner_label(KEY_OWNER_UID);
    Context {
        reporter: Reporter::new(&applier, VNC_WORKSPACE_MANAGER, "test"),
        applier,
        client,
        routes: Arc::new(Routes::none(apis.clone())),
        apis,
        caches: Caches::new(),
        status_throttle: StatusThrottle::default(),
        node_ports: NodePortAllocator::new(&NodePortsConfig {
            vnc: range(30000),
            ssh: range(31000),
        }),
        last_inputs: LastInputs::default(),
        crash_backoff: CrashBackoff::default(),
        gateway: GatewayLocation {
            namespace: "novasphere".to_owned(),
        },
        settings: Arc::new(WorkspaceSettings {
            expiry_notice: Duration::ZERO,
            ..WorkspaceSettings::default()
        }),
        paused: false,
    }
}

async fn answer(request: Request<Body>, server: &Mutex<Server>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let sent = body.collect_bytes().await.unwrap();
    let sent: Value = serde_json::from_slice(&sent).unwrap_or_default();
    let content_type = parts.headers.get("content-type").and_then(|value| value.to_str().ok());
    let verb = match (parts.method.clone(), content_type.unwrap_or_default()) {
        (Method::PATCH, "application/merge-patch+json") => "MERGE",
        (Method::PATCH, "application/json-patch+json") => "JSON",
        (Method::PATCH, "application/strategic-merge-patch+json") => "RESIZE",
        (Method::PATCH, _) => "APPLY",
        (Method::DELETE, _) => "DELETE",
        (Method::POST, _) => "POST",
        _ => "GET",
    };
    let path = parts.uri.path().rsplit("/namespaces/team/").next().unwrap_or_default();
    let path = if path.ends_with("events") || path.contains("events/") {
        "events"
    } else {
        path
    };
    let (code, answer) = match server.lock().answer(verb, path, &sent) {
        Ok(answer) => (200, answer),
        Err((code, message)) => {
            let reason = if code == 404 { "NotFound" } else { "" };
            let cause = message
                .split_once(": ")
                .map(|(field, message)| json!({"field": field, "message": message}));
            (
                code,
                json!({
                    "kind": "Status", "code": code, "reason": reason, "message": message,
                    "details": {"causes": cause.into_iter().collect::<Vec<_>>()},
                }),
            )
        }
    };
    let body = Body::from(serde_json::to_vec(&answer).unwrap());
    Response::builder().status(code).body(body).unwrap()
}

impl Server {
    fn answer(&mut self, verb: &str, path: &str, sent: &Value) -> Result<Value, (u16, String)> {
        let call = format!("{verb} {path}");
        self.calls.push(call.clone());
        if let Some(at) = self.refusals.iter().position(|refusal| call.starts_with(&refusal.call)) {
            let refusal = &self.refusals[at];
            let answer = (refusal.code, refusal.message.clone());
            if refusal.once {
                self.refusals.remove(at);
            }
            return Err(answer);
        }
        let key: String = path.split('/').take(2).collect::<Vec<_>>().join("/");
        let live = self.objects.get(&key).cloned();
        let missing = || (404, format!("{path} not found"));
        match verb {
            "POST" => return Ok(sent.clone()),
            "GET" => return live.ok_or_else(missing),
            "APPLY" if live.is_none() && key != WORKSPACE => {}
            _ if live.is_none() => return Err(missing()),
            _ => {}
        }
        let mut object = live.clone().unwrap_or_else(|| json!({}));
        match verb {
            "DELETE" => return self.delete(&key, &object, sent),
            "JSON" => return Ok(self.remove_finalizer(&key, object)),
            _ => {}
        }
        let version = sent["metadata"]["resourceVersion"].as_str();
        if live.is_some() && version.is_some_and(|version| object["metadata"]["resourceVersion"] != version) {
            return Err((409, "the object has been modified".to_owned()));
        }
        let mut fields = sent.clone();
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
        if verb == "APPLY" && key != WORKSPACE {
            object["metadata"]["ownerReferences"] = Value::Null;
        }
        if path.ends_with("/status") {
            object["status"] = Value::Null;
        }
        merge(&mut object, &fields);
        self.store(&key, object);
        Ok(self.objects[&key].clone())
    }

    fn delete(&mut self, key: &str, object: &Value, sent: &Value) -> Result<Value, (u16, String)> {
        let wanted = &sent["preconditions"]["resourceVersion"];
        if !wanted.is_null() && *wanted != object["metadata"]["resourceVersion"] {
            return Err((409, "the object has been modified".to_owned()));
        }
        let mut object = object.clone();
        let has_finalizer = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        if key.starts_with("pods/") || has_finalizer {
            object["metadata"]["deletionTimestamp"] = Timestamp::now().to_string().into();
            self.store(key, object);
            return Ok(self.objects[key].clone());
        }
        Ok(self.objects.remove(key).unwrap())
    }

    fn remove_finalizer(&mut self, key: &str, mut object: Value) -> Value {
        object["metadata"]["finalizers"] = json!([]);
        if object["metadata"].get("deletionTimestamp").is_some() {
            self.objects.remove(key);
        } else {
            self.store(key, object.clone());
        }
        object
    }

    fn store(&mut self, key: &str, mut object: Value) {
        self.version += 10;
        let (_, name) = key.split_once('/').unwrap();
        let metadata = &mut object["metadata"];
        metadata["name"] = name.into();
        if metadata.get("namespace").is_none_or(Value::is_null) {
            metadata["namespace"] = "team".into();
        }
        metadata["resourceVersion"] = self.version.to_string().into();
        if metadata.get("uid").is_none_or(Value::is_null) {
            metadata["uid"] = format!("{key}-{}", self.version).into();
        }
        drop_nulls(&mut object);
        self.objects.insert(key.to_owned(), object);
    }
}

/// A JSON merge patch (RFC 7396) that keeps nulls, which [`Server::store`] drops.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in fields {
        merge(&mut target[key.as_str()], value);
    }
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}
