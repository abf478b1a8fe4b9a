//! The condition of an object that this version cannot read.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use novasphere_crd::condition::READY;

use crate::condition::{NewCondition, conditions};

/// Reason of the condition and of the event.
pub const UNDECODABLE: &str = "Undecodable";

/// `Ready=False/Undecodable`; `None` when `old` says so already.
#[must_use]
pub fn condition(old: &[Condition], generation: Option<i64>, message: &str, now: Timestamp) -> Option<Condition> {
    let new = conditions(
        vec![NewCondition::new_false(READY, UNDECODABLE, message)],
        generation,
        old,
        now,
    )
    .pop()?;
    (!old.contains(&new)).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_once() {
        let made = Timestamp::from_second(1).unwrap();
        let first = condition(&[], Some(1), "unknown variant", made).unwrap();
        assert_eq!((first.status.as_str(), first.reason.as_str()), ("False", UNDECODABLE));
        let later = Timestamp::from_second(60).unwrap();
        assert_eq!(condition(&[first], Some(1), "unknown variant", later), None);
    }
}
