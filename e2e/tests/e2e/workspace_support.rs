//! What the cases say and ask about `VncWorkspaces` that run on a node.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use novasphere_core::vnc_workspace::{self as names, PASSWORD_KEY};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    namespace::Context,
    ssh::Ssh,
    vnc::Viewer,
    wait::{self, Seen},
};
use serde_json::{Value, json};

/// The storage class and the class of snapshots of the test bed's driver.
pub(crate) const CSI: &str = "csi";

/// Applies a workspace as a person does, by server-side apply; `spec` is merged over a small desktop of `image`.
pub(crate) async fn apply(context: &Context<'_>, name: &str, image: &str, spec: &Value) -> Result<VncWorkspace> {
    let mut all = json!({
        "user": "alice",
        "image": image,
        // A quarter of the default: several desktops run at a time.
        "display": {"width": 640, "height": 480},
    });
    if let (Some(all), Some(spec)) = (all.as_object_mut(), spec.as_object()) {
        all.extend(spec.clone());
    }
    let object = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VncWorkspace",
        "metadata": {"name": name},
        "spec": all,
    });
    let parameters = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::apply("person").force()
    };
    Ok(context
        .api::<VncWorkspace>()
        .patch(name, &parameters, &Patch::Apply(object))
        .await?)
}

/// Changes a part of a workspace's spec, as `kubectl patch` does.
pub(crate) async fn change(context: &Context<'_>, name: &str, spec: &Value) -> Result<VncWorkspace> {
    let patch = Patch::Merge(json!({ "spec": spec }));
    let workspaces: Api<VncWorkspace> = context.api();
    Ok(workspaces.patch(name, &PatchParams::default(), &patch).await?)
}

/// Whether the controller has seen the newest spec and a condition is as given.
pub(crate) fn has(object: &VncWorkspace, kind: &str, status: &str, reason: &str) -> Result<(), String> {
    let all = object.status.iter().flat_map(|status| &status.conditions);
    let found = all.clone().find(|condition| condition.type_ == kind);
    let is = found.is_some_and(|condition| {
        condition.status == status
            && condition.reason == reason
            && condition.observed_generation == object.metadata.generation
    });
    if is {
        return Ok(());
    }
    let said = all.map(|condition| {
        format!(
            "{}={} {}: {}; ",
            condition.type_, condition.status, condition.reason, condition.message
        )
    });
    Err(said.collect())
}

/// The words of a condition.
pub(crate) fn message(object: &VncWorkspace, kind: &str) -> String {
    let all = object.status.iter().flat_map(|status| &status.conditions);
    let found = all.into_iter().find(|condition| condition.type_ == kind);
    found.map(|condition| condition.message.clone()).unwrap_or_default()
}

/// Waits until a condition is as given.
pub(crate) async fn wait_for(
    context: &Context<'_>,
    name: &str,
    (kind, status, reason): (&str, &str, &str),
    bound: Duration,
) -> Result<VncWorkspace> {
    let what = format!("{kind}={status} {reason}");
    let api: Api<VncWorkspace> = context.api();
    wait::object(&api, name, what, bound, |object| has(object, kind, status, reason)).await
}

/// Waits until the desktop answers.
pub(crate) async fn runs(context: &Context<'_>, name: &str) -> Result<VncWorkspace> {
    wait_for(context, name, ("Ready", "True", "Running"), wait::LONG).await
}

/// Lets a desktop sleep, and waits until its Pod is gone.
pub(crate) async fn hibernate(context: &Context<'_>, name: &str) -> Result<VncWorkspace> {
    change(context, name, &json!({"lifecycle": {"state": "Hibernated"}})).await?;
    wait::gone(&context.api::<Pod>(), name, wait::SHORT).await?;
    wait_for(context, name, ("Hibernated", "True", "Asked"), wait::SHORT).await
}

/// Wakes a desktop, and waits until it answers.
pub(crate) async fn wake(context: &Context<'_>, name: &str) -> Result<VncWorkspace> {
    change(context, name, &json!({"lifecycle": {"state": "Running"}})).await?;
    runs(context, name).await
}

/// Where a desktop is reached from outside the gateways: `vnc` or `ssh`.
pub(crate) fn endpoint(object: &VncWorkspace, port: &str) -> Result<SocketAddr> {
    let endpoints = object.status.as_ref().and_then(|status| status.endpoints.as_ref());
    let endpoints = endpoints.context("status.endpoints is missing")?;
    let address = if port == names::VNC_PORT {
        &endpoints.vnc
    } else {
        &endpoints.ssh
    };
    let address = address
        .as_ref()
        .with_context(|| format!("status.endpoints.{port} is missing"))?;
    Ok(address.parse()?)
}

/// A value of a workspace's Secret.
pub(crate) async fn credential(context: &Context<'_>, name: &str, key: &str) -> Result<String> {
    let secret = context.api::<Secret>().get(&names::secret_name(name)).await?;
    let data = secret.data.unwrap_or_default();
    let value = data
        .get(key)
        .with_context(|| format!("the Secret has no {key}: {:?}", data.keys()))?;
    Ok(String::from_utf8(value.0.clone())?)
}

/// The VNC password.
pub(crate) async fn password(context: &Context<'_>, name: &str) -> Result<String> {
    credential(context, name, PASSWORD_KEY).await
}

/// Waits until a desktop lets a viewer in. A Service that has just got another Pod behind it may still lead to the one before.
pub(crate) async fn opens(address: SocketAddr, password: &str) -> Result<Viewer> {
    wait::until("the desktop lets a viewer in", wait::SHORT, || async {
        let attempt = tokio::time::timeout(Duration::from_secs(2), Viewer::open(address, password));
        Ok(Seen::Done(attempt.await??))
    })
    .await
}

/// Enters a workspace by SSH, with the host key of its Secret and no other.
pub(crate) async fn ssh(context: &Context<'_>, object: &VncWorkspace, key: &Path) -> Result<Ssh> {
    let host = credential(context, &object.name_any(), "ssh_host_ed25519_key.pub").await?;
    Ssh::new(
        &context.output,
        endpoint(object, names::SSH_PORT)?,
        &host,
        key.to_owned(),
    )
}

/// A shell's output in a desktop's container.
pub(crate) fn exec(context: &Context<'_>, name: &str, script: &str) -> Result<String> {
    let namespace = &context.namespace;
    let arguments = [
        "--namespace",
        namespace,
        "exec",
        name,
        "--container",
        "desktop",
        "--",
        "sh",
        "-c",
        script,
    ];
    context.cluster.kubectl(&arguments)
}

/// Writes a file in a desktop's home, to the disk.
pub(crate) fn write_home(context: &Context<'_>, name: &str, file: &str, text: &str) -> Result<()> {
    exec(context, name, &format!("printf %s {text} >$HOME/{file} && sync")).map(drop)
}

/// Checks that a file is in a desktop's home.
pub(crate) fn has_home(context: &Context<'_>, name: &str, file: &str, text: &str) -> Result<()> {
    let found = exec(context, name, &format!("cat $HOME/{file}"))?;
    ensure!(
        found == text,
        "{file} in the home of {name} has {found:?}, not {text:?}"
    );
    Ok(())
}

/// The claim that is a workspace's home.
pub(crate) async fn home(context: &Context<'_>, claim: &str) -> Result<PersistentVolumeClaim> {
    Ok(context.api::<PersistentVolumeClaim>().get(claim).await?)
}

/// Deletes a workspace, and waits until it and all that is only its own is gone.
pub(crate) async fn delete(context: &Context<'_>, name: &str) -> Result<()> {
    context
        .api::<VncWorkspace>()
        .delete(name, &DeleteParams::default())
        .await?;
    nothing_left(context, name).await
}

/// Waits until nothing but its home is left of a workspace.
pub(crate) async fn nothing_left(context: &Context<'_>, name: &str) -> Result<()> {
    wait::gone(&context.api::<VncWorkspace>(), name, wait::LONG).await?;
    wait::gone(&context.api::<Pod>(), name, wait::LONG).await?;
    wait::gone(&context.api::<Service>(), name, wait::LONG).await?;
    wait::gone(&context.api::<NetworkPolicy>(), name, wait::LONG).await?;
    wait::gone(&context.api::<Secret>(), &names::secret_name(name), wait::LONG).await
}
