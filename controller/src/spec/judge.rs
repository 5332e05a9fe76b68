//! How well the uses of a new version must go, so that nobody is sent back.

use std::fmt;
use std::str::FromStr;

use rekey_settings::Section;

/// How a whole is counted: in hundred-thousandths, which are the third decimal of a percentage.
const WHOLE: u32 = 100_000;

/// What a new version is judged by, once everybody is to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    /// Which share of its uses must be good.
    pub good: Share,
    /// Of how many uses, at the least; at least one. Fewer say nothing.
    pub least: u64,
}

impl Default for Judge {
    fn default() -> Self {
        Self { good: Share(99_900), least: 1000 }
    }
}

/// A share of uses, such as `99.9%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// Whether `good` of `all` are less than this.
    pub fn is_missed_by(self, good: u64, all: u64) -> bool {
        u128::from(good) * u128::from(WHOLE) < u128::from(all) * u128::from(self.0)
    }
}

/// What is no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no percentage from 0% to 100% with at most three decimals")]
pub struct NoShare;

impl FromStr for Share {
    type Err = NoShare;

    fn from_str(text: &str) -> Result<Self, NoShare> {
        let number = text.strip_suffix('%').ok_or(NoShare)?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > 3 {
            return Err(NoShare);
        }
        let thousandths: u32 = format!("{whole}{decimals:0<3}").parse().map_err(|_error| NoShare)?;
        if thousandths <= WHOLE { Ok(Self(thousandths)) } else { Err(NoShare) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Reads `judge`. What is not said is as by default, also where the whole section is left out.
pub(super) fn read(root: &Section<'_>) -> Judge {
    let usual = Judge::default();
    let Some(section) = root.optional_section("judge") else { return usual };
    let least = section.or("least", usual.least);
    if least == 0 {
        section.problem("least", "is zero: nothing was used yet", "write at least `least: 1`");
    }
    Judge { good: section.optional_like("good", "99.9%").unwrap_or(usual.good), least: least.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_reads_as_it_is_written() {
        for (text, shown) in
            [("99.9%", "99.9%"), ("100%", "100%"), ("0%", "0%"), ("99.990%", "99.99%"), ("5.005%", "5.005%")]
        {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), shown);
        }
        for wrong in ["99.9", "100.001%", "101%", "-1%", "99.9999%", ".5%", "5.%", "", "%", "1e2%", "+9%"] {
            assert_eq!(wrong.parse::<Share>(), Err(NoShare), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_missed_below_it_and_not_at_it() {
        let share: Share = "99.9%".parse().unwrap();
        assert!(!share.is_missed_by(999, 1000));
        assert!(share.is_missed_by(998, 1000));
        assert!(share.is_missed_by(u64::MAX - u64::MAX / 500, u64::MAX), "without overflow");
        let nothing: Share = "0%".parse().unwrap();
        assert!(!nothing.is_missed_by(0, u64::MAX), "which switches it off");
    }
}
