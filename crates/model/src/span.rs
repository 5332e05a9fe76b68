//! A length of time as people write it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A text that is not a length of time.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("not a length of time: write it like 300ms, 10s, 5m, 24h or 90d")]
pub struct SpanError(#[source] humantime::DurationError);

/// A length of time, read and written as `300ms`, `1h 30m` or `90d`; whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

impl Span {
    /// `duration` without what is finer than a millisecond.
    pub fn new(duration: Duration) -> Self {
        Self(Duration::from_millis(millis(duration)))
    }

    /// The length.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = SpanError;
    fn from_str(text: &str) -> Result<Self, SpanError> {
        humantime::parse_duration(text).map(Self::new).map_err(SpanError)
    }
}

impl TryFrom<String> for Span {
    type Error = SpanError;
    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// `duration` in whole milliseconds, as the wire and the clocks count; what is too long for that is the most there is.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_they_are_written() {
        for text in ["300ms", "10s", "1h 30m", "24h", "90d"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert_eq!("90d".parse::<Span>().unwrap().get(), Duration::from_hours(90 * 24));
        for bad in ["", "5", "-1s", "ten", "1x"] {
            assert!(bad.parse::<Span>().is_err(), "{bad} was taken");
        }
    }
}
