//! Names: checked once, derived in one place.

use std::{collections::BTreeMap, fmt};

use novasphere_foreign::kubevirt::LABEL_VMI_ID;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The longest DNS label, and the longest value of a Kubernetes label.
pub const LABEL_LENGTH_LIMIT: usize = 63;

/// The longest DNS subdomain, which is the longest name of most Kubernetes objects.
pub const SUBDOMAIN_LENGTH_LIMIT: usize = 253;

/// How many hexadecimal digits of a hash end a derived name. Eight (32 bits) are enough within one namespace, where a
/// collision needs two equal shortened names as well.
const HASH_DIGITS: usize = 8;

/// A DNS-1123 label: 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsLabel(String);

/// A DNS-1123 subdomain: labels joined by `.`, 1 to 253 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsSubdomain(String);

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is not a DNS label.
    #[error(
        "{0:?} is not a DNS label; use 1 to {LABEL_LENGTH_LIMIT} lower-case letters, digits and '-', with a letter or digit at both ends"
    )]
    Label(String),
    /// It is not a DNS subdomain.
    #[error(
        "{0:?} is not a DNS name; use 1 to {SUBDOMAIN_LENGTH_LIMIT} lower-case letters, digits, '-' and '.', with a letter or digit \
         at both ends of each part"
    )]
    Subdomain(String),
}

impl DnsLabel {
    /// Takes `text` as it is.
    ///
    /// # Errors
    ///
    /// When it is not a DNS label.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if is_label(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Label(text.to_owned()))
        }
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DnsSubdomain {
    /// Takes `text` as it is.
    ///
    /// # Errors
    ///
    /// When it is not a DNS subdomain.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let valid = text.len() <= SUBDOMAIN_LENGTH_LIMIT && text.split('.').all(is_label_of_any_length);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Subdomain(text.to_owned()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsLabel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for DnsSubdomain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<DnsLabel> for DnsSubdomain {
    fn from(label: DnsLabel) -> Self {
        Self(label.0)
    }
}

/// The parts joined by `-`, when that is a DNS-1035 label (a DNS label that begins with a letter, as Services need it);
/// else a label made from it that ends in a hash of the parts.
#[must_use]
pub fn joined(parts: &[&str]) -> DnsLabel {
    let plain = parts.join("-");
    if is_label(&plain) && plain.starts_with(|first: char| first.is_ascii_lowercase()) {
        DnsLabel(plain)
    } else {
        hashed(parts)
    }
}

/// A DNS-1035 label made from the parts that always ends in their hash, so that `a-b`,`c` and `a`,`b-c` differ.
#[must_use]
pub fn hashed(parts: &[&str]) -> DnsLabel {
    hashed_with(parts, &[])
}

/// The same with a hash of further parts that are not to be read.
#[must_use]
pub fn hashed_with(parts: &[&str], unread: &[&str]) -> DnsLabel {
    let mut hasher = Sha256::new();
    for part in parts.iter().chain(unread) {
        // The length keeps the parts apart.
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let hash = hex(&hasher.finalize(), HASH_DIGITS);
    let readable: String = parts
        .join("-")
        .chars()
        .map(|character| {
            if character.is_ascii_lowercase() || character.is_ascii_digit() {
                character
            } else {
                '-'
            }
        })
        .collect();
    let readable = readable.trim_start_matches(|first: char| !first.is_ascii_lowercase());
    let readable: String = readable.chars().take(LABEL_LENGTH_LIMIT - HASH_DIGITS - 1).collect();
    let readable = readable.trim_end_matches('-');
    DnsLabel(if readable.is_empty() {
        format!("x-{hash}")
    } else {
        format!("{readable}-{hash}")
    })
}

/// `name` as the value of a label: as it is when it is one, else cut and hashed.
#[must_use]
pub fn label_value(name: &str) -> String {
    if is_label_value(name) {
        name.to_owned()
    } else {
        hashed(&[name]).0
    }
}

/// The labels that select the launcher Pods of one machine, over restarts and migrations.
///
/// `KubeVirt` sets `vmi.kubevirt.io/id` since v1.7.0: the machine's name, and beyond 63 characters its first 54, `-`, and
/// eight digits of its SHA-1 (kubevirt/kubevirt `pkg/apimachinery/labels.go`, `CalculateVirtualMachineInstanceID`).
#[must_use]
pub fn launcher_pod_selector(machine: &str) -> BTreeMap<String, String> {
    let id = if machine.len() <= LABEL_LENGTH_LIMIT {
        machine.to_owned()
    } else {
        let start: String = machine.chars().take(LABEL_LENGTH_LIMIT - HASH_DIGITS - 1).collect();
        format!("{start}-{}", hex(&Sha1::digest(machine.as_bytes()), HASH_DIGITS))
    };
    BTreeMap::from([(LABEL_VMI_ID.to_owned(), id)])
}

fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text = base16ct::lower::encode_string(bytes);
    text.truncate(digits);
    text
}

/// Letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; or nothing.
fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_end = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= LABEL_LENGTH_LIMIT && is_end(bytes.first()) && is_end(bytes.last()) && bytes.iter().all(is_inner)
}

fn is_label(text: &str) -> bool {
    text.len() <= LABEL_LENGTH_LIMIT && is_label_of_any_length(text)
}

fn is_label_of_any_length(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_and_subdomains_are_told_apart() {
        for good in ["a", "1", "web-1", &"a".repeat(63)] {
            assert!(DnsLabel::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "A", "a_b", "ä", &"a".repeat(64)] {
            assert!(DnsLabel::parse(bad).is_err(), "{bad}");
        }
        for good in ["a.b", "1.2", &"a".repeat(253)] {
            assert!(DnsSubdomain::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a..b", ".a", "a.-b", &"a".repeat(254)] {
            assert!(DnsSubdomain::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_joined_name_is_plain_where_it_can_be() {
        assert_eq!(joined(&["web-1", "ssh"]).as_str(), "web-1-ssh");
        assert_eq!(joined(&["web.1", "ssh"]).as_str(), "web-1-ssh-8a496d73");
        assert_eq!(joined(&["1web", "ssh"]).as_str(), "web-ssh-f169ec5c");
        assert_eq!(joined(&["1", "2"]).as_str(), "x-c502b177");
        assert_eq!(joined(&[&"a".repeat(61), "ssh"]).as_str().len(), 63);
    }

    #[test]
    fn a_label_has_a_name_as_it_is_or_hashed() {
        for plain in ["", "alice", "Alice.B_c-1", &"a".repeat(63)] {
            assert_eq!(label_value(plain), plain);
        }
        let long = "a".repeat(64);
        let names = ["alice@example.org", "王小明", "alice.", "_alice", " ", &long];
        let values: std::collections::BTreeSet<_> = names.iter().map(|name| label_value(name)).collect();
        assert_eq!(values.len(), names.len());
        assert!(label_value(names[0]).starts_with("alice-example-org-"));
        for value in values {
            assert!(is_label_value(&value), "{value}");
        }
    }

    #[test]
    fn hashed_names_keep_the_parts_apart() {
        assert_ne!(hashed(&["a-b", "c"]), hashed(&["a", "b-c"]));
        assert_ne!(hashed(&["ab", ""]), hashed(&["a", "b"]));
    }

    /// Values of `KubeVirt`'s own unit test and of `printf %s ... | sha1sum`.
    #[test]
    fn launcher_pods_are_selected_as_kubevirt_labels_them() {
        assert_eq!(launcher_pod_selector("web.1")[LABEL_VMI_ID], "web.1");
        let name = "a".repeat(64);
        assert_eq!(
            launcher_pod_selector(&name)[LABEL_VMI_ID],
            format!("{}-0098ba82", "a".repeat(54))
        );
    }

    proptest! {
        #[test]
        fn derived_names_are_valid_and_stable(parts in prop::collection::vec("[a-z0-9.A-Z_-]{0,120}", 1..4)) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            for name in [joined(&parts), hashed(&parts)] {
                prop_assert!(DnsLabel::parse(name.as_str()).is_ok(), "{name}");
                prop_assert!(name.as_str().starts_with(|first: char| first.is_ascii_lowercase()), "{name}");
            }
            prop_assert_eq!(joined(&parts), joined(&parts));
        }

        #[test]
        fn different_parts_give_different_hashed_names(a in prop::collection::vec("[a-z-]{0,80}", 1..4), b in prop::collection::vec("[a-z-]{0,80}", 1..4)) {
            prop_assume!(a != b);
            let [a, b] = [&a, &b].map(|parts| parts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_ne!(hashed(&a), hashed(&b));
        }

        #[test]
        fn any_name_has_a_label_value(name in any::<String>()) {
            prop_assert!(is_label_value(&label_value(&name)));
        }

        #[test]
        fn label_values_are_short_enough(name in "[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?") {
            let value = label_value(&name);
            prop_assert!(value.len() <= LABEL_LENGTH_LIMIT);
            prop_assert!(value.len() == name.len() || name.len() > LABEL_LENGTH_LIMIT);
            prop_assert!(launcher_pod_selector(&name)[LABEL_VMI_ID].len() <= LABEL_LENGTH_LIMIT);
        }
    }
}
