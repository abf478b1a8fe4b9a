//! Console tokens as they arrive: 256 bits in 43 characters, of which only the SHA-256 is ever kept.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Length of a token in characters: 256 bits in base64url without padding (RFC 4648 section 5).
pub const TOKEN_BYTES: usize = 43;

/// The SHA-256 of a token's characters.
///
/// It is compared in constant time and has no `PartialEq`, so that nobody compares it otherwise by accident.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

/// Why characters are no token. The characters themselves are never part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It has another length.
    #[error("a token has 43 characters, this has {0}")]
    Length(usize),
    /// It has a character that no token has.
    #[error("a token has only the characters A-Z, a-z, 0-9, - and _")]
    Character,
    /// The hash is not 64 lower-case hexadecimal digits.
    #[error("a token's hash has 64 lower-case hexadecimal digits")]
    Hash,
}

impl TokenHash {
    /// Checks the form of a token and hashes it.
    ///
    /// # Errors
    ///
    /// [`TokenError`] when no token has this form.
    pub fn of_token(token: &[u8]) -> Result<Self, TokenError> {
        if token.len() != TOKEN_BYTES {
            return Err(TokenError::Length(token.len()));
        }
        if !token
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            return Err(TokenError::Character);
        }
        Ok(Self::of_characters(token))
    }

    /// Hashes characters whose form was checked.
    pub(crate) fn of_characters(characters: &[u8]) -> Self {
        Self(Sha256::digest(characters).into())
    }

    /// Reads a hash as it is kept in a session's status.
    ///
    /// # Errors
    ///
    /// [`TokenError::Hash`] when it is not 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, TokenError> {
        let mut hash = [0; 32];
        // A shorter text fills only a part of the hash.
        match base16ct::lower::decode(text, &mut hash) {
            Ok(decoded) if decoded.len() == 32 => {}
            _ => return Err(TokenError::Hash),
        }
        Ok(Self(hash))
    }

    /// The hash as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        base16ct::lower::encode_string(&self.0)
    }

    /// Whether both are of the same token. Takes the same time whatever the answer.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl ConstantTimeEq for TokenHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM-_09";

    #[test]
    fn the_hash_is_the_sha256_of_the_characters() {
        // printf %s "$TOKEN" | sha256sum
        assert_eq!(
            TokenHash::of_token(TOKEN.as_bytes()).unwrap().to_hex(),
            "d5222b97db4d186dac825a4d8be66fb66e7c9857eb4b7129e5362b6de6139653"
        );
    }

    #[test]
    fn other_forms_are_no_tokens() {
        assert_eq!(TokenHash::of_token(b"").unwrap_err(), TokenError::Length(0));
        assert_eq!(TokenHash::of_token(&[b'a'; 44]).unwrap_err(), TokenError::Length(44));
        assert_eq!(TokenHash::of_token(&[b'+'; 43]).unwrap_err(), TokenError::Character);
        assert_eq!(TokenHash::of_token(&[0xc3; 43]).unwrap_err(), TokenError::Character);
        for text in [
            "",
            "6C",
            &"6C".repeat(32),
            &"6".repeat(63),
            &"6".repeat(65),
            &"ä".repeat(32),
        ] {
            assert_eq!(TokenHash::from_hex(text).unwrap_err(), TokenError::Hash, "{text}");
        }
    }

    #[test]
    fn neither_token_nor_hash_is_ever_printed() {
        assert_eq!(
            format!("{:?}", TokenHash::of_token(TOKEN.as_bytes())),
            "Ok(TokenHash(..))"
        );
    }

    proptest! {
        #[test]
        fn a_hash_survives_writing_and_matches_only_its_token(one in "[A-Za-z0-9_-]{43}", two in "[A-Za-z0-9_-]{43}") {
            let hash = TokenHash::of_token(one.as_bytes()).unwrap();
            prop_assert!(TokenHash::from_hex(&hash.to_hex()).unwrap().is(&hash));
            prop_assert_eq!(TokenHash::of_token(two.as_bytes()).unwrap().is(&hash), one == two);
        }

        #[test]
        fn arbitrary_bytes_are_answered(bytes: Vec<u8>, text: String) {
            let _ = TokenHash::of_token(&bytes);
            let _ = TokenHash::from_hex(&text);
        }
    }
}
