//! Nobody but novasphere writes the status of a session, because it says whose tokens are good; and nothing else of
//! Kubernetes is hindered by that.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    account::Account,
    harness::{Case, Needs},
    namespace::Context,
    paths,
    wait::{self, Seen},
};
use novasphere_runtime::namespaced::Namespaced;
use serde_json::{Value, json};

use crate::console_session_support::{Bench, with_target};

/// What the roles' accounts in `config/` begin with.
const INSTALLED: &str = "system:serviceaccount:novasphere-system:novasphere-";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "console_session::status_is_ours",
        Needs::ControlPlane,
        status_is_ours,
    )]
}

async fn status_is_ours() -> Result<()> {
    with_target("console_session::status_is_ours", json!({}), async |bench| {
        let controller = bench.controller().await?;
        bench.make("look", json!({})).await?;
        bench.ready("look").await?;
        install_policy(bench.context, "session_status", &[("controller", &bench.account)]).await?;
        let administrator = bench.sessions();
        let message = wait::until("the policy holds", wait::SHORT, || async {
            Ok(Seen::some(
                forged(&administrator, "look").await?,
                "an administrator may write status",
            ))
        })
        .await?;
        ensure!(message.contains("only novasphere itself"), "{message}");
        let tenant = impersonating(
            bench.context,
            &format!("system:serviceaccount:{}:default", bench.context.namespace),
        )
        .await?;
        ensure!(
            forged(&tenant, "look").await?.is_some(),
            "another account may write status"
        );

        // The controller goes on, and people do what is theirs.
        bench.change("look", json!({"revoked": true})).await?;
        bench.wait_for("look", "Closed", "True", "Revoked").await?;
        bench.sessions().delete("look", &DeleteParams::default()).await?;
        wait::gone(&bench.sessions(), "look", wait::SHORT).await?;

        collected(bench, "background", &DeleteParams::background()).await?;
        collected(bench, "foreground", &DeleteParams::foreground()).await?;
        bench.make("left", json!({})).await?;
        bench.ready("left").await?;
        controller.stop().await?;
        namespace_goes(bench.context).await
    })
    .await
}

/// Tries to give a token to oneself. Returns the words of the refusal.
async fn forged(sessions: &Api<ConsoleSession>, name: &str) -> Result<Option<String>> {
    let status = json!({"status": {"grants": [{
        "id": "forged",
        "sha256": "0".repeat(64),
        "user": "mallory",
        "issuedAt": "2026-01-01T00:00:00Z",
        "notAfter": "2126-01-01T00:00:00Z",
        "usesLeft": 1,
    }]}});
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    match sessions.patch_status(name, &parameters, &Patch::Merge(status)).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(refusal)) if refusal.code == 403 => Ok(Some(refusal.message.clone())),
        Err(error) => Err(error.into()),
    }
}

/// A client with all rights of the administrator's groups, under another name: only the policy stands in its way.
pub(crate) async fn impersonating<K: Namespaced>(context: &Context<'_>, user: &str) -> Result<Api<K>> {
    let mut config = context.cluster.config("tenant").await?;
    config.auth_info.impersonate = Some(user.to_owned());
    config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
    Ok(Api::namespaced(Client::try_from(config)?, &context.namespace))
}

/// The policy of `config/admission/<policy>.yaml` for this namespace alone, with accounts of this test in the place of those of
/// the installed roles. It goes with the namespace.
pub(crate) async fn install_policy(context: &Context<'_>, policy: &str, accounts: &[(&str, &Account)]) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let owner = namespaces.get(&context.namespace).await?;
    let name = format!("novasphere-{}", context.namespace);
    let folder = paths::repository()?.join("config/admission");
    for (file, kind) in [
        (format!("{policy}.yaml"), "ValidatingAdmissionPolicy"),
        (format!("{policy}_binding.yaml"), "ValidatingAdmissionPolicyBinding"),
    ] {
        let mut text = fs::read_to_string(folder.join(&file)).with_context(|| format!("config/admission/{file}"))?;
        for (role, account) in accounts {
            text = text.replace(&format!("{INSTALLED}{role}"), &account.user());
        }
        let mut object: Value = serde_saphyr::from_str(&text)?;
        let spec = object.get_mut("spec").context("it has no spec")?;
        if kind == "ValidatingAdmissionPolicy" {
            for (role, account) in accounts {
                ensure!(
                    spec.to_string().contains(&account.user()),
                    "the policy does not name the account of {role}"
                );
            }
        } else {
            spec["policyName"] = json!(name);
            spec["matchResources"] = json!({"namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": context.namespace},
            }});
        }
        *object.get_mut("metadata").context("it has no metadata")? = json!({"name": name, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Namespace", "name": context.namespace, "uid": owner.uid()},
        ]});
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
        let policies: Api<DynamicObject> = Api::all_with(context.client.clone(), &resource);
        policies
            .patch(
                &name,
                &PatchParams::apply("novasphere-e2e").force(),
                &Patch::Apply(object),
            )
            .await?;
    }
    Ok(())
}

/// A session that belongs to something else goes with it.
async fn collected(bench: &Bench<'_>, name: &str, how: &DeleteParams) -> Result<()> {
    let owners: Api<ConfigMap> = bench.context.api();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let owner = owners
        .create(&PostParams::default(), &serde_json::from_value(owner)?)
        .await?;
    bench.make(name, json!({})).await?;
    bench.ready(name).await?;
    let belongs = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner.uid(), "blockOwnerDeletion": true},
    ]}});
    bench
        .sessions()
        .patch(name, &PatchParams::default(), &Patch::Merge(belongs))
        .await?;
    owners.delete(name, how).await?;
    wait::gone(&bench.sessions(), name, wait::SHORT).await?;
    wait::gone(&owners, name, wait::SHORT).await
}

/// A namespace with a session in it is deleted.
async fn namespace_goes(context: &Context<'_>) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    namespaces
        .delete(&context.namespace, &DeleteParams::background())
        .await?;
    wait::gone(&namespaces, &context.namespace, wait::LONG).await
}
