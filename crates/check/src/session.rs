//! A session of the check's own, and its token.

use std::time::Duration;

use anyhow::{Context, bail};
use http::header;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};
use novasphere_crd::{ConsoleSession, SessionPhase};
use serde::Deserialize;
use serde_json::json;

use crate::{API, CheckTarget};

/// Between two looks at a session that is not ready.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How long the session lasts when nobody deletes it.
const DURATION: &str = "5m";

/// A session of the target, to look at it.
pub(crate) struct TestSession {
    client: Client,
    sessions: Api<ConsoleSession>,
    namespace: String,
    name: String,
}

/// What `consolesessions/token` answers. It is never written anywhere.
#[derive(Deserialize)]
struct Granted {
    token: String,
}

impl TestSession {
    pub(crate) async fn create(client: Client, target: &CheckTarget) -> anyhow::Result<Self> {
        let namespace = target.namespace.as_str();
        let sessions: Api<ConsoleSession> = Api::namespaced(client.clone(), namespace);
        let session = serde_json::from_value(json!({
            "metadata": {"generateName": "check-"},
            "spec": {
                "targetRef": {"kind": target.kind.as_str(), "name": target.name},
                "duration": DURATION,
                "protocol": "vnc",
                "input": "ViewOnly",
            },
        }))?;
        let created = sessions.create(&PostParams::default(), &session).await;
        let created = created.with_context(|| format!("a session for {target} cannot be created"))?;
        Ok(Self {
            client,
            sessions,
            namespace: namespace.to_owned(),
            name: created.name_any(),
        })
    }

    /// Waits until tokens can be had.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let mut looks = tokio::time::interval(POLL_INTERVAL);
        loop {
            looks.tick().await;
            let session = self.sessions.get(&self.name).await?;
            let status = session.status.unwrap_or_default();
            match status.phase {
                Some(SessionPhase::Ready) => return Ok(()),
                Some(SessionPhase::Failed | SessionPhase::Closed | SessionPhase::Expired) => {
                    let why = status.conditions.iter().find(|condition| condition.type_ == "Ready");
                    let why = why.map_or("its conditions say no reason", |condition| condition.message.as_str());
                    bail!("the session {} is over before it began: {why}", self.name);
                }
                _ => {}
            }
        }
    }

    pub(crate) async fn token(&self) -> anyhow::Result<String> {
        let path = format!(
            "{API}/namespaces/{}/consolesessions/{}/token",
            self.namespace, self.name
        );
        let request = http::Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(b"{}".to_vec())?;
        let granted: Granted = self.client.request(request).await.context("no token")?;
        Ok(granted.token)
    }

    pub(crate) async fn delete(&self) -> anyhow::Result<()> {
        let deleted = self.sessions.delete(&self.name, &DeleteParams::default()).await;
        deleted.with_context(|| format!("the session {} is left", self.name))?;
        Ok(())
    }
}
