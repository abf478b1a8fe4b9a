//! What the cases of `ConsoleSession` have in common.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use novasphere_controller::config::ControllerConfig;
use novasphere_core::console_session::connection::{NewConnection, connect};
use novasphere_crd::{ConsoleSession, ConsoleSessionStatus, Transport};
use novasphere_e2e::{
    account::Account,
    audit::{self, Write},
    cluster::Cluster,
    controller::{InProcess, config_for},
    fault::Fault,
    kubevirt::{STAND_IN, StandIn},
    namespace::{Context, PodSecurity, with_namespace},
    wait::{self, Seen},
};
use serde_json::{Value, json};

use crate::support::{self, template};

/// The target of the sessions, ready and running.
pub(crate) const TARGET: &str = "web";

/// A test with the machine [`TARGET`] and a controller.
pub(crate) struct Bench<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) account: Account,
    pub(crate) config: ControllerConfig,
    _kubevirt: StandIn,
}

/// Runs a test in a namespace with the machine [`TARGET`], whose `console` policy is as given.
pub(crate) async fn with_target<F>(test: &str, console: Value, body: F) -> Result<()>
where
    F: AsyncFnOnce(&Bench<'_>) -> Result<()>,
{
    let cluster = Cluster::plane()?;
    with_namespace(cluster, test, PodSecurity::Restricted, async |context| {
        let kubevirt = Client::try_from(cluster.config(STAND_IN).await?)?;
        let bench = Bench {
            context,
            account: Account::create(cluster, &context.namespace, "controller").await?,
            config: config_for(&context.namespace),
            _kubevirt: StandIn::start(kubevirt, &context.namespace),
        };
        apply_target(context, TARGET, &console).await?;
        body(&bench).await
    })
    .await
}

/// Applies a `VmAccess` with a running machine and this `console` policy.
pub(crate) async fn apply_target(context: &Context<'_>, name: &str, console: &Value) -> Result<()> {
    let spec = json!({
        "virtualMachine": {"template": template()},
        "power": {"state": "Running"},
        "console": console,
    });
    support::apply(context, name, &spec).await.map(drop)
}

impl Bench<'_> {
    /// Starts a controller and waits until the target is ready.
    pub(crate) async fn controller(&self) -> Result<InProcess> {
        self.controller_with(self.config.clone()).await
    }

    /// The same with another configuration.
    pub(crate) async fn controller_with(&self, config: ControllerConfig) -> Result<InProcess> {
        let controller = self.start_with(config).await?;
        support::ready(self.context, TARGET, wait::SHORT).await?;
        Ok(controller)
    }

    /// Starts a controller.
    pub(crate) async fn start(&self) -> Result<InProcess> {
        self.start_with(self.config.clone()).await
    }

    async fn start_with(&self, config: ControllerConfig) -> Result<InProcess> {
        let log = self.context.output.join("controller.log");
        let cluster = self.context.cluster;
        InProcess::start(cluster, &self.account, config, &Fault::new(None), &log).await
    }

    pub(crate) fn sessions(&self) -> Api<ConsoleSession> {
        self.context.api()
    }

    /// What the controller wrote to sessions since `mark`.
    pub(crate) fn writes(&self, mark: audit::Mark) -> Result<Vec<Write>> {
        let mut writes = self.context.cluster.audit().since(mark)?;
        writes.retain(|write| write.user() == self.account.user() && write.resource().starts_with("consolesessions"));
        Ok(writes)
    }

    /// Makes a session of [`TARGET`] with these further fields.
    pub(crate) async fn make(&self, name: &str, fields: Value) -> Result<ConsoleSession> {
        let mut spec = json!({"targetRef": {"name": TARGET}});
        if let (Value::Object(spec), Value::Object(fields)) = (&mut spec, fields) {
            spec.extend(fields);
        }
        let session = json!({
            "apiVersion": "novasphere.io/v1alpha1",
            "kind": "ConsoleSession",
            "metadata": {"name": name},
            "spec": spec,
        });
        let session = serde_json::from_value(session)?;
        let made = self.sessions().create(&PostParams::default(), &session).await;
        made.with_context(|| format!("make the session {name}"))
    }

    /// Waits until a condition of a session is as given.
    pub(crate) async fn wait_for(&self, name: &str, kind: &str, value: &str, reason: &str) -> Result<ConsoleSession> {
        let what = format!("{kind}={value} {reason}");
        wait::object(&self.sessions(), name, what, wait::SHORT, |session| {
            has(session, kind, value, reason)
        })
        .await
    }

    pub(crate) async fn ready(&self, name: &str) -> Result<ConsoleSession> {
        self.wait_for(name, "Ready", "True", "Open").await
    }

    pub(crate) async fn change(&self, name: &str, spec: Value) -> Result<ConsoleSession> {
        let patch = Patch::Merge(json!({"spec": spec}));
        let changed = self.sessions().patch(name, &PatchParams::default(), &patch).await;
        changed.with_context(|| format!("change the session {name}"))
    }

    /// Waits for an event of this reason on a session, and returns its note.
    pub(crate) async fn told(&self, name: &str, reason: &str) -> Result<String> {
        let events: Api<Event> = self.context.api();
        let about = ListParams::default().fields(&format!(
            "involvedObject.name={name},involvedObject.kind=ConsoleSession,reason={reason}"
        ));
        wait::until(format!("an event {reason} on {name}"), wait::SHORT, || async {
            let found = events.list(&about).await?.items;
            let note = found.into_iter().find_map(|event| event.message);
            Ok(Seen::some(note, "there is none"))
        })
        .await
    }

    /// Writes a stream into a session's status, as a gateway does.
    pub(crate) async fn open_stream(&self, name: &str, gateway: &str) -> Result<()> {
        self.write_status(name, |status| {
            let new = NewConnection {
                id: format!("stream-of-{gateway}"),
                user: "ann".to_owned(),
                gateway: gateway.to_owned(),
                client_address: "192.0.2.1".to_owned(),
                transport: Transport::WebSocket,
            };
            Ok(connect(status, new, 9, Timestamp::now())?)
        })
        .await
    }

    async fn write_status(
        &self,
        name: &str,
        new: impl Fn(&ConsoleSessionStatus) -> Result<ConsoleSessionStatus>,
    ) -> Result<()> {
        let sessions = self.sessions();
        let new = &new;
        wait::until(format!("the status of {name} is written"), wait::SHORT, || {
            let sessions = sessions.clone();
            async move {
                let mut session = sessions.get_status(name).await?;
                let status = session.status.clone().context("it has no status")?;
                session.status = Some(new(&status)?);
                // A conflict is tried again.
                sessions.replace_status(name, &PostParams::default(), &session).await?;
                Ok(Seen::Done(()))
            }
        })
        .await
    }
}

/// Whether the controller has seen the newest spec and a condition is as given.
pub(crate) fn has(session: &ConsoleSession, kind: &str, value: &str, reason: &str) -> Result<(), String> {
    let conditions = session.status.iter().flat_map(|status| &status.conditions);
    let all: Vec<_> = conditions.collect();
    let is_as_given = all.iter().any(|found| {
        found.type_ == kind
            && found.status == value
            && found.reason == reason
            && found.observed_generation == session.metadata.generation
    });
    if is_as_given {
        return Ok(());
    }
    Err(all.iter().fold(String::new(), |text, found| {
        format!(
            "{text}{}={} {}: {}; ",
            found.type_, found.status, found.reason, found.message
        )
    }))
}

/// The status that the controller wrote.
pub(crate) fn status(session: &ConsoleSession) -> Result<&ConsoleSessionStatus> {
    session.status.as_ref().context("the session has no status")
}

/// Waits for so many more reconciles of a controller.
pub(crate) async fn reconciles_pass(controller: &InProcess, count: u64, bound: Duration) -> Result<()> {
    let wanted = controller.reconciles()? + count;
    wait::until(format!("{count} more reconciles"), bound, || async {
        let done = controller.reconciles()?;
        Ok(Seen::some(
            (done >= wanted).then_some(()),
            format!("{done} of {wanted}"),
        ))
    })
    .await
}
