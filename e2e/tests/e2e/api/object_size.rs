//! What a tenant can have every process of novasphere keep in memory is bounded.

use anyhow::{Context as _, Result, ensure};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use novasphere_crd::VmAccess;
use novasphere_e2e::{
    fixtures::{
        admission_policy::install_policy,
        apply::{apply, as_person},
        cluster::Cluster,
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("api::object_size::bounded", Needs::ControlPlane, bounded)]
}

/// More than the policy lets a free object have, in characters.
const TOO_LARGE: usize = 20_000;

async fn bounded() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "api::object_size::bounded",
        PodSecurity::Restricted,
        async |context| {
            let before = machine("before", TOO_LARGE);
            apply::<DynamicObject>(&context.client, Some(&context.namespace), before, &as_person()).await?;
            install_policy(context, "object_size", &[]).await?;
            let words = wait::until("the policy holds", wait::SHORT, || async {
                let refused = refusal(context, machine("large", TOO_LARGE)).await?;
                Ok(Seen::some(refused, "an object of any size is taken"))
            })
            .await?;
            refuses_what_is_large(context, &words).await?;
            what_was_there_may_shrink(context).await
        },
    )
    .await
}

/// `words` are those about a machine.
async fn refuses_what_is_large(context: &Context<'_>, words: &str) -> Result<()> {
    ensure!(
        words.contains("template.overrides: 2") && words.contains("16384"),
        "{words}"
    );
    let desk = |length| {
        let nested = json!({"spec": {"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["x".repeat(length)]}]}});
        object(
            "VncWorkspace",
            "desk",
            &json!({"user": "ann", "image": "a/b:1", "podOverrides": nested}),
        )
    };
    let words = refusal(context, desk(TOO_LARGE))
        .await?
        .context("a workspace of any size is taken")?;
    ensure!(words.contains("spec.podOverrides: 2"), "{words}");
    let many: Vec<_> = (0..64)
        .map(|number| json!({"name": format!("V{number}"), "value": "x".repeat(2000)}))
        .collect();
    let env = object(
        "VncWorkspace",
        "env",
        &json!({"user": "ann", "image": "a/b:1", "env": many}),
    );
    let words = refusal(context, env).await?.context("a spec of any size is taken")?;
    ensure!(words.contains("65536"), "{words}");

    let noted = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VncWorkspace",
        "metadata": {"name": "noted", "annotations": {"example.org/note": "x".repeat(140_000)}},
        "spec": {"user": "ann", "image": "a/b:1"},
    });
    let words = refusal(context, noted)
        .await?
        .context("metadata of any size are taken")?;
    ensure!(words.contains("metadata: 1") && words.contains("131072"), "{words}");
    let target = json!({"kind": "VmAccess", "name": "small"});
    let reason = "x".repeat(200);
    let session = object(
        "ConsoleSession",
        "session",
        &json!({"targetRef": target, "reason": reason}),
    );
    ensure!(refusal(context, session).await?.is_none(), "a session is refused");

    for small in [machine("small", 10_000), desk(10_000)] {
        ensure!(
            refusal(context, small).await?.is_none(),
            "what is small enough is refused"
        );
    }
    Ok(())
}

/// What was there before the policy can be labelled, and made smaller, but not larger.
async fn what_was_there_may_shrink(context: &Context<'_>) -> Result<()> {
    let machines: Api<VmAccess> = context.api();
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    machines
        .patch("before", &PatchParams::default(), &Patch::Merge(label))
        .await?;
    let larger = json!({"spec": {"virtualMachine": {"template": {"overrides": {"a": "x".repeat(100)}}}}});
    let refused = machines
        .patch("before", &PatchParams::default(), &Patch::Merge(larger))
        .await;
    ensure!(
        refused.is_err_and(|error| error.to_string().contains("16384")),
        "it may grow"
    );
    let smaller = json!({"spec": {"virtualMachine": {"template": {"overrides": null}}}});
    machines
        .patch("before", &PatchParams::default(), &Patch::Merge(smaller))
        .await?;
    Ok(())
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "novasphere.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A machine with overrides of this many characters, not all of them in one text.
fn machine(name: &str, length: usize) -> Value {
    let half = "x".repeat(length / 2);
    let overrides = json!({"template": {"spec": {"subdomain": half, "domain": {"devices": {"a": [{"b": half}]}}}}});
    let template = json!({"memory": "1Gi", "rootDisk": {"containerDisk": {"image": "a/b:1"}}, "overrides": overrides});
    object("VmAccess", name, &json!({"virtualMachine": {"template": template}}))
}

/// The words with which an object is refused; it is not kept.
async fn refusal(context: &Context<'_>, object: Value) -> Result<Option<String>> {
    let parameters = PatchParams {
        dry_run: true,
        ..as_person()
    };
    match apply::<DynamicObject>(&context.client, Some(&context.namespace), object, &parameters).await {
        Ok(_) => Ok(None),
        Err(error) if format!("{error:#}").contains("denied request") => Ok(Some(format!("{error:#}"))),
        Err(error) => Err(error),
    }
}
