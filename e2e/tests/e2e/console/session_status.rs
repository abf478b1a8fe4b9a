//! Nobody but novasphere writes the status of a session, because it says whose tokens are good; and nothing else of
//! Kubernetes is hindered by that.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    fixtures::{
        admission_policy::install_policy,
        console_session::{SessionFixture, with_target},
        namespace::Context,
        rights::client_of,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::json;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "session::status_is_ours",
        Needs::ControlPlane,
        status_is_ours,
    )]
}

async fn status_is_ours() -> Result<()> {
    with_target("session::status_is_ours", json!({}), async |fixture| {
        let controller = fixture.controller().await?;
        fixture.make("view", json!({})).await?;
        fixture.ready("view").await?;
        install_policy(fixture.context, "session_status", &[("controller", &fixture.account)]).await?;
        let administrator = fixture.sessions();
        let message = wait::until("the policy holds", wait::SHORT, || async {
            Ok(Seen::some(
                forged(&administrator, "view").await?,
                "an administrator may write status",
            ))
        })
        .await?;
        ensure!(message.contains("only novasphere itself"), "{message}");
        // With all rights of RBAC: only the policy stands in the way.
        let tenant = format!("system:serviceaccount:{}:default", fixture.context.namespace);
        let tenant = client_of(fixture.context, &tenant, &["system:masters"]).await?;
        let tenant = Api::namespaced(tenant, &fixture.context.namespace);
        ensure!(
            forged(&tenant, "view").await?.is_some(),
            "another account may write status"
        );

        // The controller goes on, and people do what is theirs.
        fixture.change("view", json!({"revoked": true})).await?;
        fixture.condition("view", "Closed", "True", "Revoked").await?;
        fixture.sessions().delete("view", &DeleteParams::default()).await?;
        wait::gone(&fixture.sessions(), "view", wait::SHORT).await?;

        collected(fixture, "background", &DeleteParams::background()).await?;
        collected(fixture, "foreground", &DeleteParams::foreground()).await?;
        fixture.make("left", json!({})).await?;
        fixture.ready("left").await?;
        controller.stop().await?;
        namespace_goes(fixture.context).await
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

/// A session that belongs to something else goes with it.
async fn collected(fixture: &SessionFixture<'_>, name: &str, how: &DeleteParams) -> Result<()> {
    let owners: Api<ConfigMap> = fixture.context.api();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let owner = owners
        .create(&PostParams::default(), &serde_json::from_value(owner)?)
        .await?;
    fixture.make(name, json!({})).await?;
    fixture.ready(name).await?;
    let belongs = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner.uid(), "blockOwnerDeletion": true},
    ]}});
    fixture
        .sessions()
        .patch(name, &PatchParams::default(), &Patch::Merge(belongs))
        .await?;
    owners.delete(name, how).await?;
    wait::gone(&fixture.sessions(), name, wait::SHORT).await?;
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
