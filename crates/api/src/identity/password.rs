//! Hashes of passwords: argon2id with 19 MiB and two passes, as OWASP's cheat sheet has it.

use std::sync::Arc;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::Semaphore;

/// Hashes at a time: each takes 19 MiB and a processor for some ten milliseconds.
const HASHES_LIMIT: usize = 2;

/// Bytes of a password.
pub const PASSWORD_BYTES: usize = 512;

/// Memory that a stored hash may ask for, in KiB.
const MEMORY_KIB_LIMIT: u32 = 64 * 1024;

/// Why a password cannot be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It is empty, or longer than anybody types.
    #[error("a password has 1 to {PASSWORD_BYTES} bytes")]
    Length,
    /// The library fails.
    #[error("the password cannot be hashed")]
    Hash,
}

/// The hash of a password, as a PHC string.
///
/// # Errors
///
/// [`PasswordError`].
pub fn hash(password: &str) -> Result<String, PasswordError> {
    if password.is_empty() || password.len() > PASSWORD_BYTES {
        return Err(PasswordError::Length);
    }
    let hash: PasswordHash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|_| PasswordError::Hash)?;
    Ok(hash.to_string())
}

/// Compares passwords with hashes, a few at a time. Clones share the places.
#[derive(Clone)]
pub struct PasswordVerifier {
    places: Arc<Semaphore>,
    /// What the passwords of users are compared with that are not there, so that they take as long.
    nobody: Arc<str>,
}

impl PasswordVerifier {
    /// A verifier.
    ///
    /// # Errors
    ///
    /// [`PasswordError::Hash`].
    pub fn new() -> Result<Self, PasswordError> {
        let nobody = hash(&format!("{:032x}", rand::random::<u128>()))?;
        Ok(Self {
            places: Arc::new(Semaphore::new(HASHES_LIMIT)),
            nobody: nobody.into(),
        })
    }

    /// Whether a password has this hash. With no hash it takes as long, and the answer is no.
    pub async fn verify(&self, password: String, stored: Option<String>) -> bool {
        let is_known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.to_string());
        let Ok(_place) = self.places.acquire().await else {
            return false;
        };
        let compared = tokio::task::spawn_blocking(move || matches(&password, &stored)).await;
        is_known && compared.unwrap_or(false)
    }
}

fn matches(password: &str, stored: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(stored) else {
        tracing::error!("the hash of a local user cannot be read; set the password again: novasphere user password");
        return false;
    };
    let memory = parsed.params.get_decimal("m");
    if password.len() > PASSWORD_BYTES || memory.is_none_or(|memory| memory > MEMORY_KIB_LIMIT) {
        return false;
    }
    Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_alone() {
        let stored = hash("correct horse").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let verifier = PasswordVerifier::new().unwrap();
        assert!(verifier.verify("correct horse".to_owned(), Some(stored.clone())).await);
        assert!(!verifier.verify("wrong".to_owned(), Some(stored)).await);
        assert!(!verifier.verify("correct horse".to_owned(), None).await);
        assert!(!verifier.verify("a".to_owned(), Some("nonsense".to_owned())).await);
    }

    #[test]
    fn only_passwords_that_people_type_are_hashed() {
        assert_eq!(hash("").unwrap_err(), PasswordError::Length);
        assert_eq!(hash(&"x".repeat(513)).unwrap_err(), PasswordError::Length);
    }
}
