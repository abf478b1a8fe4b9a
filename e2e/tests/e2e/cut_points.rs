//! A controller is cut off before and after every write of a change, and its successor has to bring the same end state.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{Api, Resource, ResourceExt, api::ListParams};
use novasphere_e2e::{
    account::Account,
    controller::{InProcess, config_for},
    fault::{Cut, Fault, Side},
    namespace::Context,
    wait::{self, Seen},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Runs that go side by side, each in a namespace of its own.
const PARALLEL: usize = 3;

/// No write for so long, with all as wanted: nothing more will come. Events are
/// sent beside the reconcile, so its end alone does not say so.
const QUIET: Duration = Duration::from_millis(400);

/// Objects by kind and name, without what differs from run to run.
pub(crate) type EndState = BTreeMap<String, Value>;

/// The end state and the writes of the controller that was cut, or of the only
/// one; `None` when the cut was not reached.
pub(crate) type Outcome = Option<(EndState, Vec<String>)>;

/// Compares the end states of runs that are cut at every write with that of one
/// that is not.
pub(crate) async fn every_cut<F, Fut>(test: &str, leaves_nothing: bool, run: F) -> Result<()>
where
    F: Fn(Option<Cut>) -> Fut,
    Fut: Future<Output = Result<Outcome>>,
{
    let (wanted, writes) = run(None).await?.context("a run without a cut dies of none")?;
    ensure!(!wanted.is_empty() || leaves_nothing, "the run left nothing");
    let check = |cut: Cut| {
        let (wanted, run) = (&wanted, &run);
        async move {
            let Some((state, _)) = run(Some(cut)).await? else {
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

/// Starts a controller for the namespace of the case.
pub(crate) async fn start(context: &Context<'_>, account: &Account, fault: &Fault) -> Result<InProcess> {
    let config = config_for(&context.namespace);
    let log = context.output.join("controller.log");
    InProcess::start(context.cluster, account, config, fault, &log).await
}

/// Lets a controller that is cut off, and then its successor, bring what is
/// wanted. Returns the writes of the first; `None` when the cut was not reached.
pub(crate) async fn carried_out<F>(
    context: &Context<'_>,
    account: &Account,
    cut: Option<Cut>,
    what: &str,
    is_as_wanted: F,
) -> Result<Option<Vec<String>>>
where
    F: AsyncFn() -> Result<Result<(), String>>,
{
    let fault = Fault::new(cut);
    let controller = start(context, account, &fault).await?;
    let died = tokio::select! {
        () = fault.died() => true,
        settled = settled(what, &controller, &fault, &is_as_wanted) => { settled?; false }
    };
    controller.kill();
    if cut.is_some() && !died {
        return Ok(None);
    }
    if died {
        let fault = Fault::new(None);
        let successor = start(context, account, &fault).await?;
        settled(what, &successor, &fault, &is_as_wanted).await?;
        successor.stop().await?;
    }
    let writes = fault.writes();
    Ok(Some(
        writes
            .into_iter()
            .map(|write| shorten(&write, &context.namespace))
            .collect(),
    ))
}

fn shorten(write: &str, namespace: &str) -> String {
    let start = format!("/namespaces/{namespace}/");
    match write.split_once(&start) {
        Some((method, rest)) => format!("{} {rest}", method.split(' ').next().unwrap_or_default()),
        None => write.to_owned(),
    }
}

/// Waits until all is as wanted and stays so.
pub(crate) async fn settled<F>(what: &str, controller: &InProcess, fault: &Fault, is_as_wanted: F) -> Result<()>
where
    F: AsyncFn() -> Result<Result<(), String>>,
{
    let mut last = (usize::MAX, Instant::now());
    wait::until(format!("{what} is settled"), wait::SHORT, || {
        let writes = fault.writes().len();
        if last.0 != writes {
            last = (writes, Instant::now());
        }
        let quiet = last.1.elapsed();
        let is_as_wanted = &is_as_wanted;
        async move {
            if !controller.runs() {
                return Ok(Seen::NotYet("the controller has ended by itself".to_owned()));
            }
            if let Err(why) = is_as_wanted().await? {
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

/// Adds the objects of a kind to an end state.
pub(crate) async fn collect<K>(state: &mut EndState, kind: &str, api: &Api<K>, context: &Context<'_>) -> Result<()>
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
const RANDOM: [&str; 26] = [
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
    // Of a VncWorkspace and its snapshots.
    "endpoints",
    "awakeSince",
    "since",
    "wakeRequestedAt",
    "createdAt",
    "creationTime",
    // Of a Secret: random, or when its values came to be.
    "data",
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
