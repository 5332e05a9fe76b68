//! What can go wrong for an application, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rekey_model::{CredentialName, NameError};

/// Why a call to the sidecar did not do what was asked. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of the environment or the builder.
    #[error("{setting} is not usable: {problem}")]
    Setting {
        /// Which one, such as `REKEY_SOCKET_UID`.
        setting: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// The name cannot be the name of a credential.
    #[error("this is not the name of a credential; one looks like `orders/db`")]
    Name(#[from] NameError),
    /// Nobody answers at the socket.
    #[error(
        "no sidecar answers at {}; is it running, and may this user open its socket? REKEY_SOCKET names another place",
        path.display()
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else answers at the socket. Nothing was sent.
    #[error(
        "the process at {} runs as uid {uid}, but only {expected} is trusted as a sidecar; \
         if that uid is right, set REKEY_SOCKET_UID={uid}",
        path.display()
    )]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Who answered.
        uid: u32,
        /// Who would have been right.
        expected: String,
    },
    /// What is behind the socket does not speak the sidecar's protocol.
    #[error("what answers at {} does not speak as a sidecar does; look at REKEY_SOCKET", path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: tonic::transport::Error,
    },
    /// The credential cannot be read now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The connection to the sidecar is down; it is being made again in the background.
    #[error("the sidecar is out of reach; try again in a moment, and keep using what `Watched::load` gives")]
    Disconnected,
    /// The sidecar did not answer in time.
    #[error("the sidecar did not answer within {0:?}; is the host overloaded?")]
    Late(Duration),
    /// The sidecar refused for a reason that this SDK does not know.
    #[error("the sidecar refused ({code:?}): {message}")]
    Refused {
        /// The gRPC code.
        code: tonic::Code,
        /// The sidecar's words.
        message: String,
    },
    /// The sidecar's answer makes no sense.
    #[error("the sidecar's answer is not usable: {0}; are sidecar and SDK of about the same age?")]
    Malformed(&'static str),
    /// A limit of this SDK is reached.
    #[error("a client follows at most {most} credentials; share handles, or use several clients")]
    TooMany {
        /// The limit.
        most: usize,
    },
    /// The client's background task has ended, because its runtime was shut down.
    #[error("this client has ended with the runtime that it was made on; connect again")]
    Ended,
}

/// Why a credential cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The sidecar has not heard from its controller yet.
    Waiting,
    /// No such credential, or not for this caller.
    NotFound,
    /// The last value is older than the credential may be served.
    Stale,
    /// Revoked in an emergency; a replacement is on its way or was not wanted.
    Revoked,
    /// The sidecar takes the name for no name.
    Invalid,
    /// The target takes one version at a time and is just being changed to the next: what was given before is for no new
    /// login. It ends by itself within seconds.
    Settling,
    /// A reason that this SDK does not know.
    Unspecified,
}

impl Reason {
    /// Whether a value that was given before must no longer be used.
    ///
    /// So it is for a credential that was revoked, was withdrawn from this caller, or may not be served so old. While
    /// the sidecar merely waits for its controller, for instance after its restart, the last value stays.
    pub fn ends_the_value(self) -> bool {
        matches!(self, Self::Revoked | Self::NotFound | Self::Stale)
    }

    /// What it means and what to do.
    fn advice(self) -> &'static str {
        match self {
            Self::Waiting => {
                "the sidecar has not heard from its controller yet; wait, and look at the sidecar's log"
            }
            Self::NotFound => "it does not exist, or this process may not read it; ask its owner for a grant",
            Self::Stale => {
                "the controller is away for longer than this credential may be served; nothing old is given out"
            }
            Self::Revoked => "it was revoked in an emergency; wait for the replacement, or ask its owner",
            Self::Invalid => "the sidecar takes this for no name of a credential",
            Self::Settling => {
                "the target is just being changed to the next version; wait for it (`Watched::ready`)"
            }
            Self::Unspecified => "the sidecar did not say why in terms that this SDK knows",
        }
    }
}

/// A credential that cannot be read now, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    pub(crate) name: CredentialName,
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Unavailable {
    /// The credential's name.
    pub fn name(&self) -> &CredentialName {
        &self.name
    }

    /// The kind, to act on.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// How long the sidecar suggests to wait; none: asking again will not help, or nobody knows.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credential {} cannot be read now: {}", self.name, self.reason.advice())?;
        if self.message.is_empty() { Ok(()) } else { write!(f, " ({})", self.message) }
    }
}

impl std::error::Error for Unavailable {}
