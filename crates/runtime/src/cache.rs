//! A watch cache with one secondary index that also answers this process's own writes.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Instant,
};

use kube::{
    Resource,
    runtime::{
        reflector::{ObjectRef, Store, store::Writer},
        watcher::Event,
    },
};

use crate::read_your_writes::ReadYourWrites;

/// What one watch has seen of one kind.
///
/// `index_key` puts each object under at most one key (for example its owner's UID), so that a
/// look-up by that key does not walk over all objects.
pub struct Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
{
    store: Store<K>,
    writer: Mutex<Writer<K>>,
    own_writes: ReadYourWrites<K>,
    index_key: fn(&K) -> Option<String>,
    index: RwLock<HashMap<String, Vec<Place>>>,
}

/// Where an object is. An [`ObjectRef`] that was made of an object carries its UID and version as well, and a set of one takes
/// a kilobyte: with 10,000 objects of three kinds that was a sixth of all memory.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    namespace: Option<Box<str>>,
    name: Box<str>,
}

impl Place {
    fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.as_deref().map(Box::from),
            name: meta.name.as_deref().unwrap_or_default().into(),
        }
    }

    fn reference<K: Resource<DynamicType = ()>>(&self) -> ObjectRef<K> {
        let reference = ObjectRef::new(&self.name);
        match &self.namespace {
            Some(namespace) => reference.within(namespace),
            None => reference,
        }
    }
}

/// Most objects are alone under their key, so nothing is reserved for a second one.
fn insert(index: &mut HashMap<String, Vec<Place>>, key: String, place: Place) {
    let places = index.entry(key).or_default();
    if !places.contains(&place) {
        places.reserve_exact(1);
        places.push(place);
    }
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
{
    /// An empty cache; [`Cache::observe`] fills it.
    #[must_use]
    pub fn new(index_key: fn(&K) -> Option<String>) -> Self {
        let writer = Writer::default();
        Self {
            store: writer.as_reader(),
            writer: Mutex::new(writer),
            own_writes: ReadYourWrites::default(),
            index_key,
            index: RwLock::default(),
        }
    }

    /// Takes in one event of the watch.
    pub fn observe(&self, event: &Event<K>) {
        match event {
            Event::Apply(object) => self.reindex(object, true),
            Event::Delete(object) => {
                self.own_writes.observed_deletion(object);
                self.reindex(object, false);
            }
            Event::Init | Event::InitApply(_) | Event::InitDone => {}
        }
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .apply_watcher_event(event);
        if matches!(event, Event::InitDone) {
            self.rebuild_index();
        }
    }

    /// The store itself, for kube-runtime's `applier`.
    #[must_use]
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// The newest state known: the watch's or what this process wrote.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let key = ObjectRef::new(name).within(namespace);
        self.newest(&key)
    }

    /// The same, for a kind without a namespace or a key at hand.
    #[must_use]
    pub fn newest(&self, key: &ObjectRef<K>) -> Option<Arc<K>> {
        self.own_writes.read(key, self.store.get(key), Instant::now())
    }

    /// All objects with this index key, newest state each.
    #[must_use]
    pub fn indexed(&self, key: &str) -> Vec<Arc<K>> {
        let refs: Vec<ObjectRef<K>> = self
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .into_iter()
            .flatten()
            .map(Place::reference)
            .collect();
        refs.iter().filter_map(|key| self.newest(key)).collect()
    }

    /// Drops an object that the watch cannot decode any more.
    pub fn forget(&self, namespace: &str, name: &str) {
        if let Some(known) = self.store.get(&ObjectRef::new(name).within(namespace)) {
            self.observe(&Event::Delete(known.as_ref().clone()));
        }
    }

    /// Remembers the API server's answer to a write of this process.
    pub fn written(&self, object: K) {
        self.own_writes.written(object, Instant::now());
    }

    /// Remembers a deletion by this process.
    pub fn deleted(&self, object: &K) {
        self.own_writes.deleted(object, Instant::now());
    }

    /// Whether the watch still has to show a write of this process to that object.
    #[must_use]
    pub fn is_pending(&self, namespace: &str, name: &str) -> bool {
        self.own_writes.is_pending(&ObjectRef::new(name).within(namespace))
    }

    fn reindex(&self, object: &K, present: bool) {
        let place = Place::of(object);
        let before = self
            .store
            .get(&place.reference())
            .and_then(|old| (self.index_key)(&old));
        let after = present.then(|| (self.index_key)(object)).flatten();
        if before == after {
            return;
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = before
            && let Some(places) = index.get_mut(&key)
        {
            places.retain(|other| *other != place);
            if places.is_empty() {
                index.remove(&key);
            }
        }
        if let Some(key) = after {
            insert(&mut index, key, place);
        }
    }

    fn rebuild_index(&self) {
        let mut rebuilt = HashMap::new();
        for object in self.store.state() {
            if let Some(key) = (self.index_key)(&object) {
                insert(&mut rebuilt, key, Place::of(object.as_ref()));
            }
        }
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = rebuilt;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;

    use super::*;

    fn config_map(name: &str, team: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.into());
        object.metadata.namespace = Some("ns".into());
        object.labels_mut().insert("team".into(), team.into());
        object
    }

    fn cache() -> Cache<ConfigMap> {
        Cache::new(|object| object.labels().get("team").cloned())
    }

    fn names(cache: &Cache<ConfigMap>, team: &str) -> Vec<String> {
        let mut names: Vec<_> = cache.indexed(team).iter().map(|o| o.name_any()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_index_follows_the_watch() {
        let cache = cache();
        cache.observe(&Event::Init);
        cache.observe(&Event::InitApply(config_map("a", "x")));
        cache.observe(&Event::InitApply(config_map("b", "x")));
        cache.observe(&Event::InitDone);
        assert_eq!(names(&cache, "x"), ["a", "b"]);

        cache.observe(&Event::Apply(config_map("b", "y")));
        assert_eq!(names(&cache, "x"), ["a"]);
        assert_eq!(names(&cache, "y"), ["b"]);

        cache.observe(&Event::Delete(config_map("a", "x")));
        assert!(names(&cache, "x").is_empty());
    }

    #[test]
    fn what_vanished_while_the_watch_was_down_leaves_the_index() {
        let cache = cache();
        cache.observe(&Event::Apply(config_map("a", "x")));
        cache.observe(&Event::Init);
        cache.observe(&Event::InitApply(config_map("b", "x")));
        cache.observe(&Event::InitDone);
        assert_eq!(names(&cache, "x"), ["b"]);
    }
}
