//! What is sealed opens in its place with its KEK, and nowhere else.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn seal() -> Seal {
    let folder = tempfile::tempdir().unwrap();
    Seal::new(Kek::create(&folder.path().join("kek")).unwrap())
}

fn at(installation: u128, credential: u128, version: u64, column: Column) -> Place<'static> {
    Place {
        installation: InstallationId::from_bits(installation),
        subject: Subject::Version(CredentialId::from_bits(credential), Version::new(version).unwrap()),
        column,
    }
}

#[test]
fn what_is_sealed_opens_in_its_place() {
    let seal = seal();
    let place = at(1, 2, 3, Column::Secret);
    let sealed = seal.seal(&place, b"hunter2").unwrap();
    assert_eq!(seal.unseal(&place, &sealed).unwrap().expose(), b"hunter2");
    assert!(!sealed.ciphertext.windows(7).any(|w| w == b"hunter2"));
    let again = seal.seal(&place, b"hunter2").unwrap();
    assert!(again.dek != sealed.dek && again.ciphertext != sealed.ciphertext);
}

#[test]
fn what_was_moved_does_not_open() {
    let seal = seal();
    let place = at(1, 2, 3, Column::Secret);
    let sealed = seal.seal(&place, b"hunter2").unwrap();
    let key = |name| Place { subject: Subject::Key(name), ..place };
    let elsewhere = [
        at(9, 2, 3, Column::Secret),
        at(1, 9, 3, Column::Secret),
        at(1, 2, 9, Column::Secret),
        at(1, 2, 3, Column::PrivateKey),
        key("ca/server"),
    ];
    for place in elsewhere {
        assert_eq!(seal.unseal(&place, &sealed).unwrap_err(), SealError::Refused, "{place:?}");
    }
    let sealed = seal.seal(&key("ca/server"), b"key").unwrap();
    assert_eq!(seal.unseal(&key("ca/admin"), &sealed).unwrap_err(), SealError::Refused);
}

#[test]
fn places_that_look_alike_when_joined_are_told_apart() {
    let place = |name| Place {
        installation: InstallationId::from_bits(1),
        subject: Subject::Key(name),
        column: Column::PrivateKey,
    };
    let all: std::collections::BTreeSet<_> =
        ["", "a", "aa", "a\0", "a\0\0\0\u{1}a"].into_iter().map(|name| place(name).payload_data()).collect();
    assert_eq!(all.len(), 5);
}

#[test]
fn a_data_key_of_another_value_does_not_open_this_one() {
    let seal = seal();
    let place = at(1, 2, 3, Column::Secret);
    let (one, two) = (seal.seal(&place, b"one").unwrap(), seal.seal(&place, b"two").unwrap());
    let mixed = Sealed { dek: two.dek, ..one };
    assert_eq!(seal.unseal(&place, &mixed).unwrap_err(), SealError::Refused);
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let seal = seal();
    let place = at(1, 2, 3, Column::Secret);
    let sealed = seal.seal(&place, b"hunter2").unwrap();
    for bit in 0..8 * sealed.ciphertext.len() {
        let mut flipped = sealed.clone();
        flipped.ciphertext[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(seal.unseal(&place, &flipped).unwrap_err(), SealError::Refused, "bit {bit}");
    }
    for bit in 0..8 * sealed.dek.len() {
        let mut flipped = sealed.clone();
        flipped.dek[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            seal.unseal(&place, &flipped).unwrap_err(),
            SealError::Refused,
            "bit {bit} of the data key"
        );
    }
    for length in 0..sealed.ciphertext.len() {
        let cut = Sealed { ciphertext: sealed.ciphertext[..length].to_vec(), ..sealed.clone() };
        assert_eq!(seal.unseal(&place, &cut).unwrap_err(), SealError::Refused, "cut at {length}");
    }
}

#[test]
fn another_kek_says_so() {
    let (one, two) = (seal(), seal());
    let place = at(1, 2, 3, Column::Secret);
    let sealed = one.seal(&place, b"hunter2").unwrap();
    let error = two.unseal(&place, &sealed).unwrap_err();
    assert_eq!(error, SealError::OtherKek { sealed: one.kek().clone(), held: two.kek().clone() });
    assert!(error.to_string().contains("give the controller the KEK file of this store"), "{error}");
    // Claiming to be under the other does not help.
    let claimed = Sealed { kek: two.kek().clone(), ..sealed };
    assert_eq!(two.unseal(&place, &claimed).unwrap_err(), SealError::Refused);
}

#[test]
fn nothing_is_not_sealed() {
    assert_eq!(seal().seal(&at(1, 2, 3, Column::Secret), b"").unwrap_err(), SealError::Empty);
}

#[test]
fn a_kek_is_made_once_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kek");
    let made = Kek::create(&path).unwrap();
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (32, 0o600));
    assert_eq!(Kek::read(&path).unwrap().id(), made.id());
    let bytes = std::fs::read(&path).unwrap();
    assert!(matches!(Kek::create(&path), Err(KekError::Present(_))));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert!(matches!(Kek::read(&folder.path().join("none")), Err(KekError::File { .. })));
}

#[test]
fn a_kek_that_others_may_read_or_of_another_shape_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kek");
    drop(Kek::create(&path).unwrap());
    for mode in [0o640, 0o604, 0o620, 0o700] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(Kek::read(&path), Err(KekError::Open { .. })), "{mode:o}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    assert!(Kek::read(&path).is_ok());
    for length in [0, 31, 33, 64] {
        let other = folder.path().join(format!("kek{length}"));
        std::fs::write(&other, vec![1; length]).unwrap();
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Kek::read(&other), Err(KekError::Shape(_))), "{length} bytes");
    }
    assert!(matches!(Kek::read(folder.path()), Err(KekError::Shape(_))));
}

#[test]
fn debug_shows_no_key() {
    let seal = seal();
    let key = hex::encode(seal.kek.key());
    let shown = format!("{seal:?}");
    assert!(shown.contains("SecretBytes(…)") && !shown.contains(&key), "{shown}");
}
