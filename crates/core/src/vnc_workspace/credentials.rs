//! A workspace's VNC password and SSH host key.

use ssh_key::{LineEnding, PrivateKey, private::Ed25519Keypair};

/// Letters and digits that are not mistaken for each other: without `0`, `O`, `1`, `I`, `l`.
const PASSWORD_ALPHABET: &[u8] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// `VncAuth` takes no more than 8 characters into account (RFC 6143, section 7.2.2).
pub const PASSWORD_LENGTH: usize = 8;

/// Random bytes, from which credentials are made.
#[derive(Clone)]
pub struct Seed {
    /// For the password. More than [`PASSWORD_LENGTH`], because some are dropped, so that all characters are equally likely.
    pub password: [u8; 64],
    /// For the host key.
    pub host_key: [u8; 32],
}

/// Credentials of a workspace. They are for its Secret alone.
#[derive(Clone, PartialEq, Eq)]
pub struct DesktopCredentials {
    /// The VNC password.
    pub password: String,
    /// The SSH host key, as sshd reads it.
    pub host_key: String,
    /// Its public half, as `known_hosts` has it.
    pub host_key_public: String,
}

/// Never shows what it holds.
impl std::fmt::Debug for DesktopCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DesktopCredentials")
    }
}

/// Makes credentials. `None` when the seed is not random: it has too few different bytes for a password.
#[must_use]
pub fn credentials(seed: &Seed, comment: &str) -> Option<DesktopCredentials> {
    let fair = usize::from(u8::MAX) / PASSWORD_ALPHABET.len() * PASSWORD_ALPHABET.len();
    let characters = seed
        .password
        .iter()
        .map(|byte| usize::from(*byte))
        .filter(|byte| *byte < fair);
    let password: String = characters
        .filter_map(|byte| {
            PASSWORD_ALPHABET
                .get(byte % PASSWORD_ALPHABET.len())
                .copied()
                .map(char::from)
        })
        .take(PASSWORD_LENGTH)
        .collect();
    if password.len() < PASSWORD_LENGTH {
        return None;
    }
    let mut key = PrivateKey::from(Ed25519Keypair::from_seed(&seed.host_key));
    key.set_comment(comment);
    Some(DesktopCredentials {
        password,
        host_key: key.to_openssh(LineEnding::LF).ok()?.to_string(),
        host_key_public: key.public_key().to_openssh().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(byte: u8) -> Seed {
        Seed {
            password: std::array::from_fn(|index| u8::try_from(index).unwrap().wrapping_mul(7).wrapping_add(byte)),
            host_key: [byte; 32],
        }
    }

    #[test]
    fn credentials_are_whole_and_differ() {
        let first = credentials(&seed(1), "alice").unwrap();
        let second = credentials(&seed(2), "alice").unwrap();
        assert_eq!(first.password.len(), PASSWORD_LENGTH);
        assert_ne!(first.password, second.password);
        assert_ne!(first.host_key, second.host_key);
        let key = PrivateKey::from_openssh(&first.host_key).unwrap();
        assert_eq!(key.public_key().to_openssh().unwrap(), first.host_key_public);
        assert!(
            first.host_key_public.starts_with("ssh-ed25519 AAAA"),
            "{}",
            first.host_key_public
        );
        assert!(first.host_key_public.ends_with(" alice"));
        assert_eq!(format!("{first:?}"), "DesktopCredentials");
    }

    #[test]
    fn bytes_that_would_favour_a_character_are_thrown_away() {
        let unfair = Seed {
            password: [255; 64],
            host_key: [0; 32],
        };
        assert_eq!(credentials(&unfair, ""), None);
    }
}
