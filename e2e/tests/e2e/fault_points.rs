//! The controller dies before and after every write of a create, an update and
//! a delete. Its successor brings the same end state.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use novasphere_crd::{ConsoleSession, VmAccess};
use novasphere_e2e::{
    account::Account,
    cluster::Cluster,
    controller::{InProcess, config_for},
    fault::{Cut, Fault, Side},
    harness::{Case, Needs},
    kubevirt::{STAND_IN, StandIn, virtual_machine_instances, virtual_machines},
    namespace::{Context, PodSecurity, with_namespace},
    wait::{self, Seen},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    console_session_support,
    support::{self, template},
};

/// Runs that go side by side, each in a namespace of its own.
const PARALLEL: usize = 3;

/// No write for so long, with all as wanted: nothing more will come. Events are
/// sent beside the reconcile, so its end alone does not say so.
const QUIET: Duration = Duration::from_millis(400);

const NAME: &str = "web";

const SESSION: &str = "look";

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, change: Change| {
        let test = format!("fault_points::{name}");
        let title = test.clone();
        Case::new(&title, Needs::ControlPlane, move || async move {
            every_cut(&test, change).await
        })
    };
    vec![
        case("create", Change::Create),
        case("update", Change::Update),
        case("delete", Change::Delete("Delete")),
        case("delete_orphan", Change::Delete("Orphan")),
        case("session_ready", Change::Session(Stage::Ready)),
        case("session_closed", Change::Session(Stage::Closed)),
        case("session_removed", Change::Session(Stage::Removed)),
    ]
}

/// What a person asks for.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A new VmAccess.
    Create,
    /// Another size, state and set of services of an existing one.
    Update,
    /// No VmAccess any more; what becomes of its machine is the deletion policy.
    Delete(&'static str),
    /// A ConsoleSession of a VmAccess that is ready.
    Session(Stage),
}

/// How far a ConsoleSession is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is made, and ready.
    Ready,
    /// It is revoked, and over.
    Closed,
    /// It is revoked, and its time to be kept is over at once.
    Removed,
}

/// Objects by kind and name, without what differs from run to run.
type EndState = BTreeMap<String, Value>;

async fn every_cut(test: &str, change: Change) -> Result<()> {
    let (wanted, writes) = run(test, change, None)
        .await?
        .context("a run without a cut dies of none")?;
    ensure!(
        !wanted.is_empty() || matches!(change, Change::Delete("Delete")),
        "the run left nothing"
    );
    let check = |cut: Cut| {
        let wanted = &wanted;
        async move {
            let Some((state, _)) = run(test, change, Some(cut)).await? else {
                return Ok(false);
            };
            let mut differences = Vec::new();
            compare(
                "",
                &serde_json::to_value(wanted)?,
                &serde_json::to_value(&state)?,
                &mut differences,
            );
            ensure!(
                differences.is_empty(),
                "{test}: killed {:?} write {} the end state is another:\n  {}",
                cut.side,
                cut.write,
                differences.join("\n  ")
            );
            Ok(true)
        }
    };
    let cuts = |write| [Side::Before, Side::After].map(|side| Cut { write, side });
    let known = (1..=writes.len()).flat_map(cuts);
    let hits: Vec<bool> = stream::iter(known.map(check))
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    // A run may need more writes than the first one did, for instance when two
    // changes come apart that were one there. Go on until a cut is never reached.
    let mut write = writes.len();
    let mut further = 0;
    loop {
        write += 1;
        let hits: Vec<bool> = stream::iter(cuts(write).map(check))
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        let reached = hits.iter().filter(|hit| **hit).count();
        further += reached;
        if reached == 0 {
            break;
        }
    }
    let reached = hits.iter().filter(|hit| **hit).count() + further;
    println!(
        "{test}: {reached} cut points around {} writes: {}",
        writes.len(),
        writes.join(", ")
    );
    Ok(())
}

/// One run in a namespace of its own. Returns the end state and the writes of the
/// controller that was cut, or of the only one; `None` when the cut was not reached.
async fn run(test: &str, change: Change, cut: Option<Cut>) -> Result<Option<(EndState, Vec<String>)>> {
    let cluster = Cluster::plane()?;
    let mut result = None;
    with_namespace(cluster, test, PodSecurity::Restricted, async |context| {
        let kubevirt = Client::try_from(cluster.config(STAND_IN).await?)?;
        let _kubevirt = StandIn::start(kubevirt, &context.namespace);
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        if !matches!(change, Change::Create) {
            apply_base(context, change).await?;
            let fault = Fault::new(None);
            let controller = start(context, &account, &fault).await?;
            settled(context, Change::Create, &controller, &fault).await?;
            if let Change::Session(stage @ (Stage::Closed | Stage::Removed)) = change {
                make_session(context, stage).await?;
                settled(context, Change::Session(Stage::Ready), &controller, &fault).await?;
            }
            controller.stop().await?;
        }
        ask_for(context, change).await?;

        let fault = Fault::new(cut);
        let controller = start(context, &account, &fault).await?;
        let died = tokio::select! {
            () = fault.died() => true,
            settled = settled(context, change, &controller, &fault) => { settled?; false }
        };
        controller.kill();
        if cut.is_some() && !died {
            return Ok(());
        }
        if died {
            let fault = Fault::new(None);
            let successor = start(context, &account, &fault).await?;
            settled(context, change, &successor, &fault).await?;
            successor.stop().await?;
        }
        result = Some((
            end_state(context).await?,
            fault
                .writes()
                .into_iter()
                .map(|write| shorten(&write, &context.namespace))
                .collect(),
        ));
        Ok(())
    })
    .await
    .with_context(|| format!("{change:?}, {cut:?}"))?;
    Ok(result)
}

fn shorten(write: &str, namespace: &str) -> String {
    let start = format!("/namespaces/{namespace}/");
    match write.split_once(&start) {
        Some((method, rest)) => format!("{} {rest}", method.split(' ').next().unwrap_or_default()),
        None => write.to_owned(),
    }
}

async fn start(context: &Context<'_>, account: &Account, fault: &Fault) -> Result<InProcess> {
    let config = config_for(&context.namespace);
    InProcess::start(
        context.cluster,
        account,
        config,
        fault,
        &context.output.join("controller.log"),
    )
    .await
}

async fn apply_base(context: &Context<'_>, change: Change) -> Result<()> {
    let policy = match change {
        Change::Delete(policy) => policy,
        Change::Create | Change::Update | Change::Session(_) => "Delete",
    };
    let spec = json!({
        "virtualMachine": {"template": template(), "deletionPolicy": policy},
        "power": {"state": "Running"},
        "services": [service("ssh", 22), service("web", 8080)],
    });
    support::apply(context, NAME, &spec).await.map(drop)
}

fn service(name: &str, port: u16) -> Value {
    json!({"name": name, "ports": [{"name": name, "port": port}]})
}

async fn ask_for(context: &Context<'_>, change: Change) -> Result<()> {
    match change {
        Change::Create => apply_base(context, change).await,
        Change::Update => {
            let mut template = template();
            if let Some(template) = template.as_object_mut() {
                template.insert("memory".to_owned(), json!("256Mi"));
            }
            let spec = json!({
                "virtualMachine": {"template": template, "deletionPolicy": "Delete"},
                "power": {"state": "Stopped"},
                // One goes, one changes, one comes.
                "services": [service("web", 8081), service("rdp", 3389)],
            });
            support::apply(context, NAME, &spec).await.map(drop)
        }
        Change::Delete(_) => {
            context.api::<VmAccess>().delete(NAME, &DeleteParams::default()).await?;
            Ok(())
        }
        Change::Session(Stage::Ready) => make_session(context, Stage::Ready).await,
        Change::Session(Stage::Closed | Stage::Removed) => {
            let sessions: Api<ConsoleSession> = context.api();
            let revoke = Patch::Merge(json!({"spec": {"revoked": true}}));
            sessions.patch(SESSION, &PatchParams::default(), &revoke).await?;
            Ok(())
        }
    }
}

async fn make_session(context: &Context<'_>, stage: Stage) -> Result<()> {
    let kept = if stage == Stage::Removed { "0s" } else { "1h" };
    let session = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "ConsoleSession",
        "metadata": {"name": SESSION},
        "spec": {"targetRef": {"name": NAME}, "ttlAfterFinished": kept},
    });
    let sessions: Api<ConsoleSession> = context.api();
    sessions
        .create(&PostParams::default(), &serde_json::from_value(session)?)
        .await?;
    Ok(())
}

/// Waits until all is as wanted and stays so.
async fn settled(context: &Context<'_>, change: Change, controller: &InProcess, fault: &Fault) -> Result<()> {
    let mut last = (usize::MAX, std::time::Instant::now());
    wait::until(format!("{change:?} is settled"), wait::SHORT, || {
        let writes = fault.writes().len();
        if last.0 != writes {
            last = (writes, std::time::Instant::now());
        }
        let quiet = last.1.elapsed();
        async move {
            if !controller.runs() {
                return Ok(Seen::NotYet("the controller has ended by itself".to_owned()));
            }
            if let Err(why) = is_as_wanted(context, change).await? {
                return Ok(Seen::NotYet(why));
            }
            Ok(Seen::some(
                (quiet >= QUIET).then_some(()),
                "as wanted, but writes go on",
            ))
        }
    })
    .await
}

async fn is_as_wanted(context: &Context<'_>, change: Change) -> Result<Result<(), String>> {
    if let Change::Session(stage) = change {
        let session = context.api::<ConsoleSession>().get_opt(SESSION).await?;
        return Ok(match (stage, session) {
            (Stage::Ready, Some(session)) => console_session_support::has(&session, "Ready", "True", "Open"),
            (Stage::Closed, Some(session)) => console_session_support::has(&session, "Closed", "True", "Revoked"),
            (Stage::Removed, None) => Ok(()),
            (Stage::Removed, Some(_)) => Err("the session exists".to_owned()),
            (Stage::Ready | Stage::Closed, None) => Err("the session does not exist".to_owned()),
        });
    }
    let object = context.api::<VmAccess>().get_opt(NAME).await?;
    match (change, object) {
        (Change::Create, Some(object)) => Ok(support::has(&object, "VirtualMachineReady", "True", Some("Running"))
            .and_then(|()| support::has(&object, "Ready", "True", None))),
        (Change::Update, Some(object)) => Ok(support::has(&object, "VirtualMachineReady", "True", Some("Stopped"))
            .and_then(|()| support::has(&object, "Ready", "True", None))),
        (Change::Delete(_), Some(_)) => Ok(Err("the VmAccess exists".to_owned())),
        (Change::Session(_), Some(_)) => Ok(Ok(())),
        (Change::Create | Change::Update | Change::Session(_), None) => {
            Ok(Err("the VmAccess does not exist".to_owned()))
        }
        (Change::Delete(policy), None) => {
            let state = end_state(context).await?;
            let left = state
                .iter()
                .find(|(_, object)| policy == "Delete" || belongs_to_vm_access(object));
            Ok(left.map_or(Ok(()), |(name, _)| Err(format!("{name} is still there"))))
        }
    }
}

fn belongs_to_vm_access(object: &Value) -> bool {
    object
        .pointer("/metadata/ownerReferences")
        .is_some_and(|owners| owners.to_string().contains("VmAccess"))
}

async fn end_state(context: &Context<'_>) -> Result<EndState> {
    let mut state = EndState::new();
    collect(&mut state, "VmAccess", &context.api::<VmAccess>(), context).await?;
    collect(&mut state, "ConsoleSession", &context.api::<ConsoleSession>(), context).await?;
    collect(&mut state, "Service", &context.api::<Service>(), context).await?;
    collect(
        &mut state,
        "VirtualMachine",
        &context.dynamic(&virtual_machines()),
        context,
    )
    .await?;
    collect(
        &mut state,
        "VirtualMachineInstance",
        &context.dynamic(&virtual_machine_instances()),
        context,
    )
    .await?;
    Ok(state)
}

async fn collect<K>(state: &mut EndState, kind: &str, api: &Api<K>, context: &Context<'_>) -> Result<()>
where
    K: Resource + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    for object in api.list(&ListParams::default()).await? {
        let name = object.name_any();
        let mut value = serde_json::to_value(object)?;
        normalise(&mut value, &context.namespace);
        state.insert(format!("{kind}/{name}"), value);
    }
    Ok(())
}

/// One line for each place where two values differ.
fn compare(place: &str, wanted: &Value, got: &Value, differences: &mut Vec<String>) {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            let names: BTreeSet<_> = wanted.keys().chain(got.keys()).collect();
            for name in names {
                let of = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                compare(&format!("{place}/{name}"), &of(wanted), &of(got), differences);
            }
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            for (index, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                compare(&format!("{place}/{index}"), wanted, got, differences);
            }
        }
        _ if wanted == got => {}
        _ => differences.push(format!("{place}: wanted {wanted}, got {got}")),
    }
}

/// What two runs with the same outcome do not have in common.
const RANDOM: [&str; 19] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "generation",
    "observedGeneration",
    "selfLink",
    "lastTransitionTime",
    "clusterIP",
    "clusterIPs",
    "novasphere.io/owner-uid",
    // Of what was applied, which has the owner's UID in it.
    "novasphere.io/applied-hash",
    "endpoint",
    "addresses",
    // Of a ConsoleSession and its target; the number of sessions follows within a minute.
    "targetUid",
    "startedAt",
    "expiresAt",
    "closedAt",
    "activeSessions",
];

fn normalise(value: &mut Value, namespace: &str) {
    match value {
        Value::Object(fields) => {
            for field in RANDOM {
                fields.remove(field);
            }
            fields.values_mut().for_each(|value| normalise(value, namespace));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| normalise(value, namespace)),
        Value::String(text) => *text = text.replace(namespace, "NAMESPACE"),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
