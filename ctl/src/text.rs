//! Text that others wrote, made fit for a terminal; and small words around numbers.

/// `text` without anything that could move the cursor, change colours or reverse the line.
pub(crate) fn printable(text: &str) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if odd(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// `1 session`, `2 sessions`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A version as people write it; `-` for none.
pub(crate) fn version(number: u64) -> String {
    if number == 0 { "-".to_owned() } else { format!("v{number}") }
}

/// `text`, or `-` if there is none.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { printable(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(printable("orders\u{1b}[31m\r\n"), "orders\\u{1b}[31m\\u{d}\\u{a}");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(printable("zähler ✓"), "zähler ✓");
    }

    #[test]
    fn one_is_one() {
        assert_eq!(count(1, "session", "sessions"), "1 session");
        assert_eq!(count(0, "session", "sessions"), "0 sessions");
    }
}
