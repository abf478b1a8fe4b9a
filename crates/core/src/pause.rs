//! A person stops what the controller does to one object, or to all: it writes nothing but the condition that says so.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use novasphere_crd::condition::PAUSED;
use strum::{EnumIter, IntoStaticStr};

use crate::{
    condition::{NewCondition, conditions, find},
    transition::EventNote,
};

/// The annotation that pauses an object. Its value is `true`; any other one pauses nothing.
pub const KEY_PAUSED: &str = "novasphere.io/paused";

/// What paused an object: the reason of its condition `Paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, IntoStaticStr)]
pub enum Pause {
    /// Its annotation [`KEY_PAUSED`].
    PausedByAnnotation,
    /// The controller's configuration.
    PausedByConfiguration,
}

impl Pause {
    const fn sentence(self) -> &'static str {
        match self {
            Self::PausedByAnnotation => {
                "The annotation novasphere.io/paused is true: the controller writes nothing for this object. Remove the annotation to go on."
            }
            Self::PausedByConfiguration => {
                "The controller is paused by controller.paused of its configuration: it writes nothing for any object. Set that to false to go \
                 on."
            }
        }
    }
}

/// Whether an object is paused, and by what. Its annotation comes first, as it stays when the controller goes on.
#[must_use]
pub fn pause_of(metadata: &ObjectMeta, is_controller_paused: bool) -> Option<Pause> {
    let annotation = metadata.annotations.as_ref().and_then(|all| all.get(KEY_PAUSED));
    if annotation.is_some_and(|value| value == "true") {
        Some(Pause::PausedByAnnotation)
    } else {
        is_controller_paused.then_some(Pause::PausedByConfiguration)
    }
}

/// The conditions of a paused object, which stay as they are beside the one that says so, and the event that goes with it. `None` when
/// `old` says so already. `meanwhile` is what the pause means for the kind.
#[must_use]
pub fn paused_conditions(
    old: &[Condition],
    pause: Pause,
    meanwhile: &str,
    now: Timestamp,
) -> Option<(Vec<Condition>, EventNote)> {
    let reason: &'static str = pause.into();
    if find(old, PAUSED).is_some_and(|paused| paused.status == "True" && paused.reason == reason) {
        return None;
    }
    let message = format!("{} {meanwhile}", pause.sentence());
    let finding = NewCondition::new_true(PAUSED, reason, message.as_str());
    // Without a generation: a spec that changes meanwhile is not looked at, and so is no reason for a write.
    let new = conditions(vec![finding], None, old, now);
    let others = old.iter().filter(|condition| condition.type_ != PAUSED).cloned();
    Some((others.chain(new).collect(), EventNote::normal("Paused", message)))
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn annotated(value: &str) -> ObjectMeta {
        ObjectMeta {
            annotations: Some([(KEY_PAUSED.to_owned(), value.to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn only_the_word_true_pauses() {
        assert_eq!(pause_of(&annotated("true"), false), Some(Pause::PausedByAnnotation));
        assert_eq!(pause_of(&annotated("true"), true), Some(Pause::PausedByAnnotation));
        for value in ["false", "", "yes", "True"] {
            assert_eq!(pause_of(&annotated(value), false), None, "{value}");
        }
        assert_eq!(
            pause_of(&ObjectMeta::default(), true),
            Some(Pause::PausedByConfiguration)
        );
        assert_eq!(pause_of(&ObjectMeta::default(), false), None);
    }

    #[test]
    fn it_is_said_once_and_beside_what_was_said_before() {
        let before = conditions(
            vec![NewCondition::new_true("Ready", "Running", "It runs.")],
            Some(1),
            &[],
            at(1),
        );
        for pause in Pause::iter() {
            let (paused, event) = paused_conditions(&before, pause, "It waits.", at(2)).unwrap();
            assert_eq!(paused[0], before[0]);
            assert_eq!(
                (
                    paused[1].type_.as_str(),
                    paused[1].reason.as_str(),
                    paused[1].observed_generation
                ),
                (PAUSED, pause.into(), None)
            );
            assert!(paused[1].message.ends_with("It waits."));
            assert_eq!((event.reason.as_str(), &event.message), ("Paused", &paused[1].message));
            assert_eq!(paused_conditions(&paused, pause, "It waits.", at(9)), None);
        }
    }
}
