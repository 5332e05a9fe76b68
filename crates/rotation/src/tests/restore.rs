//! Taking a restored store up again: what holders told, what the target shows, and what may follow.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rekey_model::{Handle, Incarnation, Order, Stage, Version};

use super::properties::{deed, holds_of};
use super::world::{KNOWN, World, at, v};
use crate::*;

/// The life in which the restored ledger was written.
const FORMER: Incarnation = Incarnation(1);

fn handle(name: &str) -> Handle {
    name.parse().unwrap()
}

/// That a holder serves `version` as `app_v…` since `order`.
fn claim(order: u64, version: u64) -> Claim {
    let serves = Some((v(version), handle(&format!("app_v{version}"))));
    Claim { incarnation: FORMER, order: Order(order), serves, fenced: BTreeSet::new() }
}

fn fencing(order: u64, fenced: &[u64]) -> Claim {
    let fenced = fenced.iter().map(|number| v(*number)).collect();
    Claim { incarnation: FORMER, order: Order(order), serves: None, fenced }
}

fn shown(versions: &[u64]) -> Listing {
    let one = |number: &u64| Shown {
        version: Some(v(*number)),
        handle: handle(&format!("app_v{number}")),
        accepted: true,
        adopted: false,
    };
    Listing::Shown(versions.iter().map(one).collect())
}

/// `world` was restored; its holders tell `claims`, and the target shows `listing`.
fn reconcile(mut world: World, claims: Vec<Claim>, listing: Listing) -> World {
    world.mode = Mode::ReconcileOnly;
    world.claims = claims;
    world.listing = listing.clone();
    world.ok(&Event::Reconciled { former: FORMER, listing });
    world.claims.clear();
    world.mode = Mode::Normal;
    for holder in &mut world.holders {
        // What was acknowledged in the life before is none.
        holder.acked = None;
        holder.usage = Usage::Silent;
    }
    world
}

/// The target and all holders are well: what is due is done, until nothing is.
fn until_calm(world: &mut World) {
    for _ in 0..200 {
        world.holders.iter_mut().for_each(|holder| holder.last_contact = at(world.now));
        world.all_ack();
        if world.phase().is_some() {
            world.show_quiet();
        }
        world.look();
        if let Some(event) = world.drive() {
            drop(world.try_event(&event));
        }
        world.now += 600;
    }
}

fn left(world: &World) -> Vec<u64> {
    let alive = world.ledger.versions.iter().filter(|(_, record)| !record.stage.is_final());
    alive.map(|(version, _)| version.get()).collect()
}

#[test]
fn what_the_holders_have_and_the_store_has_not_stays_until_it_is_replaced_and_then_ends() {
    let mut world = reconcile(World::settled(), vec![claim(9, 3), claim(9, 3)], shown(&[3]));
    let ledger = &world.ledger;
    assert_eq!((ledger.current, ledger.is_foreign()), (Some(v(3)), true));
    assert_eq!((ledger.last_version, ledger.order), (Some(v(1003)), Order(10)));
    assert_eq!(ledger.version(v(1)).unwrap().stage, Stage::Retired, "the target shows it no longer");
    assert!(ledger.endings.is_empty() && !ledger.owed);
    assert_eq!(ledger.due(&world.facts()), [Step::Begin { why: Why::Foreign }]);
    world.make_next();
    assert_eq!((world.ledger.current, world.ledger.previous), (Some(v(1004)), Some(v(3))));
    let back = world.try_event(&Event::Rollback { reason: String::new() });
    assert!(matches!(back, Err(OutOfOrder::NoWayBack { .. })), "nobody here has its secret: {back:?}");
    world.look();
    assert!(world.ledger.endings.is_empty(), "nobody has acknowledged");
    until_calm(&mut world);
    assert_eq!((left(&world), world.ledger.version(v(3)).unwrap().stage), (vec![1004], Stage::Retired));
}

#[test]
fn what_is_sealed_here_becomes_current_again() {
    // Restored in the middle of a grace: the holders had gone on to v2, or back to v1.
    for (told, other) in [(2, 1), (1, 2)] {
        let mut world = reconcile(World::in_phase(Phase::Grace), vec![claim(20, told)], shown_as(&[1, 2]));
        assert_eq!((world.ledger.current, world.ledger.is_foreign()), (Some(v(told)), false), "{told}");
        assert_eq!(world.ledger.rotation.as_ref().unwrap().phase, Phase::Abandoned);
        assert_eq!(world.ledger.leftover(), Some(v(other)));
        until_calm(&mut world);
        assert_eq!(left(&world), [told]);
    }
}

/// As the world calls its versions.
fn shown_as(versions: &[u64]) -> Listing {
    shown(versions)
}

#[test]
fn a_version_that_was_only_chosen_here_is_foreign_where_holders_have_it() {
    for phase in [Phase::Chosen, Phase::Installed] {
        let world = reconcile(World::in_phase(phase), vec![claim(20, 2)], shown_as(&[1, 2]));
        assert_eq!((world.ledger.current, world.ledger.is_foreign()), (Some(v(2)), true), "{phase:?}");
    }
}

#[test]
fn nobody_tells_anything_and_the_target_decides() {
    let world = reconcile(World::settled(), Vec::new(), shown_as(&[1]));
    assert_eq!((world.ledger.current, world.ledger.is_foreign()), (Some(v(1)), false));
    let world = reconcile(World::settled(), Vec::new(), shown(&[4, 5]));
    assert_eq!((world.ledger.current, world.ledger.is_foreign()), (Some(v(5)), true), "somebody may have it");
    let mut world = reconcile(World::settled(), Vec::new(), shown(&[]));
    assert_eq!(world.ledger.current, None);
    assert_eq!(world.ledger.due(&world.facts()), [Step::Begin { why: Why::First }]);
    until_calm(&mut world);
    assert_eq!(left(&world), [1002]);
}

#[test]
fn what_is_told_with_an_earlier_order_or_refused_by_the_target_is_not_taken_up() {
    let settled = World::settled();
    let order = settled.ledger.order.0;
    let world = reconcile(settled.clone(), vec![claim(order, 7)], shown_as(&[1, 7]));
    assert_eq!(world.ledger.current, Some(v(1)), "the store knows as much");
    let world = reconcile(settled.clone(), vec![claim(99, 7)], shown_as(&[1]));
    assert_eq!(world.ledger.current, Some(v(1)), "the target knows no such version");
    let lie = Claim { serves: Some((v(7), handle("billing_v7"))), ..claim(99, 7) };
    let world = reconcile(settled, vec![lie], shown_as(&[1, 7]));
    assert_eq!(world.ledger.current, Some(v(1)), "it is called otherwise");
    assert!(world.ledger.versions.values().all(|record| record.handle.as_str() != "billing_v7"));
}

#[test]
fn what_was_cut_in_the_lost_life_is_cut_again_and_never_taken_up() {
    let told = vec![claim(9, 3), fencing(10, &[1, 3])];
    let mut world = reconcile(World::settled(), told, shown_as(&[1, 3]));
    let ledger = &world.ledger;
    assert_eq!((ledger.current, ledger.owed), (None, true));
    for version in [1, 3] {
        assert_eq!(ledger.endings[&v(version)].cause, Cause::Emergency, "{version}");
    }
    until_calm(&mut world);
    assert_eq!(left(&world), [1004]);
}

#[test]
fn what_was_not_cut_is_taken_up_before_nothing_is() {
    let told = vec![claim(9, 3), fencing(10, &[3])];
    let mut world = reconcile(World::settled(), told, shown_as(&[1, 3]));
    assert_eq!((world.ledger.current, world.ledger.owed), (Some(v(1)), false));
    assert_eq!(world.ledger.endings[&v(3)].cause, Cause::Emergency);
    until_calm(&mut world);
    assert_eq!(left(&world), [1]);
}

#[test]
fn endings_lose_their_evidence_but_emergencies_and_what_is_refused_already() {
    for phase in [Phase::Retiring, Phase::Undoing] {
        let world = reconcile(World::in_phase(phase), Vec::new(), shown_as(&[1, 2]));
        assert!(world.ledger.endings.is_empty(), "{phase:?}");
        assert!(world.ledger.leftover().is_some(), "{phase:?}: it is not forgotten");
    }
    let world = reconcile(World::in_phase(Phase::Done), Vec::new(), shown_as(&[2]));
    assert_eq!(world.ledger.endings[&v(1)].state, EndingState::Ended, "it is still to be cleaned up");
    let mut world = World::settled();
    let revoke = world.revoke(None);
    world.ok(&revoke);
    let world = reconcile(world, vec![claim(50, 2)], shown_as(&[1, 2]));
    assert_eq!(world.ledger.endings[&v(1)].cause, Cause::Emergency);
    assert_eq!(world.ledger.current, Some(v(2)), "it was replaced in the life that was lost");
}

#[test]
fn a_target_that_cannot_be_asked_is_asked_later() {
    let mut world = reconcile(World::settled(), Vec::new(), Listing::Unasked);
    assert_eq!(world.ledger.current, Some(v(1)));
    assert!(world.ledger.due(&world.facts()).contains(&Step::List));
    world.ok(&Event::Listed { listing: shown(&[4]) });
    assert!(world.ledger.is_foreign(), "the current version has ended: another takes its place");
    assert!(world.ledger.due(&world.facts()).contains(&Step::Begin { why: Why::Foreign }));
    until_calm(&mut world);
    assert_eq!(left(&world), [1002]);
}

#[test]
fn a_holder_that_comes_late_brings_its_fences_and_has_the_target_asked() {
    let mut world = reconcile(World::settled(), Vec::new(), shown_as(&[1]));
    let order = world.ledger.order;
    world.claims = vec![claim(70, 4)];
    world.ok(&Event::Heard);
    world.claims.clear();
    assert_eq!((world.ledger.current, world.ledger.order), (Some(v(1)), order), "nobody is to move");
    world.ok(&Event::Listed { listing: shown_as(&[1, 4]) });
    assert_eq!(world.ledger.leftover(), Some(v(4)));
    world.claims = vec![fencing(71, &[1])];
    world.ok(&Event::Heard);
    world.claims.clear();
    assert_eq!(
        (world.ledger.current, world.ledger.owed),
        (None, true),
        "a version that was cut is not served"
    );
    assert!(world.ledger.order > order);
    until_calm(&mut world);
    assert_eq!(left(&world), [1002]);
}

#[test]
fn a_version_in_use_is_not_ended_because_a_restore_left_it_behind() {
    let mut world = reconcile(World::settled(), vec![claim(9, 3)], shown_as(&[1, 3]));
    world.make_next();
    world.all_ack();
    world.wait(60_000);
    world.evidence = Some(Evidence::Busy { version: v(3), sessions: 1 });
    world.look();
    assert!(world.ledger.endings.is_empty());
    world.show_quiet();
    world.look();
    assert_eq!(world.phase(), Some(Phase::Retiring));
    world.ok(&world.ended(3));
    let begin = Event::Begin { rotation: world.draw(), why: Why::Leftover };
    world.ok(&begin);
    let open = world.ledger.open_rotation().unwrap();
    assert_eq!((open.phase, open.next, open.old), (Phase::Grace, Some(v(1004)), Some(v(1))));
    world.all_ack();
    world.look();
    assert!(!world.ledger.endings.contains_key(&v(1)), "its own floor and quiet window have not passed");
    world.claims.clear();
    let event = world.revoke(Some(1004));
    world.ok(&event);
    assert_eq!((world.ledger.current, world.ledger.owed), (None, true), "a stray is nothing to fall back to");
    until_calm(&mut world);
    assert_eq!(left(&world), [1005]);
}

#[test]
fn a_target_that_cannot_list_is_believed_to_have_what_holders_tell() {
    let told = vec![claim(9, 3), claim(8, 2), fencing(7, &[5]), claim(6, 5)];
    let mut world = reconcile(World::settled(), told, Listing::CannotTell);
    assert_eq!(left(&world), [1, 2, 3], "what was cut is being ended");
    assert_eq!(world.ledger.endings.keys().copied().collect::<Vec<_>>(), [v(5)]);
    until_calm(&mut world);
    assert_eq!(left(&world), [1006]);
    world.listing = Listing::CannotTell;
    world.claims = vec![claim(70, 9)];
    world.ok(&Event::Heard);
    world.claims.clear();
    assert_eq!(left(&world), [9, 1006]);
    until_calm(&mut world);
    assert_eq!(left(&world), [1006]);
}

#[test]
fn a_hold_keeps_what_the_holders_have() {
    let mut world = World::settled();
    world.ok(&Event::Hold { reason: "freeze".to_owned(), by: "test".to_owned() });
    let mut world = reconcile(world, vec![claim(9, 3)], shown_as(&[1, 3]));
    until_calm(&mut world);
    assert_eq!(left(&world), [1, 3]);
    assert!(world.ledger.alarms(&world.facts()).iter().any(|alarm| alarm.kind == AlarmKind::Foreign));
    world.ok(&Event::Release);
    until_calm(&mut world);
    assert_eq!(left(&world), [1004]);
}

#[test]
fn a_revocation_while_reconciling_means_what_the_holders_have_too() {
    let mut world = World::settled();
    world.mode = Mode::ReconcileOnly;
    world.claims = vec![claim(9, 3)];
    let event = world.revoke(None);
    world.ok(&event);
    let steps = world.ledger.due(&world.facts());
    for version in [1, 3] {
        assert!(steps.contains(&Step::End { version: v(version), emergency: true }), "{version}: {steps:?}");
    }
    let mut world = reconcile(world, vec![claim(9, 3)], shown_as(&[1, 3]));
    assert_eq!((world.ledger.current, world.ledger.owed), (None, true));
    until_calm(&mut world);
    assert_eq!(left(&world), [1004]);
    assert!(world.ledger.emergencies.iter().all(Emergency::is_finished));
}

#[test]
fn a_revocation_of_something_old_while_reconciling_does_not_make_older_what_the_holders_have() {
    let mut world = World::in_phase(Phase::Grace);
    world.mode = Mode::ReconcileOnly;
    world.claims = vec![claim(world.ledger.order.0 + 1, 3)];
    let event = world.revoke(Some(1));
    world.ok(&event);
    let claims = world.claims.clone();
    let world = reconcile(world, claims, shown_as(&[2, 3]));
    assert_eq!(world.ledger.current, Some(v(3)));
}

#[test]
fn a_number_that_was_used_twice_is_ended_under_another() {
    let other = Shown { version: Some(v(1)), handle: handle("app_v1_other"), accepted: true, adopted: false };
    let Listing::Shown(mut list) = shown_as(&[1]) else { unreachable!() };
    list.push(other);
    let mut world = reconcile(World::settled(), Vec::new(), Listing::Shown(list));
    assert_eq!((world.ledger.current, world.ledger.leftover()), (Some(v(1)), Some(v(1002))));
    until_calm(&mut world);
    assert_eq!(left(&world), [1]);
}

#[test]
fn the_login_of_before_is_nobodys_business_until_it_is_adopted() {
    let legacy =
        Shown { version: Some(v(1)), handle: handle("orders_legacy"), accepted: true, adopted: true };
    let mut world = World::empty();
    world.policy.adopts = true;
    let world = reconcile(world, Vec::new(), Listing::Shown(vec![legacy.clone()]));
    assert!(world.ledger.versions.is_empty() && world.ledger.current.is_none());
    let Listing::Shown(mut list) = shown(&[2]) else { unreachable!() };
    list.push(legacy);
    let mut world = World::empty();
    world.policy.adopts = true;
    let world = reconcile(world, Vec::new(), Listing::Shown(list));
    assert_eq!(
        (world.ledger.current, world.ledger.leftover()),
        (Some(v(2)), Some(v(1))),
        "it was adopted since"
    );
}

#[test]
fn reconciling_is_refused_in_normal_life() {
    let mut world = World::settled();
    let listing = Listing::CannotTell;
    assert!(world.try_event(&Event::Reconciled { former: FORMER, listing: listing.clone() }).is_err());
    assert!(world.try_event(&Event::Listed { listing }).is_err());
}

fn any_claim() -> impl Strategy<Value = Claim> {
    let fenced = prop::collection::btree_set((1_u64..7).prop_map(v), 0..2);
    (0_u64..30, prop::option::weighted(0.8, 1_u64..7), fenced).prop_map(|(order, version, fenced)| {
        let serves = version.filter(|version| !fenced.contains(&v(*version)));
        let serves = serves.map(|number| (v(number), handle(&format!("app_v{number}"))));
        Claim { incarnation: FORMER, order: Order(order), serves, fenced }
    })
}

fn any_listing() -> impl Strategy<Value = Listing> {
    let one = (1_u64..7, any::<bool>()).prop_map(|(number, accepted)| Shown {
        version: Some(v(number)),
        handle: handle(&format!("app_v{number}")),
        accepted,
        adopted: false,
    });
    let shown = prop::collection::vec(one, 0..5).prop_map(|mut all| {
        all.sort_by_key(|it| it.version);
        all.dedup_by_key(|it| it.version);
        Listing::Shown(all)
    });
    prop_oneof![6 => shown, 1 => Just(Listing::CannotTell), 1 => Just(Listing::Unasked)]
}

fn holds_of_restore(before: &Ledger, after: &Ledger, claims: &[Claim], listing: &Listing) {
    holds_of(after);
    let told =
        claims.iter().flat_map(|it| it.serves.iter().map(|(v, _)| *v).chain(it.fenced.iter().copied()));
    let used = told.chain(before.last_version).map(Version::get).max().unwrap_or(0);
    assert!(after.last_version.unwrap().get() >= used + 1000, "I4");
    assert!(after.order > before.order && claims.iter().all(|it| after.order > it.order));
    assert!(claims.iter().all(|claim| claim.fenced.is_subset(&after.fenced)), "a fence is for ever");
    assert!(after.open_rotation().is_none());
    for (version, ending) in &after.endings {
        let kept = before.endings.get(version).is_some_and(|it| it.state == EndingState::Ended);
        assert!(ending.cause == Cause::Emergency || kept, "{version} ends without evidence");
    }
    if let Listing::Shown(shown) = listing {
        let accepts = |handle: &Handle| shown.iter().any(|one| one.accepted && one.handle == *handle);
        if let Some(current) = after.current {
            assert!(accepts(&after.version(current).unwrap().handle), "I1: the target refuses {current}");
        }
        for one in shown {
            let record = after.versions.iter().find(|(_, record)| record.handle == one.handle);
            let (version, record) = record.expect("I10: what the target shows is known");
            let cared_for = after.current == Some(*version)
                || after.endings.contains_key(version)
                || record.stage.is_final()
                || record.stray;
            assert!(cared_for, "I10: {version} is forgotten: {after:#?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the store knew, the holders tell and the target shows: nothing that was cut is served, nothing ends
    /// without evidence, nothing is forgotten, and everything comes to rest on one version.
    #[test]
    fn a_restored_store_comes_to_rest_without_ending_anything_in_use(
        deeds in prop::collection::vec(deed(), 0..40),
        claims in prop::collection::vec(any_claim(), 0..5),
        listing in any_listing(),
        revoked in any::<bool>(),
    ) {
        let mut world = World::settled();
        for deed in &deeds {
            if let Some(event) = world.event_of(deed) {
                drop(world.try_event(&event));
            }
        }
        world.mode = Mode::ReconcileOnly;
        world.claims.clone_from(&claims);
        if revoked {
            let event = world.revoke(Some(1));
            drop(world.try_event(&event));
        }
        let before = world.ledger.clone();
        let mut world = reconcile(world, claims.clone(), listing.clone());
        holds_of_restore(&before, &world.ledger, &claims, &listing);
        if listing == Listing::Unasked {
            world.listing = Listing::Shown(Vec::new());
        }
        world.ok(&Event::Release);
        world.join("somebody");
        until_calm(&mut world);
        let ledger = &world.ledger;
        prop_assert!(ledger.open_rotation().is_none() && ledger.endings.is_empty(), "{:#?}", ledger);
        prop_assert!(!ledger.is_foreign() && !ledger.restore.unlisted, "{:#?}", ledger);
        // Where no replacement was wanted, what is left waits for a version that it could be left for, and alarms.
        let waits = ledger.alarms(&world.facts()).iter().any(|alarm| alarm.kind == AlarmKind::Leftover);
        prop_assert!(waits || ledger.leftover().is_none() && left(&world).len() <= 1, "{:#?}", ledger);
    }
}

#[test]
fn what_a_lost_life_was_to_cut_may_be_overwritten_where_there_is_one_value() {
    let mut world = World::settled_single(KNOWN);
    let revoke = world.revoke(None);
    world.ok(&revoke);
    let lost = |world: &World| world.ledger.ends_for_a_lost_life(v(1), &world.facts());
    assert!(!lost(&world), "it was decided in this life");
    let mut again = world.clone();
    world.mode = Mode::ReconcileOnly;
    assert!(lost(&world));
    world.ok(&Event::Reconciled { former: Incarnation(1), listing: Listing::CannotTell });
    world.mode = Mode::Normal;
    assert!(lost(&world), "and for as long as it lasts");
    again.mode = Mode::ReconcileOnly;
    let more = again.revoke(None);
    drop(again.try_event(&more));
    again.ledger.restore.written = Some(again.ledger.order);
    assert!(!lost(&again), "somebody means whatever is there");
}

#[test]
fn where_values_come_from_outside_a_fence_alone_waits_for_somebody_s_word() {
    for making in [Making::Given, Making::Followed, Making::Ours] {
        let mut world = World::empty();
        world.policy.making = making;
        world.make_next();
        let mut world = reconcile(world, vec![fencing(9, &[2])], Listing::CannotTell);
        let cut = world.ledger.endings.get(&v(2)).map(|ending| ending.cause);
        if making == Making::Ours {
            assert_eq!(cut, None, "no value of ours comes twice");
            continue;
        }
        assert_eq!(cut, Some(Cause::Emergency));
        assert_eq!(world.ledger.version(v(2)).unwrap().handle, handle("v2"));
        assert_eq!(world.ledger.current, Some(v(1)));
        // A late holder tells what it is called.
        world.claims = vec![claim(9, 2)];
        world.ok(&Event::Heard);
        world.claims.clear();
        assert_eq!(world.ledger.version(v(2)).unwrap().handle, handle("app_v2"));
        assert_eq!(left(&world), [1], "it is the same one, and was cut");
        let asked = at(world.now);
        world.ok(&Event::Ended { version: v(2), asked, sessions: 0 });
        assert!(world.ledger.version(v(2)).unwrap().ended.is_some());
    }
}
