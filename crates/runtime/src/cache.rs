//! A watch cache with one secondary index that also answers this process's own writes.
//!
//! `kube::runtime::reflector::Store` is not used: it holds every object parsed and has no index, and with 10,000 objects of three kinds
//! that is most of the memory of the process ([`Cache::compact`] takes a third). The price is that kube's applier of reconciles gets a
//! store of names that `controller/src/reconciler.rs` fills by hand.

mod stored;

use std::{collections::HashMap, fmt::Debug, sync::Arc, time::Instant};

use kube::{Resource, runtime::reflector::ObjectRef};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use self::stored::{Codec, Stored};
use crate::{
    read_your_writes::{ReadYourWrites, is_older},
    watch::WatchEvent,
};

/// What one watch has seen of one kind.
///
/// `index_key` puts each object under at most one key (for example its owner's UID), so that a
/// look-up by that key does not walk over all objects.
pub struct Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
{
    contents: RwLock<Contents<K>>,
    filled: watch::Sender<bool>,
    own_writes: ReadYourWrites<K>,
    index_key: fn(&K) -> Option<String>,
    codec: Option<Codec<K>>,
}

/// What the watch has said, and nothing of what this process wrote.
pub struct WatchOnly<'a, K>(&'a Cache<K>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static;

/// The name of an object, after its namespace and a slash where it has one. An [`ObjectRef`] that was made of an object carries
/// its UID and version as well: with 10,000 objects of three kinds such references were a sixth of all memory.
type Key = Arc<str>;

struct Contents<K> {
    objects: HashMap<Key, Entry<K>>,
    index: HashMap<Arc<str>, Vec<Key>>,
    /// How many lists have begun.
    lists: u32,
    /// When the last of them was asked for, at the earliest.
    list_began: Option<Instant>,
    /// Whether it has not ended.
    is_listing: bool,
}

struct Entry<K> {
    object: Stored<K>,
    index_key: Option<Arc<str>>,
    /// The list that it was last in, or that was the last to begin when it changed.
    list: u32,
}

fn key_of_name(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

fn key_of<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let meta = object.meta();
    key_of_name(meta.namespace.as_deref(), meta.name.as_deref().unwrap_or_default())
}

fn reference<K: Resource<DynamicType = ()>>(key: &Key) -> ObjectRef<K> {
    match key.split_once('/') {
        Some((namespace, name)) => ObjectRef::new(name).within(namespace),
        None => ObjectRef::new(key),
    }
}

impl<K> Contents<K> {
    fn insert(&mut self, key: &str, object: Stored<K>, index_key: Option<String>) {
        let list = self.lists;
        if let Some(entry) = self.objects.get_mut(key)
            && entry.index_key.as_deref() == index_key.as_deref()
        {
            entry.object = object;
            entry.list = list;
            return;
        }
        self.remove(key);
        let key = Key::from(key);
        let index_key = index_key.map(|index_key| self.index(&index_key, &key));
        self.objects.insert(
            key,
            Entry {
                object,
                index_key,
                list,
            },
        );
    }

    /// Most objects are alone under their key, so nothing is reserved for a second one.
    fn index(&mut self, index_key: &str, key: &Key) -> Arc<str> {
        let index_key = match self.index.get_key_value(index_key) {
            Some((index_key, _)) => Arc::clone(index_key),
            None => Arc::from(index_key),
        };
        let keys = self.index.entry(Arc::clone(&index_key)).or_default();
        keys.reserve_exact(1);
        keys.push(Arc::clone(key));
        index_key
    }

    fn remove(&mut self, key: &str) {
        let Some(entry) = self.objects.remove(key) else {
            return;
        };
        if let Some(index_key) = entry.index_key
            && let Some(keys) = self.index.get_mut(&index_key)
        {
            keys.retain(|other| **other != *key);
            if keys.is_empty() {
                self.index.remove(&index_key);
            }
        }
    }

    /// Ends a list: what was not in it is gone.
    fn end_list(&mut self) {
        let gone: Vec<Key> = self
            .objects
            .iter()
            .filter(|(_, entry)| entry.list != self.lists)
            .map(|(key, _)| Arc::clone(key))
            .collect();
        for key in gone {
            self.remove(&key);
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
            contents: RwLock::new(Contents {
                objects: HashMap::new(),
                index: HashMap::new(),
                lists: 0,
                list_began: None,
                is_listing: false,
            }),
            filled: watch::Sender::new(false),
            own_writes: ReadYourWrites::default(),
            index_key,
            codec: None,
        }
    }

    /// The same for a kind of which there may be many: each object is stored as its JSON, which is a third of what it takes when it
    /// is parsed, and is parsed for each reader.
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
    ///
    /// An object that cannot be decoded leaves the cache, and is returned as it was before, if it was there: the event does not carry
    /// it, and what depends on it has to know.
    pub fn observe(&self, event: &WatchEvent<K>) -> Option<Arc<K>> {
        match event {
            WatchEvent::Apply(object) | WatchEvent::InitApply(object) => {
                let (stored, index_key) = (Stored::new(object, self.codec), (self.index_key)(object));
                self.write().insert(&key_of(object), stored, index_key);
            }
            WatchEvent::Delete(object) => {
                self.own_writes.observed_deletion(&ObjectRef::from_obj(object));
                self.write().remove(&key_of(object));
            }
            WatchEvent::Undecodable(name) => {
                let reference = name.reference();
                let before = self.newest(&reference);
                self.own_writes.observed_deletion(&reference);
                self.write().remove(&key_of_name(name.namespace.as_deref(), &name.name));
                return before;
            }
            WatchEvent::Init => {
                let mut contents = self.write();
                contents.lists = contents.lists.wrapping_add(1);
                contents.list_began = Some(Instant::now());
                contents.is_listing = true;
            }
            WatchEvent::InitDone => self.end_list(),
        }
        None
    }

    fn end_list(&self) {
        let mut contents = self.write();
        contents.end_list();
        contents.is_listing = false;
        let began = contents.list_began;
        drop(contents);
        if let Some(began) = began {
            self.own_writes.listed(began);
        }
        self.filled.send_replace(true);
    }

    /// What the watch has said.
    #[must_use]
    pub fn store(&self) -> WatchOnly<'_, K> {
        WatchOnly(self)
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

    /// Whether the watch has shown this state of an object or a newer one, and so everything that was stored before it of any object of the
    /// kind: a watch tells of all in the order in which it was stored. A list does not, so it is `false` until the list has ended.
    #[must_use]
    pub fn has_shown(&self, object: &K) -> bool {
        let contents = self.read();
        if contents.is_listing {
            return false;
        }
        let entry = contents.objects.get(key_of(object).as_str());
        let seen = entry.and_then(|entry| entry.object.get());
        drop(contents);
        seen.is_some_and(|seen| seen.meta().uid == object.meta().uid && !is_older(Some(seen.as_ref()), object))
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

    /// How many objects the watch has shown.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether the watch has shown no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list has ended.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        *self.filled.borrow()
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

    fn read(&self) -> RwLockReadGuard<'_, Contents<K>> {
        self.contents.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents<K>> {
        self.contents.write()
    }
}

impl<K> WatchOnly<'_, K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
{
    /// One object.
    #[must_use]
    pub fn get(&self, key: &ObjectRef<K>) -> Option<Arc<K>> {
        let contents = self.0.read();
        contents
            .objects
            .get(key_of_name(key.namespace.as_deref(), &key.name).as_str())?
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
    use crate::watch::ObjectName;

    fn name(name: &str) -> ObjectName {
        ObjectName {
            namespace: Some("ns".to_owned()),
            name: name.to_owned(),
        }
    }

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
        cache.observe(&WatchEvent::Init);
        cache.observe(&WatchEvent::InitApply(config_map("a", "x")));
        cache.observe(&WatchEvent::InitApply(config_map("b", "x")));
        cache.observe(&WatchEvent::InitDone);
        assert_eq!(names(&cache, "x"), ["a", "b"]);

        cache.observe(&WatchEvent::Apply(config_map("b", "y")));
        assert_eq!(names(&cache, "x"), ["a"]);
        assert_eq!(names(&cache, "y"), ["b"]);

        cache.observe(&WatchEvent::Delete(config_map("a", "x")));
        assert!(names(&cache, "x").is_empty());
    }

    #[test]
    fn a_compact_cache_answers_the_same() {
        let cache = Cache::<ConfigMap>::compact(|object| object.labels().get("team").cloned());
        cache.observe(&WatchEvent::Apply(config_map("a", "x")));
        cache.observe(&WatchEvent::Apply(config_map("b", "x")));
        assert_eq!(names(&cache, "x"), ["a", "b"]);
        assert_eq!(*cache.get("ns", "a").unwrap(), config_map("a", "x"));
        let mut references: Vec<_> = cache.references().iter().map(ToString::to_string).collect();
        references.sort();
        assert_eq!(references, ["ConfigMap.v1./a.ns", "ConfigMap.v1./b.ns"]);
        assert_eq!(cache.references_of("x").len(), 2);
        cache.observe(&WatchEvent::Undecodable(name("a")));
        assert!(cache.get("ns", "a").is_none());
        assert_eq!(names(&cache, "x"), ["b"]);
    }

    #[tokio::test]
    async fn it_is_filled_when_the_first_list_has_ended() {
        let cache = cache();
        cache.observe(&WatchEvent::Init);
        cache.observe(&WatchEvent::InitApply(config_map("a", "x")));
        assert!(futures::poll!(std::pin::pin!(cache.store().wait_until_ready())).is_pending());
        cache.observe(&WatchEvent::InitDone);
        cache.store().wait_until_ready().await;
    }

    #[test]
    fn an_own_write_is_not_believed_over_a_list_that_began_after_it() {
        let cache = cache();
        let mut seen = config_map("a", "x");
        seen.metadata.resource_version = Some("6".into());
        cache.observe(&WatchEvent::Apply(seen));
        let mut written = config_map("a", "x");
        written.metadata.resource_version = Some("7".into());
        cache.written(written.clone());
        cache.observe(&WatchEvent::Init);
        let mut meanwhile = config_map("b", "x");
        meanwhile.metadata.resource_version = Some("9".into());
        cache.written(meanwhile);
        assert_eq!(*cache.get("ns", "a").unwrap(), written, "the list is still to come");
        cache.observe(&WatchEvent::InitDone);
        assert!(
            cache.get("ns", "a").is_none(),
            "it was deleted while the watch was down"
        );
        assert!(cache.get("ns", "b").is_some(), "the list need not have seen it");
    }

    #[test]
    fn what_was_written_is_shown_when_the_watch_has_come_so_far_and_not_within_a_list() {
        let cache = cache();
        let version = |version: &str| {
            let mut object = config_map("a", "x");
            object.metadata.resource_version = Some(version.into());
            object
        };
        cache.observe(&WatchEvent::Apply(version("6")));
        cache.written(version("10"));
        assert!(cache.has_shown(&version("6")) && !cache.has_shown(&version("10")));
        cache.observe(&WatchEvent::Init);
        cache.observe(&WatchEvent::InitApply(version("11")));
        assert!(!cache.has_shown(&version("10")), "the rest of the list is to come");
        cache.observe(&WatchEvent::InitDone);
        assert!(cache.has_shown(&version("10")));
        let mut another = version("10");
        another.metadata.uid = Some("another".into());
        assert!(!cache.has_shown(&another));
        cache.observe(&WatchEvent::Delete(version("12")));
        assert!(!cache.has_shown(&version("10")));
    }

    #[test]
    fn what_vanished_while_the_watch_was_down_leaves_the_index() {
        let cache = cache();
        cache.observe(&WatchEvent::Apply(config_map("a", "x")));
        cache.observe(&WatchEvent::Init);
        cache.observe(&WatchEvent::InitApply(config_map("b", "x")));
        cache.observe(&WatchEvent::InitDone);
        assert_eq!(names(&cache, "x"), ["b"]);
    }

    #[test]
    fn an_object_that_cannot_be_decoded_leaves_at_once_and_comes_back_when_it_can() {
        let cache = cache();
        let mut seen = config_map("a", "x");
        seen.metadata.resource_version = Some("6".into());
        cache.observe(&WatchEvent::Apply(seen.clone()));
        let mut written = seen.clone();
        written.metadata.resource_version = Some("7".into());
        cache.written(written.clone());
        let before = cache.observe(&WatchEvent::Undecodable(name("a")));
        assert_eq!(before.as_deref(), Some(&written), "what depends on it can be found");
        assert!(cache.get("ns", "a").is_none(), "an own write does not bring it back");
        assert!(names(&cache, "x").is_empty() && cache.is_empty());
        assert_eq!(cache.observe(&WatchEvent::Undecodable(name("a"))), None);
        seen.metadata.resource_version = Some("9".into());
        cache.observe(&WatchEvent::Apply(seen));
        assert_eq!(names(&cache, "x"), ["a"]);
    }

    #[test]
    fn an_object_that_cannot_be_decoded_leaves_during_a_list_too() {
        let cache = cache();
        cache.observe(&WatchEvent::Apply(config_map("a", "x")));
        cache.observe(&WatchEvent::Init);
        cache.observe(&WatchEvent::Undecodable(name("a")));
        assert!(cache.get("ns", "a").is_none());
        cache.observe(&WatchEvent::InitDone);
        assert!(cache.get("ns", "a").is_none());
    }
}
