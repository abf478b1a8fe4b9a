//! How long an object is kept that is over.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Duration, DurationError, duration::LENGTH_LIMIT};

/// How long an object is kept that is over: a duration, or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishedTtl {
    /// It is deleted this long after its end.
    After(Duration),
    /// It is kept until somebody deletes it. Written `Never`.
    Never,
}

const NEVER: &str = "Never";

impl FinishedTtl {
    /// The duration; `None` for one that is kept.
    #[must_use]
    pub const fn get(self) -> Option<Duration> {
        match self {
            Self::After(duration) => Some(duration),
            Self::Never => None,
        }
    }
}

impl FromStr for FinishedTtl {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == NEVER {
            Ok(Self::Never)
        } else {
            text.parse().map(Self::After)
        }
    }
}

impl fmt::Display for FinishedTtl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(duration) => duration.fmt(formatter),
            Self::Never => formatter.write_str(NEVER),
        }
    }
}

impl Serialize for FinishedTtl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FinishedTtl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for FinishedTtl {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FinishedTtl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": LENGTH_LIMIT, "x-kubernetes-validations": [{
            "rule": format!("self == '{NEVER}' || self.matches('{}')", Duration::PATTERN),
            "message": "must be Never, or a duration: numbers with the units h, m, s or ms, such as 90s, 15m or 1h30m"
        }]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_duration_or_never() {
        for (text, value) in [
            ("Never", FinishedTtl::Never),
            ("0s", FinishedTtl::After(Duration::from_secs(0))),
            ("1h", FinishedTtl::After(Duration::from_hours(1))),
        ] {
            assert_eq!(text.parse::<FinishedTtl>().unwrap(), value);
            assert_eq!(value.to_string(), text);
            assert_eq!(serde_json::to_value(value).unwrap(), text);
            assert_eq!(serde_json::from_value::<FinishedTtl>(text.into()).unwrap(), value);
        }
        for text in ["never", "", "forever", "1d"] {
            assert!(text.parse::<FinishedTtl>().is_err(), "{text}");
        }
    }
}
