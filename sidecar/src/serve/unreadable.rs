//! Why a credential is not given, in the words of the wire: as a status of a call, and as an answer within a stream.

use std::time::Duration;

use rekey_model::{NameError, millis};
use rekey_proto::encoded::ReadError;
use rekey_proto::encoded::read_error::Reason;
use rekey_proto::refusal::Refusal;
use tonic::{Code, Status};

use crate::live::Unreadable;

/// How soon to ask again for what may come at any moment.
const SOON: Duration = Duration::from_millis(500);
/// How soon to ask again for what needs somebody's hand.
const LATER: Duration = Duration::from_secs(5);

/// Why a read is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// What is live says so.
    Live(Unreadable),
    /// The name is not a credential name.
    Invalid(NameError),
}

impl Refused {
    fn words(&self) -> (Reason, Code, &'static str, Option<Duration>) {
        match self {
            Self::Live(Unreadable::Waiting) => {
                (Reason::Waiting, Code::Unavailable, "nothing has come from the controller yet", Some(SOON))
            }
            Self::Live(Unreadable::NotFound) => {
                (Reason::NotFound, Code::NotFound, "no such credential, or not for this caller", None)
            }
            Self::Live(Unreadable::Stale) => (
                Reason::Stale,
                Code::Unavailable,
                "the last value may no longer be served without word from the controller",
                Some(LATER),
            ),
            Self::Live(Unreadable::Revoked { owed: true }) => (
                Reason::Revoked,
                Code::Unavailable,
                "revoked in an emergency; a replacement is on its way",
                Some(SOON),
            ),
            Self::Live(Unreadable::Revoked { owed: false }) => {
                (Reason::Revoked, Code::Unavailable, "revoked in an emergency", Some(LATER))
            }
            Self::Live(Unreadable::Settling { .. }) => (
                Reason::Settling,
                Code::Unavailable,
                "the target is being changed; what it takes then is there in a moment",
                Some(SOON),
            ),
            Self::Invalid(_) => (Reason::Invalid, Code::InvalidArgument, "not a credential name", None),
        }
    }

    fn message(&self, general: &str) -> String {
        match self {
            Self::Invalid(why) => why.to_string(),
            Self::Live(_) => general.to_owned(),
        }
    }

    /// As the end of a call.
    pub(super) fn status(&self) -> Status {
        let (reason, code, general, retry) = self.words();
        if code != Code::Unavailable {
            return Status::new(code, self.message(general));
        }
        let mut refusal = Refusal::new(reason.as_str_name().trim_start_matches("REASON_"));
        refusal.retry_after = retry;
        refusal.into_status(code, general)
    }

    /// As an answer within a stream.
    pub(super) fn answer(&self) -> ReadError {
        let (reason, _, general, retry) = self.words();
        let retry_after_ms = retry.map_or(0, millis);
        ReadError { reason: reason.into(), message: self.message(general), retry_after_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_can_tell_the_refusals_apart() {
        let rows = [
            (Unreadable::Waiting, Code::Unavailable, Some("WAITING")),
            (Unreadable::Stale, Code::Unavailable, Some("STALE")),
            (Unreadable::Revoked { owed: true }, Code::Unavailable, Some("REVOKED")),
            (Unreadable::NotFound, Code::NotFound, None),
        ];
        for (why, code, reason) in rows {
            let status = Refused::Live(why).status();
            let refusal = Refusal::of(&status);
            assert_eq!(status.code(), code, "{why:?}");
            assert_eq!(refusal.as_ref().map(|r| r.reason.as_str()), reason, "{why:?}");
            assert_eq!(refusal.is_some_and(|r| r.retry_after.is_some()), reason.is_some(), "{why:?}");
        }
    }
}
