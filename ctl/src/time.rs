//! Times as they are shown. The controller's clock decides; this machine's is not asked.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// What a moment is called inside, until it is spread. No answer has such fields of its own.
const AT: &str = "\u{0}at";
const MS: &str = "\u{0}ms";

/// A moment by the controller's clock. In JSON, a moment `cut` is two fields: `cut` (RFC 3339) and `cut_ms` (since 1970);
/// see [`spread`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(i64);

impl At {
    /// The moment, unless the wire says 0, which means none.
    pub fn said(ms: i64) -> Option<Self> {
        (ms != 0).then_some(Self(ms))
    }

    /// How long before `now` it was; zero if it lies ahead.
    pub fn ago(self, now: Self) -> Duration {
        Duration::from_millis(u64::try_from(now.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// `3 d 4 h ago` or `in 5 m`.
    pub fn told_at(self, now: Self) -> String {
        if self > now {
            format!("in {}", rough(now.ago(self)))
        } else {
            format!("{} ago", rough(self.ago(now)))
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Within four digits of a year, as far as the text reaches.
        let ms = u64::try_from(self.0).unwrap_or(0).min(253_402_300_799_999);
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).fmt(f)
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut at = serializer.serialize_struct("At", 2)?;
        at.serialize_field(AT, &self.to_string())?;
        at.serialize_field(MS, &self.0)?;
        at.end()
    }
}

/// Makes of each moment in `document` the two fields that it is shown as.
pub fn spread(document: &mut Value) {
    if let Value::Array(list) = document {
        list.iter_mut().for_each(spread);
    }
    let Value::Object(map) = document else { return };
    map.values_mut().for_each(spread);
    let moments: Vec<(String, Value, Value)> = map
        .iter()
        .filter_map(|(key, value)| {
            let inner = value.as_object().filter(|inner| inner.len() == 2)?;
            Some((key.clone(), inner.get(AT)?.clone(), inner.get(MS)?.clone()))
        })
        .collect();
    for (key, at, ms) in moments {
        map.insert(format!("{key}_ms"), ms);
        map.insert(key, at);
    }
}

/// A length of time in at most two units, such as `3 d 4 h` or `212 ms`.
pub fn rough(length: Duration) -> String {
    let seconds = length.as_secs();
    let (large, small) = match seconds {
        0 => return format!("{} ms", length.as_millis()),
        1..60 => return format!("{}.{} s", seconds, length.subsec_millis() / 100),
        60..3_600 => ((60, "m"), (1, "s")),
        3_600..86_400 => ((3_600, "h"), (60, "m")),
        _ => ((86_400, "d"), (3_600, "h")),
    };
    let (first, second) = (seconds / large.0, seconds % large.0 / small.0);
    if second == 0 {
        format!("{first} {}", large.1)
    } else {
        format!("{first} {} {second} {}", large.1, small.1)
    }
}

/// How long passed between two moments, if both are there.
pub fn between(from: Option<At>, to: Option<At>) -> Option<String> {
    Some(rough(from?.ago(to?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_twice_in_json() {
        let at = At::said(1_763_708_400_123).unwrap();
        let mut document = serde_json::json!({"cut": at, "list": [{"seen": at}], "none": null});
        spread(&mut document);
        let wanted = serde_json::json!({
            "cut": "2025-11-21T07:00:00.123Z", "cut_ms": 1_763_708_400_123_i64,
            "list": [{"seen": "2025-11-21T07:00:00.123Z", "seen_ms": 1_763_708_400_123_i64}],
            "none": null,
        });
        assert_eq!(document, wanted);
        assert_eq!(At::said(0), None);
    }

    #[test]
    fn hostile_moments_are_shown_as_something() {
        for ms in [i64::MIN, -1, i64::MAX] {
            assert!(!At::said(ms).unwrap().to_string().is_empty());
        }
    }

    #[test]
    fn lengths_are_told_in_two_units() {
        let told = [
            (212, "212 ms"),
            (1_500, "1.5 s"),
            (60_000, "1 m"),
            (61_000, "1 m 1 s"),
            (3_600_000, "1 h"),
            (90_000_000, "1 d 1 h"),
        ];
        for (ms, text) in told {
            assert_eq!(rough(Duration::from_millis(ms)), text);
        }
        let now = At::said(100_000).unwrap();
        assert_eq!(At::said(40_000).unwrap().told_at(now), "1 m ago");
        assert_eq!(At::said(160_000).unwrap().told_at(now), "in 1 m");
    }
}
