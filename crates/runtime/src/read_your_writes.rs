//! Lets a reconcile see its own writes before its watch cache does.
//!
//! A watch cache trails the writes of the process that reads it. A reconcile that runs in that gap
//! compares with the object as it was before the write and writes again. client-go's controllers
//! answer with "expectations" (`pkg/controller/controller_utils.go` in kubernetes/kubernetes); here
//! the answer of the API server itself is kept until the cache has caught up.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Resource,
    runtime::reflector::{Lookup, ObjectRef},
};
use parking_lot::Mutex;

/// How long a write is believed over the cache. A cache that lags for longer has lost its watch, and
/// the next list tells the truth; until then a second write with the same content does no harm.
pub const MAX_LAG: Duration = Duration::from_secs(30);

enum Write<K> {
    Object(Arc<K>),
    /// The UID that was deleted.
    Deletion(String),
}

/// The latest writes of this process to objects of one kind that its watch cache has not shown yet.
///
/// An entry leaves when the cache shows the write or something newer, when the object's deletion is
/// seen, when a list has ended that began after it, or after 30 s, so the map is bounded by what is
/// written in a minute.
pub struct ReadYourWrites<K>
where
    K: Lookup + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    writes: Mutex<Writes<K>>,
}

struct Writes<K>
where
    K: Lookup + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    entries: HashMap<ObjectRef<K>, (Write<K>, Instant)>,
    swept_at: Option<Instant>,
}

impl<K> Default for ReadYourWrites<K>
where
    K: Lookup + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    fn default() -> Self {
        Self {
            writes: Mutex::new(Writes {
                entries: HashMap::new(),
                swept_at: None,
            }),
        }
    }
}

impl<K> ReadYourWrites<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
{
    /// Remembers what the API server answered to a write, or to a read. An answer that is older than one that is remembered changes
    /// nothing: it was overtaken.
    pub fn written(&self, object: K, now: Instant) {
        let key = ObjectRef::from_obj(&object);
        let was_overtaken = self.lock().entries.get(&key).is_some_and(|(known, at)| {
            let Write::Object(known) = known else { return false };
            let is_newer = known.meta().uid == object.meta().uid && is_older(Some(&object), known.as_ref());
            is_newer && now.saturating_duration_since(*at) <= MAX_LAG
        });
        if !was_overtaken {
            self.insert(key, Write::Object(Arc::new(object)), now);
        }
    }

    /// Remembers that the object with this UID was deleted.
    pub fn deleted(&self, object: &K, now: Instant) {
        let uid = object.meta().uid.clone().unwrap_or_default();
        self.insert(ObjectRef::from_obj(object), Write::Deletion(uid), now);
    }

    /// To be called for each deletion that the watch reports, so that a deleted object is not
    /// answered from here.
    pub fn observed_deletion(&self, key: &ObjectRef<K>) {
        self.lock().entries.remove(key);
    }

    /// To be called when a list has ended that was asked for at `began` or later: it shows what was
    /// written before, unless that is gone again. kube's watcher lists with no resource version, so the
    /// answer is never older than the question (Kubernetes API concepts, "Resource versions").
    pub fn listed(&self, began: Instant) {
        self.lock().entries.retain(|_, (_, at)| *at > began);
    }

    /// The newer one of `cached` and of what this process wrote itself.
    pub fn read(&self, key: &ObjectRef<K>, cached: Option<Arc<K>>, now: Instant) -> Option<Arc<K>> {
        let mut writes = self.lock();
        let Some((write, at)) = writes.entries.get(key) else {
            return cached;
        };
        let expired = now.saturating_duration_since(*at) > MAX_LAG;
        let answer = match write {
            Write::Object(object) if !expired && is_older(cached.as_deref(), object.as_ref()) => {
                return Some(Arc::clone(object));
            }
            Write::Deletion(uid) if !expired => match cached {
                Some(live) if live.meta().uid.as_ref() == Some(uid) => return None,
                other => other,
            },
            Write::Object(_) | Write::Deletion(_) => cached,
        };
        writes.entries.remove(key);
        answer
    }

    /// Whether a write to this object has not been seen in the cache. The caller looks again after
    /// [`MAX_LAG`], because no watch event may come any more.
    #[must_use]
    pub fn is_pending(&self, key: &ObjectRef<K>) -> bool {
        self.lock().entries.contains_key(key)
    }

    fn insert(&self, key: ObjectRef<K>, write: Write<K>, now: Instant) {
        let mut writes = self.lock();
        let sweep_is_due = writes
            .swept_at
            .is_none_or(|at| now.saturating_duration_since(at) > MAX_LAG);
        if sweep_is_due {
            writes
                .entries
                .retain(|_, (_, at)| now.saturating_duration_since(*at) <= MAX_LAG);
            writes.swept_at = Some(now);
        }
        writes.entries.insert(key, (write, now));
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Writes<K>> {
        self.writes.lock()
    }
}

/// Resource versions of one kind may be compared as integers (Kubernetes API concepts, "Comparing
/// resource versions", since 1.35; etcd's revisions have always been integers).
pub(crate) fn is_older<K: Resource>(cached: Option<&K>, written: &K) -> bool {
    let version = |object: &K| {
        object
            .meta()
            .resource_version
            .as_ref()
            .and_then(|v| v.parse::<u64>().ok())
    };
    match (cached.and_then(version), version(written)) {
        (Some(cached), Some(written)) => cached < written,
        (None, _) => cached.is_none(),
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn config_map(uid: &str, version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some("a".into());
        object.metadata.namespace = Some("ns".into());
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(version.into());
        object
    }

    fn read(writes: &ReadYourWrites<ConfigMap>, cached: Option<&ConfigMap>, now: Instant) -> Option<String> {
        let key = ObjectRef::new("a").within("ns");
        writes
            .read(&key, cached.cloned().map(Arc::new), now)
            .and_then(|object| object.metadata.resource_version.clone())
    }

    #[test]
    fn an_answer_that_was_overtaken_changes_nothing() {
        let writes = ReadYourWrites::default();
        let now = Instant::now();
        writes.written(config_map("u", "10"), now);
        writes.written(config_map("u", "8"), now);
        assert_eq!(read(&writes, Some(&config_map("u", "7")), now).as_deref(), Some("10"));
        writes.written(config_map("v", "9"), now);
        assert_eq!(
            read(&writes, Some(&config_map("u", "7")), now).as_deref(),
            Some("9"),
            "another object"
        );
    }

    #[test]
    fn a_write_is_seen_until_the_cache_has_it() {
        let writes = ReadYourWrites::default();
        let now = Instant::now();
        writes.written(config_map("u", "10"), now);

        assert_eq!(read(&writes, None, now).as_deref(), Some("10"));
        assert_eq!(read(&writes, Some(&config_map("u", "9")), now).as_deref(), Some("10"));
        assert_eq!(read(&writes, Some(&config_map("u", "12")), now).as_deref(), Some("12"));
        assert_eq!(read(&writes, None, now), None, "the entry has left");
    }

    #[test]
    fn a_write_is_not_believed_for_ever() {
        let writes = ReadYourWrites::default();
        let now = Instant::now();
        writes.written(config_map("u", "10"), now);
        let later = now + MAX_LAG + Duration::from_millis(1);
        assert_eq!(read(&writes, None, later), None);
    }

    #[test]
    fn a_deleted_object_is_gone_at_once_and_its_successor_is_seen() {
        let writes = ReadYourWrites::default();
        let now = Instant::now();
        let old = config_map("old", "10");
        writes.deleted(&old, now);
        assert_eq!(read(&writes, Some(&old), now), None);
        assert_eq!(
            read(&writes, Some(&config_map("new", "12")), now).as_deref(),
            Some("12")
        );
    }

    #[test]
    fn a_list_ends_the_belief_in_what_was_written_before_it() {
        let writes = ReadYourWrites::default();
        let began = Instant::now();
        let later = began + Duration::from_millis(1);
        writes.written(config_map("u", "10"), began);
        writes.listed(began);
        assert_eq!(read(&writes, None, later), None);
        writes.written(config_map("u", "11"), later);
        writes.listed(began);
        assert_eq!(read(&writes, None, later).as_deref(), Some("11"));
    }

    #[test]
    fn an_observed_deletion_ends_the_belief() {
        let writes = ReadYourWrites::default();
        let now = Instant::now();
        let object = config_map("u", "10");
        writes.written(object.clone(), now);
        writes.observed_deletion(&ObjectRef::from_obj(&object));
        assert_eq!(read(&writes, None, now), None);
    }
}
