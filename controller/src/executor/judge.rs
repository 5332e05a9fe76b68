//! Whether the version that everybody is to use does well enough, by what processes tell of their uses.

use rekey_model::Version;
use rekey_rotation::Tried;

use crate::fleet::UsageReport;
use crate::spec::Judge;

/// No holder counts for more uses than this: whoever tells of very many neither hides what others tell nor drowns it.
const MOST: u64 = 100_000;

/// How the uses of one version went, in all that the processes tell which are connected now. It may fall: what a process
/// told goes with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judged {
    /// Uses that the target accepted.
    pub good: u64,
    /// All uses.
    pub of: u64,
}

/// What follows from how the uses went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// There are too few to say anything.
    TooFew,
    /// As many were good as was asked for.
    Good,
    /// Fewer were.
    Bad,
}

impl Judged {
    /// The uses of `version`, by holder. Its counts begin with it, so that it does not matter when a report was made. Holders
    /// that are refused `old` too, and never were let in by it, say nothing of `version`.
    pub(super) fn of(
        version: Version,
        old: Option<Version>,
        reports: impl Iterator<Item = UsageReport>,
    ) -> Self {
        let mut sum = Self::default();
        for report in reports {
            let told = |of: Version| report.versions.iter().find(|told| told.version == of);
            let shut_out = old.and_then(told).is_some_and(|told| told.accepted == 0 && told.refused > 0);
            let Some(told) = told(version).filter(|_| !shut_out) else { continue };
            let (good, of) = share(told.accepted, told.refused);
            sum.good += good;
            sum.of += of;
        }
        sum
    }

    fn by(self, judge: Judge) -> Verdict {
        if self.of < judge.least {
            Verdict::TooFew
        } else if judge.good.is_missed_by(self.good, self.of) {
            Verdict::Bad
        } else {
            Verdict::Good
        }
    }

    /// How the uses behind a canary went, by the same bar.
    pub(super) fn tried(self, judge: Judge) -> Tried {
        let Self { good, of } = self;
        Tried { good, uses: of, misses: judge.good.is_missed_by(good, of) }
    }

    /// What speaks against `version`, if anything does.
    pub(super) fn against(self, version: Version, judge: Judge) -> Option<String> {
        let Self { good, of } = self;
        match self.by(judge) {
            Verdict::Bad => {
                Some(format!("{good} of {of} uses of {version} were good, {} were asked for", judge.good))
            }
            Verdict::TooFew | Verdict::Good => None,
        }
    }
}

/// How many were good of how many, in no more than [`MOST`], to the nearest.
fn share(accepted: u64, refused: u64) -> (u64, u64) {
    let of = u128::from(accepted) + u128::from(refused);
    if of <= u128::from(MOST) {
        return (accepted, accepted + refused);
    }
    let good = (u128::from(accepted) * u128::from(MOST) + of / 2) / of;
    (u64::try_from(good).unwrap_or(MOST), MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::VersionReport;

    fn v(number: u64) -> Version {
        Version::new(number).unwrap()
    }

    fn report(version: u64, accepted: u64, refused: u64) -> UsageReport {
        let versions = vec![VersionReport { version: v(version), processes: 1, accepted, refused }];
        UsageReport { versions, silent: 0 }
    }

    #[test]
    fn the_bar_holds_from_the_least_number_of_uses_on() {
        let judge = Judge::default();
        for (good, of, verdict) in [
            (0, 0, Verdict::TooFew),
            (0, 999, Verdict::TooFew),
            (999, 1000, Verdict::Good),
            (998, 1000, Verdict::Bad),
            (999_000, 1_000_000, Verdict::Good),
            (998_999, 1_000_000, Verdict::Bad),
        ] {
            assert_eq!(Judged { good, of }.by(judge), verdict, "{good} of {of}");
        }
    }

    #[test]
    fn all_holders_are_counted_together_and_only_the_new_version() {
        let reports = [report(2, 600, 1), report(2, 398, 1), report(1, 9, 9_000)];
        let judged = Judged::of(v(2), Some(v(1)), reports.into_iter());
        assert_eq!(judged, Judged { good: 998, of: 1000 });
        let why = judged.against(v(2), Judge::default()).unwrap();
        assert_eq!(why, "998 of 1000 uses of v2 were good, 99.9% were asked for");
    }

    #[test]
    fn who_was_never_let_in_by_the_old_version_says_nothing_of_the_new_one() {
        let one = |version, accepted, refused| report(version, accepted, refused).versions;
        let both = |old, new| UsageReport { versions: [old, new].concat(), silent: 0 };
        let shut_out = both(one(1, 0, 700), one(2, 0, 5_000));
        let well = both(one(1, 700, 3), one(2, 1_500, 0));
        let judged = Judged::of(v(2), Some(v(1)), [shut_out.clone(), well].into_iter());
        assert_eq!(judged, Judged { good: 1_500, of: 1_500 });
        // Without a version before it there is nothing to compare with.
        let judged = Judged::of(v(2), None, [shut_out].into_iter());
        assert_eq!(judged, Judged { good: 0, of: 5_000 });
    }

    #[test]
    fn who_tells_of_very_many_uses_hides_nothing() {
        let judge = Judge::default();
        for (loud, quiet, verdict) in [
            (report(2, u64::MAX, 0), report(2, 0, 1_000), Verdict::Bad),
            (report(2, u64::MAX, u64::MAX), report(2, 1_000, 0), Verdict::Bad),
            (report(2, u64::MAX, 0), report(2, 1_000, 0), Verdict::Good),
            (report(2, 9_999_999, 1), report(2, 1, 0), Verdict::Good),
        ] {
            let judged = Judged::of(v(2), None, [loud, quiet].into_iter());
            assert_eq!(judged.by(judge), verdict, "{judged:?}");
        }
    }
}
