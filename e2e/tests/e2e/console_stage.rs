//! A machine that runs by KubeVirt's stand-in, a VNC server behind its VmAccess, sessions and tokens, and viewers.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use novasphere_console::rbac;
use novasphere_core::console_session::grant::{NewGrant, issue};
use novasphere_crd::{ConsoleSession, SessionPhase};
use novasphere_e2e::{
    account::Account,
    controller::InProcess,
    gateway::{Gateway, SERVER_INIT, VncServer},
    kubevirt::{STAND_IN, StandIn},
    namespace::Context,
    wait::{self, Seen},
};
use novasphere_wire::token::TokenHash;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::support;

/// The target of the sessions.
pub(crate) const TARGET: &str = "web";

/// Who has the right to look at and to drive consoles.
pub(crate) const ANN: &str = "ann";

/// What there is for a test of consoles over TCP.
pub(crate) struct Stage {
    pub(crate) vnc: VncServer,
    pub(crate) account: Account,
    _controller: InProcess,
    _kubevirt: StandIn,
}

impl Stage {
    /// Makes the target and waits until its machine runs.
    pub(crate) async fn set(context: &Context<'_>, console: Value) -> Result<Self> {
        let client = Client::try_from(context.cluster.config(STAND_IN).await?)?;
        let kubevirt = StandIn::start(client, &context.namespace);
        let controller = InProcess::start_usual(context).await?;
        let account = Account::with_rules(
            context.cluster,
            &context.namespace,
            "console",
            rbac::CLUSTER_RULES,
            rbac::NAMESPACE_RULES,
        )
        .await?;
        let vnc = VncServer::start().await?;
        target(context, TARGET, &console).await?;
        endpoints(context, TARGET, vnc.address).await?;
        allow(context, ANN, &["get", "update"]).await?;
        Ok(Self {
            vnc,
            account,
            _controller: controller,
            _kubevirt: kubevirt,
        })
    }

    /// Starts gateways with these names.
    pub(crate) async fn gateways(&self, context: &Context<'_>, names: &[&str]) -> Result<Vec<Gateway>> {
        let starts = names
            .iter()
            .map(|name| Gateway::start(context.cluster, &self.account, name, &context.output, None));
        futures::future::try_join_all(starts).await
    }
}

/// Applies a target with this console policy and waits until its machine runs.
pub(crate) async fn target(context: &Context<'_>, name: &str, console: &Value) -> Result<()> {
    let spec = json!({
        "virtualMachine": {"template": support::template()},
        "power": {"state": "Running"},
        "services": [{"name": "desktop", "ports": [{"name": "vnc", "port": 5900}]}],
        "vncServer": {"service": "desktop", "port": 5900},
        "console": console,
    });
    support::apply(context, name, &spec).await?;
    support::ready_as(context, name, "Running", wait::LONG).await?;
    Ok(())
}

/// Says where the VNC server of a target is, as the endpoints controller does for a Pod.
pub(crate) async fn endpoints(context: &Context<'_>, target: &str, address: SocketAddr) -> Result<()> {
    let service = format!("{target}-desktop");
    let name = format!("{service}-e2e");
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/service-name": service,
            "endpointslice.kubernetes.io/managed-by": "novasphere-e2e",
        }},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "ports": [{"name": "vnc", "port": address.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
    });
    apply(context, "discovery.k8s.io", "EndpointSlice", &name, slice).await
}

/// Lets a user do this with the consoles of the namespace.
pub(crate) async fn allow(context: &Context<'_>, user: &str, verbs: &[&str]) -> Result<()> {
    let name = format!("console-{user}");
    let role = json!({"rules": [{
        "apiGroups": ["subresources.novasphere.io"], "resources": ["vmaccesses/console"], "verbs": verbs,
    }]});
    apply(context, "rbac.authorization.k8s.io", "Role", &name, role).await?;
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    apply(context, "rbac.authorization.k8s.io", "RoleBinding", &name, binding).await
}

/// Lets a user do this with the consoles of bare machines.
pub(crate) async fn allow_machines(context: &Context<'_>, user: &str, verbs: &Value) -> Result<()> {
    let name = format!("machines-{user}");
    let role = json!({"rules": [{
        "apiGroups": ["subresources.kubevirt.io"],
        "resources": ["virtualmachineinstances/vnc", "virtualmachineinstances/console"],
        "verbs": verbs,
    }]});
    apply(context, "rbac.authorization.k8s.io", "Role", &name, role).await?;
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    apply(context, "rbac.authorization.k8s.io", "RoleBinding", &name, binding).await
}

/// Takes the right away again.
pub(crate) async fn disallow(context: &Context<'_>, user: &str) -> Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", "RoleBinding"));
    let bindings = context.dynamic(&resource);
    bindings
        .delete(&format!("console-{user}"), &DeleteParams::default())
        .await?;
    Ok(())
}

async fn apply(context: &Context<'_>, group: &str, kind: &str, name: &str, mut object: Value) -> Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    if let Some(object) = object.as_object_mut() {
        object.insert("apiVersion".to_owned(), json!(resource.api_version));
        object.insert("kind".to_owned(), json!(kind));
        object.entry("metadata").or_insert_with(|| json!({"name": name}));
    }
    let api: Api<DynamicObject> = context.dynamic(&resource);
    let parameters = PatchParams::apply(support::PERSON).force();
    api.patch(name, &parameters, &Patch::Apply(object)).await?;
    Ok(())
}

/// Makes a session as a person does and waits until tokens can be had.
pub(crate) async fn session(context: &Context<'_>, name: &str, spec: Value) -> Result<ConsoleSession> {
    let mut spec = spec;
    if let Some(spec) = spec.as_object_mut() {
        spec.entry("targetRef").or_insert_with(|| json!({"name": TARGET}));
    }
    let object = json!({
        "apiVersion": "novasphere.io/v1alpha1", "kind": "ConsoleSession", "metadata": {"name": name}, "spec": spec,
    });
    let api: Api<ConsoleSession> = context.api();
    let parameters = PatchParams::apply(support::PERSON).force();
    api.patch(name, &parameters, &Patch::Apply(object)).await?;
    session_is(context, name, SessionPhase::Ready).await
}

/// Waits until a session is in this phase.
pub(crate) async fn session_is(context: &Context<'_>, name: &str, phase: SessionPhase) -> Result<ConsoleSession> {
    let api: Api<ConsoleSession> = context.api();
    wait::object(
        &api,
        name,
        format!("the session is {phase:?}"),
        wait::SHORT,
        |session| {
            let status = session.status.as_ref();
            if status.and_then(|status| status.phase) == Some(phase) {
                Ok(())
            } else {
                Err(format!("{:?}", session.status))
            }
        },
    )
    .await
}

/// A token that ann gets of a session, as the aggregated API gives it.
pub(crate) async fn token(context: &Context<'_>, session: &str, window: Duration, uses: u32) -> Result<String> {
    token_for(context, session, ANN, window, uses).await
}

/// The same for another user.
pub(crate) async fn token_for(
    context: &Context<'_>,
    session: &str,
    user: &str,
    window: Duration,
    times: u32,
) -> Result<String> {
    token_by(&context.api(), session, user, window, times).await
}

/// The same, written by whoever `api` is of.
pub(crate) async fn token_by(
    api: &Api<ConsoleSession>,
    session: &str,
    user: &str,
    window: Duration,
    times: u32,
) -> Result<String> {
    let token = random_token()?;
    let hash = TokenHash::of_token(token.as_bytes())?.to_hex();
    wait::until("a token is written", wait::SHORT, || async {
        let mut object = api.get(session).await?;
        let grant = NewGrant {
            id: token
                .chars()
                .take(16)
                .collect::<String>()
                .to_lowercase()
                .replace(['-', '_'], "x"),
            sha256: hash.clone(),
            user: user.to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            window,
            uses: times,
        };
        let status = object.status.clone().unwrap_or_default();
        object.status = Some(issue(&status, grant, Timestamp::now())?);
        match api.replace_status(session, &PostParams::default(), &object).await {
            Ok(_) => Ok(Seen::Done(token.clone())),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Seen::NotYet("a conflict".to_owned())),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// 43 characters that no other token has.
pub(crate) fn random_token() -> Result<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; 43];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    let characters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 64)));
    Ok(characters.map(|byte| char::from(*byte)).collect())
}

/// A browser's WebSocket.
pub(crate) struct Viewer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    buffer: Vec<u8>,
}

/// What became of a viewer at the door.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The console answers.
    Open,
    /// The close code and the word.
    Closed(u16, String),
}

impl Viewer {
    /// Opens the WebSocket with a token.
    pub(crate) async fn open(gateway: SocketAddr, token: &str) -> Result<Self> {
        let mut request = format!("ws://{gateway}/api/v1/console/ws").into_client_request()?;
        let protocols = format!("binary, novasphere.token.{token}");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocols.parse()?);
        request
            .headers_mut()
            .insert("origin", "https://vms.example.org".parse()?);
        let (socket, _) = connect_async(request).await.context("open the WebSocket")?;
        Ok(Self {
            socket,
            buffer: Vec::new(),
        })
    }

    /// Opens the WebSocket and does the handshake up to the first picture.
    pub(crate) async fn enter(gateway: SocketAddr, token: &str) -> Result<Self> {
        let mut viewer = Self::open(gateway, token).await?;
        viewer.begin().await?;
        viewer.expect(SERVER_INIT).await?;
        Ok(viewer)
    }

    /// The RFB handshake, up to what the machine says of its screen.
    pub(crate) async fn begin(&mut self) -> Result<()> {
        self.expect(b"RFB 003.008\n").await?;
        self.send(b"RFB 003.008\n").await?;
        self.expect(&[1, 1]).await?;
        self.send(&[1]).await?;
        self.expect(&[0; 4]).await?;
        self.send(&[1]).await
    }

    /// Waits for the first that happens: bytes, or the end.
    pub(crate) async fn entry(&mut self) -> Result<Entry> {
        match self.next().await {
            Ok(Some(bytes)) => {
                self.buffer.extend(bytes);
                Ok(Entry::Open)
            }
            Ok(None) => bail!("the socket was closed without a word"),
            Err(error) => error
                .downcast::<Told>()
                .map(|Told(code, word)| Entry::Closed(code, word)),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.send(Message::binary(bytes.to_vec())).await?)
    }

    /// Reads exactly these bytes.
    pub(crate) async fn expect(&mut self, bytes: &[u8]) -> Result<()> {
        while self.buffer.len() < bytes.len() {
            let more = self.next().await?.context("the socket was closed without a word")?;
            self.buffer.extend(more);
        }
        let seen: Vec<u8> = self.buffer.drain(..bytes.len()).collect();
        ensure!(seen == bytes, "expected {bytes:?}, read {seen:?}");
        Ok(())
    }

    /// Reads until this text has come, and forgets what was before it.
    pub(crate) async fn read_until(&mut self, text: &str, bound: Duration) -> Result<()> {
        let read = async {
            loop {
                let seen = String::from_utf8_lossy(&self.buffer).into_owned();
                if let Some(at) = seen.find(text) {
                    self.buffer = seen.as_bytes().iter().skip(at + text.len()).copied().collect();
                    return Ok(());
                }
                let more = self.next().await?.context("the socket was closed without a word")?;
                self.buffer.extend(more);
            }
        };
        let result: Result<Result<()>, _> = tokio::time::timeout(bound, read).await;
        match result {
            Ok(result) => result.with_context(|| format!("waiting for {text:?}")),
            Err(_) => bail!(
                "{text:?} did not come within {bound:?}; read {:?}",
                String::from_utf8_lossy(&self.buffer)
            ),
        }
    }

    /// Waits for the end, and returns its code and word.
    pub(crate) async fn closed(&mut self, bound: Duration) -> Result<(u16, String)> {
        let end = async {
            loop {
                if let Err(error) = self.next().await {
                    return error.downcast::<Told>().map(|Told(code, word)| (code, word));
                }
            }
        };
        tokio::time::timeout(bound, end)
            .await
            .with_context(|| format!("the stream is open {bound:?} later"))?
    }

    /// Leaves as a closed tab does.
    pub(crate) async fn leave(mut self) -> Result<()> {
        self.socket.close(None).await?;
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let message = tokio::time::timeout(wait::LONG, self.socket.next()).await;
            match message.context("nothing came")? {
                Some(Ok(Message::Binary(bytes))) => return Ok(Some(bytes.to_vec())),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err(Told(frame.code.into(), frame.reason.to_string()).into());
                }
                Some(Ok(Message::Close(None))) | None => return Ok(None),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }
}

/// The end of a stream, as the gateway told it.
#[derive(Debug)]
struct Told(u16, String);

impl std::fmt::Display for Told {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "closed with {} {}", self.0, self.1)
    }
}

impl std::error::Error for Told {}

/// Waits until the sessions' status has so many connections.
pub(crate) async fn connections(context: &Context<'_>, session: &str, count: usize) -> Result<ConsoleSession> {
    let api: Api<ConsoleSession> = context.api();
    wait::object(&api, session, format!("{count} connections"), wait::SHORT, |session| {
        let status = session.status.clone().unwrap_or_default();
        let (listed, told) = (status.connections.len(), status.viewers.unwrap_or_default());
        if listed == count && told as usize == count {
            Ok(())
        } else {
            Err(format!("{listed} connections, {told} viewers"))
        }
    })
    .await
}
