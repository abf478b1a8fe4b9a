//! How a workspace that is being deleted ends.

use std::time::Duration;

use jiff::Timestamp;
use novasphere_crd::ReclaimPolicy;

use super::{
    plan::{SnapshotPlan, Snapshots},
    snapshots::{PendingSnapshot, SnapshotProgress, SnapshotTrigger},
    validate::snapshot_policy,
};
use crate::{time::after, transition::EventNote};

/// How long a deletion waits for the snapshot that `backup.onDelete` asks for, from when that was asked for.
pub const BACKUP_ON_DELETE_TIMEOUT: Duration = Duration::from_mins(10);

/// How a workspace that is being deleted ends: its Pod, then the snapshot, then the home, then the finalizer.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletionPlan {
    /// The snapshot that has to be ready before the home goes, when the home holds anything.
    pub snapshot: Option<SnapshotPlan>,
    /// Whether the home goes, too.
    pub deletes_home: bool,
    /// When the workspace goes without its snapshot, and leaves its home.
    pub gives_up_at: Option<Timestamp>,
}

impl DeletionPlan {
    /// Whether a snapshot that is not ready is waited for no longer. One that was only asked for now has its time.
    #[must_use]
    pub fn gives_up(&self, taken: &PendingSnapshot, now: Timestamp) -> bool {
        let was_missing = self
            .snapshot
            .as_ref()
            .is_some_and(|snapshot| snapshot.seen == SnapshotProgress::Missing);
        let is_new = was_missing && taken.progress == SnapshotProgress::Underway;
        !is_new && self.gives_up_at.is_some_and(|at| at <= now)
    }
}

/// Plans the end of a workspace that waits for us.
pub(super) fn plan(snapshots: &Snapshots<'_>, now: Timestamp) -> DeletionPlan {
    let spec = &snapshots.workspace.spec;
    let reclaim = spec.storage.reclaim;
    let trigger = match reclaim {
        ReclaimPolicy::Snapshot => Some(SnapshotTrigger::Deletion),
        ReclaimPolicy::Retain | ReclaimPolicy::Delete => snapshot_policy(spec)
            .on_delete
            .then_some(SnapshotTrigger::BackupOnDelete),
    };
    let snapshot = trigger.map(|trigger| snapshots.last(trigger, now));
    let bounded = snapshot
        .as_ref()
        .filter(|snapshot| snapshot.trigger == SnapshotTrigger::BackupOnDelete);
    let since = bounded.and_then(|snapshot| {
        let deleted = snapshots.workspace.metadata.deletion_timestamp.as_ref();
        snapshots
            .asked_for(&snapshot.desired)
            .max(deleted.map(|deleted| deleted.0))
    });
    DeletionPlan {
        gives_up_at: since.map(|since| after(since, BACKUP_ON_DELETE_TIMEOUT)),
        snapshot,
        deletes_home: reclaim != ReclaimPolicy::Retain,
    }
}

/// What is told when a workspace goes without the snapshot that was asked for.
#[must_use]
pub fn given_up(taken: &PendingSnapshot, home: &str) -> EventNote {
    let why = match &taken.progress {
        SnapshotProgress::Refused(said) | SnapshotProgress::Failed(said) => said.as_str(),
        SnapshotProgress::Missing
        | SnapshotProgress::Ending
        | SnapshotProgress::Unlisted
        | SnapshotProgress::Underway
        | SnapshotProgress::Ready => "it was not ready in time",
    };
    EventNote::warning(
        "SnapshotFailed",
        format!(
            "The workspace goes without the snapshot {} that spec.backup.onDelete asks for: {why}. Its home {home} is kept with all data; name \
             it in spec.storage.restoreFrom.persistentVolumeClaimName of another workspace, or delete it.",
            taken.name
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::{
        super::{
            FINALIZER,
            plan::{self, Plan},
            references::References,
            samples::{at, references, workspace},
        },
        *,
    };

    /// The plan for a workspace that was deleted at second 3. The snapshot was made at `made`, when it was.
    fn planned(reclaim: &str, made: Option<i64>, now: i64) -> DeletionPlan {
        let mut workspace = workspace(&json!({"storage": {"reclaim": reclaim}, "backup": {"onDelete": true}}));
        workspace.metadata.deletion_timestamp = Some(Time(at(3)));
        workspace.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        let of = |references: &References| match plan::plan(&workspace, references, None, at(now)) {
            Plan::Delete(plan) => plan,
            other => panic!("{other:?}"),
        };
        let before = of(&references());
        let Some(made) = made else { return before };
        let mut snapshot = before.snapshot.unwrap().desired;
        snapshot.metadata.creation_timestamp = Some(Time(at(made)));
        of(&References {
            snapshots: vec![Arc::new(snapshot)],
            ..references()
        })
    }

    fn stands(plan: &DeletionPlan, progress: SnapshotProgress) -> PendingSnapshot {
        PendingSnapshot {
            name: "alice-last-1".to_owned(),
            trigger: plan.snapshot.as_ref().unwrap().trigger,
            progress,
        }
    }

    #[test]
    fn a_backup_at_deletion_is_waited_for_for_a_bounded_time() {
        for (reclaim, deletes_home) in [("Retain", false), ("Delete", true)] {
            let plan = planned(reclaim, None, 5);
            assert_eq!(plan.deletes_home, deletes_home);
            assert_eq!(plan.gives_up_at, Some(at(603)), "from the deletion on");
            let trigger = plan.snapshot.as_ref().map(|snapshot| snapshot.trigger);
            assert_eq!(trigger, Some(SnapshotTrigger::BackupOnDelete));
            // Its Pod took long to end: it is asked for now.
            let late = stands(&plan, SnapshotProgress::Underway);
            assert!(!plan.gives_up(&late, at(5000)));
            let refused = stands(&plan, SnapshotProgress::Refused("no".to_owned()));
            assert!(!plan.gives_up(&refused, at(602)) && plan.gives_up(&refused, at(603)));
            let plan = planned(reclaim, Some(5000), 5001);
            assert_eq!(plan.gives_up_at, Some(at(5600)), "from when it was asked for");
            for progress in [
                SnapshotProgress::Underway,
                SnapshotProgress::Failed("no space".to_owned()),
            ] {
                let taken = stands(&plan, progress);
                assert!(!plan.gives_up(&taken, at(5599)) && plan.gives_up(&taken, at(5600)));
            }
        }
    }

    #[test]
    fn who_asks_for_a_snapshot_in_place_of_the_home_waits_until_it_is_ready() {
        let plan = planned("Snapshot", None, 5);
        assert_eq!(plan.gives_up_at, None);
        let failed = stands(&plan, SnapshotProgress::Failed("no space".to_owned()));
        assert!(!plan.gives_up(&failed, at(1_000_000)));
    }

    #[test]
    fn what_is_given_up_is_told_with_what_is_left() {
        let plan = planned("Delete", None, 5);
        let note = given_up(
            &stands(&plan, SnapshotProgress::Failed("no space".to_owned())),
            "alice-home",
        );
        assert!(note.is_warning);
        for part in ["alice-last-1", "no space", "Its home alice-home is kept"] {
            assert!(note.message.contains(part), "{}", note.message);
        }
    }
}
