//! The declaration of one credential: from JSON to types, once, with every problem named.
//!
//! A spec may name a target; it can name no file, environment variable or address on the controller. What is read here
//! is not checked again: the executor, the fleet and the drivers take [`Spec`] as it is. Which credentials may stand
//! beside each other, and which targets exist, is [`claims`]' business.

mod canary;
pub mod claims;
mod class;
mod judge;
mod problem;
mod rules;
pub mod schema;
mod sections;
pub mod ties;

use std::collections::BTreeMap;
use std::time::Duration;

use rekey_drivers::Account;
use rekey_model::{CredentialName, FieldName, Grant, Label, Span, SpiffeId};
use rekey_rotation::Missing;
use rekey_settings::Document;
use serde_json::Value;

pub use canary::Canary;
pub use class::{TAKEN, Taken};
pub use judge::{Judge, Share};
pub use problem::Problem;

use crate::template::Template;

/// What was declared about one credential.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name.
    pub name: CredentialName,
    /// Who answers for it.
    pub owner: Label,
    /// Where it belongs, such as `production`.
    pub environment: Label,
    /// What it has from a class of the controller's config.
    pub taken: Option<Taken>,
    /// What its owner wants to find it by.
    pub labels: BTreeMap<Label, Label>,
    /// The word of those that change as one; none: it changes by itself.
    pub group: Option<Label>,
    /// The word of those of which only one may rotate at a time; none: it waits for nobody.
    pub pair: Option<Label>,
    /// How and where it is changed.
    pub driver: Account,
    /// When it is changed without being asked; none: only by hand.
    pub schedule: Option<Schedule>,
    /// Where its class must have rotated well before it does; none: nowhere.
    pub after: Option<After>,
    /// How the version before is ended. All zero where it dies by itself, with [`Spec::barrier`].
    pub grace: Grace,
    /// How readers are made to wait, where a new value kills the old one; none: two versions are valid at once.
    pub barrier: Option<Barrier>,
    /// What a new version is judged by.
    pub judge: Judge,
    /// Who has a new version before all others; none: nobody.
    pub canary: Option<Canary>,
    /// Who gets it.
    pub deliver: Deliver,
    /// Fields that are made of what the driver gives.
    pub fields: BTreeMap<FieldName, Template>,
}

/// When a credential is changed without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// How old a version gets.
    pub every: Span,
    /// By how much the next rotation may come later, drawn at random.
    pub jitter: Span,
}

/// Where the same class must have rotated well before a rotation begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// The environment.
    pub environment: Label,
    /// How long ago at the most.
    pub within: Span,
}

/// How readers are made to wait while the only value that a target takes is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// How long they wait at the most, each time.
    pub wait: Span,
    /// How long whoever read just before has to use it.
    pub drain: Span,
    /// What follows when a sidecar does not confirm that its readers wait.
    pub missing: Missing,
}

/// How the version before is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// How long an application may keep a connection it has, at the most, as its owner declares.
    pub max_reconnect: Span,
    /// The least time that both versions are valid.
    pub floor: Span,
    /// How long nobody may have been seen on the old version.
    pub quiet: Span,
    /// When an unfinished grace alarms.
    pub deadline: Span,
}

/// Who gets a credential, and how long they may serve it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliver {
    /// Sidecars by SPIFFE id; empty: nobody.
    pub to: Vec<Grant>,
    /// What a sidecar does while the controller is away.
    pub offline: Offline,
}

impl Deliver {
    /// Whether `id` may have the credential.
    pub fn covers(&self, id: &SpiffeId) -> bool {
        self.to.iter().any(|grant| grant.covers(id))
    }
}

/// What a sidecar does while the controller is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offline {
    /// Serves until the target ends the version, or until the bound if there is one.
    ServeUntilExpiry {
        /// How long it may serve alone; none: without end.
        bound: Option<Span>,
    },
    /// Stops with its lease.
    FailClosed,
}

impl Offline {
    /// How long a silent holder may still serve the credential; none: without end, only a person discounts it.
    pub fn serves_alone_for(self) -> Option<Duration> {
        match self {
            Self::ServeUntilExpiry { bound } => bound.map(Span::get),
            Self::FailClosed => Some(Duration::ZERO),
        }
    }
}

impl Spec {
    /// Reads a spec, with what it took from its class ([`TAKEN`]), or names everything that is wrong with it.
    pub fn parse(json: &Value) -> Result<Self, Vec<Problem>> {
        let document = Document::of_json("", &class::whole(json));
        let spec =
            document.and_then(|document| document.read(|root| sections::spec(root, class::fields(json))));
        spec.map_err(|problems| problems.0.into_iter().map(Problem::from).collect())
    }
}

#[cfg(test)]
mod tests;
