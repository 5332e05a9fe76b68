//! Credentials that change as one.

use proptest::prelude::*;
use rekey_model::{RotationId, Version};

use super::properties::{deed, holds_of};
use super::world::{World, refused, v};
use crate::*;

/// Two credentials of one group.
#[derive(Debug, Clone)]
struct Two {
    of: [World; 2],
    /// Whose declaration does not read.
    unread: Option<usize>,
}

impl Two {
    /// Both settled on v1.
    fn settled() -> Self {
        Self { of: [World::settled(), World::settled()], unread: None }
    }

    fn try_event(&mut self, index: usize, event: &Event) -> Result<(), group::Refused> {
        let ids = [self.of[0].draw(), RotationId::from_bits(u128::MAX / 2 + self.of[1].draw().bits())];
        let of = self.of.iter().enumerate();
        let members: Vec<group::Member<'_>> =
            of.map(|(member, of)| (&of.ledger, (self.unread != Some(member)).then(|| of.facts()))).collect();
        let after = group::after(&members, index, event, &ids)?;
        for (world, ledger) in self.of.iter_mut().zip(after) {
            world.ledger = ledger;
        }
        Ok(())
    }

    fn ok(&mut self, index: usize, event: &Event) {
        self.try_event(index, event).unwrap();
    }

    fn begin(&mut self) {
        let event = self.of[0].beginning();
        self.ok(0, &event);
    }

    /// Brings one as far as it comes by itself: it works, and its expiry is lifted.
    fn prove(&mut self, index: usize) {
        let event = self.of[index].choosing();
        self.ok(index, &event);
        let next = self.of[index].next();
        for event in [
            self.of[index].making(next),
            Event::Probed { version: next, attempt: 0 },
            Event::Lifted { version: next, attempt: 0 },
        ] {
            self.ok(index, &event);
        }
    }

    fn rolling() -> Self {
        let mut two = Self::settled();
        two.begin();
        two.prove(0);
        two.prove(1);
        two
    }

    fn in_grace() -> Self {
        let mut two = Self::rolling();
        two.of.iter_mut().for_each(World::all_ack);
        two.ok(0, &Event::Look);
        assert_eq!(two.phases(), [Phase::Grace; 2]);
        two
    }

    /// Where the last rotation of each stands.
    fn phases(&self) -> [Phase; 2] {
        self.of.each_ref().map(|of| of.ledger.rotation.as_ref().unwrap().phase)
    }

    fn current(&self) -> [Option<Version>; 2] {
        self.of.each_ref().map(|of| of.ledger.current)
    }
}

#[test]
fn one_begins_for_all_or_none_does() {
    let mut two = Two::settled();
    two.ok(1, &Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() });
    let begin = two.of[0].beginning();
    let refused = two.try_event(0, &begin).unwrap_err();
    assert_eq!(refused, group::Refused { member: 1, why: OutOfOrder::Held { reason: "freeze".to_owned() } });
    assert!(two.of[0].ledger.open_rotation().is_none());
    two.ok(1, &Event::Release);
    two.ok(0, &begin);
    assert_eq!(two.phases(), [Phase::Planned; 2]);
    let ids = two.of.each_ref().map(|of| of.ledger.rotation.as_ref().unwrap().id);
    assert_ne!(ids[0], ids[1]);
    assert!(two.of.iter().all(|of| of.ledger.is_grouped()));
}

#[test]
fn the_same_request_again_begins_nothing() {
    let mut two = Two::settled();
    let why = Why::Asked { reason: String::new(), by: "test".to_owned(), request: "r1".to_owned() };
    let begin = Event::Begin { rotation: two.of[0].draw(), why };
    two.ok(0, &begin);
    let before = two.clone();
    two.ok(0, &begin);
    assert_eq!(two.of.each_ref().map(|of| &of.ledger), before.of.each_ref().map(|of| &of.ledger));
}

#[test]
fn one_that_was_cut_for_good_is_left_out() {
    let mut two = Two::settled();
    let Event::Revoke { id, version, reason, by, .. } = two.of[1].revoke(None) else { panic!() };
    two.ok(1, &Event::Revoke { id, version, reason, by, replace: false });
    two.begin();
    assert!(two.of[0].ledger.open_rotation().is_some() && two.of[1].ledger.open_rotation().is_none());
    assert!(!two.of[0].ledger.is_grouped(), "it goes alone");
}

#[test]
fn a_first_version_goes_alone_and_who_has_none_is_left_out() {
    let mut two = Two { of: [World::settled(), World::empty()], unread: None };
    let begin = two.of[1].beginning();
    two.ok(1, &begin);
    assert!(two.of[0].ledger.open_rotation().is_none() && !two.of[1].ledger.is_grouped());
    two.begin();
    assert!(two.of[0].ledger.open_rotation().is_some() && !two.of[0].ledger.is_grouped());
}

#[test]
fn nobody_is_promoted_before_all_can_be_and_then_all_are_at_once() {
    let mut two = Two::settled();
    two.begin();
    two.prove(0);
    assert_eq!((two.phases(), two.current()), ([Phase::Proven, Phase::Planned], [Some(v(1)); 2]));
    two.ok(0, &Event::Look);
    assert_eq!(two.current(), [Some(v(1)); 2]);
    two.ok(0, &Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() });
    two.prove(1);
    assert_eq!(two.current(), [Some(v(1)); 2], "a hold on one keeps all");
    two.ok(0, &Event::Release);
    assert_eq!((two.phases(), two.current()), ([Phase::Rolling; 2], [Some(v(2)); 2]));
}

#[test]
fn nothing_is_ended_before_all_can_be() {
    let mut two = Two::in_grace();
    two.of[0].retire();
    assert_eq!(two.of[0].phase(), Some(Phase::Grace), "not by itself either");
    two.ok(0, &Event::Look);
    assert_eq!(two.phases(), [Phase::Grace; 2], "the other may still need to go back");
    for world in &mut two.of {
        world.all_ack();
        world.wait(5_000);
        world.show_quiet();
    }
    two.ok(1, &Event::Look);
    assert_eq!(two.phases(), [Phase::Retiring; 2]);
    let ended = two.of[0].ended(1);
    two.ok(0, &ended);
    assert_eq!(two.phases(), [Phase::Done, Phase::Retiring], "from here on each ends by itself");
}

#[test]
fn one_that_fails_before_the_promotion_undoes_all() {
    let mut planned = Two::settled();
    planned.begin();
    planned.prove(0);
    let mut chosen = planned.clone();
    let choose = chosen.of[1].choosing();
    chosen.ok(1, &choose);
    let making = chosen.of[1].making(v(2));
    chosen.ok(1, &making);
    chosen.ok(1, &refused(2));
    assert_eq!((chosen.phases(), chosen.current()), ([Phase::Undoing; 2], [Some(v(1)); 2]));
    let why = chosen.of[0].ledger.rotation.as_ref().unwrap().last_error.clone().unwrap();
    assert_eq!(why, "another one of its group failed: no");
    // The other way round, while one has not begun to make anything.
    let mut two = Two::settled();
    two.begin();
    let choose = two.of[0].choosing();
    two.ok(0, &choose);
    let making = two.of[0].making(v(2));
    two.ok(0, &making);
    two.ok(0, &refused(2));
    assert_eq!(two.phases(), [Phase::Undoing, Phase::Abandoned]);
    assert!(two.of[1].ledger.rotation.as_ref().unwrap().failed, "it rests as any that failed");
}

#[test]
fn one_that_fails_after_the_promotion_takes_all_back() {
    for mut two in [Two::rolling(), Two::in_grace()] {
        let order = two.of[1].ledger.order;
        two.ok(1, &Event::Failed { order, why: "logins are refused".to_owned() });
        assert_eq!((two.phases(), two.current()), ([Phase::Returning; 2], [Some(v(1)); 2]));
    }
}

#[test]
fn a_rollback_is_of_all_or_of_none() {
    let mut two = Two::in_grace();
    two.ok(0, &Event::Rollback { reason: "slow".to_owned() });
    assert_eq!((two.phases(), two.current()), ([Phase::Returning; 2], [Some(v(1)); 2]));
    let mut first = Two::rolling();
    // A restore left the second one's behind.
    first.of[1].ledger.versions.get_mut(&v(1)).unwrap().stray = true;
    let before = first.current();
    let refused = first.try_event(0, &Event::Rollback { reason: "slow".to_owned() }).unwrap_err();
    assert!(
        matches!(refused, group::Refused { member: 1, why: OutOfOrder::NoWayBack { .. } }),
        "{refused:?}"
    );
    assert_eq!(first.current(), before);
    // A failure asks nobody: who can goes back, and who cannot says so.
    let order = first.of[0].ledger.order;
    first.ok(0, &Event::Failed { order, why: "no".to_owned() });
    assert_eq!(first.phases(), [Phase::Returning, Phase::Rolling]);
    assert!(first.of[1].ledger.rotation.as_ref().unwrap().forward_only.is_some());
}

#[test]
fn one_whose_declaration_does_not_read_keeps_the_others_from_nothing_but_going_on() {
    let mut two = Two::settled();
    two.unread = Some(1);
    let begin = two.of[0].beginning();
    let refused = two.try_event(0, &begin).unwrap_err();
    assert!(
        matches!(&refused.why, OutOfOrder::Gated { why } if why.contains("does not read")),
        "{refused:?}"
    );
    two.unread = None;
    two.begin();
    two.prove(1);
    two.unread = Some(1);
    two.prove(0);
    assert_eq!(two.phases(), [Phase::Proven; 2], "nobody is promoted without it");
    two.ok(0, &Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() });
    two.ok(0, &Event::Release);
    let mut back = Two::rolling();
    back.unread = Some(1);
    back.ok(0, &Event::Rollback { reason: "slow".to_owned() });
    assert_eq!((back.phases(), back.current()), ([Phase::Returning; 2], [Some(v(1)); 2]), "it goes along");
    let mut grace = Two::in_grace();
    grace.unread = Some(1);
    for world in &mut grace.of {
        world.all_ack();
        world.wait(5_000);
        world.show_quiet();
    }
    grace.ok(0, &Event::Look);
    assert_eq!(grace.phases(), [Phase::Grace; 2], "nothing is ended without it");
    let revoke = grace.of[0].revoke(Some(1));
    grace.ok(0, &revoke);
    assert!(grace.of.iter().all(|of| !of.ledger.is_grouped()));
}

#[test]
fn an_emergency_bends_one_and_the_others_finish_alone() {
    let mut two = Two::settled();
    two.begin();
    two.prove(0);
    let revoke = two.of[1].revoke(None);
    two.ok(1, &revoke);
    assert_eq!(two.phases(), [Phase::Rolling, Phase::Planned], "the other waits for nobody any more");
    assert!(two.of.iter().all(|of| !of.ledger.is_grouped()));
    let mut grace = Two::in_grace();
    let revoke = grace.of[1].revoke(Some(1));
    grace.ok(1, &revoke);
    grace.of[0].retire();
    assert_eq!(grace.of[0].phase(), Some(Phase::Retiring));
}

#[test]
fn one_alone_is_decided_as_if_there_were_no_groups() {
    let mut world = World::settled();
    let begin = world.beginning();
    let members = [(&world.ledger, Some(world.facts()))];
    let together = group::after(&members, 0, &begin, &[RotationId::from_bits(9)]).unwrap();
    assert_eq!(together, [world.ledger.after(&begin, &world.facts()).unwrap()]);
    assert!(!together[0].is_grouped());
}

/// How far a rotation is, as far as its mates are concerned; none: it goes alone, or back.
fn side(ledger: &Ledger) -> Option<bool> {
    let open = ledger.open_rotation().filter(|open| open.is_grouped() && open.forward_only.is_none())?;
    match open.phase {
        Phase::Planned | Phase::Chosen | Phase::Installed | Phase::Proven => Some(false),
        Phase::Rolling | Phase::Grace | Phase::Retiring | Phase::StuckRetiring => Some(true),
        Phase::Staged
        | Phase::Barrier
        | Phase::CutOver
        | Phase::Canary
        | Phase::Returning
        | Phase::Undoing
        | Phase::StuckUndoing
        | Phase::Done
        | Phase::Abandoned => None,
    }
}

proptest! {
    #[test]
    fn at_no_commit_is_one_promoted_and_another_not(
        deeds in prop::collection::vec((0_usize..2, deed()), 1..120)
    ) {
        let mut two = Two::settled();
        for (index, deed) in deeds {
            let Some(event) = two.of[index].event_of(&deed) else { continue };
            drop(two.try_event(index, &event));
            two.of.iter().for_each(|of| holds_of(&of.ledger));
            let [one, other] = two.of.each_ref().map(|of| side(&of.ledger));
            prop_assert!(one.is_none() || other.is_none() || one == other, "{:?} after {event:?}", two.phases());
        }
    }
}
