//! Kubernetes quantities, compared by value.
//!
//! By hand, because it is a page of code; `kube_quantity` would bring a parser library and a decimal type for it.

use std::cmp::Ordering;

/// 10^-9, the finest that the apiserver keeps; it rounds up what is finer (`resource.Quantity`, "No fractional digits will be
/// emitted below nano").
const NANO_DIGITS: i32 = 9;

/// Whether two quantities such as `1Gi` and `1024Mi` have the same value; texts that are no quantities are the same when they are equal.
#[must_use]
pub fn same_quantity(left: &str, right: &str) -> bool {
    equal(left, right).unwrap_or(left == right)
}

/// Whether one quantity is more than another; `false` when one of them is none.
#[must_use]
pub fn larger_quantity(left: &str, right: &str) -> bool {
    compare(left, right).is_some_and(Ordering::is_gt)
}

/// Whether two quantities such as `1Gi` and `1024Mi` have the same value. `None` when one of them is not a quantity.
pub(crate) fn equal(left: &str, right: &str) -> Option<bool> {
    compare(left, right).map(Ordering::is_eq)
}

/// Which of two quantities is more. `None` when one of them is not a quantity.
pub(crate) fn compare(left: &str, right: &str) -> Option<Ordering> {
    Some(in_nanos(left)?.cmp(&in_nanos(right)?))
}

/// The value in units of 10^-9, rounded away from zero.
fn in_nanos(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (power_of_ten, power_of_two) = scale(suffix)?;
    let value = digits.checked_mul(1_i128.checked_shl(power_of_two)?)?;
    let exponent = power_of_ten
        .checked_add(NANO_DIGITS)?
        .checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let nanos = if exponent >= 0 {
        value.checked_mul(10_i128.checked_pow(exponent.unsigned_abs())?)?
    } else {
        let divisor = 10_i128.checked_pow(exponent.unsigned_abs())?;
        value.checked_add(divisor - 1)? / divisor
    };
    Some(if negative { -nanos } else { nanos })
}

/// Power of ten and power of two of a suffix.
fn scale(suffix: &str) -> Option<(i32, u32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        _ => (suffix.strip_prefix(['e', 'E'])?.parse().ok()?, 0),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_not_texts_are_compared() {
        for (left, right) in [
            ("1Gi", "1024Mi"),
            ("1", "1000m"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("2e3", "2k"),
            ("2E3", "2000"),
            ("12E", "12000P"),
            ("+1", "1"),
            (".5", "0.5"),
            ("5.", "5"),
            ("-1Ki", "-1024"),
            ("100n", "0.1u"),
            ("0.1n", "1n"),
            ("0", "0Gi"),
            ("8Ei", "8192Pi"),
        ] {
            assert_eq!(equal(left, right), Some(true), "{left} {right}");
        }
        for (left, right) in [("1Gi", "1G"), ("1", "1m"), ("1Gi", "1025Mi"), ("-1", "1")] {
            assert_eq!(equal(left, right), Some(false), "{left} {right}");
        }
    }

    #[test]
    fn more_is_told_from_less() {
        assert_eq!(compare("2Gi", "1024Mi"), Some(Ordering::Greater));
        assert_eq!(compare("1G", "1Gi"), Some(Ordering::Less));
        assert_eq!(compare("1Gi", "much"), None);
    }

    #[test]
    fn what_is_no_quantity_is_not_judged() {
        for text in [
            "",
            "-",
            ".",
            "Gi",
            "1 Gi",
            "1gi",
            "1KiB",
            "1.2.3",
            "e3",
            "1e",
            "one",
            "99999999999999999999999999999999999999999",
        ] {
            assert_eq!(equal(text, "1"), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(left in "\\PC{0,12}", right in "[-+.0-9eEKMGi]{0,12}") {
            let _ = equal(&left, &right);
        }

        #[test]
        fn binary_suffixes_are_steps_of_1024(value in 0_u32..1_000_000) {
            for (small, large) in [("", "Ki"), ("Ki", "Mi"), ("Mi", "Gi"), ("Gi", "Ti")] {
                let small = format!("{}{small}", u64::from(value) * 1024);
                prop_assert_eq!(equal(&small, &format!("{value}{large}")), Some(true));
            }
        }
    }
}
