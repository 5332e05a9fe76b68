//! Names and values inside SQL, the hash that stands for a password, and the mark that tells ours from others'.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rekey_model::{SecretBytes, Version};

use crate::Owner;

/// The longest name of an account: MySQL takes no longer one. MariaDB would take 80.
pub(super) const LONGEST_NAME: usize = 32;

/// How long a tag is.
pub(super) const TAG: usize = 20;

/// `name` as a quoted identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('\0', "").replace('`', "``"))
}

/// `text` as a literal, for a session without `NO_BACKSLASH_ESCAPES`. A NUL, which no name can hold, is left out.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\\', "\\\\").replace('\'', "''"))
}

/// What the server keeps of a password, and all that it is told: `*` and SHA1(SHA1(password)).
///
/// Without salt and quick to compute; whoever reads it finds a password that a person chose. Ours are 256 random bits,
/// which nobody finds.
pub(super) fn hash(password: &SecretBytes) -> String {
    starred(sha1(&sha1(password.expose())))
}

/// What tells one password's hash from another's, in names that many may read: whoever has the hash itself and has seen one
/// login on the wire can log in.
pub(super) fn tag(hash: &str) -> String {
    let mut tag = hex::encode(digest(&SHA256, format!("rekey/1 hash={hash}").as_bytes()));
    tag.truncate(TAG);
    tag
}

/// The mark of a version's account: a second way to log in that nobody can take, since it would need a password whose hash
/// is this very digest. MariaDB keeps no comment on an account; this it keeps in the one statement that makes it.
pub(super) fn mark(owner: &Owner, version: Version) -> String {
    let Owner { installation, credential } = owner;
    marked(&format!("rekey/1 installation={installation} credential={credential} version={}", version.get()))
}

/// What an adopted login has instead of a password once it is ended, and a user whose last password was taken away.
pub(super) fn mark_of_adopted(owner: &Owner) -> String {
    let Owner { installation, credential } = owner;
    marked(&format!("rekey/1 installation={installation} credential={credential} adopted"))
}

/// The answer to the server's challenge of `mysql_native_password`.
pub(super) fn answer(password: &SecretBytes, challenge: &[u8]) -> Vec<u8> {
    let once = sha1(password.expose());
    let keyed = sha1(&[challenge, &sha1(&once)].concat());
    once.iter().zip(keyed).map(|(one, other)| one ^ other).collect()
}

fn marked(text: &str) -> String {
    let whole = digest(&SHA256, text.as_bytes());
    starred(whole.as_ref().iter().take(20).copied().collect())
}

fn starred(bytes: Vec<u8>) -> String {
    format!("*{}", hex::encode_upper(bytes))
}

fn sha1(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(installation: &str, credential: &str) -> Owner {
        Owner { installation: installation.into(), credential: credential.parse().unwrap() }
    }

    #[test]
    fn names_and_literals_end_where_they_should() {
        assert_eq!(identifier("o`; DROP USER x; --"), "`o``; DROP USER x; --`");
        assert_eq!(literal(r"it's \' OR 1"), r"'it''s \\'' OR 1'");
        assert_eq!(literal("a\0b"), "'ab'");
    }

    #[test]
    fn the_hash_is_the_one_that_the_server_makes() {
        // SELECT PASSWORD('pw') on MariaDB 10.11.
        assert_eq!(hash(&SecretBytes::from("pw".to_owned())), "*D821809F681A40A6E379B50D0463EFAE20BDD122");
    }

    #[test]
    fn every_version_of_every_credential_has_a_mark_of_its_own() {
        let version = |number| Version::new(number).unwrap();
        let marks = [
            mark(&owner("a", "orders/db"), version(1)),
            mark(&owner("a", "orders/db"), version(2)),
            mark(&owner("b", "orders/db"), version(1)),
            mark(&owner("a", "orders/dc"), version(1)),
            mark_of_adopted(&owner("a", "orders/db")),
        ];
        for (index, one) in marks.iter().enumerate() {
            assert_eq!(one.len(), 41);
            assert!(!marks[index + 1..].contains(one));
        }
    }
}
