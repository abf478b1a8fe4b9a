//! Whole reconciles over caches that are filled by hand and an apiserver that takes what it is sent.

#![allow(
    clippy::needless_pass_by_value,
    reason = "json!({..}) reads better than &json!({..}) in a table"
)]

use http::{Method, Request, Response};
use k8s_openapi::api::core::v1::Service;
use kube::client::Body;
use novasphere_core::label::KEY_OWNER_UID;
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};
use novasphere_runtime::{metrics::Metrics, watch::WatchEvent};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::watches::{DATA_VOLUMES, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES};

/// One request, in words, and its body.
#[derive(Clone, Debug)]
struct Call {
    what: String,
    body: Value,
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// What stands in for an answer of the apiserver: status and message.
type Refuse = fn(&Call) -> Option<(u16, &'static str)>;

fn context(refuse: Refuse) -> (Context, Calls) {
    counted_context(refuse, Metrics::default())
}

fn counted_context(refuse: Refuse, metrics: Metrics) -> (Context, Calls) {
    let calls = Calls::default();
    let seen = Arc::clone(&calls);
    let service = tower::service_fn(move |request: Request<Body>| {
        let seen = Arc::clone(&seen);
        async move { Ok::<_, std::convert::Infallible>(answer(request, refuse, &seen).await) }
    });
    let client = Client::new(service, "default");
    let apis = OptionalApis::fixed(
        [
            (VIRTUAL_MACHINES, "v1"),
            (VIRTUAL_MACHINE_INSTANCES, "v1"),
            (DATA_VOLUMES, "v1beta1"),
        ]
        .into(),
    );
    let applier = Applier::new(client.clone(), "novasphere/test", metrics).owner_label(KEY_OWNER_UID);
    let context = Context {
        reporter: Reporter::new(&applier, "novasphere/test", "test"),
        applier,
        client,
        routes: Arc::new(Routes::none(apis.clone())),
        apis,
        caches: Caches::new(),
        status_throttle: StatusThrottle::default(),
        power_calls: PowerCalls::default(),
        limits: Arc::default(),
        paused: false,
    };
    (context, calls)
}

async fn answer(request: Request<Body>, refuse: Refuse, calls: &Calls) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let is_merge = parts
        .headers
        .values()
        .any(|value| value == "application/merge-patch+json");
    let verb = match parts.method {
        Method::PATCH if is_merge => "MERGE",
        Method::PATCH => "APPLY",
        ref method => method.as_str(),
    };
    let path = parts.uri.path().rsplit("/namespaces/a/").next().unwrap_or_default();
    let call = Call {
        what: format!("{verb} {path}"),
        body: serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default(),
    };
    let (status, answer) = if let Some((code, message)) = refuse(&call) {
        (
            code,
            json!({"kind": "Status", "code": code, "reason": "", "message": message}),
        )
    } else {
        (200, taken(verb, path, &call.body))
    };
    calls.lock().push(call);
    let body = Body::from(serde_json::to_vec(&answer).unwrap());
    Response::builder().status(status).body(body).unwrap()
}

/// The object as the apiserver has it then.
fn taken(verb: &str, path: &str, sent: &Value) -> Value {
    let mut object = sent.clone();
    if verb == "APPLY" && path.ends_with("/status") {
        object["spec"] = json!({"virtualMachine": {"name": "web-1"}});
    }
    if verb == "GET" && path.starts_with("virtualmachines/") {
        // Somebody has stopped it, which no cache has seen.
        object = json!({"metadata": {"ownerReferences": owner()}, "spec": {"runStrategy": "Halted"}});
    }
    if verb == "MERGE" && path.starts_with("services/") {
        object["metadata"]["ownerReferences"] = owner();
    }
    object["metadata"]["name"] = path.split('/').nth(1).unwrap_or_default().into();
    object["metadata"]["namespace"] = "a".into();
    object["metadata"]["uid"] = "live".into();
    object["metadata"]["resourceVersion"] = "99".into();
    object
}

/// What was called, without events and status writes.
fn told(calls: &Calls) -> Vec<String> {
    let calls = calls.lock();
    let all = calls.iter().map(|call| call.what.clone());
    all.filter(|what| !what.contains("events") && !what.ends_with("/status"))
        .collect()
}

fn read<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn vm_access(spec: Value) -> VmAccess {
    read(json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VmAccess",
        "metadata": {"name": "web-1", "namespace": "a", "uid": "u", "generation": 1},
        "spec": spec,
    }))
}

fn machine(context: &Context, version: &str, more: Value) {
    let mut machine = json!({
        "metadata": {"name": "web-1", "namespace": "a", "uid": "m", "resourceVersion": version},
        "spec": {"runStrategy": "Always"},
        "status": {"printableStatus": "Running", "ready": true},
    });
    for (key, value) in more.as_object().unwrap() {
        machine["metadata"][key] = value.clone();
    }
    let machine: VirtualMachine = read(machine);
    context.caches.virtual_machines.observe(&WatchEvent::Apply(machine));
}

fn instance(context: &Context, version: &str) {
    let instance: VirtualMachineInstance = read(json!({
        "metadata": {"name": "web-1", "namespace": "a", "uid": "i", "resourceVersion": version},
        "status": {"phase": "Running"},
    }));
    context
        .caches
        .virtual_machine_instances
        .observe(&WatchEvent::Apply(instance));
}

fn owner() -> Value {
    json!([{"apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess", "name": "web-1", "uid": "u", "controller": true}])
}

fn service(context: &Context, name: &str, node_port: u16) {
    let service: Service = read(json!({
        "metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": "5", "ownerReferences": owner()},
        "spec": {"type": "NodePort", "ports": [{"name": "ssh", "port": 22, "nodePort": node_port}]},
    }));
    context.caches.services.observe(&WatchEvent::Apply(service));
}

/// A Service of another namespace whose author wrote the UID of ours into its labels.
fn planted_service(context: &Context, name: &str, node_port: u16) {
    let service: Service = read(json!({
        "metadata": {
            "name": name, "namespace": "b", "uid": "planted", "resourceVersion": "5",
            "labels": {KEY_OWNER_UID: "u", "app.kubernetes.io/managed-by": "novasphere"},
        },
        "spec": {"type": "NodePort", "ports": [{"name": "ssh", "port": 22, "nodePort": node_port}]},
    }));
    context.caches.services.observe(&WatchEvent::Apply(service));
}

fn on_node(name: &str, node_port: u16) -> Value {
    json!({"name": name, "type": "NodePort", "ports": [{"name": "ssh", "port": 22, "nodePort": node_port}]})
}

#[tokio::test]
async fn a_machine_that_is_to_stay_loses_its_owner_also_when_its_template_is_refused() {
    let (context, calls) = context(|call| {
        let is_whole = call.what == "APPLY virtualmachines/web-1";
        is_whole.then_some((422, "spec.template: no such thing"))
    });
    let other = json!({"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "o"});
    let mut owners = owner();
    owners.as_array_mut().unwrap().push(other.clone());
    machine(&context, "7", json!({ "ownerReferences": owners }));
    let template = json!({"memory": "1Gi", "rootDisk": {"containerDisk": {"image": "i"}}});
    let orphan = vm_access(json!({"virtualMachine": {"template": template, "deletionPolicy": "Orphan"}}));
    let refused = attempt(&orphan, &context).await.unwrap_err();
    assert!(
        matches!(refused, ReconcileError::Incomplete { reason: "Invalid", .. }),
        "{refused}"
    );
    assert_eq!(
        told(&calls),
        ["APPLY virtualmachines/web-1", "MERGE virtualmachines/web-1"]
    );
    let body = calls.lock()[1].body.clone();
    assert_eq!(
        body,
        json!({"metadata": {
            "uid": "m", "resourceVersion": "7", "labels": {KEY_OWNER_UID: "u"}, "ownerReferences": [other],
        }})
    );
}

#[tokio::test]
async fn a_renamed_service_keeps_its_node_port() {
    let (context, calls) = context(|_| None);
    machine(&context, "7", json!({}));
    service(&context, "web-1-old", 30100);
    let renamed = vm_access(json!({"virtualMachine": {"name": "web-1"}, "services": [on_node("new", 30100)]}));
    attempt(&renamed, &context).await.unwrap();
    assert_eq!(told(&calls), ["DELETE services/web-1-old", "APPLY services/web-1-new"]);
}

#[tokio::test]
async fn a_machine_is_not_made_before_the_secret_that_it_reads_is_shared() {
    let (context, calls) = context(|_| None);
    let template = json!({
        "memory": "1Gi", "rootDisk": {"containerDisk": {"image": "i"}}, "cloudInit": {"secretRef": "user-data"},
    });
    let reads = vm_access(json!({"virtualMachine": {"template": template}}));
    let looks_again = attempt(&reads, &context).await.unwrap();
    assert_eq!(told(&calls), ["GET secrets/user-data"]);
    assert_eq!(looks_again, Action::requeue(REFERENCE_RETRY_INTERVAL));
}

#[tokio::test]
async fn a_service_of_another_namespace_is_neither_deleted_nor_changed() {
    let (context, calls) = context(|_| None);
    machine(&context, "7", json!({}));
    // One that the spec does not want, and one that has its name and the port that it asks for.
    planted_service(&context, "planted", 30100);
    planted_service(&context, "web-1-ssh", 30200);
    let ours = vm_access(json!({"virtualMachine": {"name": "web-1"}, "services": [on_node("ssh", 30200)]}));
    attempt(&ours, &context).await.unwrap();
    assert_eq!(told(&calls), ["APPLY services/web-1-ssh"]);
}

#[tokio::test]
async fn services_that_exchange_node_ports_do_so_in_one_go() {
    let (context, calls) = context(|_| None);
    machine(&context, "7", json!({}));
    service(&context, "web-1-a", 30100);
    service(&context, "web-1-b", 30200);
    let services = [on_node("a", 30200), on_node("b", 30100)];
    let exchanged = vm_access(json!({"virtualMachine": {"name": "web-1"}, "services": services}));
    attempt(&exchanged, &context).await.unwrap();
    assert_eq!(
        told(&calls),
        [
            "MERGE services/web-1-a",
            "APPLY services/web-1-b",
            "APPLY services/web-1-a"
        ]
    );
}

#[tokio::test]
async fn a_failed_child_does_not_put_off_a_planned_restart() {
    let (context, _) = context(|call| {
        call.what
            .contains("services/")
            .then_some((403, "services is forbidden"))
    });
    machine(&context, "7", json!({}));
    let restart = Timestamp::now() + Duration::from_hours(1);
    let planned = vm_access(json!({
        "virtualMachine": {"name": "web-1"},
        "power": {"restartedAt": restart.to_string()},
        "services": [on_node("a", 30100)],
    }));
    let failed = attempt(&planned, &context).await.unwrap_err();
    let ReconcileError::Incomplete { next: Some(next), .. } = failed else {
        panic!("{failed:?}")
    };
    assert!(next <= Duration::from_hours(1), "{next:?}");
}

#[tokio::test]
async fn a_call_is_not_made_again_for_what_else_kubevirt_says_of_the_machine() {
    let (context, calls) = context(|_| None);
    machine(&context, "7", json!({}));
    instance(&context, "8");
    let paused = vm_access(json!({"virtualMachine": {"name": "web-1"}, "power": {"state": "Paused"}}));
    let looks_again = attempt(&paused, &context).await.unwrap();
    assert_ne!(
        looks_again,
        Action::await_change(),
        "nothing else tells that it had no effect"
    );
    machine(&context, "9", json!({}));
    assert_ne!(attempt(&paused, &context).await.unwrap(), Action::await_change());
    assert_eq!(told(&calls).len(), 1, "{:?}", told(&calls));
}

fn template(more: Value) -> VmAccess {
    let mut template = json!({"memory": "1Gi", "rootDisk": {"containerDisk": {"image": "i"}}});
    for (key, value) in more.as_object().unwrap() {
        template[key] = value.clone();
    }
    vm_access(json!({"virtualMachine": {"template": template}}))
}

#[tokio::test]
async fn a_run_strategy_that_somebody_changes_meanwhile_is_not_taken_back() {
    let (context, calls) = context(|call| {
        let is_old = call.what.starts_with("APPLY virtualmachines/") && call.body["metadata"]["resourceVersion"] == "7";
        is_old.then_some((409, "the object has been modified"))
    });
    machine(&context, "7", json!({ "ownerReferences": owner() }));
    attempt(&template(json!({"memory": "2Gi"})), &context).await.unwrap();
    assert_eq!(
        told(&calls),
        [
            "APPLY virtualmachines/web-1",
            "GET virtualmachines/web-1",
            "APPLY virtualmachines/web-1"
        ]
    );
    let sent: Vec<_> = calls
        .lock()
        .iter()
        .filter(|call| call.what.starts_with("APPLY virtualmachines/"))
        .map(|call| {
            (
                call.body["spec"]["runStrategy"].clone(),
                call.body["metadata"]["resourceVersion"].clone(),
            )
        })
        .collect();
    assert_eq!(sent, [(json!("Always"), json!("7")), (json!("Halted"), json!("99"))]);
}

#[tokio::test]
async fn a_run_strategy_of_ours_is_written_whatever_the_machine_says() {
    let (context, calls) = context(|_| None);
    machine(&context, "7", json!({ "ownerReferences": owner() }));
    let mut stopped = template(json!({}));
    stopped.spec.power = Some(read(json!({"state": "Stopped"})));
    attempt(&stopped, &context).await.unwrap();
    let calls = calls.lock();
    let body = &calls.first().unwrap().body;
    assert_eq!(body["spec"]["runStrategy"], "Halted");
    assert_eq!(body["metadata"].get("resourceVersion"), None);
}

#[tokio::test]
async fn a_disk_that_comes_back_with_its_old_volume_is_told() {
    let told_of_volumes = |claim_exists: bool| async move {
        let refuse: Refuse = if claim_exists {
            |_| None
        } else {
            |call| {
                let is_claim = call.what.starts_with("GET persistentvolumeclaims/");
                is_claim.then_some((404, "not found"))
            }
        };
        let (context, calls) = context(refuse);
        machine(&context, "7", json!({ "ownerReferences": owner() }));
        let data = json!({"name": "data", "dataVolume": {"size": "1Gi", "source": {"blank": {}}}});
        attempt(&template(json!({ "disks": [data] })), &context).await.unwrap();
        let calls = calls.lock();
        let looked = calls
            .iter()
            .filter(|call| call.what.starts_with("GET persistentvolumeclaims/web-1-data-"));
        assert_eq!(looked.count(), 1, "{calls:?}");
        let notes = calls.iter().filter(|call| call.body["reason"] == "VolumeReused");
        let notes: Vec<_> = notes
            .map(|call| call.body["note"].as_str().unwrap().to_owned())
            .collect();
        notes
    };
    let [note] = &told_of_volumes(true).await[..] else {
        panic!()
    };
    assert!(note.contains("kubectl delete datavolume,pvc web-1-data-"), "{note}");
    assert!(told_of_volumes(false).await.is_empty());
}

#[tokio::test]
async fn a_power_call_is_counted_like_every_write() {
    let metrics = Metrics::default();
    let (context, _) = counted_context(|_| None, metrics.clone());
    machine(&context, "7", json!({}));
    instance(&context, "8");
    let paused = vm_access(json!({"virtualMachine": {"name": "web-1"}, "power": {"state": "Paused"}}));
    attempt(&paused, &context).await.unwrap();
    assert_eq!(metrics.writes("VirtualMachineInstance", "pause", "Succeeded"), 1);
    let (context, _) = counted_context(
        |call| call.what.ends_with("/stop").then_some((409, "it is stopped already")),
        metrics.clone(),
    );
    machine(&context, "7", json!({}));
    instance(&context, "8");
    let stopped = vm_access(json!({"virtualMachine": {"name": "web-1"}, "power": {"state": "Stopped"}}));
    attempt(&stopped, &context).await.unwrap_err();
    assert_eq!(metrics.writes("VirtualMachine", "stop", "Conflict"), 1);
}

#[tokio::test]
async fn a_paused_object_gets_one_write_that_says_so() {
    let (context, calls) = context(|_| None);
    machine(&context, "7", json!({}));
    let mut paused = vm_access(json!({"virtualMachine": {"name": "web-1"}, "services": [on_node("a", 30100)]}));
    paused.metadata.annotations = Some([("novasphere.io/paused".to_owned(), "true".to_owned())].into());
    assert_eq!(context.reconcile(&paused).await.unwrap(), Action::await_change());
    assert_eq!(told(&calls), [""; 0]);
    let statuses = |calls: &Calls| {
        let calls = calls.lock();
        let written = calls.iter().filter(|call| call.what.ends_with("/status"));
        written.map(|call| call.body["status"].clone()).collect::<Vec<_>>()
    };
    let written = statuses(&calls);
    assert_eq!(written.len(), 1);
    assert_eq!(written[0]["conditions"][0]["type"], "Paused");
    paused.status = Some(read(written[0].clone()));
    paused.metadata.generation = Some(2);
    context.reconcile(&paused).await.unwrap();
    assert_eq!(statuses(&calls).len(), 1, "a spec that changes meanwhile costs nothing");

    paused.metadata.annotations = None;
    context.reconcile(&paused).await.unwrap();
    assert_eq!(told(&calls), ["APPLY services/web-1-a"]);
    let last = statuses(&calls).pop().unwrap();
    let types: Vec<_> = last["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| &found["type"])
        .collect();
    assert!(!types.contains(&&json!("Paused")), "{last}");
}

#[tokio::test]
async fn a_paused_controller_writes_nothing_for_any_object() {
    let (mut context, calls) = context(|_| None);
    context.paused = true;
    machine(&context, "7", json!({}));
    let object = vm_access(json!({"virtualMachine": {"name": "web-1"}, "services": [on_node("a", 30100)]}));
    context.reconcile(&object).await.unwrap();
    assert_eq!(told(&calls), [""; 0]);
}
