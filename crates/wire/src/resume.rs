//! Credentials with which a browser comes back to a console that it was let in to: two parts like [tokens](crate::token), one that stays
//! and names the place, and a secret that is replaced at each use. Only the SHA-256 of each is ever kept.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::token::{TOKEN_BYTES, TokenError, TokenHash};

/// Length of a credential in characters.
pub const CREDENTIAL_BYTES: usize = 2 * TOKEN_BYTES;

/// Random bytes of one part.
pub const PART_RANDOM_BYTES: usize = 32;

/// A credential. Its characters are for the browser alone.
#[derive(Clone)]
pub struct ResumeCredential {
    place: String,
    secret: String,
}

/// The SHA-256 of both parts of a credential.
#[derive(Clone, Copy, Debug)]
pub struct ResumeHash {
    /// Of the part that stays.
    pub place: TokenHash,
    /// Of the secret.
    pub secret: TokenHash,
}

impl ResumeCredential {
    /// A credential for a new place, of random bytes.
    #[must_use]
    pub fn new(place: [u8; PART_RANDOM_BYTES], secret: [u8; PART_RANDOM_BYTES]) -> Self {
        Self {
            place: URL_SAFE_NO_PAD.encode(place),
            secret: URL_SAFE_NO_PAD.encode(secret),
        }
    }

    /// The one that takes its place, of random bytes.
    #[must_use]
    pub fn successor(&self, secret: [u8; PART_RANDOM_BYTES]) -> Self {
        Self {
            place: self.place.clone(),
            secret: URL_SAFE_NO_PAD.encode(secret),
        }
    }

    /// Reads what a browser sends.
    ///
    /// # Errors
    ///
    /// [`TokenError`] when no credential has this form.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let (place, secret) = text
            .split_at_checked(TOKEN_BYTES)
            .ok_or(TokenError::Length(text.len()))?;
        for part in [place, secret] {
            TokenHash::of_token(part.as_bytes())?;
        }
        Ok(Self {
            place: place.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// What a browser is to keep.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.place, self.secret)
    }

    /// The hashes of its parts.
    #[must_use]
    pub fn hash(&self) -> ResumeHash {
        ResumeHash {
            place: TokenHash::of_characters(self.place.as_bytes()),
            secret: TokenHash::of_characters(self.secret.as_bytes()),
        }
    }
}

impl fmt::Debug for ResumeCredential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ResumeCredential(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_credential_survives_the_way_and_its_successor_has_the_same_place() {
        let first = ResumeCredential::new([1; PART_RANDOM_BYTES], [2; PART_RANDOM_BYTES]);
        assert_eq!(first.text().len(), CREDENTIAL_BYTES);
        let read = ResumeCredential::parse(&first.text()).unwrap().hash();
        assert!(read.place.is(&first.hash().place) && read.secret.is(&first.hash().secret));
        let next = first.successor([3; PART_RANDOM_BYTES]).hash();
        assert!(next.place.is(&read.place) && !next.secret.is(&read.secret));
    }

    #[test]
    fn other_forms_are_no_credentials_and_none_is_ever_printed() {
        let good = "a".repeat(CREDENTIAL_BYTES);
        for text in [
            "",
            "a",
            &good[1..],
            &format!("{good}a"),
            &format!("{}+", &good[1..]),
            &"ä".repeat(43),
        ] {
            assert!(ResumeCredential::parse(text).is_err(), "{text}");
        }
        let credential = ResumeCredential::parse(&good).unwrap();
        let printed = format!("{credential:?} {:?}", credential.hash());
        assert!(!printed.contains("aaa"), "{printed}");
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_answered(text: String) {
            let _ = ResumeCredential::parse(&text);
        }
    }
}
