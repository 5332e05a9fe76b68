//! How a call is refused: what is wrong, what to do, and the stable reason for programs.

use rekey_model::{CredentialName, Version};
use rekey_proto::refusal::Refusal as Details;
use rekey_rotation::OutOfOrder;
use tonic::{Code, Status};

use super::roles::Role;
use crate::ca::{CaError, RequestError};
use crate::executor::CommitError;
use crate::store::StoreError;
use crate::targets::TargetError;

/// Every reason, the code that goes with it, and what it means: part of `docs/roles.md`.
pub(super) const REASONS: [(&str, Code, &str); 24] = [
    ("UNKNOWN_CALLER", Code::Unauthenticated, "no certificate of an operator, or one that was removed"),
    ("ROLE_MISSING", Code::PermissionDenied, "the caller's roles do not allow the call"),
    ("NOT_FOUND", Code::NotFound, "no such credential, rotation, sidecar, token or operator"),
    ("INVALID", Code::InvalidArgument, "a field of the request is not right"),
    ("EXISTS", Code::AlreadyExists, "it is there already"),
    (
        "ROTATION_OPEN",
        Code::FailedPrecondition,
        "a rotation is open; metadata `rotation` and `phase` name it",
    ),
    ("HELD", Code::FailedPrecondition, "the credential is held"),
    ("GATED", Code::FailedPrecondition, "another credential comes first; the message names it"),
    ("REPLACEMENT_DUE", Code::FailedPrecondition, "a replacement for a revoked version begins by itself"),
    ("RECONCILING", Code::FailedPrecondition, "the controller was restored and only reconciles"),
    ("NO_ROTATION", Code::FailedPrecondition, "no rotation is open"),
    ("NO_WAY_BACK", Code::FailedPrecondition, "the version before cannot be served again"),
    ("NOT_ADOPTED", Code::FailedPrecondition, "the application's login was not handed in yet"),
    (
        "UNCHECKED",
        Code::FailedPrecondition,
        "its target could not be asked yet whether all is there that rotations need",
    ),
    ("DELETING", Code::FailedPrecondition, "the credential is being deleted"),
    ("NOTHING_LEFT", Code::FailedPrecondition, "every version meant has ended"),
    ("OUT_OF_ORDER", Code::FailedPrecondition, "it does not fit where the credential stands"),
    ("TARGET_REFUSED", Code::FailedPrecondition, "the target said no"),
    ("TARGET_UNAVAILABLE", Code::Unavailable, "the target cannot be reached, or its settings cannot be used"),
    ("SPEC_UNREADABLE", Code::FailedPrecondition, "the stored declaration is of another release"),
    ("BUSY", Code::Unavailable, "the store is busy; RetryInfo says when to try again"),
    ("STORE_UNAVAILABLE", Code::Unavailable, "the store did not do it"),
    ("UNANSWERED", Code::Unknown, "it may have happened: look"),
    ("INTERNAL", Code::Internal, "a fault of the controller; its log says more"),
];

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Nobody who is known.
    #[error("this controller does not know you: {0}")]
    UnknownCaller(&'static str),
    /// The roles do not allow it.
    #[error("{call} needs the role {}: an admin can give it with `rekeyctl admin add`", .needed.as_str())]
    RoleMissing {
        /// The call.
        call: String,
        /// What it needs.
        needed: Role,
    },
    /// There is no such thing.
    #[error("there is no {what} {name}: {remedy}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// What it was called.
        name: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A field is not right.
    #[error("{field}: {message}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// It has no edge where the credential stands.
    #[error("{}: {}; {}", .0, .1, next_step(.0, .1))]
    OutOfOrder(CredentialName, OutOfOrder),
    /// A version is to be deleted that may still be in use.
    #[error("{1} of {0} may still be in use: `rekeyctl status {0}` says when it is to be deleted")]
    TooEarly(CredentialName, Version),
    /// The target said no.
    #[error("the target refused it: {0}")]
    TargetRefused(String),
    /// The target cannot be used now.
    #[error("the target cannot be used now: {0}; try again")]
    TargetUnavailable(String),
    /// The stored declaration does not read.
    #[error("the declaration of {0} is of another release: apply it again")]
    Spec(CredentialName),
    /// The store.
    #[error("the store did not take it")]
    Store(#[from] StoreError),
    /// The certificate request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The leaf.
    #[error("the certificate could not be made")]
    Ca(#[from] CaError),
    /// Something that does not happen.
    #[error("a fault of the controller: {0}")]
    Internal(String),
}

impl Refusal {
    /// There is no such credential.
    pub(super) fn no_credential(name: &str) -> Self {
        let remedy = "`rekeyctl status` lists those that there are";
        Self::NotFound { what: "credential", name: shown(name), remedy }
    }

    /// A field is not right.
    pub(super) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into() }
    }

    /// Somebody else's machine rotates it.
    pub(super) fn followed(name: &CredentialName) -> Self {
        let message = format!(
            "{name} is followed: whoever rotates it does that, and what is left for it is taken by itself \
             (`rekeyctl status {name}`)"
        );
        Self::invalid("name", message)
    }

    /// What a commit was refused for.
    pub(super) fn of_commit(name: &CredentialName, error: CommitError) -> Self {
        match error {
            CommitError::OutOfOrder(why) => Self::OutOfOrder(name.clone(), why),
            CommitError::NoSuchCredential(name) => Self::no_credential(name.as_str()),
            CommitError::Spec(name) => Self::Spec(name),
            CommitError::Store(error) => Self::Store(error),
            CommitError::Target(error) => Self::from(error),
            known @ (CommitError::Known(_) | CommitError::Revoked(_) | CommitError::Lost(_)) => {
                Self::invalid("value", known.to_string())
            }
            CommitError::Derive(why) => Self::invalid("fields", why.to_string()),
            error @ (CommitError::Seal(_) | CommitError::Unsealed(_) | CommitError::Stopped) => {
                Self::Internal(error.to_string())
            }
        }
    }

    /// The stable reason.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::UnknownCaller(_) => "UNKNOWN_CALLER",
            Self::RoleMissing { .. } => "ROLE_MISSING",
            Self::NotFound { .. } | Self::Store(StoreError::Absent(_)) => "NOT_FOUND",
            Self::TooEarly(..) => "OUT_OF_ORDER",
            Self::Invalid { .. } | Self::Request(_) => "INVALID",
            Self::OutOfOrder(_, why) => machine(why),
            Self::TargetRefused(_) => "TARGET_REFUSED",
            Self::TargetUnavailable(_) => "TARGET_UNAVAILABLE",
            Self::Spec(_) => "SPEC_UNREADABLE",
            Self::Store(StoreError::Exists(_)) => "EXISTS",
            Self::Store(StoreError::Busy | StoreError::Conflict) => "BUSY",
            Self::Store(StoreError::Unanswered(_)) => "UNANSWERED",
            Self::Store(StoreError::Unavailable(_) | StoreError::LostEpoch) => "STORE_UNAVAILABLE",
            Self::Store(
                StoreError::OnlyLooking
                | StoreError::TooLarge
                | StoreError::Encode(_)
                | StoreError::Corrupt { .. },
            )
            | Self::Ca(_)
            | Self::Internal(_) => "INTERNAL",
        }
    }

    /// What the caller gets. Inner errors go to the log, never over the wire.
    pub(super) fn to_status(&self) -> Status {
        let reason = self.reason();
        let code = REASONS.iter().find(|(known, ..)| *known == reason).map_or(Code::Internal, |row| row.1);
        let mut details = Details::new(reason);
        if let Self::OutOfOrder(_, OutOfOrder::Open { id, phase }) = self {
            details = details.with("rotation", id.to_string()).with("phase", phase.as_str());
        }
        if reason == "BUSY" {
            details = details.retry_after(std::time::Duration::from_millis(500));
        }
        let message = match reason {
            "INTERNAL" | "STORE_UNAVAILABLE" | "UNANSWERED" => {
                tracing::error!(reason, error = %rekey_runtime::tasks::with_causes(self), "a call failed");
                quiet(reason).to_owned()
            }
            "BUSY" => quiet(reason).to_owned(),
            "NOT_FOUND" | "EXISTS" if matches!(self, Self::Store(_)) => plain(self),
            _ => self.to_string(),
        };
        details.into_status(code, message)
    }
}

/// A store's word for what is there already or is not there.
fn plain(refusal: &Refusal) -> String {
    std::error::Error::source(refusal).map(ToString::to_string).unwrap_or_default()
}

fn quiet(reason: &str) -> &'static str {
    match reason {
        "BUSY" => "the store is busy: try again",
        "STORE_UNAVAILABLE" => "the store does not answer: look at the controller's log and at its database",
        "UNANSWERED" => "the store did not answer, so it may have happened: look with `rekeyctl status`",
        _ => "a fault of the controller: its log says more",
    }
}

fn machine(why: &OutOfOrder) -> &'static str {
    match why {
        OutOfOrder::Open { .. } => "ROTATION_OPEN",
        OutOfOrder::Held { .. } => "HELD",
        OutOfOrder::Gated { .. } => "GATED",
        OutOfOrder::Owed => "REPLACEMENT_DUE",
        OutOfOrder::Reconciling => "RECONCILING",
        OutOfOrder::NoRotation => "NO_ROTATION",
        OutOfOrder::NoWayBack { .. } => "NO_WAY_BACK",
        OutOfOrder::NotAdopted => "NOT_ADOPTED",
        OutOfOrder::Unchecked { .. } => "UNCHECKED",
        OutOfOrder::Deleted => "DELETING",
        OutOfOrder::NoSuchVersion(_) => "NOT_FOUND",
        OutOfOrder::NothingLeft => "NOTHING_LEFT",
        OutOfOrder::NoEdge { .. } => "OUT_OF_ORDER",
    }
}

/// What to type about it.
pub(super) fn next_step(name: &CredentialName, why: &OutOfOrder) -> String {
    match why {
        OutOfOrder::Open { .. } => format!("follow it with `rekeyctl status {name} --watch`"),
        OutOfOrder::Held { .. } => format!("`rekeyctl release {name}` takes the hold away"),
        OutOfOrder::Gated { .. } => format!("`rekeyctl plan rotate {name}` says when nothing is in its way"),
        OutOfOrder::Owed | OutOfOrder::Deleted => format!("follow it with `rekeyctl status {name} --watch`"),
        OutOfOrder::Reconciling => "`rekeyctl reconcile` says what it waits for".to_owned(),
        OutOfOrder::NoRotation => format!("`rekeyctl plan rotate {name}` says what begins one"),
        OutOfOrder::NoWayBack { .. } => {
            format!("when this one has ended, another takes its place: `rekeyctl plan rotate {name}`")
        }
        OutOfOrder::NotAdopted => format!("hand it in with `rekeyctl adopt {name}`"),
        OutOfOrder::Unchecked { .. } => {
            format!("it is asked again by itself, and now by `rekeyctl retry {name}`")
        }
        OutOfOrder::NoSuchVersion(_) | OutOfOrder::NothingLeft | OutOfOrder::NoEdge { .. } => {
            format!("see where it stands with `rekeyctl status {name}`")
        }
    }
}

impl From<TargetError> for Refusal {
    fn from(error: TargetError) -> Self {
        Self::TargetUnavailable(error.to_string())
    }
}

/// What a caller wrote, as it may be said back.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use rekey_model::RotationId;
    use rekey_rotation::Phase;

    use super::*;

    #[test]
    fn a_refused_rotation_names_the_open_one() {
        let why = OutOfOrder::Open { id: RotationId::from_bits(255), phase: Phase::Grace };
        let status = Refusal::OutOfOrder("orders/db".parse().unwrap(), why).to_status();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("Grace") && status.message().contains("rekeyctl status orders/db"));
        let details = Details::of(&status).unwrap();
        assert_eq!(details.reason, "ROTATION_OPEN");
        assert_eq!(details.metadata["rotation"], RotationId::from_bits(255).to_string());
    }

    #[test]
    fn a_fault_inside_is_not_told_outside() {
        let status = Refusal::Internal("marker".to_owned()).to_status();
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("marker"));
        let busy = Refusal::Store(StoreError::Busy).to_status();
        assert!(Details::of(&busy).unwrap().retry_after.is_some());
    }

    #[test]
    fn what_a_caller_wrote_is_said_back_harmlessly() {
        let status = Refusal::no_credential("a\u{1b}[2J").to_status();
        assert!(!status.message().contains('\u{1b}'), "{status:?}");
    }
}
