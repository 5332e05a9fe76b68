//! The revoke guard (I5; `docs/rotation.md` has its rules by number): one function, and every condition that is not met
//! as data.

use std::fmt;
use std::time::Duration;

use rekey_model::Version;

use crate::due::ToGo;
use crate::facts::{Evidence, Facts, Mode, Usage};
use crate::ledger::Ledger;
use crate::phase::{Phase, Rotation};

/// A condition for ending a version that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// The version that is to stay is not current, not proven, cut, or ending.
    NotServed(Version),
    /// The version that is to end is what everybody is to use.
    IsServed(Version),
    /// The controller only reconciles.
    Reconciling,
    /// The brake is on.
    Held(String),
    /// No holder is live, so that nobody can say anything.
    NoLiveHolder,
    /// These holders have not acknowledged.
    NotAcked(Vec<String>),
    /// These live holders have not reported since they acknowledged.
    NotReported(Vec<String>),
    /// Processes behind this holder say that they may still use the version.
    StillUsed {
        /// The holder.
        holder: String,
        /// How many processes.
        processes: u32,
    },
    /// The floor has not passed since the last thing that restarts it.
    Floor {
        /// How long it takes yet.
        left: Duration,
    },
    /// Sessions use the version at the target.
    Sessions(u32),
    /// It has not been quiet for long enough.
    NotQuiet {
        /// How long it takes yet.
        left: Duration,
    },
    /// The target was not, or could not be, looked at. That is not zero.
    SessionsUnknown,
    /// It was quiet for long enough, but the last look is not fresh.
    NotFresh,
    /// Too many holders vanished without having acknowledged: the fault may be the controller's.
    HoldersVanished {
        /// How many.
        vanished: u32,
        /// Of how many.
        counted: u32,
    },
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed(version) => write!(f, "{version} is not in use, or not proven"),
            Self::IsServed(version) => write!(f, "{version} is in use"),
            Self::Reconciling => f.write_str("the controller was restored from a backup and only reconciles"),
            Self::Held(reason) => write!(f, "held: {reason}"),
            Self::NoLiveHolder => f.write_str("no sidecar is connected, so nobody can say that it has moved"),
            Self::NotAcked(names) => write!(f, "the acknowledgement of {}", Listed(names)),
            Self::NotReported(names) => {
                write!(f, "a report of what its processes use from {}", Listed(names))
            }
            Self::StillUsed { holder, processes } => {
                write!(f, "{processes} processes behind {holder} that may still use the old version")
            }
            Self::Floor { left } => write!(f, "the floor of the grace: {} to go", ToGo(*left)),
            Self::Sessions(1) => f.write_str("1 session on the old version at the target"),
            Self::Sessions(count) => write!(f, "{count} sessions on the old version at the target"),
            Self::NotQuiet { left } => write!(f, "the quiet window: {} to go", ToGo(*left)),
            Self::SessionsUnknown => f.write_str("a look at the target's sessions"),
            Self::NotFresh => f.write_str("one more look at the target's sessions"),
            Self::HoldersVanished { vanished, counted } => {
                write!(f, "{vanished} of {counted} sidecars that vanished without acknowledging")
            }
        }
    }
}

/// At most five names.
pub(crate) struct Listed<'a>(pub(crate) &'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<&str> = self.0.iter().take(5).map(String::as_str).collect();
        f.write_str(&shown.join(", "))?;
        match self.0.len().saturating_sub(5) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Ledger {
    /// Every condition for ending `old` while `served` is to be served that is not met. Empty: it may end.
    pub fn unmet(&self, old: Version, served: Version, facts: &Facts<'_>) -> Vec<Unmet> {
        let mut unmet = self.unmet_here(old, served, facts);
        unmet.extend(self.unmet_by_holders(old, facts));
        unmet.extend(self.unmet_by_time(facts));
        unmet.extend(self.unmet_at_target(old, facts));
        unmet
    }

    /// How long it takes at least until the version that is being left may be ended; `None`: none is being left. Holders and
    /// sessions that are waited for may take longer.
    pub fn ends_after(&self, facts: &Facts<'_>) -> Option<Duration> {
        let open = self.open_rotation()?;
        let (old, served) = (open.old?, open.next?);
        let (old, served) = if open.phase == Phase::Returning { (served, old) } else { (old, served) };
        if !matches!(open.phase, Phase::Rolling | Phase::Grace | Phase::Returning) {
            return None;
        }
        let takes = |unmet: &Unmet| {
            if let Unmet::Floor { left } | Unmet::NotQuiet { left } = unmet {
                return *left;
            }
            let looks = matches!(unmet, Unmet::Sessions(_) | Unmet::SessionsUnknown);
            if looks { facts.policy.quiet } else { Duration::ZERO }
        };
        self.is_alive(old).then(|| self.unmet(old, served, facts).iter().map(takes).max().unwrap_or_default())
    }

    /// Rule 1: what the ledger itself says.
    fn unmet_here(&self, old: Version, served: Version, facts: &Facts<'_>) -> Vec<Unmet> {
        let proven = self.version(served).is_some_and(|record| record.proven.is_some());
        let is_served = self.current == Some(served) && proven && self.is_alive(served);
        [
            (!is_served).then_some(Unmet::NotServed(served)),
            (self.current == Some(old)).then_some(Unmet::IsServed(old)),
            (facts.mode == Mode::ReconcileOnly).then_some(Unmet::Reconciling),
            self.held.as_ref().map(|held| Unmet::Held(held.reason.clone())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Rules 2 and 3: what the holders acknowledged and reported.
    fn unmet_by_holders(&self, old: Version, facts: &Facts<'_>) -> Vec<Unmet> {
        let mut unmet = Vec::new();
        if self.lacks_live_holder(facts) {
            unmet.push(Unmet::NoLiveHolder);
        }
        let unacked: Vec<String> = self.unacked(facts).iter().map(|holder| holder.name.clone()).collect();
        if !unacked.is_empty() {
            unmet.push(Unmet::NotAcked(unacked));
        }
        let mut unreported = Vec::new();
        for holder in facts.live() {
            match &holder.usage {
                Usage::Told { order, processes } if *order >= self.order => {
                    let processes = processes.get(&old).copied().unwrap_or(0);
                    if processes > 0 {
                        unmet.push(Unmet::StillUsed { holder: holder.name.clone(), processes });
                    }
                }
                Usage::Silent | Usage::Told { .. } => unreported.push(holder.name.clone()),
            }
        }
        if !unreported.is_empty() {
            unmet.push(Unmet::NotReported(unreported));
        }
        unmet
    }

    /// How many holders vanished since the turn without having acknowledged, if those are more than the brake bears.
    pub(crate) fn too_many_vanished(&self, open: &Rotation, facts: &Facts<'_>) -> Option<u32> {
        let vanished = self.vanished_since(open.turned?, facts);
        let most = open.counted.checked_div(facts.policy.brake_divisor).unwrap_or(0).max(1);
        (vanished > most).then_some(vanished)
    }

    /// Rules 4 and 6: the floor, and the brake against a controller that lost its fleet.
    fn unmet_by_time(&self, facts: &Facts<'_>) -> Vec<Unmet> {
        let Some(open) = self.open_rotation() else { return Vec::new() };
        let Some(turn) = open.turned else { return Vec::new() };
        let policy = facts.policy;
        let floor = policy.floor.max(policy.max_reconnect + policy.slack);
        let left = floor.saturating_sub(self.undisturbed_for(turn, facts));
        let lost = self.too_many_vanished(open, facts).filter(|_| !open.no_holders);
        [
            (!left.is_zero()).then_some(Unmet::Floor { left }),
            lost.map(|vanished| Unmet::HoldersVanished { vanished, counted: open.counted }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Rule 5: what the target shows.
    fn unmet_at_target(&self, old: Version, facts: &Facts<'_>) -> Option<Unmet> {
        match facts.evidence {
            Some(Evidence::CannotTell { version }) if *version == old => None,
            Some(Evidence::Busy { version, sessions }) if *version == old => Some(Unmet::Sessions(*sessions)),
            Some(Evidence::Quiet { version, since, until }) if *version == old => {
                let age = facts.now.at_most_since(*until);
                if age > facts.policy.sample_gap() {
                    return Some(Unmet::SessionsUnknown);
                }
                let since_release = self.released.map_or(Duration::MAX, |at| until.at_least_since(at));
                let quiet = until.at_least_since(*since).min(since_release);
                let left = facts.policy.quiet.saturating_sub(quiet);
                let stale = age > facts.policy.fresh();
                match left {
                    Duration::ZERO => stale.then_some(Unmet::NotFresh),
                    left => Some(Unmet::NotQuiet { left }),
                }
            }
            Some(_) | None => Some(Unmet::SessionsUnknown),
        }
    }
}
