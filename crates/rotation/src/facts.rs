//! What is true around a credential at the moment of a decision: time, policy, holders, evidence at the target.
//!
//! Facts are read in the transaction that acts on them. Times are readings of the controller's own clocks (I19).

use std::collections::BTreeMap;
use std::time::Duration;

use rekey_model::{InstanceId, Moment, Order, Version};
use serde::{Deserialize, Serialize};

use crate::restore::Claim;

/// What is true at the moment of a decision.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Now.
    pub now: Moment,
    /// What the controller may do.
    pub mode: Mode,
    /// The credential's policy.
    pub policy: &'a Policy,
    /// Every holder that has the credential or is granted it, also those that are silent.
    pub holders: &'a [HolderFacts],
    /// Since when the controller listens to its holders without a break: silence before is not theirs.
    pub listening_since: Moment,
    /// What the target showed of the version that is being left, if it was looked at.
    pub evidence: Option<&'a Evidence>,
    /// What holders said of earlier lives of the store, and nobody has taken in yet.
    pub claims: &'a [Claim],
    /// How the uses of the new version went behind the canary; all zero where there is none.
    pub tried: Tried,
    /// Why nothing may begin because of another credential; none: nothing of that kind. A replacement begins all the same.
    pub gate: Option<&'a str>,
    /// Where the others stand that its open rotation goes together with, one each: only to be shown.
    pub mates: &'a [String],
}

/// What a controller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Everything.
    Normal,
    /// Restored from a backup: nothing but emergencies.
    ReconcileOnly,
}

/// What a credential's spec, its driver and the controller's config say about its rotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How often it rotates; none: only by hand.
    pub schedule: Option<Schedule>,
    /// The longest time an application may go on with a connection or a value it has (H).
    pub max_reconnect: Duration,
    /// The least length of a grace (G).
    pub floor: Duration,
    /// How long the target must show no session on the old version.
    pub quiet: Duration,
    /// When a grace is overdue and alarms.
    pub deadline: Duration,
    /// How long a sidecar may serve it without word from the controller, as declared; none: without end. It holds for a
    /// holder once that has acknowledged it ([`HolderFacts::alone`]).
    pub offline_for: Option<Duration>,
    /// How long holders count as live from now on, after they were heard.
    pub lease: Duration,
    /// How far clocks may be apart (ε).
    pub slack: Duration,
    /// Of how many holders that counted at the promotion one may vanish unacknowledged before it alarms (a tenth: 10).
    pub brake_divisor: u32,
    /// How many refusals of one secret value are borne.
    pub budget: u32,
    /// How long after it was given up a call may still take effect at the target.
    pub settle: Duration,
    /// Whether the application's login of today is to be handed in as version 1.
    pub adopts: bool,
    /// What one holder is to show of a new version before all others get it; none: all get it at once.
    pub canary: Option<Trial>,
    /// Whether two versions can be valid at once.
    pub overlap: Overlap,
    /// Who makes the secret, and what follows where the answer is lost.
    pub making: Making,
    /// How many values the target takes at the most, those that are being ended too; none: more than are ever needed.
    pub slots: Option<u32>,
    /// How often the current version is tried at the latest; more often while holders move to it.
    pub verify_every: Duration,
    /// How long the controller has to run before it first does: different for each credential.
    pub verify_after: Duration,
}

/// What one holder is to show of a new version before all others get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// After how many uses it is judged, at the least one.
    pub uses: u64,
    /// After how long it is judged by fewer: then none of them may have been refused.
    pub within: Duration,
}

/// How the uses of a new version went behind the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tried {
    /// Uses that the target accepted.
    pub good: u64,
    /// All uses.
    pub uses: u64,
    /// Whether fewer were good than are asked for.
    pub misses: bool,
}

/// Whether two versions can be valid at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// They can: the old one ends when nobody uses it.
    Both,
    /// The new one kills the old one at once: readers wait behind a barrier meanwhile.
    Neither(Barrier),
}

/// Who makes the secret of a version, and what follows where the answer to that call is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Making {
    /// We do: the same call is repeated (class A).
    Ours,
    /// The target does, once for each token of ours: the same call is repeated while the token is known (class B).
    Token {
        /// How long the target knows a token.
        life: Duration,
        /// After that, what was made ends by itself when it is so old; none: it is found in a list.
        expires: Option<Duration>,
    },
    /// The target does, and lists what it made: that is found and ended before another is made (class C).
    Listed,
    /// The target does, and does not list it: another is made at once, and what was made ends by itself (class D).
    Expiring {
        /// How long what was made works.
        life: Duration,
    },
    /// Somebody else does, and gives it to us when it is there (class H): it is not asked for.
    Given,
    /// Somebody else's machine does, and we follow: the old one is dead when the new one is there.
    Followed,
}

/// How readers are made to wait while the only valid value changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// Whether the value is known before the cut, so that holders can have it; otherwise the target answers with it.
    pub known: bool,
    /// How long readers wait in all, each time.
    pub wait: Duration,
    /// How long holders may take to confirm that their readers wait.
    pub confirm: Duration,
    /// How long after the last one confirmed the cut comes: whoever read just before has so long to log in.
    pub drain: Duration,
    /// How long to rest after it was given up once; twice as long after each time more, up to 32 times as long.
    pub pause: Duration,
    /// What follows when one does not confirm.
    pub missing: Missing,
}

/// What follows when a holder does not confirm in time that its readers wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The barrier is lowered, an alarm told, and it is tried again later.
    Hold,
    /// The cut goes on: that holder's readers meet a dead value until it is back.
    GoOn,
}

/// How often a credential rotates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The age at which the current version is too old.
    pub every: Duration,
    /// By how much it may come later at the most, different for each credential and version.
    pub jitter: Duration,
    /// What makes credentials differ; the same for one credential at every start.
    pub seed: u64,
}

/// One holder, as its rows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderFacts {
    /// The instance.
    pub instance: InstanceId,
    /// What people call it.
    pub name: String,
    /// Whether it is the one that was declared to have new versions before all others.
    pub tries_first: bool,
    /// When its hello was committed that began its present, unbroken possession of the credential.
    pub since: Moment,
    /// Whether it held nothing of this credential when it said that hello.
    pub came_empty: bool,
    /// When its last renewal, hello or other word was committed.
    pub last_contact: Moment,
    /// How long it counts as live from then: the longest that it was promised.
    pub lease: Duration,
    /// How long it may serve without word from the controller, by the longest bound that it may go by
    /// ([`Ledger::longest_alone`](crate::Ledger::longest_alone)); none: without end.
    pub alone: Option<Duration>,
    /// What it acknowledged in its present session; none: nothing yet. A hello acknowledges nothing.
    pub acked: Option<Acked>,
    /// What its processes say they use.
    pub usage: Usage,
    /// When it said goodbye, lost the grant, or was removed by an operator; none: it has not.
    pub gone: Option<Moment>,
}

/// What a holder acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// The order.
    pub order: Order,
    /// When it first acknowledged that order. A later session that repeats it, and whose hello said that it still held
    /// that order, keeps the moment.
    pub at: Moment,
}

/// What a holder's processes say they use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Usage {
    /// It has not reported in its present session.
    #[default]
    Silent,
    /// Its latest report.
    Told {
        /// The order that was live when it was gathered.
        order: Order,
        /// How many processes may still use each version.
        processes: BTreeMap<Version, u32>,
    },
}

/// What the target showed of one version's sessions, sampled without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// Looked at without a gap and never seen on.
    Quiet {
        /// The version.
        version: Version,
        /// The first sample of the unbroken row.
        since: Moment,
        /// The last one.
        until: Moment,
    },
    /// Sessions were there at the last look.
    Busy {
        /// The version.
        version: Version,
        /// How many.
        sessions: u32,
    },
    /// The look failed, or has not been made: this is not zero.
    Unknown {
        /// The version.
        version: Version,
    },
    /// This kind of target cannot tell: the other conditions decide.
    CannotTell {
        /// The version.
        version: Version,
    },
}

impl Policy {
    /// How often sessions are looked at while a version is being left.
    pub fn sample_every(&self) -> Duration {
        (self.quiet / 10).max(Duration::from_millis(20))
    }

    /// The longest pause between two samples that still belong to one unbroken row.
    pub fn sample_gap(&self) -> Duration {
        (self.quiet / 4).max(Duration::from_millis(250))
    }

    /// How long ago the last look at the target may be when an ending is decided: somebody may have come since.
    pub fn fresh(&self) -> Duration {
        self.sample_gap().min(Duration::from_secs(1))
    }
}
