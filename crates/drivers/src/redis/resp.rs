//! The words on the wire: RESP2, as every Redis since 2.0 speaks it before it is asked for anything else.

/// The deepest list in a list.
const DEEPEST: usize = 8;
/// The longest list.
const LONGEST_LIST: usize = 4096;
/// The longest line that announces something.
const LONGEST_LINE: usize = 64 * 1024;
/// The largest answer: a list of 50,000 clients.
pub(super) const LARGEST: usize = 16 << 20;

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A text, short or long.
    Text(Vec<u8>),
    /// A number.
    Number(i64),
    /// Nothing.
    Nil,
    /// A list.
    List(Vec<Reply>),
    /// An error in the server's words.
    Error(String),
}

/// This is no RESP2, or more of it than any honest server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not what a Redis server says")]
pub(super) struct Noise;

impl Reply {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => std::str::from_utf8(text).ok(),
            Self::Number(_) | Self::Nil | Self::List(_) | Self::Error(_) => None,
        }
    }

    /// The entries, if it is a list.
    pub(super) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            Self::Number(_) | Self::Nil | Self::Text(_) | Self::Error(_) => None,
        }
    }
}

/// A command as it is sent.
pub(super) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The answer at the beginning of `bytes`, with what comes after it; none while it is not all here.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Reply, &[u8])>, Noise> {
    part(bytes, DEEPEST)
}

fn part(bytes: &[u8], depth: usize) -> Result<Option<(Reply, &[u8])>, Noise> {
    let Some(end) = bytes.iter().take(LONGEST_LINE).position(|&byte| byte == b'\n') else {
        return if bytes.len() < LONGEST_LINE { Ok(None) } else { Err(Noise) };
    };
    let (line, rest) = bytes.split_at_checked(end + 1).ok_or(Noise)?;
    let line = line.strip_suffix(b"\r\n").ok_or(Noise)?;
    let (kind, line) = line.split_first().ok_or(Noise)?;
    match kind {
        b'+' => Ok(Some((Reply::Text(line.to_vec()), rest))),
        b'-' => Ok(Some((Reply::Error(String::from_utf8_lossy(line).into_owned()), rest))),
        b':' => Ok(Some((Reply::Number(number(line)?), rest))),
        b'$' => long_text(number(line)?, rest),
        b'*' => list(number(line)?, rest, depth),
        _ => Err(Noise),
    }
}

fn long_text(size: i64, bytes: &[u8]) -> Result<Option<(Reply, &[u8])>, Noise> {
    if size == -1 {
        return Ok(Some((Reply::Nil, bytes)));
    }
    let size = usize::try_from(size).ok().filter(|&size| size <= LARGEST).ok_or(Noise)?;
    let Some((text, rest)) = bytes.split_at_checked(size) else { return Ok(None) };
    match rest {
        [b'\r', b'\n', rest @ ..] => Ok(Some((Reply::Text(text.to_vec()), rest))),
        [] | [b'\r'] => Ok(None),
        _ => Err(Noise),
    }
}

fn list(size: i64, mut bytes: &[u8], depth: usize) -> Result<Option<(Reply, &[u8])>, Noise> {
    if size == -1 {
        return Ok(Some((Reply::Nil, bytes)));
    }
    let depth = depth.checked_sub(1).ok_or(Noise)?;
    let size = usize::try_from(size).ok().filter(|&size| size <= LONGEST_LIST).ok_or(Noise)?;
    let mut entries = Vec::new();
    for _ in 0..size {
        let Some((entry, rest)) = part(bytes, depth)? else { return Ok(None) };
        entries.push(entry);
        bytes = rest;
    }
    Ok(Some((Reply::List(entries), bytes)))
}

fn number(line: &[u8]) -> Result<i64, Noise> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(Noise)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn answers_are_read_and_commands_written() {
        assert_eq!(request(&[b"ACL", b"GETUSER", b""]), b"*3\r\n$3\r\nACL\r\n$7\r\nGETUSER\r\n$0\r\n\r\n");
        let answer = b"*5\r\n$5\r\nflags\r\n*1\r\n+on\r\n:-7\r\n$-1\r\n-ERR no\r\nrest";
        let list = vec![
            text("flags"),
            Reply::List(vec![text("on")]),
            Reply::Number(-7),
            Reply::Nil,
            Reply::Error("ERR no".into()),
        ];
        assert_eq!(parse(answer), Ok(Some((Reply::List(list), b"rest".as_slice()))));
        for end in 0..answer.len() - b"rest".len() {
            assert_eq!(parse(&answer[..end]), Ok(None), "{end} bytes");
        }
    }

    #[test]
    fn what_no_server_says_is_given_up() {
        for noise in [
            "HTTP/1.1 400\r\n",
            "\r\n",
            "+OK\n",
            ":x\r\n",
            "$-2\r\n",
            "$99999999\r\n",
            "*-5\r\n",
            "*99999999\r\n",
            "$1\r\nabc",
        ] {
            assert_eq!(parse(noise.as_bytes()), Err(Noise), "{noise:?}");
        }
        assert_eq!(parse("*1\r\n".repeat(DEEPEST + 1).as_bytes()), Err(Noise));
        assert_eq!(parse(&vec![b'+'; LONGEST_LINE]), Err(Noise));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_noise(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((_, rest))) = parse(&bytes) {
                prop_assert!(rest.len() < bytes.len());
            }
        }
    }
}
