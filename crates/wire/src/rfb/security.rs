//! Security types and how their outcome is told.

pub mod vencrypt;
pub mod vnc_auth;

use super::version::Version;

/// No security type: the connection fails and a reason follows.
pub const INVALID: u8 = 0;
/// No authentication.
pub const NONE: u8 = 1;
/// A challenge encrypted with a password of up to 8 characters.
pub const VNC_AUTH: u8 = 2;
/// `VeNCrypt`, whose sub-types are in [`vencrypt`].
pub const VENCRYPT: u8 = 19;

/// The longest reason text that is read from a server, in bytes.
pub const REASON_BYTES_LIMIT: usize = 4096;

/// A `SecurityResult` that says yes.
pub const RESULT_OK: [u8; 4] = [0, 0, 0, 0];

/// Appends a `SecurityResult` that says no, with the reason where the version has a place for it.
pub fn put_failure(version: Version, reason: &str, output: &mut Vec<u8>) {
    output.extend_from_slice(&1_u32.to_be_bytes());
    if version == Version::V3_8 {
        put_text(reason, output);
    }
}

/// Appends an empty list of security types and the reason.
pub fn put_no_types(version: Version, reason: &str, output: &mut Vec<u8>) {
    if version == Version::V3_3 {
        output.extend_from_slice(&u32::from(INVALID).to_be_bytes());
    } else {
        output.push(INVALID);
    }
    put_text(reason, output);
}

fn put_text(text: &str, output: &mut Vec<u8>) {
    // Our texts are sentences of ours; none comes near the limit.
    let text = text.get(..REASON_BYTES_LIMIT).unwrap_or(text);
    output.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
    output.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(fill: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut output = Vec::new();
        fill(&mut output);
        output
    }

    #[test]
    fn reasons_are_where_each_version_expects_them() {
        assert_eq!(
            put(|out| put_failure(Version::V3_8, "no", out)),
            [0, 0, 0, 1, 0, 0, 0, 2, b'n', b'o']
        );
        assert_eq!(put(|out| put_failure(Version::V3_7, "no", out)), [0, 0, 0, 1]);
        assert_eq!(put(|out| put_failure(Version::V3_3, "no", out)), [0, 0, 0, 1]);
        assert_eq!(
            put(|out| put_no_types(Version::V3_8, "no", out)),
            [0, 0, 0, 0, 2, b'n', b'o']
        );
        assert_eq!(
            put(|out| put_no_types(Version::V3_3, "no", out)),
            [0, 0, 0, 0, 0, 0, 0, 2, b'n', b'o']
        );
    }
}
