//! What the targets showed of sessions: sampled, and kept in memory only, so that a restart begins a new quiet window.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekey_model::{CredentialName, Moment, Version};
use rekey_rotation::Evidence;

/// The latest evidence of each credential.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<HashMap<CredentialName, Evidence>>);

/// One look at the sessions of a version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) version: Version,
    /// Before the target was asked.
    pub(super) asked: Moment,
    /// After it answered.
    pub(super) answered: Moment,
    /// How many; none: this kind of target cannot tell.
    pub(super) sessions: Option<u32>,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialName, Evidence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a credential.
    pub(super) fn evidence(&self, name: &CredentialName) -> Option<Evidence> {
        self.lock().get(name).cloned()
    }

    /// Takes a sample. It prolongs the unbroken row before it if no more than `gap` lies between.
    pub(super) fn take(&self, name: &CredentialName, sample: Sample, gap: Duration) {
        let Sample { version, asked, answered, sessions } = sample;
        let mut known = self.lock();
        let evidence = match sessions {
            None => Evidence::CannotTell { version },
            Some(0) => {
                let since = known.get(name).and_then(|before| prolonged(before, version, asked, gap));
                Evidence::Quiet { version, since: since.unwrap_or(answered), until: asked }
            }
            Some(sessions) => Evidence::Busy { version, sessions },
        };
        known.insert(name.clone(), evidence);
    }

    /// Since when a version was never seen used, if it was looked at.
    pub(super) fn quiet_since(&self, name: &CredentialName, version: Version) -> Option<Moment> {
        match self.lock().get(name) {
            Some(Evidence::Quiet { version: of, since, .. }) if *of == version => Some(*since),
            Some(_) | None => None,
        }
    }

    /// A look failed: that is not zero.
    pub(super) fn failed(&self, name: &CredentialName, version: Version) {
        self.lock().insert(name.clone(), Evidence::Unknown { version });
    }

    pub(super) fn forget(&self, name: &CredentialName) {
        self.lock().remove(name);
    }
}

/// The beginning of the row that a quiet sample at `asked` goes on with, if it does.
fn prolonged(before: &Evidence, version: Version, asked: Moment, gap: Duration) -> Option<Moment> {
    match before {
        Evidence::Quiet { version: same, since, until }
            if *same == version && asked.at_most_since(*until) <= gap =>
        {
            Some(*since)
        }
        Evidence::Quiet { .. }
        | Evidence::Busy { .. }
        | Evidence::Unknown { .. }
        | Evidence::CannotTell { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use rekey_model::BootId;

    use super::*;

    fn at(ms: u64) -> Moment {
        Moment { wall_ms: i64::try_from(ms).unwrap(), boot: BootId(1), boot_ms: ms }
    }

    fn sample(asked: u64, sessions: u32) -> Sample {
        let (asked, answered) = (at(asked), at(asked + 5));
        Sample { version: Version::FIRST, asked, answered, sessions: Some(sessions) }
    }

    #[test]
    fn a_row_of_quiet_samples_is_broken_by_a_session_a_gap_a_failure_and_another_version() {
        let (watch, name) = (Watch::default(), "orders/db".parse().unwrap());
        let gap = Duration::from_millis(100);
        let since = |watch: &Watch| match watch.evidence(&name) {
            Some(Evidence::Quiet { since, .. }) => since.boot_ms,
            other => panic!("{other:?}"),
        };
        watch.take(&name, sample(1_000, 0), gap);
        watch.take(&name, sample(1_090, 0), gap);
        assert_eq!(since(&watch), 1_005, "it begins when the first answer was there");
        watch.take(&name, sample(1_191, 0), gap);
        assert_eq!(since(&watch), 1_196, "nothing is known of a gap");
        watch.take(&name, sample(1_200, 1), gap);
        watch.take(&name, sample(1_210, 0), gap);
        assert_eq!(since(&watch), 1_215);
        watch.failed(&name, Version::FIRST);
        watch.take(&name, sample(1_220, 0), gap);
        assert_eq!(since(&watch), 1_225);
        watch.take(&name, Sample { version: Version::FIRST.next(), ..sample(1_230, 0) }, gap);
        assert_eq!(since(&watch), 1_235);
    }
}
