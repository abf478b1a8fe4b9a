//! Conditions: `metav1.Condition`, written so that kstatus (`kubectl wait`, Argo CD, Flux) reads them right.
//!
//! `Ready` is `True` when everything is as the spec wants it. `Stalled` is only there, as `True`, while nothing will
//! change before a user changes the spec; kstatus then reports a failure rather than waiting for its time-out
//! (`sigs.k8s.io/cli-utils`, `pkg/kstatus/status/generic.go`). What recovers by itself is `Ready=False` alone.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::time::kubernetes_time;

/// The condition type that says that only a change of the spec helps.
pub const STALLED: &str = "Stalled";

/// The longest message that is written; `metav1.Condition` allows 32768 characters, and a terminal much less.
const MESSAGE_LENGTH_LIMIT: usize = 2048;

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It could not be found out.
    Unknown,
}

/// A condition before it is known when its status last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCondition {
    /// The condition's type.
    pub type_: &'static str,
    /// Its status.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, and what to do, in a sentence.
    pub message: String,
}

impl NewCondition {
    /// A condition with status `True`.
    #[must_use]
    pub fn new_true(type_: &'static str, reason: impl Into<&'static str>, message: impl Into<String>) -> Self {
        Self::new(type_, ConditionStatus::True, reason, message)
    }

    /// A condition with status `False`.
    #[must_use]
    pub fn new_false(type_: &'static str, reason: impl Into<&'static str>, message: impl Into<String>) -> Self {
        Self::new(type_, ConditionStatus::False, reason, message)
    }

    /// A condition with status `Unknown`.
    #[must_use]
    pub fn new_unknown(type_: &'static str, reason: impl Into<&'static str>, message: impl Into<String>) -> Self {
        Self::new(type_, ConditionStatus::Unknown, reason, message)
    }

    fn new(
        type_: &'static str,
        status: ConditionStatus,
        reason: impl Into<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            status,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Whether it is `True`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

/// The findings as conditions of an object of `generation`.
///
/// A condition whose status is that of `old` keeps its transition time, the others get `now` in whole seconds, which is
/// all that `metav1.Time` carries. What the apiserver says of an object that is new has no time.
#[must_use]
pub fn conditions(
    findings: Vec<NewCondition>,
    generation: Option<i64>,
    old: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let now = kubernetes_time(now);
    findings
        .into_iter()
        .map(|finding| {
            let status: &'static str = finding.status.into();
            let since = old
                .iter()
                .find(|old| {
                    old.type_ == finding.type_
                        && old.status == status
                        && old.last_transition_time.0 > Timestamp::UNIX_EPOCH
                })
                .map_or_else(|| now.clone(), |old| old.last_transition_time.clone());
            Condition {
                type_: finding.type_.to_owned(),
                status: status.to_owned(),
                reason: finding.reason.to_owned(),
                message: shortened(finding.message),
                last_transition_time: since,
                observed_generation: generation,
            }
        })
        .collect()
}

/// The condition of a type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

fn shortened(message: String) -> String {
    if message.chars().nth(MESSAGE_LENGTH_LIMIT).is_none() {
        return message;
    }
    let start: String = message.chars().take(MESSAGE_LENGTH_LIMIT - 1).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_changes_with_the_status_alone() {
        let first = conditions(
            vec![NewCondition::new_false("Ready", "Starting", "a")],
            Some(1),
            &[],
            at(10),
        );
        let second = conditions(
            vec![NewCondition::new_false("Ready", "ErrImagePull", "b")],
            Some(2),
            &first,
            at(20),
        );
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        assert_eq!(
            (second[0].reason.as_str(), second[0].observed_generation),
            ("ErrImagePull", Some(2))
        );
        let third = conditions(
            vec![NewCondition::new_true("Ready", "Running", "c")],
            Some(2),
            &second,
            at(30),
        );
        assert_eq!(third[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn what_the_apiserver_says_of_a_new_object_has_no_time() {
        let unseen = Condition {
            type_: "Ready".into(),
            status: "Unknown".into(),
            reason: "Pending".into(),
            message: String::new(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        let found = conditions(
            vec![NewCondition::new_unknown("Ready", "X", "")],
            Some(1),
            &[unseen],
            at(10),
        );
        assert_eq!(found[0].last_transition_time, Time(at(10)));
    }

    #[test]
    fn times_are_whole_seconds() {
        let now = Timestamp::new(10, 999_000_000).unwrap();
        let found = conditions(vec![NewCondition::new_unknown("Ready", "X", "")], None, &[], now);
        assert_eq!(found[0].last_transition_time, Time(at(10)));
    }

    #[test]
    fn long_messages_are_cut() {
        let found = conditions(
            vec![NewCondition::new_false("Ready", "X", "ä".repeat(5000))],
            None,
            &[],
            at(0),
        );
        assert_eq!(found[0].message.chars().count(), MESSAGE_LENGTH_LIMIT);
    }
}
