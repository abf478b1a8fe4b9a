//! What was read → what one reconcile does, apart from the objects that [`build`](super::build) makes.
//!
//! The order is part of the plan: the finalizer comes before everything that it guards, the Pod goes before a snapshot is taken, and the
//! home goes after its snapshot is ready.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use novasphere_crd::{ReclaimPolicy, VncWorkspace};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;

use super::{
    backup,
    deletion::{self, DeletionPlan},
    lifecycle::{DesktopState, LifecycleDecision, Sleep},
    references::{References, SnapshotApi, home_of},
    snapshots::{
        SnapshotProgress, SnapshotTrigger, build, ended, expiries, has_volume, hibernation_name, last_name, progress,
        scheduled_name,
    },
    validate::{has_finalizer, needs_finalizer, snapshot_policy},
};
use crate::label::{self, Owner};

/// What one reconcile does.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// The workspace is being deleted, and nothing of it waits for the controller: owner references take the rest with it.
    Nothing,
    /// The workspace is being deleted, and its finalizer waits for its home.
    Delete(DeletionPlan),
    /// The workspace stays, at least until its home is saved.
    Sync(SyncPlan),
}

/// How a workspace is kept as it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncPlan {
    /// The workspace.
    pub owner: Owner,
    /// Whether the finalizer is set (`true`) or taken away (`false`) before anything else is written.
    pub finalizer: Option<bool>,
    /// What happens to the Pod of a spec that is invalid, for which nothing is built.
    pub invalid_pod: InvalidPod,
    /// What follows once the objects are applied.
    pub then: Followup,
    /// The snapshot for which a time of the schedule has come.
    pub backup: Option<Box<SnapshotPlan>>,
    /// The snapshots beyond those that are kept, as far as their time has come.
    pub expired_snapshots: Vec<Arc<VolumeSnapshot>>,
}

/// What happens to the Pod while the spec is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidPod {
    /// It stays as it is.
    Keep,
    /// It is deleted: an invalid spec still hibernates and expires.
    Delete,
}

/// What follows once the objects are applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Followup {
    /// Nothing.
    Nothing,
    /// A snapshot is taken once the Pod has gone.
    Snapshot(SnapshotPlan),
    /// The workspace is deleted once the Pod has gone, and once this snapshot is ready when the home holds anything.
    Expire(Option<SnapshotPlan>),
}

/// A snapshot of the home.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotPlan {
    /// What it is taken for.
    pub trigger: SnapshotTrigger,
    /// The object.
    pub desired: VolumeSnapshot,
    /// How it stands, as far as the watch has seen.
    pub seen: SnapshotProgress,
}

/// Plans a reconcile.
#[must_use]
pub fn plan(
    workspace: &VncWorkspace,
    references: &References,
    decision: Option<&LifecycleDecision>,
    now: Timestamp,
) -> Plan {
    let Some(owner) = Owner::of(workspace) else {
        return Plan::Nothing;
    };
    let snapshots = Snapshots {
        workspace,
        references,
        owner: &owner,
    };
    if workspace.metadata.deletion_timestamp.is_some() {
        if !has_finalizer(workspace) {
            return Plan::Nothing;
        }
        return Plan::Delete(deletion::plan(&snapshots, now));
    }
    let wanted = needs_finalizer(workspace);
    let expired = expiries(workspace, references, now).into_iter();
    let expired = expired
        .filter(|(_, at)| *at <= now)
        .map(|(snapshot, _)| snapshot)
        .collect();
    Plan::Sync(SyncPlan {
        finalizer: (wanted != has_finalizer(workspace)).then_some(wanted),
        invalid_pod: if decision.is_none_or(LifecycleDecision::is_awake) {
            InvalidPod::Keep
        } else {
            InvalidPod::Delete
        },
        then: followup(&snapshots, decision, now),
        backup: scheduled(&snapshots, decision, now).map(Box::new),
        expired_snapshots: expired,
        owner,
    })
}

/// The snapshot for which a time of the schedule has come. A home that was never bound has nothing to save, and one whose time is over is saved
/// otherwise.
fn scheduled(snapshots: &Snapshots<'_>, decision: Option<&LifecycleDecision>, now: Timestamp) -> Option<SnapshotPlan> {
    let due = backup::due(snapshots.workspace, now)?;
    let is_over = decision.is_some_and(|decision| decision.state == DesktopState::Expired);
    let holds_anything = own_home(snapshots.workspace, snapshots.references).is_some_and(has_volume);
    let name = scheduled_name(snapshots.owner, due);
    (holds_anything && !is_over).then(|| snapshots.named(&name, SnapshotTrigger::Schedule))
}

fn followup(snapshots: &Snapshots<'_>, decision: Option<&LifecycleDecision>, now: Timestamp) -> Followup {
    let spec = &snapshots.workspace.spec;
    let policy = snapshot_policy(spec);
    match decision.map(|decision| decision.state) {
        None | Some(DesktopState::Awake { .. }) => Followup::Nothing,
        Some(DesktopState::Asleep(sleep)) => {
            let holds_anything = own_home(snapshots.workspace, snapshots.references).is_some_and(has_volume);
            // The snapshot is named after the time, so a successor has to know it: the status is written first.
            if !policy.on_hibernate || !holds_anything || !is_noted(snapshots.workspace, sleep) {
                return Followup::Nothing;
            }
            let name = hibernation_name(snapshots.owner, sleep);
            Followup::Snapshot(snapshots.named(&name, SnapshotTrigger::Hibernation))
        }
        Some(DesktopState::Expired) => {
            let is_wanted = policy.on_expire || spec.storage.reclaim == ReclaimPolicy::Snapshot;
            Followup::Expire(is_wanted.then(|| snapshots.last(SnapshotTrigger::Expiry, now)))
        }
    }
}

/// Whether the status says since when it sleeps.
fn is_noted(workspace: &VncWorkspace, sleep: Sleep) -> bool {
    let status = workspace.status.as_ref();
    let hibernation = status.and_then(|status| status.hibernation.as_ref());
    hibernation.is_some_and(|hibernation| hibernation.since.0.as_second() == sleep.since.as_second())
}

/// The snapshots of one workspace.
pub(super) struct Snapshots<'a> {
    pub(super) workspace: &'a VncWorkspace,
    pub(super) references: &'a References,
    pub(super) owner: &'a Owner,
}

impl Snapshots<'_> {
    /// The one that is taken before the home goes.
    pub(super) fn last(&self, trigger: SnapshotTrigger, now: Timestamp) -> SnapshotPlan {
        self.named(&last_name(self.owner, ended(self.workspace, now)), trigger)
    }

    /// When a snapshot was asked for, once it is there.
    pub(super) fn asked_for(&self, snapshot: &VolumeSnapshot) -> Option<Timestamp> {
        let mut all = self.references.snapshots.iter();
        let live = all.find(|live| live.metadata.name == snapshot.metadata.name)?;
        live.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }

    fn named(&self, name: &str, trigger: SnapshotTrigger) -> SnapshotPlan {
        let class = snapshot_policy(&self.workspace.spec).class;
        let seen = match self.references.snapshot_api {
            SnapshotApi::Listed => progress(&self.references.snapshots, name),
            SnapshotApi::Unlisted => SnapshotProgress::Unlisted,
            SnapshotApi::Missing => {
                let missing =
                    "the cluster does not serve snapshot.storage.k8s.io; install the snapshot-controller and its CRDs";
                SnapshotProgress::Refused(missing.to_owned())
            }
        };
        SnapshotPlan {
            trigger,
            desired: build(self.owner, name, &home_of(self.workspace), class.as_deref()),
            seen,
        }
    }
}

/// The home, when it belongs to the workspace.
#[must_use]
pub fn own_home<'a>(workspace: &VncWorkspace, references: &'a References) -> Option<&'a PersistentVolumeClaim> {
    let home = references.home.as_deref()?;
    is_own(workspace, &home.metadata).then_some(home)
}

/// The Pod of the workspace, not one of its name that somebody else created.
#[must_use]
pub fn own_pod<'a>(workspace: &VncWorkspace, references: &'a References) -> Option<&'a Pod> {
    let pod = references.pod.as_deref()?;
    is_own(workspace, &pod.metadata).then_some(pod)
}

/// The Service of the workspace.
#[must_use]
pub fn own_service<'a>(workspace: &VncWorkspace, references: &'a References) -> Option<&'a Service> {
    let service = references.service.as_deref()?;
    is_own(workspace, &service.metadata).then_some(service)
}

/// Whether an object was made for the workspace.
#[must_use]
pub fn is_own(workspace: &VncWorkspace, object: &ObjectMeta) -> bool {
    label::owner_uid(object) == workspace.metadata.uid.as_deref()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::{
        super::{
            FINALIZER,
            lifecycle::decide_for,
            samples::{at, references, workspace},
        },
        *,
    };

    fn with_home(volume: &Value) -> References {
        let home = json!({
            "metadata": {"name": "alice-home", "labels": {"novasphere.io/owner-uid": "alice-1"}},
            "spec": {"volumeName": volume},
        });
        References {
            home: Some(Arc::new(serde_json::from_value(home).unwrap())),
            ..references()
        }
    }

    fn planned(workspace: &VncWorkspace, references: &References, second: i64) -> Plan {
        let decision = decide_for(workspace, references, at(second));
        plan(workspace, references, decision.as_ref(), at(second))
    }

    fn synced(spec: &Value, references: &References, second: i64) -> SyncPlan {
        match planned(&workspace(spec), references, second) {
            Plan::Sync(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_finalizer_follows_the_reclaim_policy() {
        let finalizer = |reclaim: &str, has: bool| {
            let mut workspace = workspace(&json!({"storage": {"reclaim": reclaim}}));
            workspace.metadata.finalizers = has.then(|| vec![FINALIZER.to_owned()]);
            match planned(&workspace, &references(), 5) {
                Plan::Sync(plan) => plan.finalizer,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(finalizer("Snapshot", false), Some(true));
        assert_eq!(finalizer("Snapshot", true), None);
        for other in ["Retain", "Delete"] {
            assert_eq!(finalizer(other, true), Some(false));
            assert_eq!(finalizer(other, false), None);
        }
    }

    #[test]
    fn a_deletion_is_planned_only_while_it_waits_for_us() {
        let deletion = |reclaim: &str, finalizers: &[&str]| {
            let mut workspace = workspace(&json!({"storage": {"reclaim": reclaim}}));
            workspace.metadata.deletion_timestamp = Some(Time(at(3)));
            workspace.metadata.finalizers = Some(finalizers.iter().map(ToString::to_string).collect());
            planned(&workspace, &with_home(&json!("v")), 5)
        };
        assert_eq!(deletion("Snapshot", &["example.org/other"]), Plan::Nothing);
        let ours = |reclaim| match deletion(reclaim, &[FINALIZER]) {
            Plan::Delete(plan) => (plan.snapshot.is_some(), plan.deletes_home),
            other => panic!("{other:?}"),
        };
        assert_eq!(ours("Snapshot"), (true, true));
        assert_eq!(ours("Delete"), (false, true));
        assert_eq!(ours("Retain"), (false, false));
    }

    #[test]
    fn a_sleep_is_saved_when_that_is_asked_for_and_there_is_something_to_save() {
        let seen = |on_hibernate: bool, volume: &Value, status: &Value| {
            let spec = json!({"lifecycle": {"state": "Hibernated"}, "backup": {"onHibernate": on_hibernate}});
            let mut workspace = workspace(&spec);
            workspace.status = serde_json::from_value(status.clone()).unwrap();
            match planned(&workspace, &with_home(volume), 5) {
                Plan::Sync(plan) => plan,
                other => panic!("{other:?}"),
            }
        };
        let noted = json!({"hibernation": {"reason": "Asked", "since": at(3).to_string()}});
        let asleep = |on_hibernate: bool, volume: &Value| seen(on_hibernate, volume, &noted);
        assert_eq!(asleep(false, &json!("v")).then, Followup::Nothing);
        assert_eq!(asleep(true, &json!(null)).then, Followup::Nothing, "it was never bound");
        assert_eq!(
            seen(true, &json!("v"), &json!({})).then,
            Followup::Nothing,
            "a successor would not know the name of the snapshot"
        );
        let plan = asleep(true, &json!("v"));
        let Followup::Snapshot(snapshot) = plan.then else {
            panic!("{:?}", plan.then)
        };
        assert_eq!(
            (snapshot.trigger, snapshot.seen),
            (SnapshotTrigger::Hibernation, SnapshotProgress::Missing)
        );
        assert_eq!(plan.invalid_pod, InvalidPod::Delete);
        assert_eq!(synced(&json!({}), &references(), 5).invalid_pod, InvalidPod::Keep);
    }

    #[test]
    fn the_end_of_a_time_needs_a_snapshot_when_the_home_goes_or_one_is_asked_for() {
        let expiry = |reclaim: &str, on_expire: bool| {
            let spec = json!({
                "lifecycle": {"maxLifetime": "1s"}, "storage": {"reclaim": reclaim}, "backup": {"onExpire": on_expire},
            });
            match synced(&spec, &with_home(&json!("v")), 5).then {
                Followup::Expire(snapshot) => snapshot.is_some(),
                other => panic!("{other:?}"),
            }
        };
        assert!(expiry("Snapshot", false) && expiry("Retain", true));
        assert!(!expiry("Retain", false) && !expiry("Delete", false));
    }

    #[test]
    fn a_time_of_the_schedule_is_saved_awake_and_asleep_and_whatever_else_is_wrong() {
        let planned = |spec: &Value, references: &References, second: i64| {
            let mut workspace = workspace(spec);
            workspace.status = Some(novasphere_crd::VncWorkspaceStatus {
                next_backup_at: Some(Time(at(3600))),
                ..novasphere_crd::VncWorkspaceStatus::default()
            });
            match planned(&workspace, references, second) {
                Plan::Sync(plan) => plan.backup,
                other => panic!("{other:?}"),
            }
        };
        let backup = json!({"schedule": "0 * * * *"});
        let with = |more: &Value| {
            let mut spec = json!({ "backup": backup });
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec
        };
        let home = with_home(&json!("v"));
        let awake = planned(&with(&json!({})), &home, 3600).unwrap();
        assert_eq!(awake.trigger, SnapshotTrigger::Schedule);
        for more in [
            json!({"lifecycle": {"state": "Hibernated"}}),
            json!({"podOverrides": {"spec": {"hostNetwork": true}}}),
        ] {
            let same = planned(&with(&more), &home, 9000).unwrap();
            assert_eq!(same.desired, awake.desired, "one for each time");
        }
        assert_eq!(planned(&with(&json!({})), &home, 3599), None, "it has not come");
        assert_eq!(
            planned(&with(&json!({})), &with_home(&json!(null)), 3600),
            None,
            "nothing to save"
        );
        assert_eq!(planned(&json!({}), &home, 3600), None, "nobody asks for it");
        let over = with(&json!({"lifecycle": {"maxLifetime": "1h"}}));
        assert_eq!(planned(&over, &home, 3600), None, "it is saved by onExpire");
    }

    #[test]
    fn a_backup_at_deletion_needs_the_finalizer_and_a_home_that_stays_until_then() {
        for reclaim in ["Retain", "Delete"] {
            let workspace = workspace(&json!({"storage": {"reclaim": reclaim}, "backup": {"onDelete": true}}));
            let Plan::Sync(plan) = planned(&workspace, &references(), 5) else {
                panic!("it is not being deleted")
            };
            assert_eq!(plan.finalizer, Some(true), "{reclaim}");
            assert!(!super::super::validate::goes_along(&workspace.spec), "{reclaim}");
        }
    }

    #[test]
    fn a_cluster_without_snapshots_refuses_one() {
        let without = References {
            snapshot_api: SnapshotApi::Missing,
            ..with_home(&json!("v"))
        };
        let spec = json!({"lifecycle": {"maxLifetime": "1s"}, "storage": {"reclaim": "Snapshot"}});
        let Followup::Expire(Some(snapshot)) = synced(&spec, &without, 5).then else {
            panic!("no snapshot is planned")
        };
        assert!(matches!(snapshot.seen, SnapshotProgress::Refused(said) if said.contains("snapshot.storage.k8s.io")));
        let unlisted = References {
            snapshot_api: SnapshotApi::Unlisted,
            ..without
        };
        let Followup::Expire(Some(snapshot)) = synced(&spec, &unlisted, 5).then else {
            panic!("no snapshot is planned")
        };
        assert_eq!(snapshot.seen, SnapshotProgress::Unlisted, "there may be one");
    }
}
