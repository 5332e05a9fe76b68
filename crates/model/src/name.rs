//! The one grammar of names. Nothing is decoded, folded or normalised: a name is right as it stands or refused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all, or more than the limit.
    #[error("a {what} has 1 to {limit} characters, this has {length}")]
    Length {
        /// The kind of name.
        what: &'static str,
        /// The most characters it may have.
        limit: usize,
        /// How many it has.
        length: usize,
    },
    /// A character outside the grammar, by its place.
    #[error("a {what} consists of {grammar}; character {at} does not fit")]
    Character {
        /// The kind of name.
        what: &'static str,
        /// The grammar in words.
        grammar: &'static str,
        /// The place of the first wrong character, counted from 1.
        at: usize,
    },
}

/// Declares a text newtype whose only constructor is its parser.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $limit:literal, $grammar:literal, $first_wrong:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                if text.is_empty() || text.len() > $limit {
                    return Err(NameError::Length { what: $what, limit: $limit, length: text.len() });
                }
                let first_wrong: fn(&str) -> Option<usize> = $first_wrong;
                match first_wrong(text) {
                    None => Ok(Self(text.to_owned())),
                    Some(index) => Err(NameError::Character { what: $what, grammar: $grammar, at: index + 1 }),
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a credential, such as `orders/db`.
    CredentialName, "credential name", 128,
    "segments of a-z, 0-9, '-', '_' and '.' that begin with a letter or digit, separated by '/'",
    |text| segments(text)
);
name!(
    /// The name of one field of a credential, such as `password`.
    FieldName, "field name", 64, "a-z, 0-9, '-' and '_', beginning with a letter",
    |text| word(text, |c| c.is_ascii_lowercase(), |c| plain(c) || c == b'_' || c == b'-')
);
name!(
    /// What a version is called at its target, such as `orders_app_v3_k2f9qd`. Never used twice (I15).
    Handle, "name at the target", 255, "printable ASCII without quotes, backslash or space",
    |text| text.bytes().position(|c| !c.is_ascii_graphic() || matches!(c, b'"' | b'\'' | b'\\'))
);

fn plain(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// The place of the first byte that does not fit a word, if any.
fn word(text: &str, first: fn(u8) -> bool, rest: fn(u8) -> bool) -> Option<usize> {
    text.bytes().enumerate().find(|&(i, c)| !(if i == 0 { first(c) } else { rest(c) })).map(|(i, _)| i)
}

fn segments(text: &str) -> Option<usize> {
    let mut start = 0;
    for segment in text.split('/') {
        if segment.is_empty() {
            return Some(start);
        }
        if let Some(wrong) = word(segment, plain, |c| plain(c) || matches!(c, b'-' | b'_' | b'.')) {
            return Some(start + wrong);
        }
        start += segment.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_stay_as_they_are() {
        for good in ["a", "orders/db", "team-1/orders.v2/db_main", &"a".repeat(128)] {
            assert_eq!(good.parse::<CredentialName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        let hostile = [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "../etc",
            "a/../b",
            "a/.",
            ".a",
            "-a",
            "A",
            "Orders/db",
            "a b",
            "a\n",
            "a\0",
            "a%2fb",
            "a\\b",
            "ä",
            "a\u{202e}",
            "a;b",
            "a'b",
            "a\"b",
            "a*b",
            "a?b",
            "a:b",
            "\u{1b}[31m",
            "a/ b",
        ];
        for bad in hostile {
            assert!(bad.parse::<CredentialName>().is_err(), "{bad:?} was taken");
        }
        assert!("a".repeat(129).parse::<CredentialName>().is_err());
    }

    #[test]
    fn the_error_names_the_place() {
        let error = "orders/Db".parse::<CredentialName>().unwrap_err();
        assert!(matches!(error, NameError::Character { at: 8, .. }), "{error:?}");
    }

    proptest::proptest! {
        #[test]
        fn what_parses_prints_the_same(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<CredentialName>() {
                assert_eq!(name.to_string(), text);
            }
        }
    }
}
