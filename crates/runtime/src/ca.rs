//! Our own certificate authority, for clusters without cert-manager: one Secret in our namespace, filled by the first replica that needs it,
//! and a certificate in memory for each server. The chart makes the Secret, empty: an account that may create Secrets could create one
//! that gets another account's token.
//!
//! An authority is good for 365 days. After two thirds of them a replica puts its successor into the bundle, a day later the
//! successor signs, and the old one stays trusted until its end. So a certificate is only used when every client had a day to
//! trust its issuer. Every change is an optimistic replace: of many replicas that try, one wins, and the others read what it
//! wrote. Server certificates are good for 7 days and are issued again after two thirds of them, and when the authority changes.
//!
//! No crate does this: rcgen makes certificates and keys and knows no Secret and no rotation, and cert-manager is another program that a
//! cluster need not have.

mod material;
mod scope;

use std::{sync::Arc, time::Duration};

use futures::{Stream, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::watch;

pub use self::material::MaterialError;
use self::material::{Leaf, State, Step};
use crate::{
    apply::{ApiReason, Applier, WriteError},
    metrics::Metrics,
    shutdown::Shutdown,
    tasks::spawn_until,
    tls::{self, CurrentCertificate, TlsError},
};

/// Name of the Secret. Its key `ca.crt` holds the certificates to be trusted.
pub const SECRET_NAME: &str = "novasphere-ca";

/// Field manager of the Secret.
const FIELD_MANAGER: &str = "novasphere/certificate-authority";

/// Pause after something failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The Secret cannot be read.
    #[error("cannot read the Secret {SECRET_NAME}: {0}")]
    Api(#[source] Box<kube::Error>),
    /// The Secret cannot be written.
    #[error("cannot write the Secret {SECRET_NAME}: {0}")]
    Write(#[from] WriteError),
    /// The Secret is spoilt, or no certificate can be made of it.
    #[error(
        "the Secret {SECRET_NAME} cannot be used: {0}. Empty it, and a new authority is written into it: \
         kubectl patch secret {SECRET_NAME} --type=merge --patch='{{\"data\": null}}'"
    )]
    Material(#[from] MaterialError),
    /// There is no Secret, and this account may create none.
    #[error(
        "there is no Secret {SECRET_NAME} in namespace {0}, and it may not be created here. Create it empty, as the chart does: \
         kubectl --namespace={0} create secret generic {SECRET_NAME}"
    )]
    NoSecret(String),
    /// The process was asked to stop first.
    #[error("asked to stop before the Secret {SECRET_NAME} could be read")]
    Stopped,
}

impl From<kube::Error> for CaError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

/// What an authority needs.
#[derive(Clone)]
pub struct CaOptions {
    /// A client that may get, list, watch and update the Secret [`SECRET_NAME`], and create it where nobody else does.
    pub client: Client,
    /// Where the Secret is.
    pub namespace: String,
    /// The server's names and addresses: what clients connect to.
    pub names: Vec<String>,
    /// Where the writes of the Secret are counted.
    pub metrics: Metrics,
    /// Ends the task that keeps all of it fresh.
    pub shutdown: Shutdown,
}

/// The authority, and this process's certificate of it. Clones share them.
#[derive(Clone, Debug)]
pub struct CertificateAuthority {
    leaf: Arc<LeafCertificate>,
    bundle: watch::Receiver<Arc<str>>,
}

impl CertificateAuthority {
    /// Reads the Secret, or fills it when it is empty, issues a certificate, and keeps both fresh in a task until the
    /// shutdown. While that fails it is logged and tried again every 5 s.
    ///
    /// # Errors
    ///
    /// [`CaError::Stopped`] when the shutdown comes first.
    pub async fn start(options: CaOptions) -> Result<Self, CaError> {
        let shutdown = options.shutdown.clone();
        let begin = async {
            loop {
                match Rotator::begin(&options).await {
                    Ok(rotator) => return rotator,
                    Err(error) => tracing::warn!("no certificate yet: {error}"),
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        };
        let rotator = tokio::select! {
            rotator = begin => rotator,
            () = shutdown.wait() => return Err(CaError::Stopped),
        };
        let authority = Self {
            leaf: Arc::clone(&rotator.leaf),
            bundle: rotator.bundle.subscribe(),
        };
        spawn_until("certificate authority", options.shutdown, rotator.run());
        Ok(authority)
    }

    /// The present certificate, for a server configuration of one's own.
    #[must_use]
    pub fn resolver(&self) -> Arc<dyn CurrentCertificate> {
        Arc::clone(&self.leaf) as _
    }

    /// A server configuration as that of [`tls::server_config`], with this authority's certificate.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when rustls has no usable cryptography.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        tls::server_config_with(self.resolver()).map(Arc::new)
    }

    /// The certificates to be trusted, as PEM, now and after each change. It closes when the process stops.
    #[must_use]
    pub fn bundle(&self) -> watch::Receiver<Arc<str>> {
        self.bundle.clone()
    }
}

/// The certificate in use.
#[derive(Debug)]
struct LeafCertificate(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for LeafCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl CurrentCertificate for LeafCertificate {
    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read())
    }
}

/// Keeps the Secret and the certificate fresh.
struct Rotator {
    applier: Applier,
    secrets: Api<Secret>,
    namespace: String,
    names: Vec<String>,
    /// As it was read or written last.
    secret: Secret,
    state: State,
    leaf: Arc<LeafCertificate>,
    renew_at: Timestamp,
    bundle: watch::Sender<Arc<str>>,
}

impl Rotator {
    async fn begin(options: &CaOptions) -> Result<Self, CaError> {
        let secrets: Api<Secret> = Api::namespaced(options.client.clone(), &options.namespace);
        let applier = Applier::new(options.client.clone(), FIELD_MANAGER, options.metrics.clone());
        let place = Place {
            applier: &applier,
            secrets: &secrets,
            namespace: &options.namespace,
            names: &options.names,
        };
        let secret = place.obtain(&[]).await?;
        let state = State::read(&secret)?;
        let Leaf { key, renew_at } = state.issue(&options.names, Timestamp::now())?;
        Ok(Self {
            applier,
            secrets,
            namespace: options.namespace.clone(),
            names: options.names.clone(),
            secret,
            leaf: Arc::new(LeafCertificate(RwLock::new(Arc::new(key)))),
            renew_at,
            bundle: watch::Sender::new(state.bundle().into()),
            state,
        })
    }

    async fn run(mut self) {
        let mut changes = std::pin::pin!(changes(self.secrets.clone()));
        loop {
            let done = tokio::select! {
                change = changes.try_next() => match change {
                    Ok(Some(Some(secret))) if !is_empty(&secret) => self.adopt(secret),
                    Ok(Some(_)) => self.refill().await,
                    Ok(None) => return,
                    // The stream backs off by itself.
                    Err(error) => {
                        tracing::warn!("cannot watch the Secret {SECRET_NAME}: {error}");
                        Ok(())
                    }
                },
                () = tokio::time::sleep(self.pause()) => self.refresh().await,
            };
            if let Err(error) = done {
                tracing::warn!("the certificates stay as they are: {error}");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }

    /// Until something is due. A sleep does not count the time that a machine was suspended, so look every hour.
    fn pause(&self) -> Duration {
        let now = Timestamp::now();
        let due = match self.state.step(now, &self.names) {
            Step::Keep(until) => until.min(self.renew_at),
            Step::Announce | Step::Promote => now,
        };
        let left = due.duration_since(now);
        let left = if left.is_negative() {
            Duration::ZERO
        } else {
            left.unsigned_abs()
        };
        left.min(Duration::from_hours(1))
    }

    /// Does what is due.
    async fn refresh(&mut self) -> Result<(), CaError> {
        let now = Timestamp::now();
        let step = self.state.step(now, &self.names);
        if !matches!(step, Step::Keep(_)) {
            let wanted = self.state.after(step, now, &self.names)?;
            let secret = wanted.write(Some(&self.secret), &self.namespace, SECRET_NAME);
            match self.applier.replace(&secret).await {
                Ok(written) => {
                    tracing::info!(?step, "the certificate authority was rotated");
                    self.adopt(written)?;
                }
                // Another replica was first.
                Err(error) if is_taken(&error) || error.is(ApiReason::NotFound) => {
                    let present = self.place().obtain(self.state.trusted()).await?;
                    self.adopt(present)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if now >= self.renew_at {
            self.issue()?;
        }
        Ok(())
    }

    /// Writes a new authority where the Secret has lost the old one.
    async fn refill(&mut self) -> Result<(), CaError> {
        tracing::warn!("the Secret {SECRET_NAME} is empty or gone; a new authority is made");
        let secret = self.place().obtain(self.state.trusted()).await?;
        self.adopt(secret)
    }

    fn place(&self) -> Place<'_> {
        Place {
            applier: &self.applier,
            secrets: &self.secrets,
            namespace: &self.namespace,
            names: &self.names,
        }
    }

    /// Takes what the Secret holds into use. A spoilt one changes nothing here.
    fn adopt(&mut self, secret: Secret) -> Result<(), CaError> {
        let state = State::read(&secret)?;
        let otherwise = state.signs_otherwise(&self.state);
        self.secret = secret;
        self.state = state;
        self.bundle.send_if_modified(|bundle| {
            let now: Arc<str> = self.state.bundle().into();
            let changed = *bundle != now;
            *bundle = now;
            changed
        });
        if otherwise { self.issue() } else { Ok(()) }
    }

    fn issue(&mut self) -> Result<(), CaError> {
        let Leaf { key, renew_at } = self.state.issue(&self.names, Timestamp::now())?;
        *self.leaf.0.write() = Arc::new(key);
        self.renew_at = renew_at;
        tracing::info!(%renew_at, "a new server certificate is in use");
        Ok(())
    }
}

/// Whether somebody else has written the object meanwhile.
fn is_taken(error: &WriteError) -> bool {
    error.is(ApiReason::Conflict) || error.is(ApiReason::AlreadyExists)
}

/// Whether nothing is in the Secret: as the chart makes it, or a person emptied it for a new authority.
fn is_empty(secret: &Secret) -> bool {
    secret.data.as_ref().is_none_or(std::collections::BTreeMap::is_empty)
}

/// Where the Secret is, and whom it is for.
struct Place<'a> {
    applier: &'a Applier,
    secrets: &'a Api<Secret>,
    namespace: &'a str,
    names: &'a [String],
}

impl Place<'_> {
    /// The Secret with an authority in it: as it is, or a new one. `trusted` are the certificates that were trusted so far.
    async fn obtain(&self, trusted: &[String]) -> Result<Secret, CaError> {
        let present = self.secrets.get_opt(SECRET_NAME).await?;
        if let Some(secret) = present.as_ref().filter(|secret| !is_empty(secret)) {
            return Ok(secret.clone());
        }
        let state = State::first(Timestamp::now(), trusted, self.names)?;
        let secret = state.write(present.as_ref(), self.namespace, SECRET_NAME);
        let written = match present {
            Some(_) => self.applier.replace(&secret).await,
            None => self.applier.create_unowned(&secret).await,
        };
        match written {
            Ok(written) => {
                tracing::info!("wrote a new certificate authority into the Secret {SECRET_NAME}");
                Ok(written)
            }
            // Another replica was first.
            Err(error) if is_taken(&error) => Ok(self.secrets.get(SECRET_NAME).await?),
            Err(error) if error.is(ApiReason::Forbidden) && secret.metadata.uid.is_none() => {
                Err(CaError::NoSecret(self.namespace.to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The Secret after each change, `None` when it is gone.
fn changes(secrets: Api<Secret>) -> impl Stream<Item = watcher::Result<Option<Secret>>> {
    let config = watcher::Config::default().fields(&format!("metadata.name={SECRET_NAME}"));
    let mut listed = false;
    watcher(secrets, config).default_backoff().try_filter_map(move |event| {
        let change = match event {
            watcher::Event::Init => {
                listed = false;
                None
            }
            watcher::Event::InitApply(secret) => {
                listed = true;
                Some(Some(secret))
            }
            watcher::Event::InitDone => (!listed).then_some(None),
            watcher::Event::Apply(secret) => Some(Some(secret)),
            watcher::Event::Delete(secret) => {
                tracing::debug!(
                    version = secret.meta().resource_version,
                    "the Secret {SECRET_NAME} was deleted"
                );
                Some(None)
            }
        };
        std::future::ready(Ok(change))
    })
}

#[cfg(test)]
mod tests {
    use http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::json;
    use tower_test::mock;

    use super::*;

    fn own() -> Vec<String> {
        vec!["localhost".to_owned()]
    }

    fn options(client: Client) -> CaOptions {
        CaOptions {
            client,
            namespace: "ns".to_owned(),
            names: own(),
            metrics: Metrics::default(),
            shutdown: Shutdown::new(Duration::ZERO),
        }
    }

    fn conflict() -> (StatusCode, serde_json::Value) {
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "AlreadyExists", "code": 409});
        (StatusCode::CONFLICT, status)
    }

    fn missing() -> (StatusCode, serde_json::Value) {
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
        (StatusCode::NOT_FOUND, status)
    }

    /// Answers requests in order and returns their methods.
    fn api(answers: Vec<(StatusCode, serde_json::Value)>) -> (Client, tokio::task::JoinHandle<Vec<Method>>) {
        let (service, mut calls) = mock::pair::<Request<Body>, Response<Body>>();
        let answered = tokio::spawn(async move {
            let mut methods = Vec::new();
            for (status, body) in answers {
                let (request, respond) = calls.next_request().await.unwrap();
                methods.push(request.method().clone());
                let body = Body::from(serde_json::to_vec(&body).unwrap());
                respond.send_response(Response::builder().status(status).body(body).unwrap());
            }
            methods
        });
        (Client::new(service, "ns"), answered)
    }

    #[tokio::test]
    async fn the_second_replica_takes_what_the_first_created() {
        let made = State::first(Timestamp::now(), &[], &own()).unwrap();
        let secret = serde_json::to_value(made.write(None, "ns", SECRET_NAME)).unwrap();
        let (client, answered) = api(vec![missing(), conflict(), (StatusCode::OK, secret)]);
        let options = options(client);
        let rotator = Rotator::begin(&options).await.unwrap();
        assert!(rotator.state == made);
        assert_eq!(options.metrics.writes("Secret", "create", "AlreadyExists"), 1);
        assert_eq!(answered.await.unwrap(), [Method::GET, Method::POST, Method::GET]);
    }

    #[tokio::test]
    async fn an_empty_secret_is_filled_and_keeps_its_type_and_version() {
        let empty = json!({"metadata": {"name": SECRET_NAME, "namespace": "ns", "uid": "u", "resourceVersion": "7"}, "type": "Opaque"});
        let made = State::first(Timestamp::now(), &[], &own()).unwrap();
        let filled = made.write(Some(&serde_json::from_value(empty.clone()).unwrap()), "ns", SECRET_NAME);
        assert_eq!(filled.metadata.resource_version.as_deref(), Some("7"));
        let filled = serde_json::to_value(filled).unwrap();
        let (client, answered) = api(vec![(StatusCode::OK, empty), (StatusCode::OK, filled)]);
        let options = options(client);
        Rotator::begin(&options).await.unwrap();
        assert_eq!(answered.await.unwrap(), [Method::GET, Method::PUT]);
        assert_eq!(options.metrics.writes("Secret", "replace", "Succeeded"), 1);
    }

    #[tokio::test]
    async fn a_secret_that_nobody_made_is_asked_for() {
        let forbidden =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403});
        let (client, _answered) = api(vec![missing(), (StatusCode::FORBIDDEN, forbidden)]);
        let error = Rotator::begin(&options(client)).await.err().unwrap().to_string();
        assert!(
            error.contains("kubectl --namespace=ns create secret generic novasphere-ca"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_rotation_that_another_replica_made_is_taken_over() {
        let long_ago = Timestamp::now() - Duration::from_hours(300 * 24);
        let old = State::first(long_ago, &[], &own()).unwrap();
        let announced = old.after(Step::Announce, Timestamp::now(), &own()).unwrap();
        let value = |state: &State| serde_json::to_value(state.write(None, "ns", SECRET_NAME)).unwrap();
        let (client, answered) = api(vec![
            (StatusCode::OK, value(&old)),
            conflict(),
            (StatusCode::OK, value(&announced)),
        ]);
        let options = options(client);
        let mut rotator = Rotator::begin(&options).await.unwrap();
        let mut bundle = rotator.bundle.subscribe();
        let before = rotator.leaf.0.read().clone();
        assert_eq!(rotator.pause(), Duration::ZERO);
        rotator.refresh().await.unwrap();
        assert_eq!(answered.await.unwrap(), [Method::GET, Method::PUT, Method::GET]);
        assert!(rotator.state == announced && bundle.has_changed().unwrap());
        assert_eq!(bundle.borrow_and_update().matches("BEGIN CERTIFICATE").count(), 2);
        assert!(Arc::ptr_eq(&before, &rotator.leaf.0.read()), "the same authority signs");

        let promoted = announced.after(Step::Promote, Timestamp::now(), &own()).unwrap();
        rotator.adopt(promoted.write(None, "ns", SECRET_NAME)).unwrap();
        assert!(
            !Arc::ptr_eq(&before, &rotator.leaf.0.read()),
            "a leaf of the new authority"
        );
        assert!(
            rotator.adopt(Secret::default()).is_err(),
            "a spoilt Secret changes nothing"
        );
        assert!(rotator.state == promoted);
    }
}
