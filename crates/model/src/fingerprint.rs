//! A short stand-in for a secret, safe to show.

use std::fmt;

use aws_lc_rs::hmac;

use crate::SecretBytes;

/// Tells two secrets apart without telling either: 64 bits of HMAC-SHA-256 under a key of the installation.
///
/// Without that key a weak secret cannot be guessed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// The fingerprint of `secret` under `key`.
    pub fn of(key: &[u8], secret: &SecretBytes) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), secret.expose());
        let mut short = [0; 8];
        for (to, from) in short.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Self(short)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_depends_on_the_secret_and_on_the_key() {
        let (one, two) = (SecretBytes::new(vec![1]), SecretBytes::new(vec![2]));
        assert_eq!(Fingerprint::of(b"k", &one), Fingerprint::of(b"k", &one));
        assert_ne!(Fingerprint::of(b"k", &one), Fingerprint::of(b"k", &two));
        assert_ne!(Fingerprint::of(b"k", &one), Fingerprint::of(b"l", &one));
        assert_eq!(Fingerprint::of(b"k", &one).to_string().len(), 16);
    }
}
