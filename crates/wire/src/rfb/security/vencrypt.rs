//! `VeNCrypt` 0.2: TLS started inside RFB. Only sub-type `X509Plain` is spoken.
//!
//! The list of sub-types is sent in clear, so somebody in between can change it; therefore a choice that was not offered is
//! refused, and the sub-types with anonymous TLS or none are not offered at all.

use std::fmt;

/// TLS with a certificate, then user name and password.
pub const X509_PLAIN: u32 = 262;

/// The version spoken, 0.2, as both sides send it.
pub const VERSION: [u8; 2] = [0, 2];

/// The longest user name, in bytes: a namespace (63), a slash and an object name (253), with room to spare.
pub const USER_BYTES_LIMIT: usize = 512;

/// The longest password, in bytes. A token has 43.
pub const PASSWORD_BYTES_LIMIT: usize = 256;

/// Bytes of the two lengths in front of user name and password.
pub const LENGTHS: usize = 8;

/// The user name and password that a viewer sent. Neither is ever printed: people type the password into the wrong field.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name as sent.
    pub user: Vec<u8>,
    /// Password as sent.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials(..)")
    }
}

/// User name or password are longer than any that opens something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the user name has {user} bytes and the password {password}; at most {USER_BYTES_LIMIT} and {PASSWORD_BYTES_LIMIT} are read"
)]
pub struct TooLong {
    /// Bytes of the user name.
    pub user: u32,
    /// Bytes of the password.
    pub password: u32,
}

/// Reads the lengths of user name and password.
///
/// # Errors
///
/// [`TooLong`] when one is over its limit.
pub fn lengths(bytes: [u8; LENGTHS]) -> Result<(usize, usize), TooLong> {
    let both = u64::from_be_bytes(bytes);
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a number of 64 bits")]
    let (user, password) = ((both >> 32) as u32, both as u32);
    match (usize::try_from(user), usize::try_from(password)) {
        (Ok(user), Ok(password)) if user <= USER_BYTES_LIMIT && password <= PASSWORD_BYTES_LIMIT => {
            Ok((user, password))
        }
        _ => Err(TooLong { user, password }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_over_the_limit_are_refused_before_anything_is_read() {
        assert_eq!(lengths([0, 0, 0, 3, 0, 0, 0, 43]), Ok((3, 43)));
        assert_eq!(lengths([0, 0, 2, 0, 0, 0, 1, 0]), Ok((512, 256)));
        assert!(lengths([0, 0, 2, 1, 0, 0, 1, 0]).is_err());
        assert!(lengths([0, 0, 2, 0, 0, 0, 1, 1]).is_err());
        assert!(lengths([255; 8]).is_err());
    }

    #[test]
    fn credentials_are_not_printed() {
        let credentials = Credentials {
            user: b"secret".to_vec(),
            password: b"secret".to_vec(),
        };
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
