//! Random bytes, ids, names and numbers, all from the crypto library's generator.

use rekey_model::Id;
use rustls::crypto::aws_lc_rs;

/// Letters and digits of nonces: lower-case base32 (RFC 4648).
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Fills `buffer` with random bytes.
///
/// Invariant: without a working generator nothing here is safe, so the process ends rather than go on.
pub fn fill(buffer: &mut [u8]) {
    if aws_lc_rs::default_provider().secure_random.fill(buffer).is_err() {
        tracing::error!("the operating system gives no random bytes: ending at once");
        std::process::abort();
    }
}

/// `N` random bytes.
pub fn array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// `count` random bytes.
pub fn bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    fill(&mut bytes);
    bytes
}

/// A fresh random id.
pub fn id<K>() -> Id<K> {
    Id::from_bits(u128::from_be_bytes(array()))
}

/// `length` random letters and digits in lower-case base32, for names that must never come twice.
pub fn nonce(length: usize) -> String {
    bytes(length)
        .into_iter()
        .filter_map(|byte| BASE32.get(usize::from(byte & 31)))
        .map(|c| char::from(*c))
        .collect()
}

/// A number below `limit`, each equally likely; 0 when `limit` is 0.
pub fn below(limit: u64) -> u64 {
    if limit < 2 {
        return 0;
    }
    // Numbers from the last, incomplete run of `limit` would make the small ones likelier: draw again.
    let fair = u64::MAX - u64::MAX % limit;
    loop {
        let number = u64::from_be_bytes(array());
        if number < fair {
            return number % limit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_have_their_length_their_letters_and_differ() {
        let (one, two) = (nonce(26), nonce(26));
        assert_eq!(one.len(), 26);
        assert!(one.bytes().all(|c| BASE32.contains(&c)), "{one}");
        assert_ne!(one, two);
    }

    #[test]
    fn numbers_stay_below_their_limit_and_reach_every_value() {
        let seen: std::collections::BTreeSet<u64> = (0..1_000).map(|_| below(7)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!((below(0), below(1)), (0, 0));
    }
}
