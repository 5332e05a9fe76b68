//! Signature Version 4, for the one kind of request that this driver makes: a form posted to `/`.
//!
//! A module of its own rather than the `aws-sigv4` crate, which brings ten more with it: without path, query and chunks
//! the scheme is two hashes and five HMACs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign as hmac};
use rekey_model::SecretBytes;

/// An access key.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyPair<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a SecretBytes,
}

/// What a signature is good for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'static str,
}

/// How the form is posted.
pub(super) const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The present time as a signature carries it, `20150830T123600Z`. AWS refuses one that is minutes off.
pub(super) fn now() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "a signature carries the time of who signs; nothing is decided by it"
    )]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    stamp(since.as_secs())
}

/// The headers that sign `body`, posted to `/` at `host` at the time `at`.
pub(super) fn headers(
    key: KeyPair<'_>,
    scope: Scope<'_>,
    (host, at, body): (&str, &str, &[u8]),
) -> Vec<(&'static str, String)> {
    let signed = "content-type;host;x-amz-date";
    let canonical = format!(
        "POST\n/\n\ncontent-type:{FORM}\nhost:{host}\nx-amz-date:{at}\n\n{signed}\n{}",
        hex::encode(digest(&SHA256, body))
    );
    let day = at.get(..8).unwrap_or_default();
    let scope_text = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let hashed = hex::encode(digest(&SHA256, canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{at}\n{scope_text}\n{hashed}");
    let mut first = zeroize::Zeroizing::new(b"AWS4".to_vec());
    first.extend_from_slice(key.secret.expose());
    let mut tag = hmac(&Key::new(HMAC_SHA256, &first), day.as_bytes());
    for step in [scope.region, scope.service, "aws4_request", to_sign.as_str()] {
        tag = hmac(&Key::new(HMAC_SHA256, tag.as_ref()), step.as_bytes());
    }
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope_text}, SignedHeaders={signed}, Signature={}",
        key.id,
        hex::encode(tag)
    );
    vec![("content-type", FORM.to_owned()), ("x-amz-date", at.to_owned()), ("authorization", authorization)]
}

/// Seconds since 1970 as `20150830T123600Z`.
fn stamp(seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The day of the calendar, counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// Seconds since 1970 of `2026-11-21T16:07:17Z`, as AWS writes moments, fractions left out.
pub(super) fn seconds_of(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The inverse of `date`: the calendar's year begins in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (shifted / 400, shifted % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Seconds since 1970 of `Sat, 21 Nov 2026 16:07:17 GMT`, as HTTP writes them.
pub(super) fn seconds_of_header(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    seconds_of(&format!("{year}-{month:02}-{day}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_as_aws_shows_it() {
        // "post-x-www-form-urlencoded" of the published test suite, but for the charset of the content type.
        let secret = SecretBytes::from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned());
        let key = KeyPair { id: "AKIDEXAMPLE", secret: &secret };
        let scope = Scope { region: "us-east-1", service: "service" };
        let made = headers(key, scope, ("example.amazonaws.com", "20150830T123600Z", b"Param1=value1"));
        let authorization = &made.iter().find(|(name, _)| *name == "authorization").unwrap().1;
        assert_eq!(
            authorization,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, Signature=2f3b42f35f135abf9c562afcbbc44fc03df96dcfd4332ecebad8b39a7d4b6125"
        );
    }

    #[test]
    fn moments_are_read_and_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-21T16:07:17Z", 1_795_277_237),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(seconds_of(text), Some(seconds), "{text}");
            let compact: String = text.chars().filter(|c| !matches!(c, '-' | ':')).collect();
            assert_eq!(stamp(seconds), compact);
        }
        assert_eq!(seconds_of_header("Sat, 21 Nov 2026 16:07:17 GMT"), Some(1_795_277_237));
        for wrong in ["", "2026-13-01T00:00:00Z", "2026-11-21", "never"] {
            assert_eq!(seconds_of(wrong), None, "{wrong}");
            assert_eq!(seconds_of_header(wrong), None, "{wrong}");
        }
    }
}
