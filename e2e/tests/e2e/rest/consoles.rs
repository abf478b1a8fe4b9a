//! A link of the REST API opens a console, and the end of the login ends it.

use anyhow::{Context as _, Result, ensure};
use kube::Api;
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    fixtures::{
        apiserver::with_apiserver,
        console::ConsoleFixture,
        console_session::{TARGET, connections},
        console_socket::ConsoleSocket,
        namespace::Context,
        rest::{RestAnswer, RestApi, add_user},
        rights::{SESSION_TOKENS, VM_CONSOLES, allow},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::json;

const PASSWORD: &str = "correct horse battery staple";

const USER: &str = "novasphere:ann";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("rest::consoles::link", Needs::ControlPlane, link)]
}

/// The link's token opens the console at a gateway; the API says who is connected; the end of the login revokes the session and cuts the stream.
async fn link() -> Result<()> {
    with_apiserver("rest::consoles::link", async |context, _| {
        let fixture = ConsoleFixture::start(context, &json!({"protocols": ["vnc"]})).await?;
        let gateways = fixture.gateways(context, &["gw-1"]).await?;
        let gateway = gateways.first().context("no gateway")?;
        RestApi::prepare(context, &[USER], &[]).await?;
        for (resource, verbs) in [
            (VM_CONSOLES, &["get", "update"][..]),
            (SESSION_TOKENS, &["create"]),
            (("novasphere.io", "vmaccesses"), &["get", "list"]),
            (
                ("novasphere.io", "consolesessions"),
                &["get", "list", "create", "patch"],
            ),
        ] {
            allow(context, USER, resource, verbs).await?;
        }
        add_user(context, "ann", PASSWORD, &[])?;
        let api = RestApi::start(context, "rest-1", json!({"limits": {"consolesPerUser": 2}})).await?;
        let login = api.login("ann", PASSWORD).await?;
        let token = login.text("/data/token");
        let path = format!("/vms/{}.{TARGET}/console", context.namespace);
        known(&api, token, context).await?;
        api.post(&path, token, &json!({"protocol": "spice"})).await?.is(40003)?;
        let link = api.post(&path, token, &json!({"expireTime": 600})).await?.is(200)?;
        ensure!(
            link.text("/data/consoleUrl").starts_with("wss://vms.example.org/"),
            "{link:?}"
        );
        ensure!(
            link.text("/data/vncUser") == format!("{}/{}", context.namespace, link.text("/data/session")),
            "{link:?}"
        );

        let session = link.text("/data/session").to_owned();
        let mut viewer = ConsoleSocket::enter(gateway.http, link.text("/data/token")).await?;
        connections(context, &session, 1).await?;
        let status = status(&api, token, &path).await?;
        ensure!(status.text("/data/connections/0/user") == USER, "{status:?}");
        let sessions = api.get("/sessions?active=true", token).await?.is(200)?;
        ensure!(sessions.text("/data/list/0/name") == session, "{sessions:?}");

        api.post("/auth/logout", token, &json!({})).await?.is(200)?;
        let objects: Api<ConsoleSession> = context.api();
        wait::object(&objects, &session, "it is revoked", wait::SHORT, |session| {
            if session.spec.revoked {
                Ok(())
            } else {
                Err("it is not".to_owned())
            }
        })
        .await?;
        viewer.closed(wait::SHORT).await?;
        let login = api.login("ann", PASSWORD).await?;
        let token = login.text("/data/token");
        api.post(&path, token, &json!({})).await?.is(200)?;
        let crowded = api.post(&path, token, &json!({})).await?.is(42901)?;
        ensure!(crowded.headers.contains_key("retry-after"), "{crowded:?}");
        Ok(())
    })
    .await
}

/// Waits until the API knows the machine.
async fn known(api: &RestApi, token: &str, context: &Context<'_>) -> Result<()> {
    let path = format!("/vms/{}.{TARGET}", context.namespace);
    wait::until("the machine is known", wait::SHORT, || async {
        let answer = api.get(&path, token).await?;
        Ok(Seen::some((answer.status == 200).then_some(()), answer.status))
    })
    .await
}

async fn status(api: &RestApi, token: &str, path: &str) -> Result<RestAnswer> {
    wait::until("somebody is connected", wait::SHORT, || async {
        let answer = api.get(&format!("{path}/status"), token).await?.is(200)?;
        let is_connected = answer.at("/data/connected") == &json!(true);
        let text = answer.body.to_string();
        Ok(Seen::some(is_connected.then_some(answer), text))
    })
    .await
}
