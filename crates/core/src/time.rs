//! Times as Kubernetes writes them, and their order.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

/// `time` without fractions of a second, which `metav1.Time` does not carry.
#[must_use]
pub fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// `time` as `metav1.Time`.
#[must_use]
pub fn kubernetes_time(time: Timestamp) -> Time {
    Time(whole_second(time))
}

/// `time` plus `duration`, at most the end of representable time.
#[must_use]
pub fn after(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(signed(duration)).unwrap_or(Timestamp::MAX)
}

/// `time` minus `duration`, at least the start of representable time.
#[must_use]
pub fn before(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_sub(signed(duration)).unwrap_or(Timestamp::MIN)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// Sorts objects of one namespace and kind: the oldest first, and those of one second always in the same way.
#[must_use]
pub fn creation_order(meta: &ObjectMeta) -> (Option<Timestamp>, Option<&str>, Option<&str>) {
    let created = meta.creation_timestamp.as_ref().map(|time| time.0);
    (created, meta.name.as_deref(), meta.uid.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stay_within_representable_time() {
        assert_eq!(after(Timestamp::UNIX_EPOCH, Duration::from_secs(5)).as_second(), 5);
        assert_eq!(before(Timestamp::UNIX_EPOCH, Duration::from_secs(5)).as_second(), -5);
        assert_eq!(after(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MAX);
        assert_eq!(before(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MIN);
    }

    #[test]
    fn a_kubernetes_time_has_whole_seconds() {
        let time = Timestamp::new(10, 999_000_000).unwrap();
        assert_eq!(kubernetes_time(time).0, Timestamp::from_second(10).unwrap());
    }

    #[test]
    fn the_older_comes_first_and_then_the_name() {
        let meta = |name: &str, second: i64| ObjectMeta {
            name: Some(name.to_owned()),
            creation_timestamp: Some(kubernetes_time(Timestamp::from_second(second).unwrap())),
            ..ObjectMeta::default()
        };
        let (old, young, twin) = (meta("b", 1), meta("a", 2), meta("c", 2));
        assert!(creation_order(&old) < creation_order(&young));
        assert!(creation_order(&young) < creation_order(&twin));
    }
}
