//! Free-form JSON that is kept for long and read rarely.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A JSON value, kept as its text.
///
/// A parsed [`Value`] of a typical virtual machine's spec takes five to eight times the memory of its text, and the
/// watch cache holds one per machine while a reconcile looks at one at a time. Reading and writing it on the wire is the
/// same as for a [`Value`].
#[derive(Clone, PartialEq, Eq)]
pub struct CompactJson(Box<str>);

impl CompactJson {
    /// The parsed value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // The text was written by `From<&Value>`, so it always parses.
        serde_json::from_str(&self.0).unwrap_or(Value::Null)
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Value> for CompactJson {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into_boxed_str())
    }
}

impl From<Value> for CompactJson {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl Default for CompactJson {
    fn default() -> Self {
        Self("null".into())
    }
}

impl std::fmt::Debug for CompactJson {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for CompactJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CompactJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::CompactJson;

    #[test]
    fn survives_a_round_trip() {
        let value = json!({"template": {"spec": {"domain": {"memory": {"guest": "1Gi"}}}}, "list": [1, null, "a"]});
        let compact = CompactJson::from(&value);
        assert_eq!(compact.to_value(), value);
        let text = serde_json::to_string(&compact).unwrap();
        assert_eq!(serde_json::from_str::<CompactJson>(&text).unwrap(), compact);
    }
}
