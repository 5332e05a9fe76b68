//! What is to be done now, what is waited for, and when to look again.

use std::time::Duration;

use rekey_model::{Moment, Span, Version, millis};

use crate::ending::{Cause, Ending, EndingState};
use crate::event::Why;
use crate::facts::{Evidence, Facts, Mode, Overlap};
use crate::guard::Unmet;
use crate::ledger::Ledger;
use crate::phase::{Phase, Rotation};

/// Something to be done outside the ledger. Its outcome comes back as an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Begin a rotation: commit [`crate::Event::Begin`] with a fresh id.
    Begin {
        /// Why.
        why: Why,
    },
    /// Draw a name and a secret: commit [`crate::Event::Choose`].
    Choose {
        /// The number to use.
        version: Version,
    },
    /// Make a version at the target.
    Install {
        /// The version.
        version: Version,
        /// Whether an earlier answer was lost, so that one has to look first.
        look_first: bool,
    },
    /// Prove that a version works and has the rights of `old`.
    Probe {
        /// The version.
        version: Version,
        /// The version to compare with.
        old: Option<Version>,
    },
    /// Have the target accept a version without end.
    Lift {
        /// The version.
        version: Version,
    },
    /// Look for sessions of a version.
    Sample {
        /// The version.
        version: Version,
    },
    /// End a version at the target; [`Ledger::spares_sessions`] says what becomes of its sessions.
    End {
        /// The version.
        version: Version,
        /// Whether it is an emergency, which has a lane of its own.
        emergency: bool,
    },
    /// Ask the target which versions of the credential it has.
    List,
    /// Remove what an ended version left at the target.
    CleanUp {
        /// The version.
        version: Version,
    },
    /// Ask the target whether everything is there that rotations need: commit [`crate::Event::Checked`] if so.
    Check {
        /// When what it is asked about was declared.
        since: Moment,
    },
    /// Try whether the current version still works: somebody else may have changed it.
    Verify {
        /// The version.
        version: Version,
    },
    /// Try again and again whether the version works that everybody moves to, or that the canary has, while they can go
    /// back.
    Try {
        /// The version.
        version: Version,
    },
    /// Look whether somebody else's machine has left another value: commit [`crate::Event::Choose`] with it if so.
    Follow,
}

/// How long nothing is looked at where nothing is open.
const IDLE: Duration = Duration::from_mins(1);
/// How often a rotation is looked at that waits for holders to fall silent or a grace to pass, at the least.
const CALM: Duration = Duration::from_secs(5);
/// How often a barrier is looked at, behind which readers wait.
const BARRIER: Duration = Duration::from_millis(50);
/// How often anything else that is open is looked at.
const OPEN: Duration = Duration::from_millis(500);

impl Ledger {
    /// What is to be done now. Every step may be done again; doing it twice is doing it once.
    pub fn due(&self, facts: &Facts<'_>) -> Vec<Step> {
        let mut steps: Vec<Step> = self
            .endings
            .iter()
            .filter_map(|(version, ending)| self.due_ending(*version, ending, facts))
            .collect();
        if facts.mode == Mode::ReconcileOnly || self.deleted.is_some() {
            return steps;
        }
        if self.restore.unlisted {
            steps.push(Step::List);
        }
        steps.extend(self.unchecked.as_ref().map(|unchecked| Step::Check { since: unchecked.since }));
        match self.open_rotation() {
            Some(open) => steps.extend(self.due_phase(open, facts)),
            None if self.replacement_begins(facts) => steps.extend(self.choice(facts)),
            None => steps.extend(self.why_begin(facts).map(|why| Step::Begin { why })),
        }
        let verify = self.verify_in(facts).filter(|(_, left)| left.is_zero());
        steps.extend(verify.map(|(version, _)| Step::Verify { version }));
        steps.extend(self.on_trial().map(|version| Step::Try { version }));
        steps.extend(Self::is_followed(facts).then_some(Step::Follow));
        steps
    }

    /// The version that everybody moves to, or the canary has, as long as they can go back to the one before.
    fn on_trial(&self) -> Option<Version> {
        let moves = |open: &&Rotation| matches!(open.phase, Phase::Rolling | Phase::Grace);
        let all = self.open_rotation().filter(moves).filter(|open| open.promoted.is_some());
        let open = all.or(self.open_rotation().filter(|open| open.phase == Phase::Canary))?;
        open.next.filter(|_| open.old.is_some_and(|old| self.is_servable(old)))
    }

    /// What is to be tried whether it still works, and in how long. One that was proven a short while ago can wait.
    fn verify_in(&self, facts: &Facts<'_>) -> Option<(Version, Duration)> {
        // While holders move or somebody is waited for, all is as it is meant to be; else something is half done.
        let waits = |open: &Rotation| matches!(open.phase, Phase::Planned | Phase::Retiring);
        let whole = |open: &Rotation| {
            matches!(open.phase, Phase::Canary | Phase::Rolling | Phase::Grace)
                || Self::is_given(facts) && waits(open)
        };
        let settled = self.open_rotation().is_none_or(whole);
        let version = self.current.filter(|_| settled && !self.is_foreign())?;
        if self.is_in_doubt(version) {
            return Some((version, Duration::ZERO));
        }
        let proven = self.version(version)?.proven.map_or(Duration::MAX, |at| facts.now.at_least_since(at));
        let listened = facts.now.at_least_since(facts.listening_since);
        let left = facts.policy.verify_every.saturating_sub(proven);
        Some((version, left.max(facts.policy.verify_after.saturating_sub(listened))))
    }

    /// Whether something was said against a version when there was no way back, last.
    fn is_in_doubt(&self, version: Version) -> bool {
        let last = self.rotation.as_ref().filter(|last| last.next == Some(version));
        last.is_some_and(|last| last.forward_only.is_some())
    }

    /// What chooses the next version; none where that is given.
    fn choice(&self, facts: &Facts<'_>) -> Option<Step> {
        (!Self::is_given(facts)).then(|| Step::Choose { version: self.next_version() })
    }

    /// The number of the version that is chosen next.
    pub fn next_version(&self) -> Version {
        self.last_version.map_or(Version::FIRST, Version::next)
    }

    fn due_ending(&self, version: Version, ending: &Ending, facts: &Facts<'_>) -> Option<Step> {
        let emergency = ending.cause == Cause::Emergency;
        if facts.mode == Mode::ReconcileOnly && !emergency {
            return None;
        }
        match ending.state {
            EndingState::Intended => Some(Step::End { version, emergency }),
            EndingState::Settling => {
                self.unsettled_for(version, facts).is_zero().then_some(Step::End { version, emergency })
            }
            EndingState::Ended => Some(Step::CleanUp { version }),
        }
    }

    fn due_phase(&self, open: &Rotation, facts: &Facts<'_>) -> Option<Step> {
        let next = open.next;
        match open.phase {
            Phase::Planned => {
                let free = self.held.is_none() || open.replacement;
                self.choice(facts).filter(|_| free && self.lacks_room(facts).is_none())
            }
            Phase::Chosen => {
                let settled = |version: &Version| self.unsettled_for(*version, facts).is_zero();
                let version = next.filter(|_| !self.is_lost(open, facts)).filter(settled)?;
                let look_first = self.version(version).is_some_and(|record| record.doubt.is_some());
                Some(Step::Install { version, look_first })
            }
            Phase::CutOver => {
                let version = next.filter(|_| self.nothing_is_being_cut())?;
                // The same value again changes nothing; another one would be killed by a call that lands late.
                let known = open.cut_over.as_ref().is_some_and(|cut| cut.handed_out);
                let settled = known || self.unsettled_for(version, facts).is_zero();
                settled.then_some(Step::Install { version, look_first: false })
            }
            Phase::Installed => next.map(|version| Step::Probe { version, old: open.old }),
            Phase::Proven => {
                let version = next.filter(|version| !self.version(*version).is_some_and(|it| it.lasting))?;
                self.unsettled_for(version, facts).is_zero().then_some(Step::Lift { version })
            }
            Phase::Rolling | Phase::Grace => {
                // What somebody else has killed is nobody's to look at.
                open.old.filter(|_| !Self::is_followed(facts)).map(|version| Step::Sample { version })
            }
            Phase::Returning => next.map(|version| Step::Sample { version }),
            Phase::Staged
            | Phase::Barrier
            | Phase::Canary
            | Phase::Retiring
            | Phase::Undoing
            | Phase::StuckRetiring
            | Phase::StuckUndoing
            | Phase::Done
            | Phase::Abandoned => None,
        }
    }

    /// How long a call that makes `version` may still land, or what it made may work.
    pub(crate) fn unsettled_for(&self, version: Version, facts: &Facts<'_>) -> Duration {
        let doubt = self.version(version).and_then(|record| record.doubt);
        let settle = facts.policy.settle + facts.policy.slack + self.outlives(version, facts);
        doubt.map_or(Duration::ZERO, |since| settle.saturating_sub(facts.now.at_least_since(since)))
    }

    /// What the credential waits for, one sentence each.
    pub fn waiting_for(&self, facts: &Facts<'_>) -> Vec<String> {
        let mut waiting = match self.open_rotation() {
            Some(open) => self.phase_waits_for(open, facts),
            None if self.awaits_adoption(facts) => vec!["the password of the login to adopt".to_owned()],
            None if self.owed => {
                let given = Self::is_given(facts).then(|| self.choice_waits_for(facts));
                let waits = given.or_else(|| self.lacks_room(facts));
                let waits = waits.map(|waits| format!(", which waits for {waits}"));
                vec![format!("the replacement of the revoked version{}", waits.unwrap_or_default())]
            }
            None => {
                let unchecked =
                    self.unchecked.iter().map(|it| format!("its target to be checked: {}", it.why));
                unchecked.chain(self.waits_at_gate(facts)).collect()
            }
        };
        for (version, ending) in &self.endings {
            waiting.push(self.ending_waits_for(*version, ending, facts));
        }
        waiting
    }

    fn phase_waits_for(&self, open: &Rotation, facts: &Facts<'_>) -> Vec<String> {
        let Some(next) = open.next else { return self.hold_or(&self.choice_waits_for(facts)) };
        match open.phase {
            Phase::Planned => self.hold_or(&self.choice_waits_for(facts)),
            Phase::Chosen => match self.unsettled_for(next, facts) {
                Duration::ZERO => vec![format!("the target to make {next}")],
                left => vec![format!("{} until no lost call can make {next} any more", ToGo(left))],
            },
            Phase::Staged if self.held.is_some() => self.hold_or("the barrier"),
            Phase::Staged => match self.unmet_acks(facts) {
                acks if acks.is_empty() => vec![barrier_waits_for(open, facts)],
                acks => acks,
            },
            Phase::Barrier => self.unmet_acks(facts),
            Phase::CutOver => vec![format!("the target to change to {next}")],
            Phase::Installed => vec![format!("the proof that {next} works")],
            Phase::Proven if self.version(next).is_some_and(|record| record.lasting) => {
                if open.is_grouped() && self.held.is_none() {
                    facts.mates.to_vec()
                } else {
                    self.hold_or("the promotion")
                }
            }
            Phase::Proven => vec![format!("the target to accept {next} without end")],
            Phase::Canary => self.canary_waits_for(open, facts),
            Phase::Rolling => self.unmet_acks(facts),
            Phase::Grace => match open.old.filter(|old| self.is_alive(*old)) {
                Some(old) => match self.unmet(old, next, facts) {
                    unmet if unmet.is_empty() && open.is_grouped() => facts.mates.to_vec(),
                    unmet => sentences(&unmet),
                },
                None => self.unmet_acks(facts),
            },
            Phase::Returning => match open.old {
                Some(old) => sentences(&self.unmet(next, old, facts)),
                None => Vec::new(),
            },
            Phase::Retiring
            | Phase::Undoing
            | Phase::StuckRetiring
            | Phase::StuckUndoing
            | Phase::Done
            | Phase::Abandoned => Vec::new(),
        }
    }

    fn choice_waits_for(&self, facts: &Facts<'_>) -> String {
        if Self::is_followed(facts) {
            return format!("a value for {} where somebody else's machine leaves it", self.next_version());
        }
        if Self::is_given(facts) {
            return format!("somebody to make {} and hand it in", self.next_version());
        }
        self.lacks_room(facts).unwrap_or_else(|| "a name and a secret to be drawn".to_owned())
    }

    fn hold_or(&self, otherwise: &str) -> Vec<String> {
        vec![self.held.as_ref().map_or_else(|| otherwise.to_owned(), |held| format!("held: {}", held.reason))]
    }

    fn unmet_acks(&self, facts: &Facts<'_>) -> Vec<String> {
        let names: Vec<String> = self.unacked(facts).iter().map(|holder| holder.name.clone()).collect();
        let unacked = (!names.is_empty()).then_some(Unmet::NotAcked(names));
        let nobody = self.lacks_live_holder(facts).then_some(Unmet::NoLiveHolder);
        sentences(&unacked.into_iter().chain(nobody).collect::<Vec<_>>())
    }

    /// In how long something may have become due by time alone.
    pub fn look_again(&self, facts: &Facts<'_>) -> Duration {
        let policy = facts.policy;
        let emergency = self.emergencies.iter().any(|emergency| !emergency.is_finished());
        let calm = match self.open_rotation().map(|open| open.phase) {
            Some(Phase::Barrier) => BARRIER,
            // Acknowledgements and samples are looked at when they come; what is left is silence and time.
            Some(Phase::Canary | Phase::Rolling) => {
                (policy.lease / 20).clamp(Duration::from_millis(50), CALM)
            }
            Some(Phase::Grace | Phase::Returning) => policy.sample_every().min(CALM),
            Some(Phase::Planned | Phase::Retiring | Phase::Undoing) if Self::is_given(facts) => CALM,
            Some(_) => OPEN,
            None => self.begins_in(facts).map_or(IDLE, |due| due.clamp(Duration::from_millis(10), IDLE)),
        };
        let canary = self.canary_left(facts).filter(|left| !left.is_zero());
        let calm = canary.map_or(calm, |left| calm.min(left));
        let verify = self.verify_in(facts).map(|(_, left)| left).filter(|left| !left.is_zero());
        let calm = verify.map_or(calm, |left| calm.min(left));
        let ending = self.endings.iter().map(|(version, ending)| self.look_at(*version, ending, facts)).min();
        let calm = ending.map_or(calm, |ending| calm.min(ending));
        if emergency || self.owed { calm.min(OPEN) } else { calm }
    }
}

impl Ledger {
    /// In how long an ending is looked at: what only time ends, or somebody else, is left alone meanwhile.
    fn look_at(&self, version: Version, ending: &Ending, facts: &Facts<'_>) -> Duration {
        match ending.state {
            EndingState::Settling => self.unsettled_for(version, facts).clamp(OPEN, IDLE),
            // Somebody deletes it, in hours or days.
            EndingState::Intended if Self::is_given(facts) => CALM,
            EndingState::Intended | EndingState::Ended => OPEN,
        }
    }

    /// What an ending waits for, as far as anybody knows.
    pub(crate) fn ending_waits_for(&self, version: Version, ending: &Ending, facts: &Facts<'_>) -> String {
        let sessions = match facts.evidence {
            Some(Evidence::Busy { version: of, sessions }) if *of == version => *sessions,
            Some(_) | None => 0,
        };
        match ending.state {
            EndingState::Settling if self.only_expires(Some(version), facts) => format!(
                "{version}, which may have been made and nobody has the secret of, to expire by itself: {} to go",
                ToGo(self.unsettled_for(version, facts))
            ),
            EndingState::Intended | EndingState::Settling if sessions > 0 => {
                format!("the end of {sessions} sessions on {version}, which takes no login any more")
            }
            EndingState::Intended if Self::is_followed(facts) => {
                format!("whoever rotates it to have the target refuse {version}")
            }
            EndingState::Intended if Self::is_given(facts) => {
                format!("somebody to delete {version} where it was made")
            }
            EndingState::Intended => format!("the target to refuse {version}"),
            EndingState::Settling => format!("the time until no lost call can make {version} again"),
            EndingState::Ended => format!("the target to remove what {version} left"),
        }
    }
}

/// A time that is left, for people: whole seconds, and tenths below one, both rounded up.
pub(crate) struct ToGo(pub(crate) Duration);

impl std::fmt::Display for ToGo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let step = if self.0 > Duration::from_secs(1) { 1_000 } else { 100 };
        let ms = millis(self.0);
        Span::new(Duration::from_millis(ms.div_ceil(step).saturating_mul(step))).fmt(f)
    }
}

fn barrier_waits_for(open: &Rotation, facts: &Facts<'_>) -> String {
    let Overlap::Neither(barrier) = facts.policy.overlap else { return String::new() };
    match barrier.rest_left(open, facts) {
        Duration::ZERO => "the readers' barrier to be raised".to_owned(),
        left => format!("{} until the readers' barrier is raised again", ToGo(left)),
    }
}

fn sentences(unmet: &[Unmet]) -> Vec<String> {
    unmet.iter().map(ToString::to_string).collect()
}
