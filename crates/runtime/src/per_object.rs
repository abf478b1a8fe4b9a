//! What this process remembers of each object, beside what the cluster has.
//!
//! Such memory is lost with the process, so nothing may depend on it for being right: it saves writes and paces retries.

use std::collections::HashMap;

/// A map from the UIDs of objects. What is no longer needed is dropped while others are added, so the map needs no events of deletion.
#[derive(Debug)]
pub struct PerObject<T> {
    entries: HashMap<String, T>,
    /// The number of entries at which the next insertion prunes.
    prune_at: usize,
}

impl<T> Default for PerObject<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            prune_at: 0,
        }
    }
}

impl<T> PerObject<T> {
    /// The entry of an object. One that has expired may still be there: the caller compares times.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&T> {
        self.entries.get(uid)
    }

    /// Sets the entry of an object, and now and then drops those for which `exists` is false: whenever the map has doubled since that
    /// was last done, so that it costs the same per insertion however large the map is.
    pub fn insert(&mut self, uid: &str, value: T, exists: impl Fn(&str, &T) -> bool) {
        if self.entries.len() > self.prune_at {
            self.prune(exists);
        }
        self.entries.insert(uid.to_owned(), value);
    }

    /// Drops the entry of an object.
    pub fn remove(&mut self, uid: &str) -> Option<T> {
        self.entries.remove(uid)
    }

    /// Drops all entries for which `exists` is false.
    pub fn prune(&mut self, exists: impl Fn(&str, &T) -> bool) {
        self.entries.retain(|uid, value| exists(uid, value));
        self.prune_at = self.entries.len().saturating_mul(2);
    }

    /// All entries with their UIDs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries.iter().map(|(uid, value)| (uid.as_str(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(map: &PerObject<u32>) -> Vec<&str> {
        let mut uids: Vec<_> = map.iter().map(|(uid, _)| uid).collect();
        uids.sort_unstable();
        uids
    }

    #[test]
    fn objects_that_are_gone_are_dropped_while_others_come() {
        let mut map = PerObject::default();
        map.insert("a", 1, |_, _| true);
        assert_eq!(map.get("a"), Some(&1));
        map.insert("b", 2, |uid, _| uid != "a");
        assert_eq!(uids(&map), ["b"]);
        map.insert("b", 3, |_, _| true);
        assert_eq!(map.remove("b"), Some(3));
        assert_eq!(map.get("b"), None);
    }

    #[test]
    fn pruning_is_rare_in_a_map_that_is_large() {
        let mut map = PerObject::default();
        let asked = std::cell::Cell::new(0_u32);
        for number in 0..1000_u32 {
            map.insert(&number.to_string(), number, |_, _| {
                asked.set(asked.get() + 1);
                true
            });
        }
        assert_eq!(map.iter().count(), 1000);
        assert!(
            asked.get() < 2000,
            "each entry is looked at about once: {}",
            asked.get()
        );
        map.prune(|_, value| *value < 10);
        assert_eq!(map.iter().count(), 10);
    }
}
