//! A free-form object inside a spec, checked by the code that reads it and not by our schema.

use std::{borrow::Cow, io};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A JSON object that is handed on as it is.
///
/// Used where the full schema belongs to somebody else (`KubeVirt`, the Pod API) and would be larger than all of ours.
/// It is kept untyped in Rust too: a typed copy would make an object undecodable that the apiserver has accepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawObject(pub Map<String, Value>);

/// The longest JSON of such an object that is kept, in bytes. The admission policy object-size takes 16384 characters, which are no more than this.
pub const RAW_OBJECT_BYTES_LIMIT: usize = 65536;

/// The one field of an object that was longer: how long it was.
const DROPPED_BYTES: &str = "novasphere.io/dropped-bytes";

impl RawObject {
    /// Whether it has no fields at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops its contents when they are larger than [`RAW_OBJECT_BYTES_LIMIT`]; [`oversized_bytes`](Self::oversized_bytes) tells it all the
    /// same. For caches, where the admission policy is not installed or the object is older.
    pub fn drop_oversized(&mut self) {
        if let Some(bytes) = self.oversized_bytes() {
            self.0 = [(DROPPED_BYTES.to_owned(), bytes.into())].into_iter().collect();
        }
    }

    /// How large it is, or was before its contents were dropped, when that is more than [`RAW_OBJECT_BYTES_LIMIT`].
    #[must_use]
    pub fn oversized_bytes(&self) -> Option<u64> {
        if let Some(dropped) = self.0.get(DROPPED_BYTES).and_then(Value::as_u64) {
            return Some(dropped);
        }
        let mut length = ByteCount(0);
        let is_counted = serde_json::to_writer(&mut length, &self.0).is_ok();
        let is_oversized = !is_counted || length.0 > RAW_OBJECT_BYTES_LIMIT;
        is_oversized.then(|| u64::try_from(length.0).unwrap_or(u64::MAX))
    }
}

/// Counts what is written.
struct ByteCount(usize);

impl io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl JsonSchema for RawObject {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RawObject".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_too_large_is_dropped_and_told() {
        let of =
            |length: usize| -> RawObject { serde_json::from_value(json!({"a": {"b": ["x".repeat(length)]}})).unwrap() };
        let mut small = of(RAW_OBJECT_BYTES_LIMIT - 20);
        small.drop_oversized();
        assert_eq!(
            (small.oversized_bytes(), &small),
            (None, &of(RAW_OBJECT_BYTES_LIMIT - 20))
        );
        let mut large = of(RAW_OBJECT_BYTES_LIMIT);
        let bytes = large.oversized_bytes();
        assert!(bytes.is_some_and(|bytes| bytes > 65536));
        large.drop_oversized();
        assert_eq!(large.oversized_bytes(), bytes);
        assert!(serde_json::to_string(&large).unwrap().len() < 100);
        let again = large.clone();
        large.drop_oversized();
        assert_eq!(large, again);
    }
}
