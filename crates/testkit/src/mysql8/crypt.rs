//! What MySQL keeps of a password, by the words of the specification: written apart from the driver's, to check it.
#![expect(clippy::indexing_slicing, reason = "every place is one of a hash, or of 64 letters")]

use super::sha256;

const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BEGINNING: &str = "$A$005$";
/// Three bytes of the hash in the order in which they are written.
const ORDER: [[usize; 3]; 10] = [
    [0, 10, 20],
    [21, 1, 11],
    [12, 22, 2],
    [3, 13, 23],
    [24, 4, 14],
    [15, 25, 5],
    [6, 16, 26],
    [27, 7, 17],
    [18, 28, 8],
    [9, 19, 29],
];

/// What is kept of `password` with this salt of 20 bytes.
pub(super) fn kept(password: &str, salt: &[u8]) -> String {
    let written = crypt(password.as_bytes(), salt);
    format!("{BEGINNING}{}{written}", String::from_utf8_lossy(salt))
}

/// Whether this was kept of `password`.
pub(super) fn is(password: &str, known: &str) -> bool {
    let salt = known.strip_prefix(BEGINNING).and_then(|rest| rest.get(..20));
    salt.is_some_and(|salt| kept(password, salt.as_bytes()) == known)
}

fn crypt(password: &[u8], salt: &[u8]) -> String {
    let cycled = |bytes: Vec<u8>, size: usize| bytes.into_iter().cycle().take(size).collect::<Vec<u8>>();
    let other = sha256(&[password, salt, password].concat());
    let mut start = [password, salt, &cycled(other.clone(), password.len())].concat();
    let mut bits = password.len();
    while bits > 0 {
        start.extend(if bits % 2 == 1 { other.clone() } else { password.to_vec() });
        bits /= 2;
    }
    let mut hash = sha256(&start);
    let words = cycled(sha256(&password.repeat(password.len())), password.len());
    let salts = cycled(sha256(&salt.repeat(16 + usize::from(hash[0]))), salt.len());
    for round in 0..5000 {
        let odd = round % 2 == 1;
        let mut next = if odd { words.clone() } else { hash.clone() };
        if round % 3 != 0 {
            next.extend(&salts);
        }
        if round % 7 != 0 {
            next.extend(&words);
        }
        next.extend(if odd { &hash } else { &words });
        hash = sha256(&next);
    }
    let letters = |mut bits: u32, count: usize| -> String {
        let mut letter = || {
            let letter = LETTERS[(bits & 63) as usize];
            bits >>= 6;
            char::from(letter)
        };
        (0..count).map(|_| letter()).collect()
    };
    let three = |[a, b, c]: [usize; 3]| u32::from_be_bytes([0, hash[a], hash[b], hash[c]]);
    let last = letters(u32::from_be_bytes([0, 0, hash[31], hash[30]]), 3);
    ORDER.iter().map(|&places| letters(three(places), 4)).collect::<String>() + &last
}
