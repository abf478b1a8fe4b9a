//! An installation of a released chart that is upgraded and rolled back: what people made is there as they made it, novasphere's authority as well, and
//! a stream ends only where its Pod is replaced, with the announced code.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use novasphere_crd::{ConsoleSession, VmAccess, VncWorkspace};
use novasphere_e2e::fixtures::{
    apiserver::{BASE, answered, text},
    audit::{Write, describe},
    cluster::Cluster,
    console::{ANN, add_target_at},
    console_session::{TARGET, open_session},
    console_socket::{BINARY_SUBPROTOCOL, ConsoleSocket},
    install::{self, NAMESPACE, PAGE_PORT, RELEASE, node_address},
    kubevirt::KubeVirtStandIn,
    namespace::Context,
    rfb::BELL,
    rights::VM_CONSOLES,
    users::{allow_consoles, request_token},
    vnc_server::VncServer,
    wait::{self, Seen},
    workspace::apply_workspace,
};
use novasphere_runtime::ca::SECRET_NAME;
use novasphere_wire::close::EndReason;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The workspace and the session of the case.
const DESKTOP: &str = "desk";
const SESSION: &str = "viewer";

/// A change of a value that replaces the Pods of one role and leaves those of the others.
const NEW_APISERVER: &[&str] = &[
    "--set-string",
    "apiserver.podAnnotations.e2e/upgrade=1",
    "--set",
    "controller.replicas=1",
];

/// To the release that was installed first.
const ROLLBACK: &[&str] = &[
    "rollback",
    RELEASE,
    "1",
    "--namespace",
    NAMESPACE,
    "--wait",
    "--timeout",
    "180s",
];

/// Of a stream, longer than any step of the case.
const STREAM_TIMEOUT: Duration = Duration::from_mins(10);

/// Does what blocks aside: the VNC server of the case and the stand-in for KubeVirt have this thread.
pub(super) async fn aside<F>(context: &Context<'_>, work: F) -> Result<()>
where
    F: FnOnce(&Cluster) -> Result<()> + Send + 'static,
{
    let cluster = context.cluster.clone();
    tokio::task::spawn_blocking(move || work(&cluster)).await?
}

/// Upgrades the release that is installed to the chart of this tree, back, and to it again.
pub(super) async fn there_and_back(context: &Context<'_>) -> Result<()> {
    let _kubevirt = KubeVirtStandIn::start(context).await?;
    let vnc = VncServer::start().await?;
    make(context, &vnc).await.context("objects of people")?;
    let before = Made::read(context).await?;

    let mut streams = Streams::open(context, &vnc).await.context("streams of the release")?;
    let upgrade = aside(context, |cluster| install::upgrade(cluster, NEW_APISERVER));
    streams.meanwhile(upgrade).await?;
    before.is_kept(context).await.context("upgraded")?;
    let left = streams.fare(context, &vnc).await.context("upgraded")?;
    ensure!(left < 2, "the upgrade replaced the Pods of no role");

    let mut streams = Streams::open(context, &vnc)
        .await
        .context("streams after the upgrade")?;
    let rollback = aside(context, |cluster| cluster.helm(ROLLBACK).map(drop));
    streams.meanwhile(rollback).await?;
    before.is_kept(context).await.context("rolled back")?;
    streams.fare(context, &vnc).await.context("rolled back")?;

    let target = format!("tests.target=VmAccess/{}/{TARGET}", context.namespace);
    aside(context, move |cluster| install::upgrade(cluster, &["--set", &target])).await?;
    tested(context).await.context("helm test")?;
    before.is_kept(context).await.context("upgraded again")?;
    delete(context).await
}

/// A machine that runs, a desktop that sleeps, and a session, with somebody who may use it.
async fn make(context: &Context<'_>, vnc: &VncServer) -> Result<()> {
    add_target_at(
        context,
        TARGET,
        &json!({"maxViewers": 8, "maxConcurrentSessions": 8}),
        vnc,
    )
    .await?;
    let asleep = json!({"lifecycle": {"state": "Hibernated"}});
    apply_workspace(context, DESKTOP, "localhost/novasphere-desktop:e2e", &asleep).await?;
    marked(context).await?;
    open_session(context, SESSION, json!({})).await?;
    allow_consoles(context, ANN, VM_CONSOLES, &["get", "update"]).await?;
    answered(context, BASE, "discovery by the released chart", |list| {
        text(list, "/kind") == "APIResourceList"
    })
    .await
    .map(drop)
}

/// While the controller runs: docs/install.md.
async fn delete(context: &Context<'_>) -> Result<()> {
    let parameters = DeleteParams::default();
    let (sessions, machines, desktops) = (
        context.api::<ConsoleSession>(),
        context.api::<VmAccess>(),
        context.api::<VncWorkspace>(),
    );
    sessions.delete(SESSION, &parameters).await?;
    machines.delete(TARGET, &parameters).await?;
    desktops.delete(DESKTOP, &parameters).await?;
    wait::gone(&desktops, DESKTOP, wait::SHORT).await?;
    wait::gone(&machines, TARGET, wait::SHORT).await
}

/// `helm test` opens the console of the target by an account of its own, and leaves nothing behind.
async fn tested(context: &Context<'_>) -> Result<()> {
    let mark = context.cluster.audit().mark()?;
    let test = ["test", RELEASE, "--namespace", NAMESPACE, "--timeout", "120s"];
    aside(context, move |cluster| cluster.helm(&test).map(drop)).await?;
    let user = format!("system:serviceaccount:{NAMESPACE}:{RELEASE}-test-console");
    let writes = context.cluster.audit().by(&user, mark)?;
    for (verb, resource) in [
        ("create", "consolesessions"),
        ("create", "consolesessions/token"),
        ("delete", "consolesessions"),
    ] {
        let is_it = |write: &Write| write.verb == verb && write.resource() == resource && write.code() < 300;
        ensure!(
            writes.iter().any(is_it),
            "no {verb} of {resource}:{}",
            describe(&writes)
        );
    }
    for namespace in [NAMESPACE, context.namespace.as_str()] {
        let kinds = "pods,serviceaccounts,roles,rolebindings";
        let selector = "app.kubernetes.io/component=test";
        let left = context.cluster.kubectl(&[
            "--namespace",
            namespace,
            "get",
            kinds,
            "--selector",
            selector,
            "--output",
            "name",
        ])?;
        ensure!(left.trim().is_empty(), "left in {namespace}: {left}");
    }
    Ok(())
}

/// Gives the objects marks of people, which nobody else may take away.
async fn marked(context: &Context<'_>) -> Result<()> {
    let marks =
        Patch::Merge(json!({"metadata": {"labels": {"team": "a"}, "annotations": {"example.org/why": "a test"}}}));
    let parameters = PatchParams::default();
    context.api::<VmAccess>().patch(TARGET, &parameters, &marks).await?;
    context
        .api::<VncWorkspace>()
        .patch(DESKTOP, &parameters, &marks)
        .await?;
    Ok(())
}

/// What was made by people, and the authority that their browsers trust.
struct Made(Value);

impl Made {
    async fn read(context: &Context<'_>) -> Result<Self> {
        let secrets: Api<Secret> = Api::namespaced(context.client.clone(), NAMESPACE);
        let authority = secrets.get(SECRET_NAME).await?;
        let bundle = authority.data.as_ref().and_then(|data| data.get("ca.crt"));
        Ok(Self(json!({
            "VmAccess": essence::<VmAccess>(context, TARGET).await?,
            "VncWorkspace": essence::<VncWorkspace>(context, DESKTOP).await?,
            "ConsoleSession": essence::<ConsoleSession>(context, SESSION).await?,
            "authority": {"uid": authority.uid(), "ca.crt": bundle},
        })))
    }

    /// A chart may add fields with defaults; it takes none away and changes none.
    async fn is_kept(&self, context: &Context<'_>) -> Result<()> {
        let now = Self::read(context).await?;
        let lost = lost("", &self.0, &now.0);
        ensure!(lost.is_empty(), "lost or changed: {}", lost.join(", "));
        Ok(())
    }
}

async fn essence<K>(context: &Context<'_>, name: &str) -> Result<Value>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    K::DynamicType: Default,
{
    let object = context.api::<K>().get(name).await?;
    let object = serde_json::to_value(object)?;
    let part = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
    Ok(json!({
        "uid": part("/metadata/uid"),
        "labels": part("/metadata/labels"),
        "annotations": part("/metadata/annotations"),
        "spec": part("/spec"),
    }))
}

/// The paths of what the second value has not as the first has it.
fn lost(path: &str, before: &Value, now: &Value) -> Vec<String> {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => before
            .iter()
            .flat_map(|(key, value)| lost(&format!("{path}.{key}"), value, now.get(key).unwrap_or(&Value::Null)))
            .collect(),
        _ if before == now => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

/// A console that is open, by which role, and the role's Pods when it was opened.
struct Stream {
    role: &'static str,
    socket: ConsoleSocket,
    pods: BTreeSet<String>,
    /// How it ended, when it has.
    ended: Option<Result<(u16, String)>>,
}

impl Stream {
    async fn open_with(context: &Context<'_>, role: &'static str, socket: ConsoleSocket) -> Result<Self> {
        Ok(Self {
            role,
            socket,
            pods: pods(&context.client, role).await?,
            ended: None,
        })
    }

    /// Reads until it ends, and waits for ever.
    async fn read(&mut self) {
        if self.ended.is_none() {
            self.ended = Some(self.socket.closed(STREAM_TIMEOUT).await);
        }
        std::future::pending::<()>().await;
    }
}

/// One stream by each role that carries them.
struct Streams(Vec<Stream>);

impl Streams {
    async fn open(context: &Context<'_>, vnc: &VncServer) -> Result<Self> {
        let token = request_token(context, ANN, SESSION).await?;
        let node = node_address(context.cluster)?.parse()?;
        let gateway = SocketAddr::new(node, PAGE_PORT);
        let socket = ConsoleSocket::open_by_tls(gateway, &token.token)
            .await?
            .entered()
            .await?;
        let console = Stream::open_with(context, "console", socket).await?;
        let path = format!("{BASE}/namespaces/{}/vmaccesses/{TARGET}/console", context.namespace);
        let socket = ConsoleSocket::connect(&context.client, &path, BINARY_SUBPROTOCOL).await?;
        let apiserver = Stream::open_with(context, "apiserver", socket.entered().await?).await?;
        let mut streams = Self(vec![console, apiserver]);
        ring(vnc, streams.0.iter_mut()).await?;
        Ok(streams)
    }

    /// Does something while the streams are read, as viewers do: one that answers no ping is taken for lost.
    async fn meanwhile(&mut self, work: impl Future<Output = Result<()>>) -> Result<()> {
        let reading = futures::future::join_all(self.0.iter_mut().map(Stream::read));
        tokio::select! {
            result = work => result,
            _ = reading => bail!("the streams are read for ever"),
        }
    }

    /// Looks what became of each, and returns how many are open.
    async fn fare(self, context: &Context<'_>, vnc: &VncServer) -> Result<usize> {
        let mut open = Vec::new();
        for mut stream in self.0 {
            let ended = stream.ended.take();
            if !replaced(context, &stream).await? {
                ensure!(ended.is_none(), "{}: {ended:?}, and its Pods are there", stream.role);
                open.push(stream);
                continue;
            }
            let (code, reason) = match ended {
                Some(ended) => ended?,
                None => stream.socket.closed(wait::LONG).await?,
            };
            let announced = EndReason::Restarting;
            ensure!(
                (code, reason.as_str()) == (announced.code(), announced.reason()),
                "{}: closed with {code} {reason}",
                stream.role
            );
        }
        let count = open.len();
        ring(vnc, open.iter_mut()).await?;
        for stream in open {
            stream.socket.leave_for_good().await?;
        }
        Ok(count)
    }
}

/// A bell of the machine is heard by all of them.
async fn ring<'a>(vnc: &VncServer, streams: impl Iterator<Item = &'a mut Stream>) -> Result<()> {
    vnc.send(BELL);
    for stream in streams {
        stream.socket.expect(BELL).await.with_context(|| stream.role)?;
    }
    Ok(())
}

/// Whether other Pods have the role now. A roll-out that is under way is waited for.
async fn replaced(context: &Context<'_>, stream: &Stream) -> Result<bool> {
    let what = format!("all Pods of {} are of one generation", stream.role);
    wait::until(what, wait::LONG, || async {
        let now = pods(&context.client, stream.role).await?;
        Ok(if now == stream.pods {
            Seen::Done(false)
        } else if now.is_disjoint(&stream.pods) {
            Seen::Done(true)
        } else {
            Seen::NotYet(format!("{now:?}, before {:?}", stream.pods))
        })
    })
    .await
}

/// The Pods of a role that are not about to go.
async fn pods(client: &Client, role: &str) -> Result<BTreeSet<String>> {
    let selector = format!("app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={role}");
    let all: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let mut pods = all.list(&ListParams::default().labels(&selector)).await?.items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    if pods.is_empty() {
        bail!("{role} has no Pod");
    }
    Ok(pods.iter().filter_map(ResourceExt::uid).collect())
}
