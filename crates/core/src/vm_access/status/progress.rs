//! A machine on its way: what keeps it, in the words of who knows, and since when.
//!
//! `KubeVirt`'s one word is never the whole truth: a machine is "Starting" also while its Pod is refused by a quota, for ever.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use novasphere_crd::condition as types;

use super::{
    super::{
        launcher::{self, PROGRESS_GRACE},
        observed::LiveMachine,
        reason::VirtualMachineReason as Reason,
    },
    Observed, advice,
    machine::said,
};
use crate::{
    condition::find,
    time::{after, whole_second},
};

/// A machine that starts.
pub(super) fn starting(observed: &Observed<'_>, live: LiveMachine<'_>) -> (Reason, String) {
    if let Some(said) = refusal(live) {
        let reason = if advice::is_quota(&said) {
            Reason::QuotaExceeded
        } else {
            Reason::StartFailed
        };
        let message = format!(
            "KubeVirt cannot start the machine: {said}. {}.",
            advice::of_refusal(&said)
        );
        return (reason, message);
    }
    let Some(since) = overdue(observed, live, Reason::Starting) else {
        return (Reason::Starting, "The machine starts.".into());
    };
    let name = &observed.references.virtual_machine_name;
    let message = match &observed.references.launcher_words {
        Some(words) => format!("and its launcher Pod waits: {words}. {}", advice::of_wait(words)),
        None => waits_for(name, live),
    };
    (
        Reason::StartDelayed,
        format!("The machine has been starting since {since}, {message}."),
    )
}

/// What a machine waits for whose launcher Pod says nothing.
fn waits_for(name: &str, live: LiveMachine<'_>) -> String {
    let Some(status) = live.instance_status() else {
        return "and KubeVirt has made no VirtualMachineInstance for it; check that virt-controller runs".to_owned();
    };
    match status.phase.as_deref().unwrap_or_default() {
        "" | "Pending" => format!(
            "and KubeVirt has made no Pod for it; the events of `kubectl describe vmi {name}` say more, else check that virt-controller \
             runs"
        ),
        "Scheduled" => format!(
            "its Pod runs, and virt-handler has not started the guest; check virt-handler on node {}",
            status.node_name.as_deref().unwrap_or("of the Pod")
        ),
        _ => format!(
            "and its launcher Pod is not ready; `kubectl describe pod -l vmi.kubevirt.io/id={name}` says what it waits for"
        ),
    }
}

/// A machine that shuts down.
pub(super) fn stopping(observed: &Observed<'_>, live: LiveMachine<'_>) -> String {
    let Some(since) = overdue(observed, live, Reason::Stopping) else {
        return format!("The machine shuts down.{}", further(live));
    };
    let name = &observed.references.virtual_machine_name;
    let node = live.instance_status().and_then(|status| status.node_name.as_deref());
    let node = node.map_or_else(String::new, |node| format!(" check that node {node} is ready, or"));
    format!(
        "The machine has been shutting down since {since}; KubeVirt cuts it off after its terminationGracePeriod. If that is over,{node} \
         force it with `virtctl stop {name} --force --grace-period 0`.{}",
        further(live)
    )
}

/// A machine that waits for a migration from elsewhere.
pub(super) fn waiting_for_receiver(observed: &Observed<'_>, live: LiveMachine<'_>) -> String {
    let since = overdue(observed, live, Reason::WaitingForReceiver);
    let since = since.map_or_else(String::new, |since| {
        format!(" It has waited since {since}: check the migration at its source, or delete the VirtualMachineInstance to start it here.")
    });
    format!(
        "The machine waits for a migration from elsewhere.{since}{}",
        further(live)
    )
}

/// What is added to a change of power that is under way.
pub(super) fn changing_power(observed: &Observed<'_>, live: LiveMachine<'_>) -> String {
    let since = overdue(observed, live, Reason::ChangingPower);
    let since = since.map_or_else(String::new, |since| {
        format!(" It has not followed since {since}: check that virt-controller and virt-handler run.")
    });
    format!("{}{since}", further(live))
}

/// A machine that is being deleted.
pub(super) fn terminating(observed: &Observed<'_>, live: LiveMachine<'_>) -> String {
    let plain = "The VirtualMachine is being deleted.";
    let finalizers = live.machine.and_then(|machine| machine.metadata.finalizers.as_ref());
    match (overdue(observed, live, Reason::Terminating), finalizers) {
        (Some(since), Some(finalizers)) if !finalizers.is_empty() => {
            let finalizers: Vec<_> = finalizers.iter().take(8).map(String::as_str).collect();
            format!(
                "{plain} Since {since} its finalizers have kept it: {}. Check who has set them; virt-controller removes KubeVirt's own.",
                finalizers.join(", "),
            )
        }
        _ => plain.to_owned(),
    }
}

/// When the status of a machine on its way is to be worked out again: when its time is over, and then now and then, because no watch
/// shows what its Pod says.
pub(super) fn deadline(observed: &Observed<'_>, live: LiveMachine<'_>, reason: &str) -> Option<Timestamp> {
    let clocks = [
        Reason::Starting,
        Reason::Stopping,
        Reason::WaitingForReceiver,
        Reason::ChangingPower,
        Reason::Terminating,
    ];
    let reason = if reason == <&str>::from(Reason::StartDelayed) {
        Reason::Starting
    } else {
        clocks.into_iter().find(|clock| <&str>::from(clock) == reason)?
    };
    let over = since(observed, live, reason).map(|since| after(since, PROGRESS_GRACE));
    let over = over.filter(|over| *over > observed.now);
    Some(over.unwrap_or_else(|| after(observed.now, PROGRESS_GRACE)))
}

/// Why `KubeVirt` does not go on, when it says so.
fn refusal(live: LiveMachine<'_>) -> Option<String> {
    let synchronized = live
        .condition("Synchronized")
        .filter(|condition| condition.status == "False")?;
    let said = said(synchronized.reason.as_deref(), synchronized.message.as_deref());
    (!said.is_empty()).then(|| without_pod_name(said))
}

/// A Pod that is refused has another name each time; the message stays the same, or each try would be a write and an event.
fn without_pod_name(said: String) -> String {
    let named = said.split_once("pods \"");
    match named.and_then(|(before, rest)| Some((before, rest.split_once('"')?.1))) {
        Some((before, after)) => format!("{before}the Pod{after}"),
        None => said,
    }
}

/// What `KubeVirt` says beside its one word.
fn further(live: LiveMachine<'_>) -> String {
    refusal(live).map_or_else(String::new, |said| format!(" KubeVirt says: {said}."))
}

/// Since when a machine is on its way, when that is long.
fn overdue(observed: &Observed<'_>, live: LiveMachine<'_>, reason: Reason) -> Option<Timestamp> {
    let since = since(observed, live, reason)?;
    (after(since, PROGRESS_GRACE) <= observed.now).then(|| whole_second(since))
}

fn since(observed: &Observed<'_>, live: LiveMachine<'_>, reason: Reason) -> Option<Timestamp> {
    let deleted = |meta: &ObjectMeta| meta.deletion_timestamp.as_ref().map(|time| time.0);
    let told = || {
        let old = observed.vm_access.status.as_ref()?;
        let condition = find(&old.conditions, types::VIRTUAL_MACHINE_READY)?;
        let is_same = condition.status == "False" && condition.reason == <&str>::from(reason);
        is_same.then_some(condition.last_transition_time.0)
    };
    match reason {
        // Without a run, the clock of the status is all there is.
        Reason::Starting => live.instance.and_then(launcher::starting_since).or_else(told),
        Reason::Stopping => live
            .instance
            .and_then(|instance| deleted(&instance.metadata))
            .or_else(told),
        Reason::Terminating => live.machine.and_then(|machine| deleted(&machine.metadata)),
        _ => told(),
    }
}
