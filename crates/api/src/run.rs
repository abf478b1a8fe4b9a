//! The API role from start to end.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use novasphere_core::console_session::endpoints::Endpoints;
use novasphere_runtime::{
    apply::Applier,
    client::{ClientError, user::UserClients},
    health::{Health, ReadinessGate},
    metrics::Metrics,
    optional_api::OptionalApis,
    serve::{CertificateSource, Listeners, ServeError, bind, certificate},
    shutdown::Shutdown,
    tasks::{TaskEnded, Tasks},
    watch::Guard,
};

use crate::{
    FIELD_MANAGER,
    audit::ApiAudit,
    authorization::Authorization,
    config::ApiConfig,
    events::RecentChanges,
    http::{LIMITS_TIDY_INTERVAL, RequestLimits},
    identity::{
        IdentityProviders,
        kubernetes_token::KubernetesTokens,
        local::{LocalUsers, USERS_SECRET},
        oidc::{OidcProviders, OidcSetupError},
        password::{PasswordError, PasswordVerifier},
        throttle::LoginThrottle,
    },
    listener::{Server, host_of_url, serve},
    login::{LoginOptions, Logins, secret::WatchedSecret},
    router::router,
    state::{ApiState, SharedState},
    time::AnswerTimeZone,
    watches::{OPTIONAL_APIS, Watched},
};

/// The section of the certificate's settings.
const TLS_SETTING: &str = "api.tls";

/// The time that requests have to end once no connection is accepted any more. Streams of events are cut then: their clients come back.
const REQUESTS_GRACE: Duration = Duration::from_secs(5);

/// Why the role ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot listen, or has no certificate.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The connection to the cluster cannot be configured.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What the cluster serves cannot be asked.
    #[error("cannot ask which APIs the cluster serves: {0}")]
    Discovery(#[source] kube::Error),
    /// No password can be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A provider's files cannot be used.
    #[error(transparent)]
    Oidc(#[from] OidcSetupError),
    /// A setting that was checked before.
    #[error("api.timeZone is no zone")]
    TimeZone,
    /// A task ended, which it never should.
    #[error(transparent)]
    TaskEnded(#[from] TaskEnded),
}

/// What the role is given from outside.
pub struct ApiOptions {
    /// Its section.
    pub config: ApiConfig,
    /// Where viewers reach novasphere.
    pub endpoints: Endpoints,
    /// The process's own namespace.
    pub namespace: String,
    /// The connection to the cluster, with the process's own credentials.
    pub kube_config: kube::Config,
    /// The process's own account.
    pub own: Client,
    /// The namespace to watch; all without one.
    pub watch_namespace: Option<String>,
    /// Where readiness is reported.
    pub health: Health,
    /// Shows what the role does.
    pub metrics: Metrics,
    /// The audit log.
    pub audit: ApiAudit,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Serves until `options.shutdown`, and a little longer: see [`Listeners::drained`].
///
/// # Errors
///
/// [`RunError`]; the process should end.
pub async fn run(options: ApiOptions) -> Result<(), RunError> {
    let listening = options.health.gate(ReadinessGate::RestListener);
    let shutdown = options.shutdown.clone();
    let metrics = options.metrics.clone();
    let config = options.config.clone();
    let listener = bind("api.address", config.address).await?;
    let tls = if config.plain {
        None
    } else {
        let source = CertificateSource {
            setting: TLS_SETTING,
            certificate_file: config.tls.certificate_file.as_ref(),
            key_file: config.tls.key_file.as_ref(),
            client: options.own.clone(),
            namespace: options.namespace.clone(),
            names: names(&config, &options.namespace),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        let Some(certificate) = certificate(source).await? else {
            return Ok(());
        };
        certificate.show(TLS_SETTING, &metrics);
        Some(certificate.server_config(TLS_SETTING)?)
    };
    let mut tasks = Tasks::new();
    let state = tokio::select! {
        state = state(options, &mut tasks) => state?,
        () = shutdown.wait() => return Ok(()),
    };
    let limits = state.limits.clone();
    tasks.spawn("limits of requests", async move {
        loop {
            tokio::time::sleep(LIMITS_TIDY_INTERVAL).await;
            limits.tidy();
        }
    });
    let server = Server {
        router: router(state, metrics.http()),
        tls,
        trusted_proxies: config.trusted_proxies,
        grace: REQUESTS_GRACE,
    };
    let mut listeners = Listeners::new(shutdown);
    let stopped = listeners.stopped();
    listeners.spawn("REST listener", serve(listener, server, stopped));
    listening.ready();
    Ok(listeners.drained(&mut tasks).await?)
}

/// Everything that handlers share, once the watches have seen what there is.
async fn state(options: ApiOptions, tasks: &mut Tasks) -> Result<ApiState, RunError> {
    let ApiOptions {
        config, own, namespace, ..
    } = options;
    let applier = Applier::new(own.clone(), FIELD_MANAGER, options.metrics.clone());
    let guard = Guard::new(options.metrics.clone());
    let apis = OptionalApis::watch(
        own.clone(),
        OPTIONAL_APIS,
        options.metrics.clone(),
        options.shutdown.clone(),
    )
    .await
    .map_err(RunError::Discovery)?;
    let watched = Watched::start(&own, options.watch_namespace.as_deref(), &guard, &apis, tasks);
    let audience = audience(&own, &namespace).await;
    let login_options = LoginOptions {
        client: own.clone(),
        applier: applier.clone(),
        namespace: namespace.clone(),
        audience,
        config: config.identity.clone(),
        guard: guard.clone(),
    };
    let logins = Logins::start(login_options, tasks).await;
    let local = if config.identity.local.enabled {
        let users = WatchedSecret::spawn(&own, &applier, &namespace, USERS_SECRET, &guard, tasks);
        Some(LocalUsers::new(users, PasswordVerifier::new()?, &config.identity.local))
    } else {
        None
    };
    watched.filled().await;
    let recent_changes = RecentChanges::default();
    tasks.spawn("recent changes", recent_changes.clone().follow(watched.clone()));
    Ok(ApiState::new(SharedState {
        time_zone: AnswerTimeZone::named(&config.time_zone).ok_or(RunError::TimeZone)?,
        limits: RequestLimits::new(&config.limits),
        identity: IdentityProviders {
            local,
            kubernetes: KubernetesTokens::new(own.clone()),
            oidc: OidcProviders::new(&config.identity.oidc)?,
            throttle: LoginThrottle::default(),
        },
        clients: UserClients::new(options.kube_config)?,
        authorization: Authorization::new(own.clone()),
        endpoints: options.endpoints,
        audit: options.audit,
        recent_changes,
        watched,
        logins,
        applier,
        namespace,
        own,
        config,
    }))
}

/// The UID of our namespace: no other installation has it. Where it cannot be read, tokens are for the namespace's name.
async fn audience(own: &Client, namespace: &str) -> String {
    let namespaces: Api<Namespace> = Api::all(own.clone());
    match namespaces.get(namespace).await {
        Ok(found) => found.metadata.uid.unwrap_or_else(|| namespace.to_owned()),
        Err(error) => {
            tracing::warn!(%error, "the UID of the namespace {namespace} is not known; tokens are for its name");
            namespace.to_owned()
        }
    }
}

/// The names and addresses under which clients may know this process.
fn names(config: &ApiConfig, namespace: &str) -> Vec<String> {
    let mut names: Vec<String> = config.public_url.as_deref().and_then(host_of_url).into_iter().collect();
    names.extend(config.tls.names.iter().cloned());
    names.extend([format!("novasphere-api.{namespace}.svc"), "localhost".to_owned()]);
    names.sort();
    names.dedup();
    names
}
