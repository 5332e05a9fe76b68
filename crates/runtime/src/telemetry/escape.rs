//! A writer that leaves no control character in a log line: a name from outside must not forge lines or steer a
//! terminal.

use std::io::{self, Write};

/// Writes every control character but the newline at the end as `\u{..}`. Each `write` is one whole log line.
#[derive(Debug)]
pub(super) struct Escaping<W>(pub(super) W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(escaped(line).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escaped(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let (body, end) = text.strip_suffix('\n').map_or((&*text, ""), |body| (body, "\n"));
    let mut out = String::with_capacity(text.len());
    for letter in body.chars() {
        if letter.is_control()
            || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            out.extend(letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    out.push_str(end);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_outside_can_forge_no_line_and_steer_no_terminal() {
        let mut out = Vec::new();
        Escaping(&mut out).write_all(b"name=a\nERROR forged\r\x1b[2J\xc2\x9b1m\n").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "name=a\\u{a}ERROR forged\\u{d}\\u{1b}[2J\\u{9b}1m\n");
    }
}
