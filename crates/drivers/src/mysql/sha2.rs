//! What MySQL keeps of a password under `caching_sha2_password`, and how a client answers its challenge.
//!
//! The kept hash is the SHA-256 crypt of 5000 rounds with a salt of 20 characters. The salt is the password's tag: so a version
//! is found by what the server shows, and the same password always makes the same hash.

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rekey_model::SecretBytes;
use zeroize::Zeroizing;

use super::sql;

/// The plugin's name.
pub(super) const PLUGIN: &str = "caching_sha2_password";
/// What the server itself keeps for accounts that no password is to let in.
pub(super) const NOBODYS: &str = "$A$005$THISISACOMBINATIONOFINVALIDSALTANDPASSWORDTHATMUSTNEVERBRBEUSED";

/// How a kept hash begins: the digest, and the rounds in thousands.
const BEGINNING: &str = "$A$005$";
const ROUNDS: usize = 5000;
const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

type Hash = Zeroizing<[u8; SHA256_OUTPUT_LEN]>;

/// What the server keeps of this password, and all that it is told.
pub(super) fn kept(password: &SecretBytes) -> String {
    let salt = sql::tag(&sql::hash(password));
    format!("{BEGINNING}{salt}{}", crypt(password.expose(), salt.as_bytes()))
}

/// The tag of the password that this is kept of, where we made it.
pub(super) fn tag(kept: &str) -> Option<&str> {
    let salt = kept.strip_prefix(BEGINNING)?.get(..sql::TAG)?;
    salt.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')).then_some(salt)
}

/// The answer to the server's challenge, which it can check when it has seen the password lately.
pub(super) fn answer(password: &SecretBytes, challenge: &[u8]) -> Vec<u8> {
    let once = hash(&[password.expose()]);
    let keyed = hash(&[hash(&[once.as_slice()]).as_slice(), challenge]);
    once.iter().zip(keyed.iter()).map(|(one, other)| one ^ other).collect()
}

fn hash(parts: &[&[u8]]) -> Hash {
    let whole = Zeroizing::new(parts.concat());
    let mut hash = Zeroizing::new([0; SHA256_OUTPUT_LEN]);
    hash.copy_from_slice(digest(&SHA256, &whole).as_ref());
    hash
}

/// `bytes`, again and again, until there are `size`.
fn filled(bytes: &[u8], size: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.iter().copied().cycle().take(size).collect())
}

/// The SHA-256 crypt of Ulrich Drepper ("Unix crypt using SHA-256 and SHA-512"), without its limit for the salt.
fn crypt(password: &[u8], salt: &[u8]) -> String {
    let size = password.len();
    let other = hash(&[password, salt, password]);
    let mut start = Zeroizing::new([password, salt, &filled(other.as_slice(), size)].concat());
    let mut bits = size;
    while bits > 0 {
        start.extend_from_slice(if bits & 1 == 1 { other.as_slice() } else { password });
        bits >>= 1;
    }
    let mut round = hash(&[&start]);
    let words = filled(hash(&[&password.repeat(size)]).as_slice(), size);
    let salts = usize::from(round.first().copied().unwrap_or_default()) + 16;
    let salts = filled(hash(&[&salt.repeat(salts)]).as_slice(), salt.len());
    for number in 0..ROUNDS {
        let (first, last): (&[u8], &[u8]) =
            if number % 2 == 1 { (&words, round.as_slice()) } else { (round.as_slice(), &words) };
        let salted: &[u8] = if number % 3 == 0 { &[] } else { &salts };
        let again: &[u8] = if number % 7 == 0 { &[] } else { &words };
        let next = hash(&[first, salted, again, last]);
        round = next;
    }
    in_letters(&round)
}

/// The bytes of a hash as crypt writes them: three at a time, from three places that move on by 21.
fn in_letters(hash: &Hash) -> String {
    let byte = |place: usize| u32::from(hash.get(place).copied().unwrap_or_default());
    let mut text = String::new();
    let mut put = |mut bits: u32, letters: usize| {
        for _ in 0..letters {
            let letter = LETTERS.get(usize::try_from(bits & 63).unwrap_or_default());
            text.push(char::from(letter.copied().unwrap_or_default()));
            bits >>= 6;
        }
    };
    let mut places = [0, 10, 20];
    for _ in 0..10 {
        let [high, middle, low] = places.map(byte);
        put(high << 16 | middle << 8 | low, 4);
        places = places.map(|place| (place + 21) % 30);
    }
    put(byte(31) << 8 | byte(30), 3);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_one_that_a_real_server_keeps() {
        // Published examples of what MySQL 8 keeps: of `hashcat`, and of `password`.
        for (password, salt, kept) in [
            (
                "hashcat",
                "F9CC98CE08892924F50A213B6BC571A2C11778C5",
                "bTy95Y99eAME1dwEkHOA1ndHGBWz.1bxSSRkuTXFGV/",
            ),
            (
                "password",
                "06437A150142644D74187A6A2F0D7971094F2575",
                "HfzgHSftZ0OjHzspBPf4e3zu02QWhzQ6J8MsuTBI9p.",
            ),
        ] {
            assert_eq!(crypt(password.as_bytes(), &hex::decode(salt).unwrap()), kept);
        }
    }

    #[test]
    fn what_is_kept_tells_which_password_it_is_of() {
        let [one, two] = ["one", "two"].map(|text| SecretBytes::from(text.to_owned()));
        assert_eq!(kept(&one), kept(&one));
        assert_eq!(kept(&one).len(), "$A$005$".len() + 20 + 43);
        assert_eq!(tag(&kept(&one)), Some(sql::tag(&sql::hash(&one)).as_str()));
        assert_ne!(tag(&kept(&one)), tag(&kept(&two)));
        assert_eq!(tag(NOBODYS), None);
    }
}
