//! Differences that the server makes of every apply: its normalization.

use std::collections::HashMap;

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};

use super::{diff::Difference, document};

/// Objects that are remembered. What does not fit costs one write per reconcile, which changes nothing.
const OBJECTS_LIMIT: usize = 20_000;

/// Remembers, per object, which differences were left right after our own apply.
///
/// No list of rules knows every normalisation of every webhook. What the server answered to an apply is what it made of it, so
/// as long as the same differences are there the same apply would not change them: without this memory an unknown
/// normalisation would be one write for every reconcile.
#[derive(Debug, Default)]
pub(super) struct ServerNormalization {
    /// UID to a fingerprint of what was desired and what differed.
    fingerprints: Mutex<HashMap<String, String>>,
}

impl ServerNormalization {
    /// Notes what differs between `desired` and the answer to its apply.
    pub(super) fn applied(&self, uid: &str, desired: &Value, differences: &[Difference<'_>]) {
        let mut fingerprints = self.lock();
        if differences.is_empty() {
            fingerprints.remove(uid);
        } else if fingerprints.len() < OBJECTS_LIMIT || fingerprints.contains_key(uid) {
            fingerprints.insert(uid.to_owned(), fingerprint(desired, differences));
        }
    }

    /// Whether these are the differences that an apply of `desired` has left.
    pub(super) fn is_known(&self, uid: &str, desired: &Value, differences: &[Difference<'_>]) -> bool {
        self.lock()
            .get(uid)
            .is_some_and(|known| *known == fingerprint(desired, differences))
    }

    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.fingerprints.lock()
    }
}

fn fingerprint(desired: &Value, differences: &[Difference<'_>]) -> String {
    let left: Vec<_> = differences
        .iter()
        .map(|difference| json!([difference.path, difference.live]))
        .collect();
    document::hash(&json!([desired, left]))
}
