//! The last input that was seen of each workspace.

use jiff::Timestamp;
use novasphere_runtime::per_object::PerObject;
use parking_lot::Mutex;

/// The last input that was seen of each workspace. The status trails behind it, and a session that is deleted takes its own
/// record along.
#[derive(Default)]
pub(crate) struct LastInputs {
    last: Mutex<PerObject<Timestamp>>,
}

impl LastInputs {
    /// Takes in an input and returns the newest that is known. `exists` says whether there is a workspace with a key of
    /// [`owner_key`](novasphere_core::label::owner_key).
    pub(super) fn record(
        &self,
        key: &str,
        seen: Option<Timestamp>,
        exists: impl Fn(&str) -> bool,
    ) -> Option<Timestamp> {
        let mut last = self.last.lock();
        let known = last.get(key).copied();
        let newest = known.max(seen)?;
        if known != Some(newest) {
            last.insert(key, newest, |key, _| exists(key));
        }
        Some(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_input_is_known_as_long_as_its_workspace() {
        let at = |second| Timestamp::from_second(second).ok();
        let inputs = LastInputs::default();
        assert_eq!(inputs.record("a", None, |_| true), None);
        assert_eq!(inputs.record("a", at(5), |_| true), at(5));
        assert_eq!(inputs.record("a", at(3), |_| true), at(5));
        assert_eq!(inputs.record("a", None, |_| true), at(5));
        for uid in ["b", "c", "d"] {
            inputs.record(uid, at(1), |uid| uid != "a");
        }
        assert_eq!(inputs.record("a", None, |_| true), None, "its workspace has gone");
        assert_eq!(inputs.record("d", None, |_| true), at(1));
    }
}
