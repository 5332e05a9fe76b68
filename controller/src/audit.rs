//! The audit: who did what, when, and how it ended, as a chain in which each record covers the one before.
//!
//! Only the fields of [`Entry`] are ever written, each of a type that cannot hold a secret or a short text of chosen
//! words. The rows are kept by `store/audit.rs`, in the transaction of what they tell of.

mod chain;

use std::fmt;

use rekey_model::{CredentialName, InstanceId, Moment, RotationId, Version};

use crate::store::InstallationId;

pub use self::chain::{Broken, Chain, genesis};

/// The longest reason, in bytes.
pub const REASON_MOST: usize = 500;
/// The longest reason that is kept: an alarm tells a person what to do.
const REASON_KEPT: usize = 1000;
/// The longest other text, in bytes.
const WORD_MOST: usize = 128;

macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$about])* $variant,)* }

        impl $type {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word for it, in the store and on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What was done.
    Verb {
        /// A credential was declared.
        Apply = "apply",
        /// The password of an existing login was handed in.
        Adopt = "adopt",
        /// What a person made was handed in, or a person said that an old one is deleted.
        HandIn = "hand-in",
        /// A credential was forgotten.
        Delete = "delete",
        /// A rotation was begun.
        Rotate = "rotate",
        /// Holders were sent back to the version before.
        Rollback = "rollback",
        /// The brake was put on.
        Hold = "hold",
        /// The brake was taken off.
        Release = "release",
        /// Something that was stuck was tried again.
        Retry = "retry",
        /// What was rotated by hand was written down.
        Record = "record",
        /// A credential was cut in an emergency.
        Revoke = "revoke",
        /// A rotation went from one phase to another.
        Phase = "phase",
        /// A version was chosen.
        Choose = "choose",
        /// A version became current.
        Promote = "promote",
        /// A version is to end; the point of no return.
        End = "end",
        /// A version is ended at the target.
        Ended = "ended",
        /// An operator let a rotation go on although no holder was live.
        NoHolders = "no-holders",
        /// A holder refused a change.
        Nack = "nack",
        /// A sidecar joined.
        Join = "join",
        /// A sidecar got its next leaf.
        Renew = "renew",
        /// A sidecar got a leaf after the last one expired.
        Rejoin = "rejoin",
        /// An instance was locked.
        Lock = "lock",
        /// An instance was removed.
        RemoveSidecar = "sidecar-remove",
        /// A holder may have a credential from now on.
        Grant = "grant",
        /// A holder may no longer have a credential.
        Withdraw = "withdraw",
        /// A join token was made.
        CreateToken = "token-create",
        /// A join token was made useless.
        RevokeToken = "token-revoke",
        /// An operator got a certificate and roles.
        AddAdmin = "admin-add",
        /// An operator's access was ended.
        RemoveAdmin = "admin-remove",
        /// The installation was made.
        Init = "init",
        /// A controller took the store.
        Start = "start",
        /// A store that was put back began a new life, which only reconciles at first.
        Restore = "restore",
        /// The mode of the store changed.
        Mode = "mode",
        /// Something began to need attention; the reason begins with the alarm's name.
        AlarmBegan = "alarm-begin",
        /// It no longer does.
        AlarmEnded = "alarm-end",
        /// Holders were told everything anew.
        Refresh = "refresh",
        /// A webhook was tried, and goes on if it had been stopped.
        TestWebhook = "webhook-test",
        /// A credential was taken up again after the store was restored.
        Reconcile = "reconcile",
    }
}

words! {
    /// How it ended.
    Outcome {
        /// It was done.
        Done = "done",
        /// Whoever asked may not, or it is not possible now.
        Refused = "refused",
        /// It went wrong.
        Failed = "failed",
    }
}

words! {
    /// What kind of actor did it.
    ActorKind {
        /// An operator.
        Admin = "admin",
        /// A sidecar.
        Sidecar = "sidecar",
        /// The controller by itself.
        Controller = "controller",
        /// Root or the controller's user on the controller's host.
        Host = "host",
        /// Somebody who did not say who they are.
        Nobody = "nobody",
    }
}

/// Who did it, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What kind.
    pub kind: ActorKind,
    /// A name, a SPIFFE id, or a uid.
    pub id: String,
    /// How that is known, such as `mtls 3fa1…` or `peer uid`.
    pub authenticated: String,
}

impl Actor {
    /// The controller by itself.
    pub fn controller() -> Self {
        Self { kind: ActorKind::Controller, id: "controller".to_owned(), authenticated: "self".to_owned() }
    }
}

/// One thing to record. Nothing but these fields is ever written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub actor: Actor,
    /// What.
    pub verb: Verb,
    /// To which credential.
    pub credential: Option<CredentialName>,
    /// To which version.
    pub version: Option<Version>,
    /// In which rotation.
    pub rotation: Option<RotationId>,
    /// To which holder.
    pub holder: Option<InstanceId>,
    /// How it ended.
    pub outcome: Outcome,
    /// The id that the caller gave its request.
    pub request: Option<String>,
    /// Why; cut at 1000 bytes, control characters replaced. Holds no secret.
    pub reason: String,
}

impl Entry {
    /// That `actor` did `verb`; the rest is to be filled in where it applies.
    pub fn new(actor: Actor, verb: Verb, outcome: Outcome) -> Self {
        Self {
            actor,
            verb,
            credential: None,
            version: None,
            rotation: None,
            holder: None,
            outcome,
            request: None,
            reason: String::new(),
        }
    }

    /// The same about a credential.
    #[must_use]
    pub fn about(self, credential: &CredentialName) -> Self {
        Self { credential: Some(credential.clone()), ..self }
    }

    /// The same with its reason.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..self }
    }
}

/// A record as it is stored and shown: words and numbers only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place, counted from 1.
    pub seq: u64,
    /// When, in milliseconds since 1970 UTC by the controller's clock.
    pub time_ms: i64,
    /// Whose store.
    pub installation: String,
    /// What kind of actor.
    pub actor_kind: String,
    /// Who.
    pub actor: String,
    /// How that is known.
    pub authenticated: String,
    /// What.
    pub verb: String,
    /// To which credential.
    pub credential: Option<String>,
    /// To which version.
    pub version: Option<u64>,
    /// In which rotation.
    pub rotation: Option<String>,
    /// To which holder.
    pub holder: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// The id that the caller gave its request.
    pub request: Option<String>,
    /// Why.
    pub reason: String,
    /// The hash of the record before.
    pub prev: [u8; 32],
    /// The hash of this one.
    pub hash: [u8; 32],
}

impl Record {
    /// What is written for `entry` in the place `seq`, after `prev`.
    pub(crate) fn of(
        entry: &Entry,
        (seq, prev): (u64, [u8; 32]),
        now: Moment,
        whose: InstallationId,
    ) -> Self {
        let mut record = Self {
            seq,
            time_ms: now.wall_ms,
            installation: whose.to_string(),
            actor_kind: entry.actor.kind.to_string(),
            actor: clean(&entry.actor.id, WORD_MOST * 2),
            authenticated: clean(&entry.actor.authenticated, WORD_MOST),
            verb: entry.verb.to_string(),
            credential: entry.credential.as_ref().map(ToString::to_string),
            version: entry.version.map(Version::get),
            rotation: entry.rotation.map(|id| id.to_string()),
            holder: entry.holder.map(|id| id.to_string()),
            outcome: entry.outcome.to_string(),
            request: entry.request.as_deref().map(|id| clean(id, WORD_MOST)),
            reason: clean(&entry.reason, REASON_KEPT),
            prev,
            hash: [0; 32],
        };
        record.hash = chain::hash(&record);
        record
    }
}

/// The text without control characters, cut at a character's border.
fn clean(text: &str, most: usize) -> String {
    let mut kept = String::new();
    for c in text.chars().map(|c| if c.is_control() { '?' } else { c }) {
        if kept.len() + c.len_utf8() > most {
            break;
        }
        kept.push(c);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_and_cleaned() {
        assert_eq!(clean("a\n\u{1b}[31mb\0", 500), "a??[31mb?");
        assert_eq!(clean(&"ä".repeat(300), REASON_MOST).len(), REASON_MOST);
        assert_eq!(clean("aä", 2), "a");
    }

    #[test]
    fn every_word_is_told_apart() {
        let words: std::collections::BTreeSet<_> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
        assert_eq!(words.len(), Verb::ALL.len());
    }
}
