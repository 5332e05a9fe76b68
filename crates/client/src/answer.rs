//! Where wire types end: answers of the sidecar become words of this package, or are refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{CredentialName, FieldName, Fields, Generation, SecretBytes, Stage, Version};
use rekey_proto::local as wire;
use rekey_proto::refusal::Refusal;

use crate::credential::{Credential, PreviousVersion};
use crate::error::{Error, Reason, Unavailable};

/// The largest answer that is taken: the largest credential and its frame, or a long list.
pub(crate) const MOST_BYTES: usize = 1024 * 1024;
/// The most text of a peer that is kept.
const MOST_TEXT: usize = 300;
/// The most earlier versions that are taken.
const MOST_PREVIOUS: usize = 64;

/// The credential in an answer about `expected`, checked as a whole.
pub(crate) fn credential(
    expected: &CredentialName,
    mut answer: wire::Credential,
) -> Result<Credential, Error> {
    // Taking the values first wipes them also when something else is wrong.
    let values = answer.fields.into_iter().map(|(name, value)| (name, SecretBytes::new(value)));
    let values: Vec<(String, SecretBytes)> = values.collect();
    let next = answer.next.take().map(|next| credential(expected, *next)).transpose()?;
    if answer.name != expected.as_str() {
        return Err(Error::Malformed("it is about another credential"));
    }
    let version = Version::new(answer.version).ok_or(Error::Malformed("it has no version"))?;
    let mut fields = BTreeMap::new();
    for (name, value) in values {
        let name: FieldName = name.parse().ok().ok_or(Error::Malformed("a field has no proper name"))?;
        fields.insert(name, value);
    }
    if answer.previous.len() > MOST_PREVIOUS {
        return Err(Error::Malformed("it names too many earlier versions"));
    }
    Ok(Credential {
        name: expected.clone(),
        version,
        stage: stage(wire::Stage::try_from(answer.stage).unwrap_or(wire::Stage::Unspecified)),
        generation: Generation(answer.generation),
        fields: Fields::new(fields).ok().ok_or(Error::Malformed("it is larger than a credential may be"))?,
        previous: answer.previous.iter().filter_map(previous).collect(),
        not_after: answer.not_after.and_then(|at| at.try_into().ok()),
        one_at_a_time: answer.one_at_a_time,
        unsettled: answer.unsettled,
        next: next.map(Arc::new),
    })
}

/// What is given out is current, unless the sidecar says otherwise.
fn stage(stage: wire::Stage) -> Stage {
    match stage {
        wire::Stage::Unspecified | wire::Stage::Current => Stage::Current,
        wire::Stage::Next => Stage::Next,
        wire::Stage::Previous => Stage::Previous,
    }
}

fn previous(answer: &wire::PreviousVersion) -> Option<PreviousVersion> {
    let accept_until = answer.accept_until.and_then(|at| at.try_into().ok());
    Version::new(answer.version).map(|version| PreviousVersion { version, accept_until })
}

/// Why there is no credential, from an answer within a stream.
pub(crate) fn unavailable(name: &CredentialName, answer: &wire::ReadError) -> Unavailable {
    use wire::read_error::Reason as R;
    let reason = match R::try_from(answer.reason).unwrap_or(R::Unspecified) {
        R::Unspecified => Reason::Unspecified,
        R::Waiting => Reason::Waiting,
        R::NotFound => Reason::NotFound,
        R::Stale => Reason::Stale,
        R::Revoked => Reason::Revoked,
        R::Invalid => Reason::Invalid,
        R::Settling => Reason::Settling,
    };
    let retry_after = (answer.retry_after_ms > 0).then(|| Duration::from_millis(answer.retry_after_ms));
    Unavailable { name: name.clone(), reason, message: short(&answer.message), retry_after }
}

/// What the failure of a call about `name` means.
pub(crate) fn failure(name: &CredentialName, status: &tonic::Status, timeout: Duration) -> Error {
    let about = |reason, retry_after| {
        Error::Unavailable(Unavailable {
            name: name.clone(),
            reason,
            message: short(status.message()),
            retry_after,
        })
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum; what has no meaning here is passed on"
    )]
    match status.code() {
        tonic::Code::NotFound => about(Reason::NotFound, None),
        tonic::Code::InvalidArgument => about(Reason::Invalid, None),
        tonic::Code::Unavailable => match details(status) {
            Some((reason, retry_after)) => about(reason, retry_after),
            None => Error::Disconnected,
        },
        _ => call_failure(status, timeout),
    }
}

/// What the failure of a call that is about no credential means.
pub(crate) fn call_failure(status: &tonic::Status, timeout: Duration) -> Error {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum; what has no meaning here is passed on"
    )]
    match status.code() {
        tonic::Code::Unavailable => Error::Disconnected,
        tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Error::Late(timeout),
        // What the transport below says when a connection breaks in the middle of a call.
        tonic::Code::Unknown | tonic::Code::Internal if std::error::Error::source(status).is_some() => {
            Error::Disconnected
        }
        code => Error::Refused { code, message: short(status.message()) },
    }
}

/// A peer's words, cut to a length that fits a log.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MOST_TEXT).collect()
}

/// The reason and the wait of UNAVAILABLE; none: these are not a sidecar's own words.
fn details(status: &tonic::Status) -> Option<(Reason, Option<Duration>)> {
    if let Some(refusal) = Refusal::of(status) {
        let reason = match refusal.reason.as_str() {
            "STALE" => Reason::Stale,
            "REVOKED" => Reason::Revoked,
            "WAITING" => Reason::Waiting,
            "SETTLING" => Reason::Settling,
            _ => Reason::Unspecified,
        };
        return Some((reason, refusal.retry_after));
    }
    // Only a wait beside it: nothing yet.
    (!status.details().is_empty()).then_some((Reason::Waiting, None))
}
