//! Snapshots of the home by schedule.
//!
//! The time of the next one is in the status before it comes, so a schedule that is set or changed makes up for no time before that, and a
//! controller that did not run takes one snapshot for all times that it missed. While that is not ready the time stays: the driver tries again by
//! itself, and one that fails for days leaves one snapshot and no heap of them.

use jiff::Timestamp;
use novasphere_crd::VncWorkspace;

use super::{
    snapshots::{PendingSnapshot, SnapshotProgress},
    validate::backup_schedule,
};

/// The time of the schedule that the status has told and that has come.
#[must_use]
pub fn due(workspace: &VncWorkspace, now: Timestamp) -> Option<Timestamp> {
    // Without a schedule, or with one that cannot be read, none is taken.
    backup_schedule(&workspace.spec).ok()??;
    told(workspace).filter(|told| *told <= now)
}

/// The time to tell: the one that has come while its snapshot `taken` is not ready, else the next one.
#[must_use]
pub fn next(workspace: &VncWorkspace, taken: Option<&PendingSnapshot>, now: Timestamp) -> Option<Timestamp> {
    if workspace.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let schedule = match backup_schedule(&workspace.spec) {
        Ok(schedule) => schedule?,
        // It may be corrected.
        Err(_) => return told(workspace),
    };
    let is_waited_for = taken.is_some_and(|taken| taken.progress != SnapshotProgress::Ready);
    match due(workspace, now).filter(|_| is_waited_for) {
        Some(due) => Some(due),
        None => schedule.next(now),
    }
}

fn told(workspace: &VncWorkspace) -> Option<Timestamp> {
    Some(workspace.status.as_ref()?.next_backup_at.as_ref()?.0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use novasphere_crd::VncWorkspaceStatus;
    use serde_json::{Value, json};

    use super::{
        super::{
            samples::{at, workspace},
            snapshots::SnapshotTrigger,
        },
        *,
    };

    /// A workspace with this backup, whose status tells this second.
    fn told(backup: &Value, second: Option<i64>) -> VncWorkspace {
        let mut workspace = workspace(&json!({ "backup": backup }));
        workspace.status = Some(VncWorkspaceStatus {
            next_backup_at: second.map(|second| Time(at(second))),
            ..VncWorkspaceStatus::default()
        });
        workspace
    }

    fn taken(progress: SnapshotProgress) -> PendingSnapshot {
        PendingSnapshot {
            name: "alice-backup-1".to_owned(),
            trigger: SnapshotTrigger::Schedule,
            progress,
        }
    }

    const HOUR: i64 = 3600;

    /// The samples begin at 8:00.
    fn hourly() -> Value {
        json!({"schedule": "0 * * * *"})
    }

    #[test]
    fn a_time_is_told_before_it_comes_and_none_is_made_up_for_before_that() {
        let new = told(&hourly(), None);
        assert_eq!(due(&new, at(5 * HOUR)), None, "the schedule was set now");
        assert_eq!(next(&new, None, at(5 * HOUR + 1)), Some(at(6 * HOUR)));
        let waiting = told(&hourly(), Some(HOUR));
        assert_eq!(due(&waiting, at(HOUR - 1)), None);
        assert_eq!(next(&waiting, None, at(HOUR - 1)), Some(at(HOUR)), "and it stays told");
        assert_eq!(due(&waiting, at(HOUR)), Some(at(HOUR)));
    }

    #[test]
    fn times_that_were_missed_are_one_snapshot() {
        let missed = told(&hourly(), Some(HOUR));
        assert_eq!(due(&missed, at(9 * HOUR + 7)), Some(at(HOUR)));
        let ready = taken(SnapshotProgress::Ready);
        assert_eq!(next(&missed, Some(&ready), at(9 * HOUR + 7)), Some(at(10 * HOUR)));
        assert_eq!(
            next(&missed, None, at(9 * HOUR + 7)),
            Some(at(10 * HOUR)),
            "nothing to save"
        );
    }

    #[test]
    fn a_snapshot_that_is_not_ready_is_waited_for() {
        let due_since = told(&hourly(), Some(HOUR));
        for progress in [
            SnapshotProgress::Missing,
            SnapshotProgress::Ending,
            SnapshotProgress::Unlisted,
            SnapshotProgress::Underway,
            SnapshotProgress::Refused("no".to_owned()),
            SnapshotProgress::Failed("no space".to_owned()),
        ] {
            assert_eq!(
                next(&due_since, Some(&taken(progress)), at(3 * HOUR)),
                Some(at(HOUR)),
                "one at a time"
            );
        }
    }

    #[test]
    fn a_schedule_that_changes_or_goes_counts_from_then_on() {
        let daily = told(
            &json!({"schedule": "0 3 * * *", "timeZone": "Europe/Berlin"}),
            Some(HOUR),
        );
        assert_eq!(
            next(&daily, None, at(HOUR - 1)),
            Some(at(18 * HOUR)),
            "2:00 of the next day in UTC"
        );
        let none = told(&json!({}), Some(HOUR));
        assert_eq!(
            (due(&none, at(2 * HOUR)), next(&none, None, at(2 * HOUR))),
            (None, None)
        );
        let malformed = told(&json!({"schedule": "61 * * * *"}), Some(HOUR));
        assert_eq!(due(&malformed, at(2 * HOUR)), None);
        assert_eq!(
            next(&malformed, None, at(2 * HOUR)),
            Some(at(HOUR)),
            "it may be corrected"
        );
        let mut going = told(&hourly(), Some(HOUR));
        going.metadata.deletion_timestamp = Some(Time(at(0)));
        assert_eq!(next(&going, None, at(5)), None);
    }
}
