//! The SCRAM-SHA-256 verifier that stands for a password at every server that checks it.
//!
//! A pooler can pass a login on without knowing the password only if its verifier is the server's, salt and all. So the
//! salt is made of the name and the password: whoever knows both makes the very same verifier, again and anywhere.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekey_model::SecretBytes;
use zeroize::Zeroizing;

/// How often the hash is applied: what PostgreSQL itself takes.
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4095);
const SALT: usize = 16;

/// The verifier of the login `name` with this password, as PostgreSQL and PgBouncer store it: always the same one. It holds
/// no character that needs quoting.
pub(crate) fn verifier(name: &str, password: &SecretBytes) -> String {
    let text = std::str::from_utf8(password.expose()).ok();
    let prepared = text.and_then(|text| stringprep::saslprep(text).ok());
    let prepared = match prepared {
        Some(prepared) => Zeroizing::new(prepared.into_owned().into_bytes()),
        // As PostgreSQL and its clients do with what cannot be prepared.
        None => Zeroizing::new(password.expose().to_vec()),
    };
    // To try a password against the salt takes as long as to try it against the verifier.
    let made = slow_hash(format!("rekey/1 {name}").as_bytes(), &prepared);
    let (salt, _rest) = made.split_at(SALT);
    let salted = hmac::Key::new(hmac::HMAC_SHA256, slow_hash(salt, &prepared).as_slice());
    let stored = digest::digest(&digest::SHA256, hmac::sign(&salted, b"Client Key").as_ref());
    let server = hmac::sign(&salted, b"Server Key");
    format!(
        "SCRAM-SHA-256${ROUNDS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored),
        STANDARD.encode(server)
    )
}

fn slow_hash(salt: &[u8], password: &[u8]) -> Zeroizing<[u8; digest::SHA256_OUTPUT_LEN]> {
    let mut hash = Zeroizing::new([0; digest::SHA256_OUTPUT_LEN]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, password, hash.as_mut_slice());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, password: &str) -> String {
        verifier(name, &SecretBytes::from(password.to_owned()))
    }

    #[test]
    fn a_verifier_is_the_same_each_time_and_another_for_another_login() {
        assert_eq!(of("orders_v1", "secret"), of("orders_v1", "secret"));
        let salt = |verifier: &str| verifier.split('$').nth(1).unwrap().to_owned();
        assert_ne!(salt(&of("orders_v1", "secret")), salt(&of("orders_v2", "secret")));
        assert_ne!(salt(&of("orders_v1", "secret")), salt(&of("orders_v1", "other")));
    }

    #[test]
    fn a_verifier_needs_no_quoting_whatever_the_password() {
        for password in ["it's \\ $ \" secret", "\u{7}", "pässwörd \u{2168}", ""] {
            let made = of("orders_v1", password);
            assert!(made.starts_with("SCRAM-SHA-256$4096:"));
            assert!(made.bytes().all(|c| c.is_ascii_alphanumeric() || b"+/=$:-".contains(&c)), "{made}");
        }
    }
}
