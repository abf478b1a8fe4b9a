//! What the cases say and ask about VmAccess objects.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use novasphere_crd::VmAccess;
use novasphere_e2e::{
    namespace::Context,
    wait::{self, Seen},
};
use serde_json::{Value, json};

/// The guest of the test bed. It says [`BOOTED`] on its console and its host name
/// to whoever connects to [`GUEST_PORT`].
pub(crate) const GUEST_IMAGE: &str = "tb.local/tiny-guest:v1";

/// The guest's line on the console when it is up.
pub(crate) const BOOTED: &str = "TINY-GUEST-READY";

/// The guest's port that answers with one line, its host name.
pub(crate) const GUEST_PORT: u16 = 7777;

/// Who applies the objects of the tests.
pub(crate) const PERSON: &str = "person";

/// A template of the test bed's guest, which ends quickly when asked.
pub(crate) fn template() -> Value {
    json!({
        "memory": "128Mi",
        "rootDisk": {"containerDisk": {"image": GUEST_IMAGE, "imagePullPolicy": "Never"}},
        "terminationGracePeriod": "5s",
    })
}

/// A service `echo` to [`GUEST_PORT`].
pub(crate) fn echo_service() -> Value {
    json!({"name": "echo", "ports": [{"name": "echo", "port": GUEST_PORT}]})
}

/// Applies a VmAccess as a person does, by server-side apply.
pub(crate) async fn apply(context: &Context<'_>, name: &str, spec: &Value) -> Result<VmAccess> {
    let object = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VmAccess",
        "metadata": {"name": name},
        "spec": spec,
    });
    let parameters = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::apply(PERSON)
    };
    Ok(context
        .api::<VmAccess>()
        .patch(name, &parameters, &Patch::Apply(object))
        .await?)
}

/// The condition of this type.
pub(crate) fn condition<'a>(object: &'a VmAccess, kind: &str) -> Option<&'a Condition> {
    object
        .status
        .as_ref()?
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
}

/// All conditions on one line, for messages.
pub(crate) fn conditions(object: &VmAccess) -> String {
    let all = object.status.iter().flat_map(|status| &status.conditions);
    all.map(|condition| {
        format!(
            "{}={} {}: {}; ",
            condition.type_, condition.status, condition.reason, condition.message
        )
    })
    .collect::<Vec<_>>()
    .concat()
}

/// Whether the controller has seen the newest spec and a condition is as given.
pub(crate) fn has(object: &VmAccess, kind: &str, status: &str, reason: Option<&str>) -> Result<(), String> {
    let Some(found) = condition(object, kind) else {
        return Err(format!("there is no condition {kind}; {}", conditions(object)));
    };
    if found.observed_generation != object.metadata.generation {
        return Err(format!(
            "{kind} is for generation {:?}, the object has {:?}",
            found.observed_generation, object.metadata.generation
        ));
    }
    if found.status != status || reason.is_some_and(|reason| found.reason != reason) {
        return Err(conditions(object));
    }
    Ok(())
}

/// Waits until a condition is as given and returns the object.
pub(crate) async fn wait_for(
    context: &Context<'_>,
    name: &str,
    kind: &str,
    status: &str,
    reason: Option<&str>,
    bound: Duration,
) -> Result<VmAccess> {
    let api: Api<VmAccess> = context.api();
    let what = format!("{kind}={status} {}", reason.unwrap_or_default());
    wait::object(&api, name, what, bound, |object| has(object, kind, status, reason)).await
}

/// Waits until the object is ready.
pub(crate) async fn ready(context: &Context<'_>, name: &str, bound: Duration) -> Result<VmAccess> {
    wait_for(context, name, "Ready", "True", None, bound).await
}

/// Waits until the object is ready with its machine in this state.
pub(crate) async fn ready_as(context: &Context<'_>, name: &str, state: &str, bound: Duration) -> Result<VmAccess> {
    let api: Api<VmAccess> = context.api();
    wait::object(&api, name, format!("ready and {state}"), bound, |object| {
        has(object, "VirtualMachineReady", "True", Some(state))?;
        has(object, "Ready", "True", None)
    })
    .await
}

/// Waits until a `VmAccess` and its Services are gone.
pub(crate) async fn nothing_left(context: &Context<'_>, name: &str) -> Result<()> {
    wait::gone(&context.api::<VmAccess>(), name, wait::LONG).await?;
    let services: Api<Service> = context.api();
    wait::until("no Service is left", wait::SHORT, || async {
        let left = services.list(&ListParams::default()).await?.items;
        Ok(Seen::some(
            left.is_empty().then_some(()),
            format!("{} are left", left.len()),
        ))
    })
    .await
}
