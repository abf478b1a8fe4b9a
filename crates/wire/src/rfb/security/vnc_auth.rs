//! VNC authentication (rfbproto 7.2.2): a challenge encrypted by DES with the password as key.

use std::fmt;

use des::{
    Des,
    cipher::{Array, BlockCipherEncrypt, KeyInit},
};

/// Bytes of a challenge and of its answer.
pub const CHALLENGE_BYTES: usize = 16;

/// The password of a VNC server. Only its first 8 bytes count, as the protocol has it. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct VncPassword([u8; 8]);

impl VncPassword {
    /// Takes the password's first 8 bytes, filled up with zeros.
    #[must_use]
    pub fn new(password: &[u8]) -> Self {
        let mut key = [0; 8];
        for (place, &byte) in key.iter_mut().zip(password) {
            *place = byte;
        }
        Self(key)
    }

    /// The answer to a server's challenge.
    #[must_use]
    pub fn answer(&self, challenge: [u8; CHALLENGE_BYTES]) -> [u8; CHALLENGE_BYTES] {
        // The first implementation read the key's bits from the other end, so all do.
        let cipher = Des::new(&Array(self.0.map(u8::reverse_bits)));
        let mut answer = challenge;
        for block in answer.as_chunks_mut::<8>().0 {
            let mut encrypted = Array(*block);
            cipher.encrypt_block(&mut encrypted);
            *block = encrypted.0;
        }
        answer
    }
}

impl fmt::Debug for VncPassword {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("VncPassword(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_bit_reversed_des() {
        // openssl enc -des-ecb -nopad -K <key, each byte bit-reversed>: "password" is 0e86ceceeef64e26.
        let answer = VncPassword::new(b"password").answer(*b"0123456789abcdef");
        assert_eq!(
            answer.map(|byte| format!("{byte:02x}")).concat(),
            "5645abeb5f1e6475e8feb11beb66ea19"
        );
    }

    #[test]
    fn only_eight_bytes_count() {
        assert_eq!(VncPassword::new(b"password"), VncPassword::new(b"password and more"));
        assert_ne!(VncPassword::new(b"passwor"), VncPassword::new(b"password"));
    }

    #[test]
    fn it_is_not_printed() {
        assert_eq!(format!("{:?}", VncPassword::new(b"secret")), "VncPassword(..)");
    }
}
