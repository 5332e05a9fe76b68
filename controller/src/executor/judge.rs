//! Whether the version that everybody is to use does well enough, by what processes tell of their uses.

use rekey_model::Version;

use crate::fleet::UsageReport;
use crate::spec::Judge;

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
    /// The uses of `version`. Its counts begin with it, so that it does not matter when a report was made.
    pub(super) fn of(version: Version, reports: impl Iterator<Item = UsageReport>) -> Self {
        let told = reports.flat_map(|report| report.versions).filter(|told| told.version == version);
        told.fold(Self::default(), |sum, told| Self {
            good: sum.good.saturating_add(told.accepted),
            of: sum.of.saturating_add(told.accepted).saturating_add(told.refused),
        })
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
        let judged = Judged::of(v(2), reports.into_iter());
        assert_eq!(judged, Judged { good: 998, of: 1000 });
        let why = judged.against(v(2), Judge::default()).unwrap();
        assert_eq!(why, "998 of 1000 uses of v2 were good, 99.9% were asked for");
    }
}
