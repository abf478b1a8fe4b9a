//! An uninstallation, over an API server that holds workspaces, a Deployment and its Pods.

use std::{convert::Infallible, sync::Arc};

use http::{Method, Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::Value;

use super::*;

/// What the cluster holds, and what was written to it, in order.
#[derive(Default)]
struct Cluster {
    workspaces: Vec<Value>,
    replicas: Option<i32>,
    /// How often the controller's Pods are still listed after it was stopped.
    last_looks: usize,
    /// How often workspaces have been listed.
    lists: usize,
    /// What happens to the workspaces before they are listed for this time.
    before_list: Option<(usize, Change)>,
    writes: Vec<String>,
}

type Shared = Arc<Mutex<Cluster>>;

type Change = fn(&mut Vec<Value>);

fn workspace(name: &str, finalizers: &[&str], is_ending: bool) -> Value {
    let mut metadata = json!({
        "name": name, "namespace": "team", "uid": format!("{name}-1"), "resourceVersion": "7", "finalizers": finalizers,
    });
    if is_ending {
        metadata["deletionTimestamp"] = json!("2026-11-30T08:00:00Z");
    }
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata})
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason}),
    )
}

impl Cluster {
    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let name = path.rsplit('/').next().unwrap_or_default();
        if path.ends_with("/scale") {
            return self.scale(method, body);
        }
        if path.ends_with("/pods") {
            let is_there = self.replicas != Some(0) || self.last_looks > 0;
            self.last_looks = self.last_looks.saturating_sub(1);
            let pod = json!({"metadata": {"namespace": "novasphere-system", "name": "novasphere-controller-1"}});
            return (200, list(&if is_there { vec![pod] } else { Vec::new() }));
        }
        if name == "vncworkspaces" {
            self.lists += 1;
            if let Some((time, change)) = self.before_list
                && time == self.lists
            {
                change(&mut self.workspaces);
            }
            return (200, list(&self.workspaces));
        }
        let found = self.workspaces.iter_mut().find(|one| one["metadata"]["name"] == name);
        let Some(found) = found else {
            return failure(404, "NotFound");
        };
        if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"] {
            return failure(409, "Conflict");
        }
        found["metadata"]["finalizers"] = body["metadata"]["finalizers"].clone();
        self.writes.push(format!("{name} {}", body["metadata"]["finalizers"]));
        (200, found.clone())
    }

    fn scale(&mut self, method: &Method, body: &Value) -> (u16, Value) {
        let Some(replicas) = &mut self.replicas else {
            return failure(404, "NotFound");
        };
        if method == Method::PATCH {
            *replicas = body["spec"]["replicas"]
                .as_i64()
                .and_then(|number| i32::try_from(number).ok())
                .unwrap();
            self.writes.push(format!("replicas {replicas}"));
        }
        let scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "novasphere-controller"},
            "spec": {"replicas": replicas}, "status": {"replicas": replicas, "selector": "app=controller"},
        });
        (200, scale)
    }
}

fn go(workspaces: &mut Vec<Value>) {
    workspaces.clear();
}

fn end_first(workspaces: &mut [Value]) {
    workspaces[0]["metadata"]["deletionTimestamp"] = json!("2026-11-30T08:00:00Z");
}

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items})
}

fn client(cluster: &Shared) -> Client {
    let cluster = Arc::clone(cluster);
    let service = tower::service_fn(move |request: Request<Body>| {
        let cluster = Arc::clone(&cluster);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (status, answer) = cluster.lock().answer(&parts.method, parts.uri.path(), &body);
            let answer = Body::from(serde_json::to_vec(&answer).unwrap());
            Ok::<_, Infallible>(Response::builder().status(status).body(answer).unwrap())
        }
    });
    Client::new(service, "default")
}

/// Prepares an uninstallation that waits for nothing longer than `timeout`.
async fn prepare(cluster: Cluster, timeout: Duration) -> (Result<(), UninstallError>, Cluster, Vec<String>) {
    let shared: Shared = Arc::new(Mutex::new(cluster));
    let options = UninstallOptions {
        namespace: "novasphere-system".to_owned(),
        deployment: "novasphere-controller".to_owned(),
        watch_namespace: None,
        timeout,
    };
    let told = Mutex::new(Vec::new());
    let result = prepare_uninstall(&client(&shared), &options, &|line| told.lock().push(line.to_owned())).await;
    let cluster = std::mem::take(&mut *shared.lock());
    (result, cluster, told.into_inner())
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn the_finalizer_goes_when_the_controller_has_gone_and_no_other_does() {
    let cluster = Cluster {
        workspaces: vec![
            workspace("alice", &["example.org/other", FINALIZER], false),
            workspace("bob", &["example.org/other"], false),
            workspace("carol", &[FINALIZER], false),
        ],
        replicas: Some(2),
        last_looks: 1,
        ..Cluster::default()
    };
    let (result, cluster, told) = prepare(cluster, LONG).await;
    result.unwrap();
    assert_eq!(
        cluster.writes,
        ["replicas 0", r#"alice ["example.org/other"]"#, "carol []"]
    );
    assert_eq!(cluster.last_looks, 0, "a Pod was left");
    assert!(told.iter().any(|line| line.contains("team/carol")), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_home_that_is_being_saved_keeps_the_controller() {
    let cluster = Cluster {
        workspaces: vec![
            workspace("alice", &[FINALIZER], true),
            workspace("bob", &[FINALIZER], false),
        ],
        replicas: Some(2),
        ..Cluster::default()
    };
    let (result, cluster, _) = prepare(cluster, Duration::ZERO).await;
    let message = result.unwrap_err().to_string();
    assert!(
        message.contains("team/alice are being deleted") && !message.contains("bob"),
        "{message}"
    );
    assert!(cluster.writes.is_empty(), "{:?}", cluster.writes);
}

#[tokio::test(start_paused = true)]
async fn what_is_saved_in_time_hinders_nothing() {
    let cluster = Cluster {
        workspaces: vec![workspace("alice", &[FINALIZER], true)],
        replicas: Some(1),
        before_list: Some((2, go)),
        ..Cluster::default()
    };
    let (result, cluster, told) = prepare(cluster, LONG).await;
    result.unwrap();
    assert_eq!(cluster.writes, ["replicas 0"]);
    assert!(told[0].contains("waiting for VncWorkspaces team/alice"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_comes_late_starts_the_controller_again() {
    let cluster = Cluster {
        workspaces: vec![workspace("alice", &[FINALIZER], false)],
        replicas: Some(2),
        before_list: Some((2, |all| end_first(all))),
        ..Cluster::default()
    };
    let (result, cluster, told) = prepare(cluster, LONG).await;
    assert!(matches!(result, Err(UninstallError::Ending(_))), "{result:?}");
    assert_eq!(cluster.writes, ["replicas 0", "replicas 2"]);
    assert!(
        told.iter().any(|line| line.contains("runs again, with 2 replicas")),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_does_not_end_is_named_and_goes_on() {
    let cluster = Cluster {
        workspaces: vec![workspace("alice", &[FINALIZER], false)],
        replicas: Some(1),
        last_looks: usize::MAX,
        ..Cluster::default()
    };
    let (result, cluster, _) = prepare(cluster, Duration::ZERO).await;
    let message = result.unwrap_err().to_string();
    assert!(
        message.contains("novasphere-system/novasphere-controller-1"),
        "{message}"
    );
    assert_eq!(cluster.writes, ["replicas 0", "replicas 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_changed_is_read_again() {
    let cluster = Cluster {
        workspaces: vec![workspace("alice", &[FINALIZER], false)],
        replicas: None,
        ..Cluster::default()
    };
    let shared: Shared = Arc::new(Mutex::new(cluster));
    let client = client(&shared);
    let options = UninstallOptions {
        namespace: "novasphere-system".to_owned(),
        deployment: "novasphere-controller".to_owned(),
        watch_namespace: Some("team".to_owned()),
        timeout: LONG,
    };
    let uninstall = Uninstall {
        client: &client,
        options: &options,
        tell: &|_| {},
    };
    let seen = uninstall.held().await.unwrap();
    shared.lock().workspaces[0]["metadata"]["resourceVersion"] = json!("8");
    uninstall.release(&seen[0]).await.unwrap();
    assert!(shared.lock().writes.is_empty());
    // Without a controller, as after an attempt that was interrupted.
    prepare_uninstall(&client, &options, &|_| {}).await.unwrap();
    assert_eq!(shared.lock().writes, ["alice []"]);
}

#[test]
fn a_message_names_some_and_counts_the_rest() {
    let objects: Vec<ObjectMeta> = (0..NAMES_LIMIT + 2)
        .map(|number| ObjectMeta {
            namespace: Some("team".to_owned()),
            name: Some(format!("desk-{number}")),
            ..ObjectMeta::default()
        })
        .collect();
    assert_eq!(names(objects[..2].iter()).unwrap(), "team/desk-0, team/desk-1");
    assert!(names(objects.iter()).unwrap().ends_with("team/desk-19 and 2 more"));
    assert!(names(std::iter::empty()).is_none());
}
