//! A target beside the first one, as a credential declares it.

use rekey_model::Label;
use rekey_settings::Section;

use super::{BuildError, Facts, Target};
use crate::follower::{FOLLOWERS, FollowerKind, Following};
use crate::table::{Kind, Strategy};

/// A target beside the first one, which has to know each version too.
#[derive(Debug, Clone)]
pub struct Also {
    pub(super) kind: &'static FollowerKind,
    pub(super) target: Label,
    /// Where it stands in the spec: `also[0].pgbouncer`.
    field: String,
    /// Whether consumers may go to the first target itself too.
    pub(super) unpooled: bool,
}

impl Also {
    /// Reads one entry of `also`, for an account of `kind`.
    pub(super) fn read(section: &Section<'_>, kind: &'static Kind, facts: &Facts) -> Option<Self> {
        let names: Vec<&str> = FOLLOWERS.iter().map(|kind| kind.name).collect();
        let name = section.one_of(&names)?;
        let inner = section.section(name)?;
        let target = inner.required_like("target", "orders-pool");
        let unpooled = inner.flag("unpooled");
        let own = FOLLOWERS.iter().find(|kind| kind.name == name)?;
        if own.before != kind.name || facts.strategy != Strategy::DualAccount {
            let why = format!("stands before {} with a login for each version only", own.before);
            section.problem(name, why, "take it out, or declare the credential so");
        }
        Some(Self { kind: own, target: target?, field: inner.path().to_owned(), unpooled })
    }

    /// The follower at `there`, the target of this name, for logins of this stem; and how consumers come by way of it.
    pub(super) fn follower(&self, there: Option<&Target>, stem: &str) -> Result<Following, BuildError> {
        let name = || self.target.to_string();
        let follower = there.ok_or_else(|| BuildError::NoTarget(name()))?.follower(self.kind, stem);
        follower.map_err(|error| BuildError::At(name(), Box::new(error)))
    }

    /// Its kind, by name.
    pub fn kind(&self) -> &'static str {
        self.kind.name
    }

    /// The target, as the controller's config names it.
    pub fn target(&self) -> &Label {
        &self.target
    }

    /// Where it stands in the spec: `also[0].pgbouncer`.
    pub fn field(&self) -> &str {
        &self.field
    }
}

/// Notes what is wrong with `also` as a whole, beside an account of this strategy.
pub(super) fn check(also: &[Also], strategy: Strategy, root: &Section<'_>) {
    if !also.is_empty() && !strategy.two_live_versions() {
        let message =
            "goes only with a login for each version: a password that changes in place kills the one before";
        root.problem("also", message, "name `owner_role` and `prefix`, or let the pooler ask the database");
    }
    for (index, one) in also.iter().enumerate() {
        if also.iter().take(index).any(|other| other.target == one.target) {
            root.problem("also", format!("names {} twice", one.target), "name each target once");
        }
    }
}
