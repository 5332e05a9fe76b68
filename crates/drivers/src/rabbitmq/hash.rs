//! The salted hash that stands for a password at RabbitMQ.

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekey_model::SecretBytes;
use zeroize::Zeroizing;

/// What the broker calls the hash that is made here.
pub(super) const ALGORITHM: &str = "rabbit_password_hashing_sha256";
const SALT: usize = 4;

/// The hash of the password of the user `name`, as the broker stores and shows it: always the same one, so that what reads
/// back can be compared. The salt is made of the name and the password, which has 32 random bytes.
pub(super) fn of(name: &str, password: &SecretBytes) -> String {
    let mut seed = Context::new(&SHA256);
    for part in [b"rekey/1 ", name.as_bytes(), b" ", password.expose()] {
        seed.update(part);
    }
    let seed = seed.finish();
    let (salt, _rest) = seed.as_ref().split_at(SALT);
    salted(salt, password)
}

fn salted(salt: &[u8], password: &SecretBytes) -> String {
    let both = Zeroizing::new([salt, password.expose()].concat());
    STANDARD.encode([salt, digest(&SHA256, &both).as_ref()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_what_the_manual_of_rabbitmq_computes() {
        // "Computing Password Hash" of RabbitMQ's guide to passwords.
        let password = SecretBytes::from("test12".to_owned());
        let salt = [0x90, 0x8d, 0xc6, 0x0a];
        assert_eq!(salted(&salt, &password), "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR");
    }

    #[test]
    fn a_hash_is_the_same_again_and_another_for_another_user() {
        let password = || SecretBytes::from("plain-marker".to_owned());
        assert_eq!(of("one", &password()), of("one", &password()));
        assert_ne!(of("one", &password()), of("two", &password()));
    }
}
