//! People who use consoles of an installed novasphere: their rights, their sessions, and their tokens.

use anyhow::{Context as _, Result};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta, PostParams},
};
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    namespace::Context,
    wait::{self, Seen},
};
use serde::Deserialize;
use serde_json::{Value, json};

const SUBRESOURCES: &str = "subresources.novasphere.io";

/// Lets a user do this with the consoles of all targets of a kind in the namespace, and have tokens.
pub(crate) async fn may(context: &Context<'_>, user: &str, consoles: &str, verbs: &[&str]) -> Result<()> {
    let allow = |resource: &str, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![SUBRESOURCES.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(ToString::to_string).collect(),
        ..PolicyRule::default()
    };
    let metadata = ObjectMeta {
        name: Some(user.to_owned()),
        ..ObjectMeta::default()
    };
    let role = Role {
        metadata: metadata.clone(),
        rules: Some(vec![
            allow(consoles, verbs),
            allow("consolesessions/token", &["create"]),
        ]),
    };
    context.api::<Role>().create(&PostParams::default(), &role).await?;
    let rbac = || "rbac.authorization.k8s.io".to_owned();
    let binding = RoleBinding {
        metadata,
        role_ref: RoleRef {
            api_group: rbac(),
            kind: "Role".to_owned(),
            name: user.to_owned(),
        },
        subjects: Some(vec![Subject {
            api_group: Some(rbac()),
            kind: "User".to_owned(),
            name: user.to_owned(),
            namespace: None,
        }]),
    };
    context
        .api::<RoleBinding>()
        .create(&PostParams::default(), &binding)
        .await?;
    Ok(())
}

/// A client that acts as this user.
pub(crate) async fn client(context: &Context<'_>, user: &str) -> Result<Client> {
    let mut config = context.cluster.config("novasphere-e2e").await?;
    config.auth_info.impersonate = Some(user.to_owned());
    Ok(Client::try_from(config)?)
}

/// Makes a session.
pub(crate) async fn session(context: &Context<'_>, name: &str, spec: Value) -> Result<()> {
    let sessions: Api<ConsoleSession> = context.api();
    let session = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "ConsoleSession",
        "metadata": {"name": name},
        "spec": spec,
    });
    sessions
        .create(&PostParams::default(), &serde_json::from_value(session)?)
        .await?;
    Ok(())
}

/// What `consolesessions/token` answers.
#[derive(Clone, Deserialize)]
pub(crate) struct Token {
    pub(crate) token: String,
    urls: Value,
}

impl Token {
    /// The link for a browser.
    pub(crate) fn link(&self) -> Result<String> {
        let link = self.urls.get("browser").and_then(Value::as_str);
        Ok(link.context("the token has no URL for browsers")?.to_owned())
    }
}

/// Asks for a token of a session as this user, as soon as the session gives one.
pub(crate) async fn token(context: &Context<'_>, user: &str, session: &str) -> Result<Token> {
    let path = format!(
        "/apis/{SUBRESOURCES}/v1alpha1/namespaces/{}/consolesessions/{session}/token",
        context.namespace
    );
    let client = client(context, user).await?;
    wait::until(format!("a token for {user}"), wait::SHORT, || async {
        let request = http::Request::post(&path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(b"{}".to_vec())?;
        Ok(Seen::Done(client.request(request).await?))
    })
    .await
}

/// Waits until all streams of the namespace have ended.
pub(crate) async fn nobody_is_connected(context: &Context<'_>) -> Result<()> {
    let sessions: Api<ConsoleSession> = context.api();
    wait::until("nobody is connected", wait::SHORT, || async {
        let sessions = sessions.list(&ListParams::default()).await?;
        let open: usize = sessions
            .iter()
            .filter_map(|session| session.status.as_ref())
            .map(|status| status.connections.len())
            .sum();
        Ok(Seen::some(
            (open == 0).then_some(()),
            format!("{open} streams are open"),
        ))
    })
    .await
}
