//! What a watch has listed, as small rows, and what was in an earlier list alone.

use std::{collections::HashMap, sync::Arc};

use novasphere_runtime::watch::ObjectName;

/// The name of an object: namespace, slash, name.
pub(super) type RowKey = Arc<str>;

/// Rows by name.
#[derive(Debug)]
pub(super) struct Table<R> {
    rows: HashMap<RowKey, (u32, Arc<R>)>,
    list: u32,
}

/// The key of an object.
pub(super) fn key(namespace: &str, name: &str) -> RowKey {
    format!("{namespace}/{name}").into()
}

/// The key of a watched object.
pub(super) fn key_of(name: &ObjectName) -> RowKey {
    key(name.namespace.as_deref().unwrap_or_default(), &name.name)
}

/// Namespace and name.
pub(super) fn parts(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or(("", key))
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            list: 0,
        }
    }
}

impl<R> Table<R> {
    /// A list begins.
    pub(super) fn begin(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// A list has ended: what was not in it, which is gone now.
    pub(super) fn end(&mut self) -> Vec<(RowKey, Arc<R>)> {
        let gone = self.rows.iter().filter(|(_, (list, _))| *list != self.list);
        let gone: Vec<_> = gone.map(|(key, (_, row))| (Arc::clone(key), Arc::clone(row))).collect();
        for (key, _) in &gone {
            self.rows.remove(key);
        }
        gone
    }

    pub(super) fn insert(&mut self, key: RowKey, row: R) {
        self.insert_shared(key, Arc::new(row));
    }

    /// The same for a row that is in another index as well.
    pub(super) fn insert_shared(&mut self, key: RowKey, row: Arc<R>) {
        self.rows.insert(key, (self.list, row));
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<R>> {
        self.rows.remove(key).map(|(_, row)| row)
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<R>> {
        self.rows.get(key).map(|(_, row)| Arc::clone(row))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RowKey, &Arc<R>)> {
        self.rows.iter().map(|(key, (_, row))| (key, row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let mut table = Table::default();
        table.begin();
        table.insert(key("a", "x"), 1);
        table.insert(key("a", "y"), 2);
        assert!(table.end().is_empty());
        table.begin();
        table.insert(key("a", "y"), 3);
        assert_eq!(table.end(), [(key("a", "x"), Arc::new(1))]);
        assert_eq!(table.get("a/y").as_deref(), Some(&3));
        assert_eq!(parts("a/y"), ("a", "y"));
    }
}
