//! Asking a target, before anything is begun there, whether everything is there that rotations of a credential need.

use rekey_drivers::{DriverError, Lack};
use rekey_model::Moment;
use rekey_rotation::Event;

use super::act::Trouble;
use super::seen::Seen;
use super::{Causes, Executor};
use crate::spec::Spec;

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Everything is there.
    Good,
    /// This is missing.
    Lacks(Vec<Lack>),
    /// It could not be asked; why.
    Away(String),
}

impl Executor {
    /// Asks the target of `spec`, as one of the usual calls there. Changes nothing.
    pub async fn check(&self, spec: &Spec) -> Checked {
        let _room = self.room_at(spec.driver.target().as_str()).await;
        self.ask(spec).await
    }

    pub(super) async fn ask(&self, spec: &Spec) -> Checked {
        let driver = match self.0.drivers.driver(spec) {
            Ok(driver) => driver,
            Err(error) => {
                let remedy = "mend the target in the controller's config, or what it names";
                return Checked::Lacks(vec![Lack::new(Causes(&error).to_string(), remedy)]);
            }
        };
        match driver.check().await {
            Ok(lacks) if lacks.is_empty() => Checked::Good,
            Ok(lacks) => Checked::Lacks(lacks),
            Err(DriverError::Refused(source)) => {
                let kind = spec.driver.kind().name;
                let remedy = format!("docs/drivers.md says what the server must do for `{kind}`");
                Checked::Lacks(vec![Lack::new(Causes(&*source).to_string(), remedy)])
            }
            Err(DriverError::Unavailable(source) | DriverError::Unknown(source)) => {
                Checked::Away(Causes(&*source).to_string())
            }
        }
    }

    /// Asks the target of what was declared `since` while it could not be asked. What is missing is tried again, as a
    /// target that is away is.
    pub(super) async fn check_declared(&self, seen: &Seen, since: Moment) -> Result<(), Trouble> {
        match self.ask(&seen.spec).await {
            Checked::Good => self.commit_own(seen, Event::Checked { since }).await,
            Checked::Lacks(lacks) => Err(Trouble::Driver {
                why: format!("missing at the target: {}", in_words(&lacks)),
                after: None,
            }),
            Checked::Away(why) => Err(Trouble::Driver { why, after: None }),
        }
    }
}

/// What is missing, and what mends it, in one line.
pub(super) fn in_words(lacks: &[Lack]) -> String {
    lacks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
