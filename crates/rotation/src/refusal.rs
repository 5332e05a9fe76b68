//! Why an event has no edge.

use rekey_model::{RotationId, Version};

use crate::phase::Phase;

/// An event that changes nothing where the credential stands, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    /// Another rotation is open.
    #[error("rotation {id} is open and in phase {phase}: one rotation at a time")]
    Open {
        /// The open rotation.
        id: RotationId,
        /// Where it stands.
        phase: Phase,
    },
    /// The brake is on.
    #[error("it is held: {reason}")]
    Held {
        /// Why it is held.
        reason: String,
    },
    /// Another credential comes first.
    #[error("{why}")]
    Gated {
        /// Which, and where it stands.
        why: String,
    },
    /// A replacement for a cut version is due and begins by itself.
    #[error("a replacement for the revoked version is on its way")]
    Owed,
    /// The controller was restored and only reconciles.
    #[error("the controller was restored from a backup and only reconciles")]
    Reconciling,
    /// No rotation is open.
    #[error("no rotation is open")]
    NoRotation,
    /// There is no way back.
    #[error("there is no way back from {next}: {why}; rotate forward")]
    NoWayBack {
        /// The version that everybody is to use.
        next: Version,
        /// Why it cannot be served again.
        why: &'static str,
    },
    /// The application's login is to be handed in first.
    #[error("the application's login has not been handed in yet: rekeyctl adopt")]
    NotAdopted,
    /// Its target is to be asked first whether everything is there that rotations need.
    #[error("its target was not checked yet: {why}")]
    Unchecked {
        /// Why not.
        why: String,
    },
    /// The credential is being forgotten.
    #[error("the credential is being deleted")]
    Deleted,
    /// There is no such version.
    #[error("there is no version {0}")]
    NoSuchVersion(Version),
    /// Every version meant has ended.
    #[error("there is nothing left to revoke")]
    NothingLeft,
    /// The event has no edge from where the credential stands, or its subject has moved on.
    #[error("{event} has no edge {}", where_from(*.phase))]
    NoEdge {
        /// The event.
        event: &'static str,
        /// The phase of the open rotation; none: no rotation is open.
        phase: Option<Phase>,
    },
}

fn where_from(phase: Option<Phase>) -> String {
    phase.map_or_else(|| "while no rotation is open".to_owned(), |phase| format!("from {phase}"))
}
