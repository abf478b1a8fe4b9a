//! Durations as Kubernetes writes them: `90s`, `15m`, `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest string that matches [`Duration::PATTERN`].
pub(crate) const LENGTH_LIMIT: u32 = 28;

/// The longest duration that is written in the shortest form with five digits: `99999h59m59s999ms`.
const MILLIS_LIMIT: u64 = 100_000 * 3_600_000 - 1;

/// A length of time, written like `90s`, `15m` or `1h30m`.
///
/// Units are `h`, `m`, `s` and `ms`; a day is `24h`. At most four numbers of at most five digits each, so never more
/// than about 45 years. It is written back in the shortest form: `60m` becomes `1h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(time::Duration);

/// Why a string is no [`Duration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write numbers with the units h, m, s or ms, such as 90s, 15m or 1h30m")]
pub struct DurationError(String);

impl Duration {
    /// The format of Gateway API's durations (GEP-2257): up to four numbers of up to five digits, each with a unit.
    /// It is a subset of Go's durations, so `duration(self)` in CEL never fails on it, and it is bounded.
    pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

    /// A duration of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// A duration of whole minutes.
    #[must_use]
    pub const fn from_mins(minutes: u64) -> Self {
        Self::from_secs(minutes * 60)
    }

    /// A duration of whole hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self::from_mins(hours * 60)
    }

    /// The same length as the standard library's type.
    #[must_use]
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

/// In whole milliseconds, and at most what [`Duration::PATTERN`] can say of each unit.
impl From<time::Duration> for Duration {
    fn from(duration: time::Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(time::Duration::from_millis(millis.min(MILLIS_LIMIT)))
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).ok_or_else(|| DurationError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<time::Duration> {
    let mut rest = text;
    let mut total = time::Duration::ZERO;
    for part in 0..=4 {
        if rest.is_empty() {
            return (part > 0).then_some(total);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (number, tail) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        // "ms" before "m": the longer unit must win.
        let (value, tail) = if let Some(tail) = tail.strip_prefix("ms") {
            (time::Duration::from_millis(number), tail)
        } else if let Some(tail) = tail.strip_prefix('h') {
            (time::Duration::from_secs(number * 3600), tail)
        } else if let Some(tail) = tail.strip_prefix('m') {
            (time::Duration::from_secs(number * 60), tail)
        } else {
            (time::Duration::from_secs(number), tail.strip_prefix('s')?)
        };
        total += value;
        rest = tail;
    }
    None
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let parts = [
            (seconds / 3600, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (u64::from(self.0.subsec_millis()), "ms"),
        ];
        let mut empty = true;
        for (number, unit) in parts {
            if number > 0 {
                write!(formatter, "{number}{unit}")?;
                empty = false;
            }
        }
        if empty { formatter.write_str("0s") } else { Ok(()) }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // By a rule, not by `pattern`: its message says what to write, and rules are evaluated beside a failed pattern.
        json_schema!({"type": "string", "maxLength": LENGTH_LIMIT, "x-kubernetes-validations": [{
            "rule": format!("self.matches('{}')", Self::PATTERN),
            "message": "must be a duration: numbers with the units h, m, s or ms, such as 90s, 15m or 1h30m"
        }]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_pattern_admits() {
        for (text, milliseconds) in [
            ("90s", 90_000),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1h1m1s1ms", 3_661_001),
            ("30m1h", 5_400_000),
            ("00060s", 60_000),
            ("99999h99999h99999h99999h", 4 * 99_999 * 3_600_000),
        ] {
            assert_eq!(
                text.parse::<Duration>().unwrap().get().as_millis(),
                milliseconds,
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "5",
            "h",
            "1d",
            "-5m",
            "1.5h",
            "5 m",
            "100000s",
            "1s1s1s1s1s",
            "5µs",
            "1h ",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn writes_the_shortest_form_and_reads_it_back() {
        for (text, shortest) in [
            ("60m", "1h"),
            ("0h", "0s"),
            ("90m", "1h30m"),
            ("1500ms", "1s500ms"),
            ("24h", "24h"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.to_string(), shortest);
            assert_eq!(shortest.parse::<Duration>().unwrap(), duration);
        }
    }
}
