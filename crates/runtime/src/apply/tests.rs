//! The calls of an applier, over a mock of the connection.

use http::{Method, Request, Response};
use k8s_openapi::{
    api::core::v1::Service,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::client::Body;
use tower::ServiceExt;
use tower_test::mock;

use super::*;

pub(super) type Calls = mock::Handle<Request<Body>, Response<Body>>;

pub(super) fn applier() -> (Applier, Calls) {
    let (service, calls) = mock::pair::<Request<Body>, Response<Body>>();
    // A call that the test does not answer fails instead of waiting for ever.
    let service = service.map_future(|answer| async move {
        let bounded = tokio::time::timeout(Duration::from_secs(5), answer);
        bounded
            .await
            .unwrap_or_else(|_| Err("a call that was not expected".into()))
    });
    (
        Applier::new(Client::new(service, "default"), "novasphere/test", Metrics::default()),
        calls,
    )
}

pub(super) fn service(edit: impl FnOnce(&mut Value)) -> Service {
    let mut value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "ns", "ownerReferences": [owner("u1")]},
        "spec": {"type": "ClusterIP", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]},
    });
    edit(&mut value);
    serde_json::from_value(value).unwrap()
}

fn owner(uid: &str) -> Value {
    json!({"apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess", "name": "web", "uid": uid, "controller": true})
}

/// What the apiserver makes of a desired service.
pub(super) fn stored(desired: &Service) -> Service {
    let mut value = document::desired(desired, "v1", "Service").unwrap();
    value["metadata"]["uid"] = json!("s1");
    value["metadata"]["resourceVersion"] = json!("7");
    value["metadata"]["managedFields"] = json!([{"manager": "novasphere/test"}]);
    value["spec"]["clusterIP"] = json!("10.0.0.7");
    value["spec"]["ports"][0]["protocol"] = json!("TCP");
    serde_json::from_value(value).unwrap()
}

pub(super) struct Call {
    pub(super) method: Method,
    path: String,
    pub(super) query: String,
    pub(super) body: Value,
}

/// Answers the next call; a call that does not come fails the test.
pub(super) async fn expect(calls: &mut Calls, status: u16, answer: &impl Serialize) -> Call {
    let next = tokio::time::timeout(Duration::from_secs(5), calls.next_request())
        .await
        .expect("no call was made");
    let (request, respond) = next.expect("the client has gone");
    let (parts, body) = request.into_parts();
    let answer = serde_json::to_vec(answer).unwrap();
    respond.send_response(Response::builder().status(status).body(Body::from(answer)).unwrap());
    let body = body.collect_bytes().await.unwrap();
    Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

pub(super) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message})
}

/// Fails when a call was made.
pub(super) fn expect_none(mut calls: Calls) {
    let next = calls.poll_request();
    assert!(
        matches!(next, std::task::Poll::Pending | std::task::Poll::Ready(None)),
        "a call was made"
    );
}

#[tokio::test]
async fn an_object_that_is_as_desired_costs_no_call() {
    let (applier, calls) = applier();
    let desired = service(|_| {});
    let live = stored(&desired);
    let outcome = applier.apply_over(&desired, Some(&live)).await.unwrap();
    assert_eq!(outcome, Outcome::Unchanged(live));
    expect_none(calls);
}

#[tokio::test]
async fn a_missing_object_is_made_by_a_forced_apply_that_only_creates() {
    let (applier, mut calls) = applier();
    let desired = service(|_| {});
    let answer = stored(&desired);
    let (outcome, call) = tokio::join!(applier.apply_over(&desired, None), expect(&mut calls, 201, &answer));
    let Outcome::Created(created) = outcome.unwrap() else {
        panic!("not created")
    };
    assert_eq!(created.metadata.managed_fields, None);
    assert_eq!(
        (call.method, call.path.as_str()),
        (Method::PATCH, "/api/v1/namespaces/ns/services/web")
    );
    for parameter in ["force=true", "fieldManager=novasphere%2Ftest", "fieldValidation=Strict"] {
        assert!(call.query.contains(parameter), "{}", call.query);
    }
    assert_eq!(call.body["metadata"]["resourceVersion"], "1");
    assert!(call.body["metadata"]["annotations"][APPLIED_HASH].is_string());
    assert_eq!(
        applier.apply_over(&desired, Some(&created)).await.unwrap(),
        Outcome::Unchanged(created)
    );
}

#[tokio::test]
async fn drift_and_dropped_fields_are_patched_with_the_uid() {
    let before = service(|value| value["spec"]["sessionAffinity"] = json!("ClientIP"));
    let drifted = service(|_| {});
    let mut changed = stored(&drifted);
    changed.spec.as_mut().unwrap().type_ = Some("NodePort".to_owned());
    for live in [stored(&before), changed] {
        let (applier, mut calls) = applier();
        let desired = service(|_| {});
        let answer = stored(&desired);
        let (outcome, call) = tokio::join!(
            applier.apply_over(&desired, Some(&live)),
            expect(&mut calls, 200, &answer)
        );
        assert!(matches!(outcome.unwrap(), Outcome::Patched(_)));
        assert_eq!(call.body["metadata"]["uid"], "s1");
        assert_eq!(call.body["spec"].get("sessionAffinity"), None);
    }
}

#[tokio::test]
async fn a_difference_that_the_server_insists_on_is_patched_once() {
    let (applier, mut calls) = applier();
    let desired = service(|_| {});
    let mut insisted = stored(&desired);
    insisted.spec.as_mut().unwrap().type_ = Some("Normalised".to_owned());
    let (outcome, _) = tokio::join!(
        applier.apply_over(&desired, Some(&insisted)),
        expect(&mut calls, 200, &insisted)
    );
    assert!(matches!(outcome.unwrap(), Outcome::Patched(_)));
    assert!(matches!(
        applier.apply_over(&desired, Some(&insisted)).await.unwrap(),
        Outcome::Unchanged(_)
    ));
    // Another difference, or another wish, is not that one.
    let mut drifted = insisted.clone();
    drifted.spec.as_mut().unwrap().selector = None;
    let (outcome, _) = tokio::join!(
        applier.apply_over(&desired, Some(&drifted)),
        expect(&mut calls, 200, &insisted)
    );
    assert!(matches!(outcome.unwrap(), Outcome::Patched(_)));
    let other = service(|value| value["spec"]["ports"][0]["port"] = json!(81));
    let answer = stored(&other);
    let (outcome, _) = tokio::join!(
        applier.apply_over(&other, Some(&insisted)),
        expect(&mut calls, 200, &answer)
    );
    assert!(matches!(outcome.unwrap(), Outcome::Patched(_)));
    expect_none(calls);
}

#[tokio::test]
async fn a_foreign_object_is_never_taken_over() {
    for (owners, words) in [
        (
            json!(null),
            "Service web exists already and does not belong to this object: somebody else made it",
        ),
        (json!([owner("u0")]), "it belongs to an earlier VmAccess web"),
        (
            json!([{"apiVersion": "v1", "kind": "Foo", "name": "bar", "uid": "x", "controller": true}]),
            "it belongs to Foo bar",
        ),
    ] {
        let (applier, calls) = applier();
        let foreign = stored(&service(|value| value["metadata"]["ownerReferences"] = owners));
        let error = applier.apply_over(&service(|_| {}), Some(&foreign)).await.unwrap_err();
        assert!(
            matches!(error, WriteError::NotOwned { .. }) && error.to_string().contains(words),
            "{error}"
        );
        expect_none(calls);
    }
}

#[tokio::test]
async fn a_foreign_object_that_the_cache_does_not_have_is_not_taken_over() {
    let (applier, mut calls) = applier();
    let desired = service(|_| {});
    let foreign = stored(&service(|value| value["metadata"]["ownerReferences"] = json!(null)));
    let (result, ()) = tokio::join!(applier.apply_over(&desired, None), async {
        expect(
            &mut calls,
            409,
            &status(409, "Conflict", "the object has been modified"),
        )
        .await;
        let call = expect(&mut calls, 200, &foreign).await;
        assert_eq!(call.method, Method::GET);
    });
    assert!(matches!(result.unwrap_err(), WriteError::NotOwned { .. }));
    expect_none(calls);
}

#[tokio::test]
async fn our_own_object_that_the_cache_does_not_have_yet_is_used() {
    let (applier, mut calls) = applier();
    let desired = service(|_| {});
    let ours = stored(&desired);
    let (result, ()) = tokio::join!(applier.apply_over(&desired, None), async {
        expect(
            &mut calls,
            409,
            &status(409, "Conflict", "the object has been modified"),
        )
        .await;
        expect(&mut calls, 200, &ours).await;
    });
    assert!(matches!(result.unwrap(), Outcome::Unchanged(_)));
    expect_none(calls);
}

#[tokio::test]
async fn an_object_that_is_going_is_left_alone() {
    let (applier, mut calls) = applier();
    let desired = service(|_| {});
    let mut going = stored(&desired);
    going.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    let (result, call) = tokio::join!(
        applier.apply_over(&desired, Some(&going)),
        expect(&mut calls, 200, &going)
    );
    let error = result.unwrap_err();
    assert_eq!(call.method, Method::GET);
    assert!(
        error.is_transient() && error.to_string().contains("being deleted"),
        "{error}"
    );
    assert_eq!(applier.delete(&going).await.unwrap(), Deleted::Underway);
    expect_none(calls);
}

#[tokio::test]
async fn an_object_that_went_and_that_the_cache_has_still_is_made_again() {
    let (applier, mut calls) = applier();
    let desired = service(|_| {});
    let drifted = stored(&service(|value| value["spec"]["type"] = json!("NodePort")));
    let answer = stored(&desired);
    let (result, ()) = tokio::join!(applier.apply_over(&desired, Some(&drifted)), async {
        let gone = status(409, "Conflict", "uid mismatch: no existing object was found");
        let first = expect(&mut calls, 409, &gone).await;
        assert_eq!(first.body["metadata"]["uid"], "s1");
        expect(&mut calls, 404, &status(404, "NotFound", "services \"web\" not found")).await;
        let last = expect(&mut calls, 201, &answer).await;
        assert_eq!(last.body["metadata"]["resourceVersion"], "1");
        assert_eq!(last.body["metadata"].get("uid"), None);
    });
    assert!(matches!(result.unwrap(), Outcome::Created(_)));
    expect_none(calls);
}

#[tokio::test]
async fn an_object_without_a_controller_or_namespace_is_a_fault_of_ours() {
    let (applier, calls) = applier();
    for desired in [
        service(|value| value["metadata"]["ownerReferences"] = json!(null)),
        service(|value| value["metadata"]["namespace"] = json!(null)),
    ] {
        assert!(matches!(
            applier.apply_over(&desired, None).await.unwrap_err(),
            WriteError::Internal(_)
        ));
    }
    expect_none(calls);
}

#[tokio::test]
async fn a_deletion_names_the_uid_and_takes_gone_for_done() {
    let live = stored(&service(|_| {}));
    for (code, reason, expected) in [
        (200, "", Deleted::Requested),
        (404, "NotFound", Deleted::AlreadyGone),
        (409, "Conflict", Deleted::AlreadyGone),
    ] {
        let (applier, mut calls) = applier();
        let answer = if code == 200 {
            serde_json::to_value(&live).unwrap()
        } else {
            status(code, reason, "gone")
        };
        let (result, call) = tokio::join!(applier.delete(&live), expect(&mut calls, code, &answer));
        assert_eq!(result.unwrap(), expected);
        assert_eq!(
            (call.method, &call.body["preconditions"]["uid"]),
            (Method::DELETE, &json!("s1"))
        );
        assert_eq!(call.body["propagationPolicy"], "Background");
    }
}

fn conditions(status: &str, second: i64) -> Value {
    let condition = Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: "R".to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(jiff::Timestamp::from_second(second).unwrap()),
    };
    json!({"conditions": [condition], "services": []})
}

#[tokio::test]
async fn a_status_that_differs_in_times_alone_is_not_sent() {
    let (applier, mut calls) = applier();
    let live = stored(&service(|_| {}));
    let old = conditions("True", 1);
    let cache = Cache::new(|_| None);
    assert!(
        !applier
            .apply_status(&live, Some(&old), &conditions("True", 2), &cache)
            .await
            .unwrap()
    );
    let new = conditions("False", 2);
    let (sent, call) = tokio::join!(
        applier.apply_status(&live, Some(&old), &new, &cache),
        expect(&mut calls, 200, &live)
    );
    assert!(sent.unwrap());
    assert!(
        cache.get("ns", "web").is_some(),
        "the answer is seen before the watch shows it"
    );
    assert_eq!(
        (call.method, call.path.as_str()),
        (Method::PATCH, "/api/v1/namespaces/ns/services/web/status")
    );
    assert!(call.query.contains("force=true") && call.query.contains("fieldManager=novasphere%2Ftest"));
    assert_eq!(
        (&call.body["metadata"]["uid"], &call.body["status"]),
        (&json!("s1"), &new)
    );
    expect_none(calls);
}

#[tokio::test]
async fn what_was_changed_meanwhile_is_not_deleted() {
    let (applier, mut calls) = applier();
    let live = stored(&service(|_| {}));
    let changed = status(
        409,
        "Conflict",
        "the ResourceVersion in the precondition (7) does not match",
    );
    let (result, call) = tokio::join!(applier.delete_unchanged(&live), expect(&mut calls, 409, &changed));
    assert!(
        matches!(
            result,
            Err(WriteError::Api {
                reason: ApiReason::Conflict,
                ..
            })
        ),
        "{result:?}"
    );
    assert_eq!(call.method, Method::DELETE);
    assert_eq!(call.body["preconditions"], json!({"uid": "s1", "resourceVersion": "7"}));
    // Of which version it is does not matter to who only wants it gone.
    let (result, call) = tokio::join!(applier.delete(&live), expect(&mut calls, 409, &changed));
    assert_eq!(result.unwrap(), Deleted::AlreadyGone);
    assert_eq!(call.body["preconditions"], json!({"uid": "s1"}));
    expect_none(calls);
}

#[tokio::test]
async fn every_write_has_a_manager_and_is_seen_and_counted_at_once() {
    let (applier, mut calls) = applier();
    let cache = Cache::new(|_| None);
    let live = stored(&service(|_| {}));
    let mut answer = live.clone();
    answer.metadata.resource_version = Some("8".into());

    let patch = json!({"spec": {"ports": []}});
    let (written, call) = tokio::join!(
        applier.merge_unchanged(&live, patch, &cache),
        expect(&mut calls, 200, &answer)
    );
    assert_eq!(written.unwrap().metadata.managed_fields, None);
    assert_eq!(
        call.body,
        json!({"metadata": {"uid": "s1", "resourceVersion": "7"}, "spec": {"ports": []}})
    );
    assert!(call.query.contains("fieldManager=novasphere%2Ftest"), "{}", call.query);
    let seen = cache.get("ns", "web").unwrap();
    assert_eq!(seen.metadata.resource_version.as_deref(), Some("8"));

    let conflict = status(409, "Conflict", "the object has been modified");
    let (written, call) = tokio::join!(
        applier.replace_status(&live, &cache),
        expect(&mut calls, 409, &conflict)
    );
    assert!(written.unwrap_err().is(ApiReason::Conflict));
    assert_eq!(
        (call.method, call.path.as_str()),
        (Method::PUT, "/api/v1/namespaces/ns/services/web/status")
    );
    assert!(call.query.contains("fieldManager=novasphere%2Ftest"), "{}", call.query);

    assert_eq!(applier.metrics.writes("Service", "merge", "Succeeded"), 1);
    assert_eq!(applier.metrics.writes("Service", "replace_status", "Conflict"), 1);
}

#[tokio::test]
async fn a_finalizer_is_set_by_a_manager_of_its_own() {
    let (applier, mut calls) = applier();
    let cache = Cache::new(|_| None);
    let live = stored(&service(|_| {}));
    let (written, call) = tokio::join!(
        applier.set_finalizer(&live, "novasphere.io/home", true, &cache),
        expect(&mut calls, 200, &live)
    );
    written.unwrap();
    assert_eq!(call.body["metadata"]["finalizers"], json!(["novasphere.io/home"]));
    assert!(
        call.query.contains("fieldManager=novasphere%2Ftest-finalizer"),
        "{}",
        call.query
    );

    // It was the last one of an object that is being deleted: that was its end.
    let mut held = live;
    held.metadata.finalizers = Some(vec!["novasphere.io/home".to_owned()]);
    held.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    let mut last = held.clone();
    last.metadata.finalizers = None;
    let (written, call) = tokio::join!(
        applier.set_finalizer(&held, "novasphere.io/home", false, &cache),
        expect(&mut calls, 200, &last)
    );
    written.unwrap();
    assert_eq!(call.body[2], json!({"op": "remove", "path": "/metadata/finalizers/0"}));
    assert!(
        call.query.contains("fieldManager=novasphere%2Ftest-finalizer"),
        "{}",
        call.query
    );
    assert!(cache.get("ns", "web").is_none());
}
