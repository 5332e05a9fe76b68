//! Names and values inside SQL.

/// The longest name: PostgreSQL cuts a longer one off without an error, and then it names something else.
pub(super) const LONGEST_NAME: usize = 63;

/// A text that cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name in PostgreSQL has 1 to {LONGEST_NAME} bytes and no NUL")]
pub(super) struct NotAName;

/// `name` as a quoted identifier.
pub(super) fn identifier(name: &str) -> Result<String, NotAName> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
        return Err(NotAName);
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// `name` as a person would write it: quoted only where it has to be.
pub(super) fn shown(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if begins && name.chars().all(plain) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a literal, whatever `standard_conforming_strings` says. A NUL, which no text can hold, is left out.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\0', "").replace('\'', "''");
    if doubled.contains('\\') {
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_the_impossible_ones_refused() {
        assert_eq!(identifier("orders").unwrap(), r#""orders""#);
        assert_eq!(identifier(r#"o"; DROP ROLE x; --"#).unwrap(), r#""o""; DROP ROLE x; --""#);
        assert_eq!(identifier(&"ä".repeat(31)).unwrap().len(), 64);
        for bad in ["", "a\0b", &"a".repeat(64), &"ä".repeat(32)] {
            assert_eq!(identifier(bad), Err(NotAName));
        }
    }

    #[test]
    fn names_are_shown_as_people_write_them() {
        for (name, expected) in
            [("orders_2", "orders_2"), ("2x", "\"2x\""), ("Orders", "\"Orders\""), ("a\"b", "\"a\"\"b\"")]
        {
            assert_eq!(shown(name), expected);
        }
    }

    #[test]
    fn literals_end_where_they_should() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"\' OR 1"), r" E'\\'' OR 1'");
        assert_eq!(literal("a\0b"), "'ab'");
    }
}
