//! Why a call was refused, for programs: `google.rpc.ErrorInfo` and `RetryInfo` in a status, written and read.
//!
//! Only what we send of `google/rpc/{status,error_details}.proto`, so that no package of Google's types is needed.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};

/// The domain that all our reasons belong to.
pub const DOMAIN: &str = "rekey";

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// google.protobuf.Duration.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Why a call was refused: a stable word for programs, and facts beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// The stable word, such as `ROTATION_OPEN`.
    pub reason: String,
    /// Facts by name, such as the id of the open rotation. No secrets.
    pub metadata: HashMap<String, String>,
    /// When to try again, if that makes sense.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal for `reason`, with nothing beside it.
    pub fn new(reason: &str) -> Self {
        Self { reason: reason.to_owned(), ..Self::default() }
    }

    /// The same with one more fact.
    #[must_use]
    pub fn with(mut self, name: &str, fact: impl Into<String>) -> Self {
        self.metadata.insert(name.to_owned(), fact.into());
        self
    }

    /// The same with when to try again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The status that carries it; `message` is for people.
    pub fn into_status(self, code: Code, message: impl Into<String>) -> Status {
        let message = message.into();
        let info = ErrorInfo { reason: self.reason, domain: DOMAIN.to_owned(), metadata: self.metadata };
        let mut details = vec![Any { type_url: ERROR_INFO.to_owned(), value: info.encode_to_vec() }];
        if let Some(delay) = self.retry_after {
            let delay = Delay {
                seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(delay.subsec_nanos()).unwrap_or(0),
            };
            let retry = RetryInfo { retry_delay: Some(delay) };
            details.push(Any { type_url: RETRY_INFO.to_owned(), value: retry.encode_to_vec() });
        }
        let status = RpcStatus { code: code as i32, message: message.clone(), details };
        Status::with_details(code, message, status.encode_to_vec().into())
    }

    /// The refusal that `status` carries, if it is one of ours.
    pub fn of(status: &Status) -> Option<Self> {
        let details = RpcStatus::decode(status.details()).ok()?.details;
        let value =
            |url: &str| details.iter().find(|any| any.type_url == url).map(|any| any.value.as_slice());
        let info = ErrorInfo::decode(value(ERROR_INFO)?).ok().filter(|info| info.domain == DOMAIN)?;
        let delay =
            value(RETRY_INFO).and_then(|bytes| RetryInfo::decode(bytes).ok()).and_then(|r| r.retry_delay);
        let retry_after = delay.map(|delay| {
            let seconds = u64::try_from(delay.seconds).unwrap_or(0);
            Duration::new(seconds, u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999))
        });
        Some(Self { reason: info.reason, metadata: info.metadata, retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_as_it_was_written() {
        let refusal =
            Refusal::new("ROTATION_OPEN").with("rotation", "00ff").retry_after(Duration::from_millis(1_500));
        let status = refusal.clone().into_status(Code::FailedPrecondition, "one is open");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "one is open");
        assert_eq!(Refusal::of(&status), Some(refusal));
    }

    #[test]
    fn what_others_send_is_no_refusal() {
        assert_eq!(Refusal::of(&Status::unavailable("gone")), None);
        let rubbish = Status::with_details(Code::Internal, "x", vec![0xff_u8; 40].into());
        assert_eq!(Refusal::of(&rubbish), None);
    }
}
