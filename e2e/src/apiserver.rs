//! `novasphere apiserver` as a child process, behind the `APIService` of a cluster without a node.

use std::{
    fmt::Write as _,
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use novasphere_apiserver::{API_SERVICE, GROUP, VERSION, rbac as own};
use novasphere_console::rbac as console;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    account::Account,
    cluster::Cluster,
    controller,
    namespace::Context as TestContext,
    wait::{self, Seen},
};

/// The Service by which kube-apiserver finds it.
const SERVICE: &str = "aggregated";

/// An aggregated API server. It is killed when this is dropped.
#[derive(Debug)]
pub struct Apiserver {
    process: Option<Child>,
    /// Where it serves.
    pub address: SocketAddr,
    /// What it acts as.
    pub account: Account,
    cluster: Cluster,
    files: PathBuf,
}

impl Apiserver {
    /// Starts one with the rights of the chart's, makes its Service and `APIService`, and waits until kube-apiserver serves it.
    /// `public_url` is where browsers reach consoles.
    ///
    /// # Errors
    /// When the program cannot be built or started, or does not become available.
    pub async fn start(context: &TestContext<'_>, public_url: &str) -> Result<Self> {
        let cluster = context.cluster;
        let account = account(context).await?;
        let port = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let address = port()?;
        let files = context.output.join("apiserver");
        std::fs::write(files.with_extension("kubeconfig"), account.kubeconfig(cluster)?)?;
        let config = json!({
            "endpoints": {"publicUrl": public_url, "vncAddress": "vms.example.org:5900"},
            "console": {"watchNamespace": context.namespace, "auditLog": files.with_extension("audit.log")},
            "apiserver": {"address": address, "serviceName": SERVICE},
        });
        std::fs::write(files.with_extension("yaml"), config.to_string())?;
        let mut server = Self {
            process: None,
            address,
            account,
            cluster: cluster.clone(),
            files,
        };
        server.run()?;
        server.register(context).await?;
        server.available(cluster, true).await?;
        Ok(server)
    }

    /// Starts the process, again after [`Apiserver::kill`].
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub fn run(&mut self) -> Result<()> {
        let log = self.files.with_extension("log");
        let process = Command::new(controller::program()?)
            .args(["--log-format", "text", "--admin-address", "127.0.0.1:0"])
            .args(["--instance", "apiserver", "--kubeconfig"])
            .arg(self.files.with_extension("kubeconfig"))
            .arg("--config")
            .arg(self.files.with_extension("yaml"))
            .arg("apiserver")
            .stdin(Stdio::null())
            .stderr(File::options().create(true).append(true).open(log)?)
            .spawn()
            .context("start novasphere")?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends the process at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fails only when it has ended.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    async fn register(&self, context: &TestContext<'_>) -> Result<()> {
        // Without kube-proxy and without a node this is the way to this machine: see docs/testbed.md.
        let service = json!({"spec": {
            "type": "ExternalName", "externalName": "localhost", "ports": [{"port": self.address.port()}],
        }});
        let namespace = Some(context.namespace.as_str());
        apply(context, "", "Service", namespace, SERVICE, service).await?;
        let api_service = json!({"spec": {
            "group": GROUP, "version": VERSION, "groupPriorityMinimum": 1000, "versionPriority": 15,
            "service": {"namespace": context.namespace, "name": SERVICE, "port": self.address.port()},
        }});
        apply(
            context,
            "apiregistration.k8s.io",
            "APIService",
            None,
            API_SERVICE,
            api_service,
        )
        .await
    }

    /// Waits until kube-apiserver says whether it can be reached.
    ///
    /// # Errors
    /// When it does not say so in time.
    pub async fn available(&self, cluster: &Cluster, wanted: bool) -> Result<()> {
        let api: Api<APIService> = Api::all(cluster.client().await?);
        let what = format!(
            "Available={wanted}; its log is {}",
            self.files.with_extension("log").display()
        );
        let wanted = if wanted { "True" } else { "False" };
        wait::object(&api, API_SERVICE, what, wait::LONG, |object| {
            let conditions = object
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten());
            let mut found = conditions.filter(|condition| condition.type_ == "Available");
            match found.next() {
                Some(condition) if condition.status == wanted => Ok(()),
                Some(condition) => Err(condition.message.clone().unwrap_or_default()),
                None => Err("there is no such condition".to_owned()),
            }
        })
        .await
        .map(drop)
    }
}

impl Drop for Apiserver {
    fn drop(&mut self) {
        // First: without a server behind it, nothing else of the cluster's API could be listed.
        if let Err(error) = self
            .cluster
            .kubectl(&["delete", "apiservice", API_SERVICE, "--wait=false"])
        {
            eprintln!("the APIService {API_SERVICE} is left: {error:#}");
        }
        self.kill();
    }
}

async fn account(context: &TestContext<'_>) -> Result<Account> {
    // Those of the chart, where the passwords of desktops may be read everywhere.
    let rules = [console::CLUSTER_RULES, own::CLUSTER_RULES, console::PASSWORD_RULES].concat();
    let (cluster, namespace) = (context.cluster, context.namespace.as_str());
    let account = Account::with_rules(cluster, namespace, "apiserver", &rules, console::NAMESPACE_RULES).await?;
    let subjects = json!([{"kind": "ServiceAccount", "namespace": namespace, "name": "apiserver"}]);
    let group = "rbac.authorization.k8s.io";
    let role = json!({"apiGroup": group, "kind": "Role", "name": own::AUTHENTICATION_READER});
    let reader = json!({"roleRef": role, "subjects": subjects});
    let name = format!("novasphere-e2e-{namespace}");
    apply(context, group, "RoleBinding", Some("kube-system"), &name, reader).await?;
    Ok(account)
}

/// Applies an object of any kind.
///
/// # Errors
/// When kube-apiserver refuses it.
pub async fn apply(
    context: &TestContext<'_>,
    group: &str,
    kind: &str,
    namespace: Option<&str>,
    name: &str,
    mut object: Value,
) -> Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(context.client.clone(), namespace, &resource),
        None => Api::all_with(context.client.clone(), &resource),
    };
    if let Some(object) = object.as_object_mut() {
        object.insert("apiVersion".to_owned(), json!(resource.api_version));
        object.insert("kind".to_owned(), json!(kind));
        object.insert("metadata".to_owned(), json!({"name": name}));
    }
    let parameters = PatchParams::apply("novasphere-e2e").force();
    api.patch(name, &parameters, &Patch::Apply(object)).await?;
    Ok(())
}

/// A client certificate with its key.
pub struct ClientCertificate {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl ClientCertificate {
    /// One of the cluster's own, by the name of its files, such as `front-proxy-client`.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_cluster(cluster: &Cluster, name: &str) -> Result<Self> {
        let file = |kind: &str| cluster.pki(&format!("{name}.{kind}"));
        Ok(Self {
            certificate: CertificateDer::from_pem_slice(&std::fs::read(file("crt"))?)?,
            key: PrivateKeyDer::from_pem_slice(&std::fs::read(file("key"))?)?,
        })
    }
}

/// A connection to the server that does not go through kube-apiserver.
pub struct Direct(TlsStream<TcpStream>);

impl Direct {
    /// Connects with this client certificate or none. The server's certificate must be one of the bundle in the `APIService`.
    ///
    /// # Errors
    /// When TLS fails.
    pub async fn open(
        context: &TestContext<'_>,
        server: &Apiserver,
        client: Option<ClientCertificate>,
    ) -> Result<Self> {
        let api: Api<APIService> = Api::all(context.client.clone());
        let spec = api.get(API_SERVICE).await?.spec.context("no spec")?;
        let bundle = spec.ca_bundle.context("no caBundle")?.0;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bundle) {
            roots.add(certificate?)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match client {
            Some(ClientCertificate { certificate, key }) => builder.with_client_auth_cert(vec![certificate], key)?,
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from(format!("{SERVICE}.{}.svc", context.namespace))?;
        let stream = TcpStream::connect(server.address).await?;
        Ok(Self(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }

    /// Asks for a path with these headers, and returns the status and the body.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<(u16, Value)> {
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: aggregated\r\n");
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n")?;
        }
        request.push_str("\r\n");
        self.0.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let (head, mut body) = loop {
            let mut more = [0; 4096];
            let read = self.0.read(&mut more).await?;
            anyhow::ensure!(read > 0, "the server closed the connection");
            answer.extend(more.iter().take(read));
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                break (head.to_lowercase(), body.to_owned());
            }
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("no length")?.trim().parse()?;
        while body.len() < length {
            let mut more = vec![0; length - body.len()];
            self.0.read_exact(&mut more).await?;
            body.push_str(&String::from_utf8_lossy(&more));
        }
        let code = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((code, serde_json::from_str(&body).unwrap_or(Value::String(body))))
    }
}

/// Waits until a request through kube-apiserver is answered as wanted.
///
/// # Errors
/// When it is not in time.
pub async fn answered(
    context: &TestContext<'_>,
    path: &str,
    what: &str,
    good: impl Fn(&Value) -> bool,
) -> Result<Value> {
    wait::until(format!("{path}: {what}"), wait::LONG, || async {
        let request = http::Request::get(path).body(Vec::new())?;
        let text = context.client.request_text(request).await?;
        let value: Value = serde_json::from_str(&text)?;
        let is_good = good(&value);
        Ok(Seen::some(is_good.then_some(value), text))
    })
    .await
}

/// The value at a JSON pointer; null when there is none.
#[must_use]
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    const NULL: &Value = &Value::Null;
    value.pointer(pointer).unwrap_or(NULL)
}

/// The text at a JSON pointer; empty when there is none.
#[must_use]
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer).as_str().unwrap_or_default()
}
