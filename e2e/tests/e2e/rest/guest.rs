//! A booted guest, driven by somebody with nothing but a name and a password.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        namespace::{PodSecurity, with_namespace},
        rest::{RestApi, add_user},
        rights::allow,
        vm_access::{GUEST_PORT, apply_vm_access, ready_as, template},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream};

const PASSWORD: &str = "correct horse battery staple";

const USER: &str = "novasphere:ann";

/// The time that a guest's port may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("rest::guest::driven", Needs::Node, driven)]
}

/// It is stopped, started and restarted by tasks; a Service that is made by REST leads to it; it is deleted.
async fn driven() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    with_namespace(
        cluster,
        "rest::guest::driven",
        PodSecurity::Privileged,
        async |context| {
            RestApi::prepare(context, &[USER], &[]).await?;
            let verbs = ["get", "list", "create", "patch", "delete"];
            allow(context, USER, ("novasphere.io", "vmaccesses"), &verbs).await?;
            add_user(context, "ann", PASSWORD, &[])?;
            let api = RestApi::start(context, "rest-1", json!({})).await?;
            let login = api.login("ann", PASSWORD).await?;
            let token = login.text("/data/token");

            let spec = json!({"virtualMachine": {"template": template()}, "power": {"state": "Running"}});
            apply_vm_access(context, "guest", &spec).await?;
            ready_as(context, "guest", "Running", wait::LONG).await?;
            let path = format!("/vms/{}.guest", context.namespace);
            let detail = known(&api, token, &path).await?;
            ensure!(
                detail.pointer("/networkInfo/0/ip").is_some_and(Value::is_string),
                "{detail}"
            );
            ensure!(
                detail.pointer("/basicInfo/nodeName").is_some_and(Value::is_string),
                "{detail}"
            );

            let service = json!({"serviceType": "NodePort", "serviceName": "echo", "ports": [{"port": GUEST_PORT}]});
            api.post(&format!("{path}/access-service"), token, &service)
                .await?
                .is(200)?;
            answers(&api, token, &path).await.context("the NodePort")?;
            for operation in ["restart", "stop", "start"] {
                task(&api, token, &path, operation).await.context(operation)?;
            }
            answers(&api, token, &path)
                .await
                .context("the NodePort after all that")?;
            api.delete(&path, token).await?.is(200)?;
            wait::until("it is gone", wait::LONG, || async {
                let answer = api.get(&path, token).await?;
                Ok(Seen::some((answer.status == 404).then_some(()), answer.status))
            })
            .await
        },
    )
    .await
}

async fn known(api: &RestApi, token: &str, path: &str) -> Result<Value> {
    wait::until("the guest has an address", wait::LONG, || async {
        let answer = api.get(path, token).await?;
        let has_address = answer.at("/data/networkInfo/0/ip").is_string();
        let text = answer.body.to_string();
        Ok(Seen::some(has_address.then(|| answer.at("/data").clone()), text))
    })
    .await
}

async fn task(api: &RestApi, token: &str, path: &str, operation: &str) -> Result<()> {
    let begun = api
        .post(&format!("{path}/{operation}"), token, &json!({}))
        .await?
        .is(200)?;
    let task = format!("/tasks/{}", begun.text("/data/taskId"));
    wait::until(format!("{operation} succeeds"), wait::LONG, || async {
        let report = api.get(&task, token).await?.is(200)?;
        ensure!(report.text("/data/status") != "failed", "{report:?}");
        let is_done = report.text("/data/status") == "success";
        Ok(Seen::some(is_done.then_some(()), report.body))
    })
    .await
}

/// Waits until the guest answers at the address that the API tells.
async fn answers(api: &RestApi, token: &str, path: &str) -> Result<()> {
    wait::until("the guest answers", wait::LONG, || async {
        let listed = api.get(&format!("{path}/access-services"), token).await?.is(200)?;
        let Ok(address) = listed.text("/data/0/accessAddr").parse::<SocketAddr>() else {
            return Ok(Seen::some(None, listed.body));
        };
        let said = tokio::time::timeout(ANSWER_TIMEOUT, said(address)).await;
        let is_there = matches!(&said, Ok(Ok(text)) if !text.is_empty());
        Ok(Seen::some(is_there.then_some(()), format!("{address}: {said:?}")))
    })
    .await
}

async fn said(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let mut text = [0; 64];
    let read = stream.read(&mut text).await?;
    Ok(String::from_utf8_lossy(text.get(..read).unwrap_or_default()).into_owned())
}
