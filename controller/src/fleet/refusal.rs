//! Why a sidecar's call or stream ends, in the words and codes that it gets.

use std::time::Duration;

use rekey_proto::refusal::Refusal as Told;
use tonic::{Code, Status};

use super::wire::WireError;
use crate::ca::RequestError;
use crate::store::StoreError;

/// Why a call is refused or a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// No certificate, or none that says who it is.
    #[error("a leaf of this installation's sidecar authority is needed")]
    Anonymous,
    /// A certificate of somebody else.
    #[error("this is for sidecars")]
    NotASidecar,
    /// Unknown, used or expired, which look the same.
    #[error("the join token is unknown, used or expired")]
    Token,
    /// Removed, locked, unknown, or an expired leaf that does not hold; which, stands in the log.
    #[error("this instance may not come in: it was removed or locked, or its leaf ended too long ago")]
    Denied,
    /// The leaf is older than one that was seen in use.
    #[error("a later leaf of this instance is in use")]
    Superseded,
    /// Too many tries from one address or of one instance.
    #[error("too many tries from this address or of this instance")]
    TooOften {
        /// When to try again.
        again: Duration,
    },
    /// The certificate request is wrong.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The message is wrong.
    #[error(transparent)]
    Message(#[from] WireError),
    /// The first message was something else, or came too late.
    #[error("the first message must be a hello, within five seconds")]
    NoHello,
    /// An acknowledgement or report of an order that does not exist yet.
    #[error("the message is about an order that does not exist")]
    Future,
    /// A second hello.
    #[error("a stream has one hello")]
    SecondHello,
    /// The session is over: its lease has ended, or another session took its place.
    #[error("the session is over: open another")]
    Over,
    /// A newer stream of the same instance.
    #[error("a newer stream of this instance took over")]
    Replaced,
    /// The peer does not read.
    #[error("the peer did not read in time")]
    Stalled,
    /// The peer has gone.
    #[error("the peer has gone")]
    Gone,
    /// The controller ends.
    #[error("the controller is ending")]
    Ending,
    /// The store did not do it.
    #[error("the store is not available")]
    Store(#[from] StoreError),
    /// The store did not take what was said; the next session says it again.
    #[error("the store is not available")]
    Unrecorded,
    /// Something of ours is broken; what, stands in the log.
    #[error("the controller could not do it")]
    Internal,
}

impl Refusal {
    /// What the peer is told.
    pub(super) fn to_status(&self) -> Status {
        let words = self.to_string();
        match self {
            Self::Anonymous | Self::Token => Status::unauthenticated(words),
            Self::NotASidecar | Self::Denied | Self::Superseded => Status::permission_denied(words),
            Self::TooOften { again } => {
                Told::new("TOO_OFTEN").retry_after(*again).into_status(Code::ResourceExhausted, words)
            }
            Self::Request(_) | Self::Message(_) | Self::NoHello | Self::SecondHello | Self::Future => {
                Status::invalid_argument(words)
            }
            Self::Over | Self::Replaced | Self::Stalled => Status::aborted(words),
            Self::Gone => Status::cancelled(words),
            Self::Ending | Self::Unrecorded | Self::Store(_) => Status::unavailable(words),
            Self::Internal => Status::internal(words),
        }
    }
}
