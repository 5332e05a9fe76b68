//! The packets that the double says.

/// Protocol 4.1, secure connection, plugins, a database, transactions.
const CAPABILITIES: u32 = 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 13 | 1 << 15 | 1 << 19;
/// In no transaction, committing by itself.
const STATUS: [u8; 2] = [2, 0];

pub(super) fn greeting(number: u32, challenge: &[u8]) -> Vec<u8> {
    let (first, rest) = challenge.split_at(8);
    let [a, b, c, d] = CAPABILITIES.to_le_bytes();
    [
        &[10],
        b"8.4.0-scripted-double\0".as_slice(),
        &number.to_le_bytes(),
        first,
        &[0, a, b, 45],
        &STATUS,
        &[c, d, 21],
        &[0; 10],
        rest,
        b"\0caching_sha2_password\0",
    ]
    .concat()
}

pub(super) fn ok() -> Vec<u8> {
    [&[0, 0, 0], STATUS.as_slice(), &[0, 0]].concat()
}

pub(super) fn error(code: u16, text: &str) -> Vec<u8> {
    [&[0xff], code.to_le_bytes().as_slice(), b"#HY000", text.as_bytes()].concat()
}

/// A result of `columns` texts.
pub(super) fn rows(columns: usize, rows: &[Vec<Option<String>>]) -> Vec<Vec<u8>> {
    let end = || [&[0xfe, 0, 0], STATUS.as_slice()].concat();
    let name = |text: &str| [&[u8::try_from(text.len()).unwrap_or_default()], text.as_bytes()].concat();
    let column = [
        name("def"),
        name(""),
        name(""),
        name(""),
        name("column"),
        name(""),
        // Of fixed length: utf8mb4, 1024 bytes at the most, VAR_STRING.
        vec![12, 45, 0, 0, 4, 0, 0, 253, 0, 0, 0, 0, 0],
    ]
    .concat();
    let mut packets = vec![vec![u8::try_from(columns).unwrap_or_default()]];
    packets.extend((0..columns).map(|_| column.clone()));
    packets.push(end());
    packets.extend(rows.iter().map(|row| {
        row.iter().flat_map(|value| value.as_ref().map_or(vec![0xfb], |value| name(value))).collect()
    }));
    packets.push(end());
    packets
}
