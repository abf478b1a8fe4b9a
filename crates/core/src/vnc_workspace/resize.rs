//! CPU and memory of a desktop that runs: changed in place, by the Pod's subresource `resize` (Kubernetes 1.33 and later), so
//! that open programs stay open.
//!
//! For other changes the Pod is recreated. Whether a node can do it is said by the apiserver, which refuses another `QoS`
//! class for example (`ValidatePodResize` in kubernetes/kubernetes `pkg/apis/core/validation/validation.go`), and by the kubelet
//! in the Pod's conditions.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodCondition, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use serde_json::{Map, Value, json};
use strum::IntoStaticStr;

/// Annotation of the Pod: the CPU and memory that were asked for. A `LimitRange` adds others, so the Pod itself does not show what
/// was asked for earlier and is not any more.
pub const KEY_RESOURCES: &str = "novasphere.io/resources";

/// What can be changed while a container runs.
const RESIZABLE_RESOURCES: [&str; 2] = ["cpu", "memory"];

/// Why a change cannot be made in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
pub enum ResizeObstacle {
    /// The kubelet says that its node never has that much.
    Infeasible,
    /// Something that was asked for is not any more.
    TakenAway,
    /// The apiserver does not allow it.
    NotAllowed,
}

/// How a running Pod gets the resources that are wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum ResizeChange {
    /// It has them.
    Nothing,
    /// By this strategic merge patch of its subresource `resize`.
    InPlace(Value),
    /// By a new Pod alone, because of this, in words as well.
    Recreate(ResizeObstacle, String),
}

/// How `live` gets the resources of `desired`. They differ in nothing else that would need a new Pod. `equal` compares two
/// quantities by value.
#[must_use]
pub fn change(live: &Pod, desired: &Pod, equal: impl Fn(&str, &str) -> bool) -> ResizeChange {
    let (Some(live_spec), Some(spec)) = (&live.spec, &desired.spec) else {
        return ResizeChange::Nothing;
    };
    let annotation = live
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(KEY_RESOURCES));
    let before: Asked = annotation
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let now = asked(spec);
    if let Some(taken_away) = taken_away(&before, &now) {
        return ResizeChange::Recreate(
            ResizeObstacle::TakenAway,
            format!("{taken_away} of a running Pod cannot be taken away"),
        );
    }
    let patches: Vec<_> = now
        .iter()
        .filter_map(|(name, wanted)| of_container(live_spec, name, wanted, &equal))
        .collect();
    if !patches.is_empty() {
        return ResizeChange::InPlace(json!({
            // With the UID the patch cannot hit another Pod that got this name since.
            "metadata": {"uid": live.metadata.uid},
            "spec": {"containers": patches},
        }));
    }
    match condition(live, "PodResizePending").filter(|condition| condition.reason.as_deref() == Some("Infeasible")) {
        Some(condition) => {
            let why = format!("its node can never give them: {}", words(condition));
            ResizeChange::Recreate(ResizeObstacle::Infeasible, why)
        }
        None => ResizeChange::Nothing,
    }
}

/// Why a Pod does not have its new resources yet.
#[must_use]
pub fn pending(pod: &Pod) -> Option<String> {
    if let Some(condition) = condition(pod, "PodResizePending") {
        return Some(format!(
            "Its new resources wait until the node has room for them ({}). To have them on another node, let the desktop hibernate \
             and wake it.",
            words(condition)
        ));
    }
    let failed =
        condition(pod, "PodResizeInProgress").filter(|condition| condition.reason.as_deref() == Some("Error"))?;
    Some(format!(
        "Its new resources are not in force yet, the node tries again: {}.",
        words(failed)
    ))
}

/// A Pod's spec without what can be changed while it runs.
#[must_use]
pub fn without_resizable(spec: &PodSpec) -> PodSpec {
    let mut spec = spec.clone();
    for container in &mut spec.containers {
        let Some(resources) = &mut container.resources else {
            continue;
        };
        for quantities in [&mut resources.requests, &mut resources.limits].into_iter().flatten() {
            quantities.retain(|resource, _| !RESIZABLE_RESOURCES.contains(&resource.as_str()));
        }
        resources.requests = resources.requests.take().filter(|all| !all.is_empty());
        resources.limits = resources.limits.take().filter(|all| !all.is_empty());
        if *resources == ResourceRequirements::default() {
            container.resources = None;
        }
    }
    spec
}

/// What [`KEY_RESOURCES`] says for a spec; nothing when nothing is asked for.
#[must_use]
pub fn annotation(spec: &PodSpec) -> Option<String> {
    let asked = asked(spec);
    (!asked.is_empty()).then(|| serde_json::to_string(&asked).unwrap_or_default())
}

/// By container, then `requests` or `limits`, then resource.
type Asked = BTreeMap<String, BTreeMap<String, BTreeMap<String, Quantity>>>;

fn asked(spec: &PodSpec) -> Asked {
    let of = |container: &Container| {
        let resources = container.resources.clone().unwrap_or_default();
        let kinds = [("requests", resources.requests), ("limits", resources.limits)];
        let kinds = kinds.into_iter().filter_map(|(kind, quantities)| {
            let mut quantities = quantities?;
            quantities.retain(|resource, _| RESIZABLE_RESOURCES.contains(&resource.as_str()));
            (!quantities.is_empty()).then(|| (kind.to_owned(), quantities))
        });
        (container.name.clone(), kinds.collect::<BTreeMap<_, _>>())
    };
    let all = spec.containers.iter().map(of);
    all.filter(|(_, kinds)| !kinds.is_empty()).collect()
}

/// The first that was asked for and is not any more.
fn taken_away(before: &Asked, now: &Asked) -> Option<String> {
    let all = before.iter().flat_map(|(container, kinds)| {
        let quantities = kinds.iter();
        quantities
            .flat_map(move |(kind, quantities)| quantities.keys().map(move |resource| (container, kind, resource)))
    });
    let mut gone = all.filter(|(container, kind, resource)| {
        let quantities = now.get(*container).and_then(|kinds| kinds.get(*kind));
        !quantities.is_some_and(|quantities| quantities.contains_key(*resource))
    });
    gone.next()
        .map(|(container, kind, resource)| format!("{kind}.{resource} of the container {container}"))
}

/// The part of the patch for one container, unless it has all that is wanted.
fn of_container(
    live: &PodSpec,
    name: &str,
    wanted: &BTreeMap<String, BTreeMap<String, Quantity>>,
    equal: &impl Fn(&str, &str) -> bool,
) -> Option<Value> {
    let has = live.containers.iter().find(|container| container.name == name)?;
    let has = has.resources.clone().unwrap_or_default();
    let (has_requests, has_limits) = (has.requests.unwrap_or_default(), has.limits.unwrap_or_default());
    let limits = wanted.get("limits").cloned().unwrap_or_default();
    // A request that is not given is as high as the limit when a Pod is made, and has to follow it.
    let mut requests = limits.clone();
    requests.extend(wanted.get("requests").cloned().unwrap_or_default());
    let mut patch = Map::new();
    for (kind, wanted, has) in [("requests", requests, has_requests), ("limits", limits, has_limits)] {
        let differs = wanted.iter().any(|(resource, quantity)| {
            has.get(resource)
                .is_none_or(|has| has != quantity && !equal(&has.0, &quantity.0))
        });
        if differs {
            patch.insert(kind.to_owned(), json!(wanted));
        }
    }
    (!patch.is_empty()).then(|| json!({"name": name, "resources": patch}))
}

/// A condition that holds, about the Pod as it is now.
fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    let mut all = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    all.find(|condition| {
        let is_old = condition
            .observed_generation
            .is_some_and(|seen| Some(seen) < pod.metadata.generation);
        condition.type_ == type_ && condition.status == "True" && !is_old
    })
}

fn words(condition: &PodCondition) -> &str {
    let message = condition.message.as_deref().filter(|message| !message.is_empty());
    message.or(condition.reason.as_deref()).unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: &Value, conditions: &Value) -> Pod {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "alice", "uid": "pod-1", "generation": 3},
            "spec": {"containers": [{"name": "desktop", "image": "a", "resources": resources}]},
            "status": {"conditions": conditions},
        }))
        .unwrap();
        let annotation = annotation(pod.spec.as_ref().unwrap());
        pod.metadata.annotations = annotation.map(|asked| [(KEY_RESOURCES.to_owned(), asked)].into());
        pod
    }

    fn changed(from: &Value, to: &Value) -> ResizeChange {
        let equal = |left: &str, right: &str| matches!((left, right), ("1Gi", "1024Mi") | ("1024Mi", "1Gi"));
        change(&pod(from, &json!([])), &pod(to, &json!([])), equal)
    }

    #[test]
    fn more_and_less_are_changed_in_place() {
        let ResizeChange::InPlace(patch) = changed(
            &json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}),
            &json!({"requests": {"cpu": "1", "memory": "1024Mi"}, "limits": {"memory": "2Gi"}}),
        ) else {
            panic!("not in place")
        };
        assert_eq!(
            patch,
            json!({
                "metadata": {"uid": "pod-1"},
                "spec": {"containers": [{"name": "desktop", "resources": {"requests": {"cpu": "1", "memory": "1024Mi"}}}]},
            })
        );
    }

    #[test]
    fn a_request_that_was_not_given_follows_its_limit() {
        let mut live = pod(&json!({"limits": {"memory": "1Gi"}}), &json!([]));
        // As the apiserver's defaults fill it in.
        let resources = live.spec.as_mut().unwrap().containers[0].resources.as_mut().unwrap();
        resources.requests = resources.limits.clone();
        let wanted = pod(&json!({"limits": {"memory": "2Gi"}}), &json!([]));
        let ResizeChange::InPlace(patch) = change(&live, &wanted, |left, right| left == right) else {
            panic!("not in place")
        };
        let resources = &patch["spec"]["containers"][0]["resources"];
        assert_eq!(
            resources,
            &json!({"requests": {"memory": "2Gi"}, "limits": {"memory": "2Gi"}})
        );
        assert_eq!(
            change(
                &live,
                &pod(&json!({"limits": {"memory": "1Gi"}}), &json!([])),
                |_, _| false
            ),
            ResizeChange::Nothing
        );
    }

    #[test]
    fn what_is_the_same_by_value_or_comes_from_a_limit_range_is_left() {
        let asked = json!({"requests": {"memory": "1Gi"}});
        assert_eq!(
            changed(&asked, &json!({"requests": {"memory": "1024Mi"}})),
            ResizeChange::Nothing
        );
        let mut live = pod(&asked, &json!([]));
        let requests = &mut live.spec.as_mut().unwrap().containers[0]
            .resources
            .as_mut()
            .unwrap()
            .requests;
        requests
            .as_mut()
            .unwrap()
            .insert("cpu".to_owned(), Quantity("100m".to_owned()));
        assert_eq!(
            change(&live, &pod(&asked, &json!([])), |_, _| false),
            ResizeChange::Nothing
        );
    }

    #[test]
    fn what_is_taken_away_needs_a_new_pod() {
        let ResizeChange::Recreate(ResizeObstacle::TakenAway, why) =
            changed(&json!({"limits": {"memory": "2Gi"}}), &json!({}))
        else {
            panic!("in place")
        };
        assert!(why.starts_with("limits.memory of the container desktop"), "{why}");
    }

    #[test]
    fn a_node_that_can_never_give_them_is_left_and_one_without_room_is_waited_for() {
        let resources = json!({"requests": {"cpu": "1"}});
        let said = |reason: &str, generation: i64| {
            json!([{"type": "PodResizePending", "status": "True", "reason": reason, "message": "no cpu",
                "observedGeneration": generation}])
        };
        let change =
            |conditions: &Value| change(&pod(&resources, conditions), &pod(&resources, &json!([])), |_, _| false);
        assert_eq!(
            change(&said("Infeasible", 3)),
            ResizeChange::Recreate(
                ResizeObstacle::Infeasible,
                "its node can never give them: no cpu".into()
            )
        );
        assert_eq!(
            change(&said("Infeasible", 2)),
            ResizeChange::Nothing,
            "about an earlier wish"
        );
        assert_eq!(change(&said("Deferred", 3)), ResizeChange::Nothing);
        assert!(
            pending(&pod(&resources, &said("Deferred", 3)))
                .unwrap()
                .contains("no cpu")
        );
        let failed = json!([{"type": "PodResizeInProgress", "status": "True", "reason": "Error", "message": "cgroup"}]);
        assert!(pending(&pod(&resources, &failed)).unwrap().contains("cgroup"));
        assert_eq!(pending(&pod(&resources, &json!([]))), None);
    }

    #[test]
    fn other_resources_stay_in_what_a_pod_is_made_from() {
        let with_gpu = pod(
            &json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi", "nvidia.com/gpu": "1"}}),
            &json!([]),
        );
        let left = without_resizable(with_gpu.spec.as_ref().unwrap());
        assert_eq!(
            serde_json::to_value(&left.containers[0].resources).unwrap(),
            json!({"limits": {"nvidia.com/gpu": "1"}})
        );
        let plain = pod(&json!({"requests": {"cpu": "1"}}), &json!([]));
        assert_eq!(
            without_resizable(plain.spec.as_ref().unwrap()).containers[0].resources,
            None
        );
    }
}
