//! Short texts that people wrote for people, and for machines to find things by.

use std::fmt;
use std::str::FromStr;

/// A short text for people: 1 to 128 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a text here has 1 to 128 characters, without control characters and without space at its ends")]
pub struct NoLabel;

impl FromStr for Label {
    type Err = NoLabel;
    fn from_str(text: &str) -> Result<Self, NoLabel> {
        let fits = (1..=128).contains(&text.chars().count())
            && !text.chars().any(char::is_control)
            && text.trim() == text;
        if fits { Ok(Self(text.to_owned())) } else { Err(NoLabel) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_short_and_plain() {
        for good in ["a", "team-orders", "Größe 1", &"x".repeat(128)] {
            assert_eq!(good.parse::<Label>().unwrap().as_str(), good);
        }
        for bad in ["", " a", "a ", "a\u{1b}[2J", "a\n", &"x".repeat(129)] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?} was taken");
        }
    }
}
