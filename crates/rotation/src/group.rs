//! Credentials that change as one: their ledgers are decided together, and saved in one commit.
//!
//! There is nothing beside the ledgers. A rotation that began together with others is *grouped*. By itself it takes every
//! edge but two: nobody is promoted, and nothing is ended in peace, before all of them can be. Whoever fails or is
//! rolled back before that takes the others along. An emergency bends only whom it is about; the others go on alone.
//!
//! Of a member whose declaration does not read nothing is known but its ledger. It goes back with the others; forward
//! they wait for it.

use rekey_model::{Moment, RotationId};

use crate::ending::Cause;
use crate::event::{Event, Why};
use crate::facts::{Facts, Mode};
use crate::ledger::Ledger;
use crate::phase::{Company, Phase, Rotation};
use crate::refusal::OutOfOrder;

/// More rounds than can follow each other without an event between: each moves somebody on, or is the last.
const ROUNDS: usize = 8;

/// Why an event changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which member of the group refused it.
    pub member: usize,
    /// Why.
    pub why: OutOfOrder,
}

/// A member: its ledger, and what is true around it; none where its declaration does not read.
pub type Member<'a> = (&'a Ledger, Option<Facts<'a>>);

/// The ledgers of a group after `event` at the member `index`, each with every edge taken that is free then. `ids` has an
/// id for each, for rotations that begin. Refused as a whole by the first that refuses; then nothing changes.
///
/// Of one alone it is [`Ledger::after`].
pub fn after(
    members: &[Member<'_>],
    index: usize,
    event: &Event,
    ids: &[RotationId],
) -> Result<Vec<Ledger>, Refused> {
    let mut group = Group(members.iter().map(|(ledger, facts)| ((*ledger).clone(), *facts)).collect());
    group.take(index, event, ids)?;
    for _ in 0..ROUNDS.saturating_mul(members.len()) {
        let before: Vec<Ledger> = group.ledgers();
        group.settle();
        group.follow_who_failed(members);
        group.promote();
        group.retire();
        if group.ledgers() == before {
            break;
        }
    }
    Ok(group.ledgers())
}

struct Group<'a>(Vec<(Ledger, Option<Facts<'a>>)>);

impl Group<'_> {
    fn ledgers(&self) -> Vec<Ledger> {
        self.0.iter().map(|(ledger, _)| ledger.clone()).collect()
    }

    /// The event itself, and what it is to the others.
    fn take(&mut self, index: usize, event: &Event, ids: &[RotationId]) -> Result<(), Refused> {
        let together = self.0.get(index).is_some_and(|(ledger, _)| ledger.is_grouped());
        if let Event::Begin { why, .. } = event
            && *why != Why::Leftover
        {
            return self.begin(index, (event, why), ids);
        }
        if matches!(event, Event::Rollback { .. }) && together {
            self.all_have_a_way_back(event)?;
        }
        self.apply(index, event)?;
        if matches!(event, Event::Revoke { .. }) && together {
            self.part();
        }
        Ok(())
    }

    fn apply(&mut self, member: usize, event: &Event) -> Result<(), Refused> {
        let Some((ledger, facts)) = self.0.get_mut(member) else { return Ok(()) };
        let unread = || OutOfOrder::Gated { why: "its declaration does not read: apply it again".to_owned() };
        let applied = facts.as_ref().ok_or_else(unread).and_then(|facts| ledger.apply(event, facts));
        applied.map_err(|why| Refused { member, why })
    }

    /// All begin, or none. One that has nothing in use, or is being forgotten, is left out; and so is everybody else of a
    /// first version: there is nothing yet that it could be mixed with.
    fn begin(
        &mut self,
        index: usize,
        (event, why): (&Event, &Why),
        ids: &[RotationId],
    ) -> Result<(), Refused> {
        let asked = self.0.get(index).map(|(ledger, _)| ledger.clone());
        self.apply(index, event)?;
        if self.0.get(index).map(|(ledger, _)| ledger) == asked.as_ref() {
            // The same request again.
            return Ok(());
        }
        let is_first = asked.is_none_or(|ledger| ledger.current.is_none());
        let joins = |ledger: &Ledger| !is_first && ledger.current.is_some() && ledger.deleted.is_none();
        let others: Vec<(usize, RotationId)> = self
            .0
            .iter()
            .zip(ids)
            .enumerate()
            .filter(|(member, ((ledger, _), _))| *member != index && joins(ledger))
            .map(|(member, (_, id))| (member, *id))
            .collect();
        for (member, rotation) in &others {
            self.apply(*member, &Event::Begin { rotation: *rotation, why: why.clone() })?;
        }
        let begun = others.iter().map(|(member, _)| *member).chain((!others.is_empty()).then_some(index));
        for member in begun {
            if let Some((ledger, _)) = self.0.get_mut(member) {
                ledger.update(|rotation| rotation.company = Company::Grouped);
            }
        }
        Ok(())
    }

    fn all_have_a_way_back(&self, event: &Event) -> Result<(), Refused> {
        for (member, (ledger, _)) in self.0.iter().enumerate().filter(|(_, (it, _))| it.is_on_its_way()) {
            ledger.way_back(event).map_err(|why| Refused { member, why })?;
        }
        Ok(())
    }

    /// From here on everybody goes on alone.
    fn part(&mut self) {
        for (ledger, _) in &mut self.0 {
            ledger.update(|rotation| rotation.company = Company::Alone);
        }
    }

    fn settle(&mut self) {
        for (ledger, facts) in &mut self.0 {
            if let Some(facts) = facts {
                ledger.settle(facts);
            }
        }
    }

    /// Takes back all that are still on their way, if one that was on its way before has failed.
    fn follow_who_failed(&mut self, before: &[Member<'_>]) {
        let failed = before.iter().zip(&self.0).find_map(|((was, _), (now, _))| {
            let last = now.rotation.as_ref().filter(|last| was.is_on_its_way() && last.is_grouped())?;
            let gone = matches!(
                last.phase,
                Phase::Returning | Phase::Undoing | Phase::StuckUndoing | Phase::Abandoned
            );
            gone.then(|| last.last_error.clone().unwrap_or_default())
        });
        let now = self.0.iter().find_map(|(_, facts)| facts.map(|facts| facts.now));
        let (Some(why), Some(now)) = (failed, now) else { return };
        for (ledger, _) in self.0.iter_mut().filter(|(ledger, _)| ledger.is_on_its_way()) {
            ledger.go_back_too(&format!("another one of its group failed: {why}"), now);
        }
    }

    /// Whether all that are on their way are as `ready` says, and there are any.
    fn all(&self, ready: impl Fn(&Ledger, &Rotation, &Facts<'_>) -> bool) -> bool {
        let mut on_their_way = self.0.iter().filter(|(ledger, _)| ledger.is_on_its_way()).peekable();
        on_their_way.peek().is_some()
            && on_their_way.all(|(ledger, facts)| {
                let facts = facts.as_ref().filter(|facts| facts.mode == Mode::Normal);
                facts.zip(ledger.open_rotation()).is_some_and(|(facts, open)| ready(ledger, open, facts))
            })
    }

    /// Proven → Rolling, all or none.
    fn promote(&mut self) {
        if self.all(|ledger, open, _| open.phase == Phase::Proven && ledger.may_promote(open)) {
            for (ledger, facts) in self.0.iter_mut().filter(|(ledger, _)| ledger.is_on_its_way()) {
                if let Some((open, facts)) = ledger.open_rotation().cloned().zip(facts.as_ref()) {
                    ledger.promote(&open, facts);
                }
            }
        }
    }

    /// Grace → Retiring, all or none.
    fn retire(&mut self) {
        let may_end = |ledger: &Ledger, open: &Rotation, facts: &Facts<'_>| {
            open.phase == Phase::Grace && ledger.nothing_unmet(open.old, open.next, facts)
        };
        if self.all(may_end) {
            for (ledger, facts) in self.0.iter_mut().filter(|(ledger, _)| ledger.is_on_its_way()) {
                let old = ledger.open_rotation().and_then(|open| open.old);
                if facts.is_some_and(|facts| ledger.intend(old, Cause::Retire, facts.now)) {
                    ledger.enter(Phase::Retiring);
                }
            }
        }
    }
}

impl Ledger {
    /// Whether its open rotation goes together with others.
    pub fn is_grouped(&self) -> bool {
        self.open_rotation().is_some_and(Rotation::is_grouped)
    }

    /// Whether it goes together with others, forward, and could still go back with them.
    fn is_on_its_way(&self) -> bool {
        self.open_rotation().is_some_and(|open| {
            let back = [Phase::Returning, Phase::Undoing, Phase::StuckUndoing];
            let too_late = [Phase::Retiring, Phase::StuckRetiring];
            open.is_grouped() && !back.contains(&open.phase) && !too_late.contains(&open.phase)
        })
    }

    /// Goes back because another one did. What has no way back says so.
    fn go_back_too(&mut self, why: &str, now: Moment) {
        match self.open_rotation().map(|open| open.phase) {
            Some(Phase::Planned) => {
                self.update(|rotation| {
                    rotation.last_error = Some(why.to_owned());
                    rotation.failed = true;
                });
                self.close(Phase::Abandoned, now);
            }
            Some(Phase::Canary | Phase::Rolling | Phase::Grace) => match self.way_back(&Event::Look) {
                Ok(old) => drop(self.turn_back(old, why, now)),
                Err(_no_way) => drop(self.update(|rotation| {
                    rotation.forward_only = Some(why.to_owned());
                    rotation.last_error = Some(why.to_owned());
                })),
            },
            Some(_) => drop(self.undo(why, now)),
            None => {}
        }
    }
}
