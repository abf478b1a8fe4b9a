//! Who a request is from, as the front proxy's headers say it. No IO.
//!
//! The rules are those of `k8s.io/apiserver/pkg/authentication/request/headerrequest`: the first user header that is not empty
//! counts, all values of all group headers count, and what follows an extra prefix is the extra's key, in lower case and
//! percent-encoded. Values are never percent-encoded: decoding them would let `a%62` pass for `ab`.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

/// Bytes of a user's name, of a group and of a UID: what `ConsoleSession.status` holds.
pub const NAME_BYTES_LIMIT: usize = 1024;
/// Groups of a user.
pub const GROUPS_LIMIT: usize = 256;
/// Values of extras over all keys.
pub const EXTRAS_LIMIT: usize = 256;
/// Bytes of an extra's key and of its value.
pub const EXTRA_BYTES_LIMIT: usize = 8 * 1024;

/// A user as kube-apiserver has authenticated them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name; never empty.
    pub user: String,
    /// The user's UID, when there is one.
    pub uid: Option<String>,
    /// The user's groups, each once, in the order in which they came.
    pub groups: Vec<String>,
    /// What the authenticator says more; keys in lower case.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Names of the headers that hold an identity, from `kube-system/extension-apiserver-authentication`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderNames {
    /// Headers that may hold the user's name; the first one with a value counts.
    pub user: Vec<HeaderName>,
    /// Headers that may hold the UID; the first one with a value counts.
    pub uid: Vec<HeaderName>,
    /// Headers whose values are groups.
    pub group: Vec<HeaderName>,
    /// What the names of headers with extras begin with, in lower case.
    pub extra_prefix: Vec<String>,
}

/// Why headers name nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// There is no user.
    #[error("the request names no user")]
    NoUser,
    /// A value is not UTF-8.
    #[error("the header {0} is not UTF-8")]
    NotUtf8(String),
    /// A value is too long.
    #[error(
        "the header {0} is longer than {1} bytes; ask with an account whose name, groups and extra values are shorter"
    )]
    TooLong(String, usize),
    /// The user is in too many groups.
    #[error("the user is in more than {GROUPS_LIMIT} groups; ask with an account that is in fewer")]
    TooManyGroups,
    /// The user has too many extras.
    #[error("the user has more than {EXTRAS_LIMIT} extra values; ask with an account that has fewer")]
    TooManyExtras,
}

impl HeaderNames {
    /// Whether a request has any of these headers, which only the front proxy may send.
    #[must_use]
    pub fn are_in(&self, headers: &HeaderMap) -> bool {
        let mut names = self.user.iter().chain(&self.uid).chain(&self.group);
        names.any(|name| headers.contains_key(name)) || headers.keys().any(|name| self.extra_key(name).is_some())
    }

    /// Reads the identity. The caller has checked that the front proxy sent the request.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when there is no user or a bound is exceeded.
    pub fn identity(&self, headers: &HeaderMap) -> Result<Identity, IdentityError> {
        Ok(Identity {
            user: first(headers, &self.user)?.ok_or(IdentityError::NoUser)?,
            uid: first(headers, &self.uid)?,
            groups: self.groups(headers)?,
            extra: self.extras(headers)?,
        })
    }

    fn groups(&self, headers: &HeaderMap) -> Result<Vec<String>, IdentityError> {
        let mut groups: Vec<String> = Vec::new();
        for name in &self.group {
            for value in headers.get_all(name) {
                let group = text(name, value, NAME_BYTES_LIMIT)?;
                if group.is_empty() || groups.iter().any(|known| known == group) {
                    continue;
                }
                if groups.len() == GROUPS_LIMIT {
                    return Err(IdentityError::TooManyGroups);
                }
                groups.push(group.to_owned());
            }
        }
        Ok(groups)
    }

    fn extras(&self, headers: &HeaderMap) -> Result<BTreeMap<String, Vec<String>>, IdentityError> {
        let mut extras: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut count = 0;
        for (name, value) in headers {
            let Some(key) = self.extra_key(name) else {
                continue;
            };
            count += 1;
            if count > EXTRAS_LIMIT {
                return Err(IdentityError::TooManyExtras);
            }
            let value = text(name, value, EXTRA_BYTES_LIMIT)?.to_owned();
            extras.entry(decoded(key)).or_default().push(value);
        }
        Ok(extras)
    }

    fn extra_key<'a>(&self, name: &'a HeaderName) -> Option<&'a str> {
        // The name and the prefixes are in lower case.
        let mut keys = self
            .extra_prefix
            .iter()
            .filter_map(|prefix| name.as_str().strip_prefix(prefix.as_str()));
        keys.find(|key| !key.is_empty())
    }
}

fn first(headers: &HeaderMap, names: &[HeaderName]) -> Result<Option<String>, IdentityError> {
    for name in names {
        for value in headers.get_all(name) {
            let text = text(name, value, NAME_BYTES_LIMIT)?;
            if !text.is_empty() {
                return Ok(Some(text.to_owned()));
            }
        }
    }
    Ok(None)
}

fn text<'a>(name: &HeaderName, value: &'a HeaderValue, max: usize) -> Result<&'a str, IdentityError> {
    if value.len() > max {
        return Err(IdentityError::TooLong(name.to_string(), max));
    }
    // Not trimmed, as kube-apiserver does not: a name may end in a space that is none of HTTP's own.
    str::from_utf8(value.as_bytes()).map_err(|_| IdentityError::NotUtf8(name.to_string()))
}

/// A key that is not well encoded is taken as it is, as kube-apiserver's own library does.
fn decoded(key: &str) -> String {
    let well_encoded = key.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes();
        digits.len() >= 2 && digits.iter().take(2).all(u8::is_ascii_hexdigit)
    });
    let decoded = percent_decode_str(key).decode_utf8();
    match decoded {
        Ok(decoded) if well_encoded => decoded.into_owned(),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> HeaderNames {
        HeaderNames {
            user: vec![
                HeaderName::from_static("x-remote-user"),
                HeaderName::from_static("x-alias"),
            ],
            uid: vec![HeaderName::from_static("x-remote-uid")],
            group: vec![
                HeaderName::from_static("x-remote-group"),
                HeaderName::from_static("x-team"),
            ],
            extra_prefix: vec!["x-remote-extra-".to_owned()],
        }
    }

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    fn identity(list: &[(&str, &str)]) -> Result<Identity, IdentityError> {
        names().identity(&headers(list))
    }

    #[test]
    fn an_identity_is_read_as_kube_apiserver_writes_it() {
        let who = identity(&[
            ("X-Remote-User", ""),
            ("X-Remote-User", "jürgen"),
            ("X-Alias", "other"),
            ("X-Remote-Uid", "42"),
            ("X-Remote-Group", "a"),
            ("X-Remote-Group", "system:authenticated"),
            ("X-Remote-Group", "a"),
            ("X-Team", "b"),
            ("X-Remote-Extra-Scopes.example.org%2fone", "1"),
            ("X-Remote-Extra-scopes.example.org%2Fone", "2"),
            ("X-Remote-Extra-100%", "z"),
            ("X-Other", "no"),
        ])
        .unwrap();
        assert_eq!((who.user.as_str(), who.uid.as_deref()), ("jürgen", Some("42")));
        assert_eq!(who.groups, ["a", "system:authenticated", "b"]);
        assert_eq!(who.extra["scopes.example.org/one"], ["1", "2"]);
        assert_eq!(who.extra["100%"], ["z"]);
        assert_eq!(who.extra.len(), 2);
    }

    #[test]
    fn values_are_not_percent_decoded() {
        let who = identity(&[("X-Remote-User", "a%62"), ("X-Remote-Group", "system%3Amasters")]).unwrap();
        assert_eq!(
            (who.user.as_str(), who.groups.as_slice()),
            ("a%62", ["system%3Amasters".to_owned()].as_slice())
        );
    }

    #[test]
    fn a_user_with_white_space_in_the_name_is_another_user() {
        for user in ["alice\u{a0}", "\u{2003}alice", "\u{3000}"] {
            let who = identity(&[("X-Remote-User", user), ("X-Remote-Group", user)]).unwrap();
            assert_eq!(
                (who.user.as_str(), who.groups.as_slice()),
                (user, [user.to_owned()].as_slice())
            );
        }
    }

    #[test]
    fn names_in_any_alphabet_are_read_as_they_are_sent() {
        for name in ["王小明", "\u{5d3}\u{5e0}\u{5d4}", "😀", &"ä".repeat(126)] {
            let who = identity(&[
                ("X-Remote-User", name),
                ("X-Remote-Group", name),
                ("X-Remote-Extra-team%2F%e5%9f%ba", name),
            ])
            .unwrap();
            assert_eq!(
                (who.user.as_str(), who.groups.as_slice()),
                (name, [name.to_owned()].as_slice())
            );
            assert_eq!(who.extra["team/基"], [name]);
        }
    }

    #[test]
    fn nobody_and_too_much_are_refused() {
        assert_eq!(identity(&[]).unwrap_err(), IdentityError::NoUser);
        assert_eq!(identity(&[("X-Remote-Group", "a")]).unwrap_err(), IdentityError::NoUser);
        let long = "u".repeat(NAME_BYTES_LIMIT + 1);
        assert!(matches!(
            identity(&[("X-Remote-User", &long)]),
            Err(IdentityError::TooLong(_, NAME_BYTES_LIMIT))
        ));
        let mut many = headers(&[("X-Remote-User", "u")]);
        for number in 0..GROUPS_LIMIT {
            many.append("x-remote-group", HeaderValue::try_from(format!("g{number}")).unwrap());
        }
        assert_eq!(names().identity(&many).unwrap().groups.len(), GROUPS_LIMIT);
        many.append("x-remote-group", HeaderValue::from_static("one-more"));
        assert_eq!(names().identity(&many).unwrap_err(), IdentityError::TooManyGroups);
        let mut odd = headers(&[]);
        odd.append("x-remote-user", HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(matches!(names().identity(&odd), Err(IdentityError::NotUtf8(_))));
    }

    #[test]
    fn headers_of_the_front_proxy_are_noticed() {
        for name in ["X-Remote-User", "X-Team", "x-remote-uid", "X-REMOTE-EXTRA-a"] {
            assert!(names().are_in(&headers(&[(name, "")])), "{name}");
        }
        assert!(!names().are_in(&headers(&[("X-Remote-Extra-", "a"), ("X-Remote-Userx", "b")])));
    }

    proptest! {
        #[test]
        fn what_is_read_keeps_the_bounds(list in proptest::collection::vec(("(x-remote-(user|uid|group|extra-[a-z%0-9]{1,8}))|x-team", "\\PC{0,40}"), 0..20)) {
            let mut map = HeaderMap::new();
            for (name, value) in &list {
                if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                    map.append(name.parse::<HeaderName>().unwrap(), value);
                }
            }
            if let Ok(who) = names().identity(&map) {
                prop_assert!(!who.user.is_empty() && who.user.len() <= NAME_BYTES_LIMIT);
                prop_assert!(who.groups.len() <= GROUPS_LIMIT);
                prop_assert!(who.extra.values().map(Vec::len).sum::<usize>() <= EXTRAS_LIMIT);
            }
        }
    }
}
