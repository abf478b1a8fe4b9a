//! A Secret of our own namespace that all replicas watch and write, one data key at a time.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, runtime::watcher};
use novasphere_runtime::{
    apply::{ApiReason, Applier, WriteError},
    cache::Cache,
    tasks::Tasks,
    watch::{Guard, guarded},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;

/// Keys that were there and are remembered, of each Secret.
const GONE_KEYS_LIMIT: usize = 2_000;

/// The pause after the stream of events ended, which it does not by itself.
const RESTART_INTERVAL: Duration = Duration::from_secs(5);

/// What a write to such a Secret failed with.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is not there.
    #[error("there is no Secret {0}; the chart makes it, empty: kubectl create secret generic {0}")]
    Missing(String),
    /// The cluster refuses the write.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A Secret that is watched. Clones share it.
#[derive(Clone)]
pub struct WatchedSecret(Arc<SecretInner>);

struct SecretInner {
    name: String,
    namespace: String,
    cache: Cache<Secret>,
    applier: Applier,
    changes: watch::Sender<u64>,
    filled: watch::Sender<bool>,
    keys: Mutex<Keys>,
}

/// The keys that there are, and some that there were.
#[derive(Default)]
struct Keys {
    present: BTreeSet<String>,
    gone: VecDeque<String>,
}

impl Keys {
    /// Notes what is there now.
    fn see(&mut self, present: BTreeSet<String>) {
        let gone: Vec<String> = self.present.difference(&present).cloned().collect();
        for key in gone {
            if self.gone.len() >= GONE_KEYS_LIMIT {
                self.gone.pop_front();
            }
            self.gone.push_back(key);
        }
        self.present = present;
    }
}

impl WatchedSecret {
    /// Watches the Secret with this name in a task of `tasks`.
    #[must_use]
    pub fn spawn(
        client: &Client,
        applier: &Applier,
        namespace: &str,
        name: &str,
        guard: &Guard,
        tasks: &mut Tasks,
    ) -> Self {
        let secret = Self(Arc::new(SecretInner {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            cache: Cache::new(|_| None),
            applier: applier.clone(),
            changes: watch::Sender::new(0),
            filled: watch::Sender::new(false),
            keys: Mutex::default(),
        }));
        let (this, api, guard) = (
            secret.clone(),
            Api::namespaced(client.clone(), namespace),
            guard.clone(),
        );
        tasks.spawn("Secret watch", async move { this.follow(api, guard).await });
        secret
    }

    async fn follow(&self, api: Api<kube::core::DeserializeGuard<Secret>>, guard: Guard) {
        let inner = &self.0;
        let config = watcher::Config::default().fields(&format!("metadata.name={}", inner.name));
        loop {
            let mut events = std::pin::pin!(guarded(api.clone(), config.clone(), guard.clone()));
            while let Some(event) = events.next().await {
                // The error is logged where the watch begins again.
                let Ok(event) = event else { continue };
                inner.cache.observe(&event);
                self.see_keys();
                inner.changes.send_modify(|count| *count = count.wrapping_add(1));
                if inner.cache.is_filled() {
                    inner.filled.send_replace(true);
                }
            }
            tokio::time::sleep(RESTART_INTERVAL).await;
        }
    }

    /// Returns once it is known what is in it.
    pub async fn filled(&self) {
        // An error would mean that this Secret was dropped.
        let _ = self.0.filled.subscribe().wait_for(|filled| *filled).await;
    }

    /// Counts its changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The Secret, with this process's own writes.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Secret>> {
        self.0.cache.get(&self.0.namespace, &self.0.name)
    }

    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        let secret = self.current()?;
        Some(secret.data.as_ref()?.get(key)?.0.clone())
    }

    /// All keys.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let data = self.current().and_then(|secret| secret.data.clone());
        data.unwrap_or_default().into_keys().collect()
    }

    /// Whether a key was there lately and is not any more: nobody has to wait for it.
    #[must_use]
    pub fn is_gone(&self, key: &str) -> bool {
        let keys = self.0.keys.lock();
        !keys.present.contains(key) && keys.gone.iter().any(|gone| gone == key)
    }

    fn see_keys(&self) {
        self.0.keys.lock().see(self.keys().into_iter().collect());
    }

    /// Sets keys, or takes them away, whatever their values are.
    ///
    /// # Errors
    ///
    /// [`SecretError`].
    pub async fn set(&self, values: impl IntoIterator<Item = (String, Option<Vec<u8>>)>) -> Result<(), SecretError> {
        let data: serde_json::Map<_, _> = values
            .into_iter()
            .map(|(key, value)| (key, json!(value.map(ByteString))))
            .collect();
        let live = self.live()?;
        let patch = json!({ "data": data });
        self.0.applier.merge(&*live, patch, &self.0.cache).await?;
        self.see_keys();
        Ok(())
    }

    /// Sets keys, unless the Secret was changed since `live` was read.
    ///
    /// # Errors
    ///
    /// [`SecretError`]; a conflict when it was.
    pub async fn set_unchanged(
        &self,
        live: &Secret,
        values: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<(), SecretError> {
        let data: serde_json::Map<_, _> = values
            .into_iter()
            .map(|(key, value)| (key, json!(ByteString(value))))
            .collect();
        let patch = json!({ "data": data });
        self.0.applier.merge_unchanged(live, patch, &self.0.cache).await?;
        Ok(())
    }

    /// Replaces the value of a key if it is still `old`. Writers of other keys are not in the way.
    ///
    /// # Errors
    ///
    /// [`SecretError`]. `false` means that the value is another one.
    pub async fn swap(&self, key: &str, old: Vec<u8>, new: Vec<u8>) -> Result<bool, SecretError> {
        let live = self.live()?;
        // Our keys have no character that a JSON pointer escapes.
        let place = format!("/data/{key}");
        let operations = json!([
            {"op": "test", "path": place, "value": ByteString(old)},
            {"op": "replace", "path": place, "value": ByteString(new)},
        ]);
        let patch = serde_json::from_value(operations).map_err(|error| WriteError::Internal(error.to_string()))?;
        match self.0.applier.patch_tested(&*live, patch, &self.0.cache).await {
            Ok(_) => Ok(true),
            // kube-apiserver answers 422 to a patch whose test fails, or whose path is not there.
            Err(error) if error.is(ApiReason::Invalid) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn live(&self) -> Result<Arc<Secret>, SecretError> {
        self.current().ok_or_else(|| SecretError::Missing(self.0.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_remembered_for_a_while() {
        let mut keys = Keys::default();
        keys.see(BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        keys.see(BTreeSet::from(["b".to_owned()]));
        assert_eq!(keys.gone, ["a"]);
        for number in 0..3000 {
            keys.see(BTreeSet::from([number.to_string()]));
        }
        assert!(keys.gone.len() <= GONE_KEYS_LIMIT);
    }
}
