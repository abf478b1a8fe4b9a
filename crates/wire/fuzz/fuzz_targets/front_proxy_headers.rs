//! Who a request is from: lines `name: value`, the values of any bytes.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use novasphere_wire::front_proxy::{HeaderNames, EXTRA_BYTES_LIMIT, EXTRAS_LIMIT, GROUPS_LIMIT, NAME_BYTES_LIMIT};

fuzz_target!(|bytes: &[u8]| {
    let names = HeaderNames {
        user: vec![HeaderName::from_static("x-remote-user"), HeaderName::from_static("x-alias")],
        uid: vec![HeaderName::from_static("x-remote-uid")],
        group: vec![HeaderName::from_static("x-remote-group"), HeaderName::from_static("x-team")],
        extra_prefix: vec!["x-remote-extra-".to_owned(), "x-".to_owned()],
    };
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(1000) {
        let Some(colon) = line.windows(2).position(|pair| pair == b": ") else { continue };
        let (name, value) = line.split_at(colon);
        let parsed = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.get(2..).unwrap_or_default()));
        if let (Ok(name), Ok(value)) = parsed {
            headers.append(name, value);
        }
    }
    let Ok(who) = names.identity(&headers) else { return };
    assert!(names.are_in(&headers), "an identity without a header of the front proxy");
    assert!(!who.user.is_empty() && who.user.len() <= NAME_BYTES_LIMIT);
    assert!(who.uid.is_none_or(|uid| !uid.is_empty() && uid.len() <= NAME_BYTES_LIMIT));
    assert!(who.groups.len() <= GROUPS_LIMIT && who.groups.iter().all(|group| !group.is_empty() && group.len() <= NAME_BYTES_LIMIT));
    let values: Vec<_> = who.extra.values().flatten().collect();
    assert!(values.len() <= EXTRAS_LIMIT && values.iter().all(|value| value.len() <= EXTRA_BYTES_LIMIT));
    // An identity holds what was sent, byte by byte: nothing is trimmed and nothing decoded.
    let sent = |text: &str| headers.values().any(|value| value.as_bytes() == text.as_bytes());
    assert!(sent(&who.user) && who.groups.iter().all(|group| sent(group)));
});
