//! A desktop on the network, a VmAccess that points to its VNC server, and a gateway in front, on the control plane that the
//! cases share.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::Secret,
        discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    },
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use novasphere_core::console_session::{
    grant::{NewGrant, issue},
    target::KEY_VNC_PASSWORD,
};
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    controller::{self, InProcess},
    desktop::{self, Desktop, Program},
    kubevirt::{STAND_IN, StandIn},
    namespace::Context,
    wait::{self, Seen},
};
use novasphere_runtime::ca;
use novasphere_wire::token::TokenHash;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::support::{self, template};

/// The VmAccess with the desktop.
pub(crate) const TARGET: &str = "desk";

/// The port of its VNC server in the Service; the server's own is any.
const PORT: u16 = 5901;

/// What a grant is of when nothing else is wanted.
pub(crate) const WINDOW: Duration = Duration::from_mins(5);

/// A gateway process with both ways in, on loopback.
pub(crate) struct Gateway {
    program: Option<Program>,
    instance: u32,
    kubeconfig: PathBuf,
    config: PathBuf,
    output: PathBuf,
    http: SocketAddr,
    /// Where stock viewers connect.
    pub(crate) vnc: SocketAddr,
}

/// All of it.
pub(crate) struct Setup {
    pub(crate) desktop: Desktop,
    pub(crate) gateway: Gateway,
    _controller: InProcess,
    _kubevirt: StandIn,
}

impl Setup {
    /// Starts it in the namespace of a case. Pages of `embedders` may show the console page.
    pub(crate) async fn start(context: &Context<'_>, embedders: &[String]) -> Result<Self> {
        let address = desktop::own_address()?;
        let desktop = Desktop::start(address, &context.output).await?;
        let stand_in = Client::try_from(context.cluster.config(STAND_IN).await?)?;
        let kubevirt = StandIn::start(stand_in, &context.namespace);
        let controller = InProcess::start_usual(context).await?;
        target(context, &desktop).await?;
        let mut gateway = Gateway::prepare(context, embedders)?;
        gateway.start().await?;
        Ok(Self {
            desktop,
            gateway,
            _controller: controller,
            _kubevirt: kubevirt,
        })
    }
}

/// The VmAccess, its password, and an endpoint of its Service that is the desktop.
async fn target(context: &Context<'_>, desktop: &Desktop) -> Result<()> {
    let mut password = Secret {
        data: Some([("password".to_owned(), ByteString(desktop::PASSWORD.into()))].into()),
        ..named("desktop-password")
    };
    password.metadata.labels = Some([(KEY_VNC_PASSWORD.to_owned(), "true".to_owned())].into());
    context
        .api::<Secret>()
        .create(&PostParams::default(), &password)
        .await?;
    let mut slice = EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: vec![Endpoint {
            addresses: vec![desktop.address.ip().to_string()],
            ..Endpoint::default()
        }],
        ports: Some(vec![EndpointPort {
            name: Some("vnc".to_owned()),
            port: Some(desktop.address.port().into()),
            ..EndpointPort::default()
        }]),
        ..named("desktop")
    };
    // As the Service of the VmAccess is called: <metadata.name>-<name>.
    let service = ("kubernetes.io/service-name".to_owned(), format!("{TARGET}-screen"));
    slice.metadata.labels = Some([service].into());
    context
        .api::<EndpointSlice>()
        .create(&PostParams::default(), &slice)
        .await?;
    let spec = json!({
        "virtualMachine": {"template": template()},
        "power": {"state": "Running"},
        "services": [{"name": "screen", "ports": [{"name": "vnc", "port": PORT}]}],
        "vncServer": {"service": "screen", "port": PORT, "passwordSecretName": "desktop-password"},
        "console": {"maxConcurrentSessions": 8, "maxViewers": 4},
    });
    support::apply(context, TARGET, &spec).await?;
    support::ready_as(context, TARGET, "Running", wait::SHORT)
        .await
        .map(drop)
}

fn named<K: kube::Resource + Default>(name: &str) -> K {
    let mut object = K::default();
    object.meta_mut().name = Some(name.to_owned());
    object
}

/// Makes a session on [`TARGET`], or on the target that `spec` names, and waits until tokens can be had.
pub(crate) async fn session(context: &Context<'_>, name: &str, spec: Value) -> Result<ConsoleSession> {
    let sessions: Api<ConsoleSession> = context.api();
    let mut all = json!({"targetRef": {"name": TARGET}});
    if let (Some(all), Value::Object(spec)) = (all.as_object_mut(), spec) {
        all.extend(spec);
    }
    let session = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "ConsoleSession",
        "metadata": {"name": name},
        "spec": all,
    });
    sessions
        .create(&PostParams::default(), &serde_json::from_value(session)?)
        .await?;
    wait::object(&sessions, name, "ready", wait::SHORT, |session| {
        let ready = session
            .status
            .iter()
            .flat_map(|status| &status.conditions)
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        ready.then_some(()).ok_or_else(|| format!("{:?}", session.status))
    })
    .await
}

/// Grants a token as the aggregated API does: its hash goes into the status.
pub(crate) async fn token(context: &Context<'_>, session: &str, uses: u32, window: Duration) -> Result<String> {
    // May do everything, so that the rules of the session decide.
    token_of(context, session, ("novasphere-e2e", "system:masters"), uses, window).await
}

/// The same for this user, in this group.
pub(crate) async fn token_of(
    context: &Context<'_>,
    session: &str,
    (name, group): (&str, &str),
    uses: u32,
    window: Duration,
) -> Result<String> {
    let sessions: Api<ConsoleSession> = context.api();
    let token = any_token()?;
    let sha256 = TokenHash::of_token(token.as_bytes())?.to_hex();
    wait::until(format!("a token of {session}"), wait::SHORT, || async {
        let mut object = sessions.get(session).await?;
        let grant = NewGrant {
            id: sha256.chars().take(12).collect(),
            sha256: sha256.clone(),
            user: name.to_owned(),
            groups: vec![group.to_owned()],
            window,
            uses,
        };
        object.status = Some(issue(&object.status.unwrap_or_default(), grant, Timestamp::now())?);
        // The controller may have written in between.
        sessions
            .replace_status(session, &PostParams::default(), &object)
            .await?;
        Ok(Seen::Done(()))
    })
    .await?;
    Ok(token)
}

/// A token that nobody has granted.
pub(crate) fn any_token() -> Result<String> {
    use std::io::Read as _;
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = [0; 43];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let letters = random.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 64)));
    Ok(letters.copied().map(char::from).collect())
}

/// Sets `revoked`.
pub(crate) async fn revoke(context: &Context<'_>, session: &str) -> Result<()> {
    let patch = json!({"spec": {"revoked": true}});
    context
        .api::<ConsoleSession>()
        .patch(session, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}

impl Gateway {
    /// Chooses its ports and writes its files.
    pub(crate) fn prepare(context: &Context<'_>, embedders: &[String]) -> Result<Self> {
        let address = || -> Result<SocketAddr> {
            let port = desktop::free_port(Ipv4Addr::LOCALHOST)?;
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        };
        let (http, vnc) = (address()?, address()?);
        let config = json!({
            "endpoints": {"publicUrl": format!("http://{http}"), "vncAddress": vnc.to_string()},
            "console": {
                "watchNamespace": context.namespace,
                "http": {"address": http, "plain": true, "embedders": embedders},
                "vnc": {"address": vnc},
                "tls": {"names": ["localhost", "127.0.0.1"]},
                "auditLog": context.output.join("console-audit.log"),
            },
        });
        let file = |name: &str| context.output.join(name);
        std::fs::write(file("gateway.yaml"), serde_saphyr::to_string(&config)?)?;
        let mut kubeconfig: Value = serde_saphyr::from_str(&std::fs::read_to_string(&context.cluster.kubeconfig)?)?;
        for entry in kubeconfig
            .get_mut("contexts")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(entry) = entry.get_mut("context").and_then(Value::as_object_mut) {
                entry.insert("namespace".to_owned(), json!(context.namespace));
            }
        }
        std::fs::write(file("gateway.kubeconfig"), serde_json::to_string(&kubeconfig)?)?;
        Ok(Self {
            program: None,
            instance: 0,
            kubeconfig: file("gateway.kubeconfig"),
            config: file("gateway.yaml"),
            output: context.output.clone(),
            http,
            vnc,
        })
    }

    /// Starts it and waits until it serves.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.instance += 1;
        let instance = format!("gateway-{}", self.instance);
        let log = self.output.join(format!("{instance}.log"));
        let path = |path: &PathBuf| path.to_str().map(str::to_owned).context("the path is not UTF-8");
        let program = Program::start(
            &path(&controller::program()?.to_owned())?,
            &[
                "--log-format",
                "text",
                "--admin-address",
                "127.0.0.1:0",
                "--instance",
                &instance,
                "--kubeconfig",
                &path(&self.kubeconfig)?,
                "--config",
                &path(&self.config)?,
                "console",
            ],
            &[],
            &log,
        )?;
        let program = self.program.insert(program);
        let program = std::cell::RefCell::new(program);
        wait::until("the gateway serves", wait::SHORT, || async {
            let ended = program.borrow_mut().ended()?;
            ensure!(ended.is_none(), "it has ended; see {}", log.display());
            TcpStream::connect(self.http).await?;
            // It listens before it has a certificate; it greets when it has one.
            let mut greeting = [0; 12];
            TcpStream::connect(self.vnc).await?.read_exact(&mut greeting).await?;
            Ok(Seen::Done(()))
        })
        .await
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let mut program = self.program.take().context("the gateway does not run")?;
        program.signal("TERM")?;
        let program = std::cell::RefCell::new(&mut program);
        wait::until("the gateway has stopped", wait::SHORT, || async {
            let ended = program.borrow_mut().ended()?;
            Ok(Seen::some(ended.map(drop), "it runs"))
        })
        .await
    }

    /// The link to the page for a token.
    pub(crate) fn link(&self, context: &Context<'_>, session: &str, protocol: &str, token: &str) -> String {
        let (http, namespace) = (self.http, &context.namespace);
        format!("http://{http}/console/#token={token}&protocol={protocol}&session={namespace}/{session}")
    }

    /// Where its WebSocket is.
    pub(crate) const fn http(&self) -> SocketAddr {
        self.http
    }

    /// The page's origin.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The certificates that its own is trusted by, as a file.
    pub(crate) async fn authority(&self, context: &Context<'_>) -> Result<PathBuf> {
        let secret = context.api::<Secret>().get(ca::SECRET_NAME).await?;
        let bundle = secret.data.as_ref().and_then(|data| data.get("ca.crt"));
        let bundle = bundle.with_context(|| format!("{} has no ca.crt", secret.name_any()))?;
        let file = self.output.join("ca.crt");
        std::fs::write(&file, &bundle.0)?;
        Ok(file)
    }
}
