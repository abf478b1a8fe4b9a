//! `metav1.Condition` lists.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Gives `new` its transition times: that of `old` where the status of a type did not change, `now` (cut to whole seconds, as
/// the apiserver keeps them) where it did. What else changes in a condition (reason, message, generation) leaves its time.
#[must_use]
pub fn merge(old: &[Condition], new: Vec<Condition>, now: Timestamp) -> Vec<Condition> {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    new.into_iter()
        .map(|mut condition| {
            let unchanged = old
                .iter()
                .find(|old| old.type_ == condition.type_ && old.status == condition.status);
            condition.last_transition_time = unchanged.map_or(Time(now), |old| old.last_transition_time.clone());
            condition
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn condition(type_: &str, status: &str, reason: &str, second: i64) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            last_transition_time: Time(at(second)),
            message: String::new(),
            observed_generation: Some(1),
        }
    }

    #[test]
    fn the_time_moves_only_with_the_status() {
        let old = [
            condition("Ready", "False", "Starting", 10),
            condition("RoutesReady", "True", "Accepted", 11),
        ];
        let new = vec![
            condition("Ready", "False", "Unschedulable", 0),
            condition("RoutesReady", "False", "EntryPointInUse", 0),
            condition("ServicesReady", "True", "Applied", 0),
        ];
        let now = at(99) + jiff::SignedDuration::from_millis(700);
        let merged = merge(&old, new, now);
        let times: Vec<_> = merged
            .iter()
            .map(|c| (c.reason.as_str(), c.last_transition_time.0))
            .collect();
        assert_eq!(
            times,
            [
                ("Unschedulable", at(10)),
                ("EntryPointInUse", at(99)),
                ("Applied", at(99))
            ]
        );
    }

    #[test]
    fn a_type_that_is_no_longer_stated_is_dropped() {
        assert!(merge(&[condition("Old", "True", "Done", 1)], Vec::new(), at(2)).is_empty());
    }
}
