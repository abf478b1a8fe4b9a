//! A watch cache with one secondary index that also answers this process's own writes.

mod kept;

use std::{collections::HashMap, fmt::Debug, sync::Arc, time::Instant};

use kube::{
    Resource,
    runtime::{reflector::ObjectRef, watcher::Event},
};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use self::kept::{Codec, Kept};
use crate::read_your_writes::ReadYourWrites;

/// What one watch has seen of one kind.
///
/// `index_key` puts each object under at most one key (for example its owner's UID), so that a
/// look-up by that key does not walk over all objects.
pub struct Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
{
    known: RwLock<Known<K>>,
    filled: watch::Sender<bool>,
    own_writes: ReadYourWrites<K>,
    index_key: fn(&K) -> Option<String>,
    codec: Option<Codec<K>>,
}

/// What the watch has said, and nothing of what this process wrote.
pub struct Watched<'a, K>(&'a Cache<K>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static;

/// The name of an object, after its namespace and a slash where it has one. An [`ObjectRef`] that was made of an object carries
/// its UID and version as well: with 10,000 objects of three kinds such references were a sixth of all memory.
type Place = Arc<str>;

struct Known<K> {
    objects: HashMap<Place, Entry<K>>,
    index: HashMap<Arc<str>, Vec<Place>>,
    /// How many lists have begun.
    lists: u32,
    /// When the last of them was asked for, at the earliest.
    list_began: Option<Instant>,
}

struct Entry<K> {
    object: Kept<K>,
    index_key: Option<Arc<str>>,
    /// The list that it was last in, or that was the last to begin when it changed.
    list: u32,
}

fn place(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

fn place_of<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let meta = object.meta();
    place(meta.namespace.as_deref(), meta.name.as_deref().unwrap_or_default())
}

fn reference<K: Resource<DynamicType = ()>>(place: &Place) -> ObjectRef<K> {
    match place.split_once('/') {
        Some((namespace, name)) => ObjectRef::new(name).within(namespace),
        None => ObjectRef::new(place),
    }
}

impl<K> Known<K> {
    fn insert(&mut self, place: &str, object: Kept<K>, index_key: Option<String>) {
        let list = self.lists;
        if let Some(entry) = self.objects.get_mut(place)
            && entry.index_key.as_deref() == index_key.as_deref()
        {
            entry.object = object;
            entry.list = list;
            return;
        }
        self.remove(place);
        let place = Place::from(place);
        let index_key = index_key.map(|key| self.enter(&key, &place));
        self.objects.insert(
            place,
            Entry {
                object,
                index_key,
                list,
            },
        );
    }

    /// Most objects are alone under their key, so nothing is reserved for a second one.
    fn enter(&mut self, key: &str, place: &Place) -> Arc<str> {
        let key = match self.index.get_key_value(key) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(key),
        };
        let places = self.index.entry(Arc::clone(&key)).or_default();
        places.reserve_exact(1);
        places.push(Arc::clone(place));
        key
    }

    fn remove(&mut self, place: &str) {
        let Some(entry) = self.objects.remove(place) else {
            return;
        };
        if let Some(key) = entry.index_key
            && let Some(places) = self.index.get_mut(&key)
        {
            places.retain(|other| **other != *place);
            if places.is_empty() {
                self.index.remove(&key);
            }
        }
    }

    /// Ends a list: what was not in it is gone.
    fn end_list(&mut self) {
        let gone: Vec<Place> = self
            .objects
            .iter()
            .filter(|(_, entry)| entry.list != self.lists)
            .map(|(place, _)| Arc::clone(place))
            .collect();
        for place in gone {
            self.remove(&place);
        }
        self.objects.shrink_to_fit();
        self.index.shrink_to_fit();
    }
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
{
    /// An empty cache; [`Cache::observe`] fills it.
    #[must_use]
    pub fn new(index_key: fn(&K) -> Option<String>) -> Self {
        Self {
            known: RwLock::new(Known {
                objects: HashMap::new(),
                index: HashMap::new(),
                lists: 0,
                list_began: None,
            }),
            filled: watch::Sender::new(false),
            own_writes: ReadYourWrites::default(),
            index_key,
            codec: None,
        }
    }

    /// The same for a kind of which there may be many: each object is kept as its JSON, which is a third of what it takes when it
    /// is parsed, and is parsed anew for each reader.
    #[must_use]
    pub fn compact(index_key: fn(&K) -> Option<String>) -> Self
    where
        K: Serialize + DeserializeOwned + PartialEq,
    {
        Self {
            codec: Some(Codec::json()),
            ..Self::new(index_key)
        }
    }

    /// Takes in one event of the watch. What a list shows is seen at once; what it does not show any more, when it ends.
    pub fn observe(&self, event: &Event<K>) {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let (kept, index_key) = (Kept::new(object, self.codec), (self.index_key)(object));
                self.write().insert(&place_of(object), kept, index_key);
            }
            Event::Delete(object) => {
                self.own_writes.observed_deletion(object);
                self.write().remove(&place_of(object));
            }
            Event::Init => {
                let mut known = self.write();
                known.lists = known.lists.wrapping_add(1);
                known.list_began = Some(Instant::now());
            }
            Event::InitDone => {
                let mut known = self.write();
                known.end_list();
                let began = known.list_began;
                drop(known);
                if let Some(began) = began {
                    self.own_writes.listed(began);
                }
                self.filled.send_replace(true);
            }
        }
    }

    /// What the watch has said.
    #[must_use]
    pub fn store(&self) -> Watched<'_, K> {
        Watched(self)
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
        self.own_writes.read(key, self.store().get(key), Instant::now())
    }

    /// All objects with this index key, newest state each.
    #[must_use]
    pub fn indexed(&self, key: &str) -> Vec<Arc<K>> {
        let references = self.references_of(key);
        references.iter().filter_map(|key| self.newest(key)).collect()
    }

    /// References to all objects with this index key, which carry neither UID nor version.
    #[must_use]
    pub fn references_of(&self, key: &str) -> Vec<ObjectRef<K>> {
        self.read()
            .index
            .get(key)
            .into_iter()
            .flatten()
            .map(reference)
            .collect()
    }

    /// References to all objects, which carry neither UID nor version.
    #[must_use]
    pub fn references(&self) -> Vec<ObjectRef<K>> {
        self.read().objects.keys().map(reference).collect()
    }

    /// Drops an object that the watch cannot decode any more.
    pub fn forget(&self, namespace: &str, name: &str) {
        if let Some(known) = self.store().get(&ObjectRef::new(name).within(namespace)) {
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

    fn read(&self) -> RwLockReadGuard<'_, Known<K>> {
        self.known.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known<K>> {
        self.known.write()
    }
}

impl<K> Watched<'_, K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
{
    /// One object.
    #[must_use]
    pub fn get(&self, key: &ObjectRef<K>) -> Option<Arc<K>> {
        let known = self.0.read();
        known
            .objects
            .get(place(key.namespace.as_deref(), &key.name).as_str())?
            .object
            .get()
    }

    /// All objects.
    #[must_use]
    pub fn state(&self) -> Vec<Arc<K>> {
        self.0
            .read()
            .objects
            .values()
            .filter_map(|entry| entry.object.get())
            .collect()
    }

    /// Returns when the first list has ended.
    pub async fn wait_until_ready(&self) {
        // The cache holds the sender, so the channel does not close.
        let _ = self.0.filled.subscribe().wait_for(|filled| *filled).await;
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
    fn a_compact_cache_answers_the_same() {
        let cache = Cache::<ConfigMap>::compact(|object| object.labels().get("team").cloned());
        cache.observe(&Event::Apply(config_map("a", "x")));
        cache.observe(&Event::Apply(config_map("b", "x")));
        assert_eq!(names(&cache, "x"), ["a", "b"]);
        assert_eq!(*cache.get("ns", "a").unwrap(), config_map("a", "x"));
        let mut references: Vec<_> = cache.references().iter().map(ToString::to_string).collect();
        references.sort();
        assert_eq!(references, ["ConfigMap.v1./a.ns", "ConfigMap.v1./b.ns"]);
        assert_eq!(cache.references_of("x").len(), 2);
        cache.forget("ns", "a");
        assert!(cache.get("ns", "a").is_none());
        assert_eq!(names(&cache, "x"), ["b"]);
    }

    #[tokio::test]
    async fn it_is_filled_when_the_first_list_has_ended() {
        let cache = cache();
        cache.observe(&Event::Init);
        cache.observe(&Event::InitApply(config_map("a", "x")));
        assert!(futures::poll!(std::pin::pin!(cache.store().wait_until_ready())).is_pending());
        cache.observe(&Event::InitDone);
        cache.store().wait_until_ready().await;
    }

    #[test]
    fn an_own_write_is_not_believed_over_a_list_that_began_after_it() {
        let cache = cache();
        let mut seen = config_map("a", "x");
        seen.metadata.resource_version = Some("6".into());
        cache.observe(&Event::Apply(seen));
        let mut written = config_map("a", "x");
        written.metadata.resource_version = Some("7".into());
        cache.written(written.clone());
        cache.observe(&Event::Init);
        let mut meanwhile = config_map("b", "x");
        meanwhile.metadata.resource_version = Some("9".into());
        cache.written(meanwhile);
        assert_eq!(*cache.get("ns", "a").unwrap(), written, "the list is still to come");
        cache.observe(&Event::InitDone);
        assert!(
            cache.get("ns", "a").is_none(),
            "it was deleted while the watch was down"
        );
        assert!(cache.get("ns", "b").is_some(), "the list need not have seen it");
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
