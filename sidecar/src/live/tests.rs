//! Order rules, fences, what is kept, how long it may be served, and what readers see meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prost::Message;
use rekey_model::{CredentialName, Generation, Incarnation, Order, SecretBytes, Version};
use rekey_proto::encoded;

use super::*;

mod settling;

const DB: &str = "orders/db";

fn name(text: &str) -> CredentialName {
    text.parse().unwrap()
}

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn mark(incarnation: u64, order: u64) -> Mark {
    Mark { incarnation: Incarnation(incarnation), order: Order(order) }
}

fn offered(number: u64) -> OfferedVersion {
    OfferedVersion {
        version: number,
        handle: format!("orders_v{number}"),
        fields: vec![
            ("username".to_owned(), SecretBytes::from(format!("user-{number}"))),
            ("password".to_owned(), SecretBytes::from(format!("word-{number}"))),
        ],
        expires_in: None,
        previous: vec![],
        offline: Some(Offline::UntilExpiry(None)),
        one_at_a_time: false,
        next: None,
        readers_wait: None,
    }
}

fn candidate(at: Mark, offer: Offer, fenced: &[u64]) -> Candidate {
    let fenced = fenced.iter().map(|number| version(*number)).collect();
    Candidate { name: name(DB), mark: at, offer, fenced, replacement_owed: true }
}

fn current(order: u64, number: u64) -> Candidate {
    candidate(mark(1, order), Offer::Current(offered(number)), &[])
}

/// A way to spoil a version.
type Spoiled = (&'static str, fn(&mut OfferedVersion));

struct Bench {
    live: Arc<Live>,
    writer: Writer,
    clock: Clock,
}

impl Bench {
    fn new() -> Self {
        let clock = Clock::manual();
        let live = Live::new(clock.clone());
        Self { writer: Writer::new(Arc::clone(&live)), live, clock }
    }

    fn part(&mut self, candidate: Candidate) -> Swap {
        self.writer.apply(&Scope::Part, vec![candidate], self.clock.now())
    }

    fn whole(&mut self, candidates: Vec<Candidate>) -> Swap {
        self.writer.apply(&Scope::Whole { besides: BTreeSet::new() }, candidates, self.clock.now())
    }

    fn answer(&self) -> Result<encoded::Credential, Unreadable> {
        self.live.read(DB).map(|reading| decode(&reading))
    }

    fn served(&self) -> Result<u64, Unreadable> {
        self.answer().map(|credential| credential.version)
    }
}

fn decode(reading: &Reading) -> encoded::Credential {
    encoded::Credential::decode(reading.answer.clone()).unwrap()
}

#[test]
fn nothing_yet_is_not_the_same_as_nothing() {
    let mut bench = Bench::new();
    assert_eq!(bench.served(), Err(Unreadable::Waiting));
    bench.whole(vec![]);
    assert_eq!(bench.served(), Err(Unreadable::NotFound));
    bench.part(candidate(mark(1, 1), Offer::Nothing, &[]));
    assert_eq!(bench.served(), Err(Unreadable::Waiting));
}

#[test]
fn an_answer_holds_what_was_offered() {
    let mut bench = Bench::new();
    let mut offer = offered(3);
    offer.previous = vec![(2, Duration::from_mins(1)), (3, Duration::ZERO), (0, Duration::ZERO)];
    offer.expires_in = Some(Duration::from_millis(1_500));
    bench.whole(vec![candidate(mark(1, 7), Offer::Current(offer), &[])]);
    let answer = bench.answer().unwrap();
    assert_eq!((answer.name.as_str(), answer.version, answer.generation), (DB, 3, 1));
    assert_eq!(answer.stage(), encoded::Stage::Current);
    assert_eq!(answer.fields["password"], b"word-3");
    let previous: Vec<u64> = answer.previous.iter().map(|previous| previous.version).collect();
    assert_eq!(previous, [2]);
    let wall = bench.clock.now().wall_ms;
    let not_after = answer.not_after.unwrap();
    assert_eq!(not_after.seconds * 1000 + i64::from(not_after.nanos / 1_000_000), wall + 1_500);
}

#[test]
fn what_belongs_together_is_served_together_or_not_at_all() {
    let mut bench = Bench::new();
    let one_of = |of: &str, order, number| Candidate { name: name(of), ..current(order, number) };
    let apply = |bench: &mut Bench, of: Vec<Candidate>| {
        let now = bench.clock.now();
        bench.writer.apply(&Scope::Together, of, now)
    };
    let served = |bench: &Bench| {
        ["orders/a", "orders/b"].map(|of| {
            bench.live.read(of).map(|reading| decode(&reading)).map(|it| (it.version, it.generation))
        })
    };
    // The first version of one of them is no good: the other's is not served alone.
    let bad = |of: &str, order, number| {
        let mut bad = one_of(of, order, number);
        if let Offer::Current(offered) = &mut bad.offer {
            offered.fields.clear();
        }
        bad
    };
    let swap = apply(&mut bench, vec![one_of("orders/a", 1, 1), bad("orders/b", 1, 1)]);
    assert_eq!((swap.taken.len(), swap.refused.len()), (0, 1), "{swap:?}");
    assert_eq!(served(&bench), [Err(Unreadable::Waiting), Err(Unreadable::Waiting)]);
    let swap = apply(&mut bench, vec![one_of("orders/a", 1, 1), one_of("orders/b", 1, 1)]);
    assert_eq!(
        (swap.taken.len(), swap.refused.len()),
        (2, 0),
        "what was not taken is no later than itself: {swap:?}"
    );
    let first = swap.generation.0;
    assert_eq!(served(&bench), [Ok((1, first)), Ok((1, first))], "one generation");
    let generation = bench.writer.generation();
    let swap = apply(&mut bench, vec![one_of("orders/a", 2, 2), bad("orders/b", 2, 2)]);
    assert_eq!((swap.taken.len(), swap.refused.len()), (0, 1), "nothing is acknowledged: {swap:?}");
    assert_eq!(served(&bench), [Ok((1, first)), Ok((1, first))], "the last good ones stay, both");
    assert_eq!(bench.writer.generation(), generation, "nothing was swapped");
    // A fence is obeyed whatever comes with it.
    let cut = Candidate { fenced: [version(1)].into(), ..bad("orders/b", 3, 2) };
    apply(&mut bench, vec![one_of("orders/a", 3, 2), cut]);
    assert_eq!(served(&bench)[0], Ok((1, first)));
    assert!(matches!(served(&bench)[1], Err(Unreadable::Revoked { .. })), "{:?}", served(&bench));
    let swap = apply(&mut bench, vec![one_of("orders/a", 4, 3), one_of("orders/b", 4, 3)]);
    assert_eq!(served(&bench), [Ok((3, swap.generation.0)), Ok((3, swap.generation.0))]);
}

#[test]
fn a_change_counts_once_and_never_after_a_later_one() {
    let mut bench = Bench::new();
    bench.whole(vec![current(5, 2)]);
    let rows = [
        (mark(1, 4), 9, 2, false, "an earlier order"),
        (mark(0, 99), 9, 2, false, "an earlier life of the store"),
        (mark(1, 5), 9, 2, true, "the same again"),
        (mark(1, 6), 1, 1, true, "a return to an earlier version"),
        (mark(2, 1), 3, 3, true, "a later life of the store"),
        (mark(1, 100), 9, 3, false, "the life before it"),
    ];
    for (at, offer, serves, acknowledged, what) in rows {
        let swap = bench.part(candidate(at, Offer::Current(offered(offer)), &[]));
        assert_eq!(bench.served(), Ok(serves), "{what}");
        assert_eq!(swap.taken.len(), usize::from(acknowledged), "{what}");
    }
}

#[test]
fn an_ack_names_the_order_that_is_live_and_each_swap_has_the_next_generation() {
    let mut bench = Bench::new();
    bench.writer.raise_floor(Generation(40));
    let first = bench.whole(vec![current(5, 2)]);
    assert_eq!(first.generation, Generation(41));
    let taken = SwappedTo { name: name(DB), mark: mark(1, 5), version: Some(version(2)) };
    assert_eq!(first.taken, [taken]);
    let again = bench.part(current(5, 2));
    assert_eq!((again.generation, again.taken), (Generation(41), first.taken));
    let next = bench.part(current(6, 3));
    assert_eq!(next.generation, Generation(42));
    assert_eq!(bench.live.snapshot().generation(), Generation(42));
}

#[test]
fn a_version_keeps_the_generation_that_it_came_with() {
    let mut bench = Bench::new();
    bench.whole(vec![current(1, 1)]);
    bench.part(current(2, 1));
    assert_eq!(bench.answer().unwrap().generation, 1);
    let mut moved = offered(1);
    moved.fields.push(("host".to_owned(), SecretBytes::from("b".to_owned())));
    bench.part(candidate(mark(1, 3), Offer::Current(moved), &[]));
    assert_eq!(bench.answer().unwrap().generation, 3);
}

#[test]
fn every_defect_is_refused_and_the_last_good_value_stays() {
    let broken: [Spoiled; 10] = [
        ("version 0", |v| v.version = 0),
        ("no handle", |v| v.handle.clear()),
        ("a wild handle", |v| v.handle = "a\"; DROP".to_owned()),
        ("no fields", |v| v.fields.clear()),
        ("an empty field", |v| v.fields[1].1 = SecretBytes::new(vec![])),
        ("a wild field name", |v| v.fields[1].0 = "Pass Word".to_owned()),
        ("a field twice", |v| v.fields[1].0 = "username".to_owned()),
        ("too large", |v| v.fields[1].1 = SecretBytes::new(vec![1; 65 * 1024])),
        ("dead", |v| v.expires_in = Some(Duration::ZERO)),
        ("an unknown policy", |v| v.offline = None),
    ];
    for (what, spoil) in broken {
        let mut bench = Bench::new();
        bench.whole(vec![current(1, 1)]);
        let mut offer = offered(2);
        spoil(&mut offer);
        let swap = bench.part(candidate(mark(1, 2), Offer::Current(offer), &[]));
        assert_eq!(swap.refused.len(), 1, "{what}");
        assert!(swap.taken.is_empty(), "{what}");
        assert_eq!(bench.served(), Ok(1), "{what}");
        assert_eq!(bench.part(current(2, 2)).taken.len(), 1, "{what}: the same order, mended");
        assert!(!swap.refused[0].to_string().contains("word-"), "{what}");
    }
}

#[test]
fn what_was_never_good_is_waited_for_and_the_rest_is_published() {
    let mut bench = Bench::new();
    let mut bad = offered(1);
    bad.fields.clear();
    let mut other = current(1, 1);
    other.name = name("orders/cache");
    let swap = bench.whole(vec![candidate(mark(1, 1), Offer::Current(bad), &[]), other]);
    assert_eq!((swap.refused.len(), swap.taken.len()), (1, 1));
    assert_eq!(bench.served(), Err(Unreadable::Waiting));
    assert!(bench.live.read("orders/cache").is_ok());
}

#[test]
fn a_fence_cuts_even_if_the_replacement_fails_its_check() {
    let mut bench = Bench::new();
    bench.whole(vec![current(1, 1)]);
    let mut bad = offered(2);
    bad.fields.clear();
    let swap = bench.part(candidate(mark(1, 2), Offer::Current(bad), &[1]));
    assert_eq!(bench.served(), Err(Unreadable::Revoked { owed: true }));
    assert_eq!((swap.refused.len(), swap.taken.len()), (1, 0));
    bench.part(candidate(mark(1, 2), Offer::Current(offered(2)), &[1]));
    assert_eq!(bench.served(), Ok(2));
}

#[test]
fn a_fenced_version_never_comes_back_in_any_life_of_the_store() {
    let mut bench = Bench::new();
    bench.whole(vec![candidate(mark(1, 2), Offer::Current(offered(2)), &[1])]);
    for at in [mark(1, 3), mark(2, 1), mark(9, 1)] {
        let swap = bench.part(candidate(at, Offer::Current(offered(1)), &[]));
        assert_eq!(swap.refused[0].defect, Defect::Fenced(version(1)));
        assert_eq!(bench.served(), Ok(2));
    }
    let fenced = bench.writer.held()[0].fenced.clone();
    assert_eq!(fenced, BTreeSet::from([version(1)]));
}

#[test]
fn a_fence_is_obeyed_even_in_a_change_that_comes_too_late() {
    let mut bench = Bench::new();
    bench.whole(vec![current(5, 2)]);
    bench.part(candidate(mark(1, 4), Offer::Nothing, &[2]));
    assert_eq!(bench.served(), Err(Unreadable::Revoked { owed: false }));
}

#[test]
fn a_fence_takes_earlier_versions_off_the_list_too() {
    let mut bench = Bench::new();
    let mut offer = offered(3);
    offer.previous = vec![(1, Duration::from_secs(9)), (2, Duration::from_secs(9))];
    bench.whole(vec![candidate(mark(1, 1), Offer::Current(offer), &[])]);
    bench.part(candidate(mark(1, 0), Offer::Nothing, &[2]));
    let previous: Vec<u64> = bench.answer().unwrap().previous.iter().map(|p| p.version).collect();
    assert_eq!(previous, [1]);
}

#[test]
fn a_withdrawn_credential_is_gone_and_acknowledged_and_may_come_back() {
    let mut bench = Bench::new();
    bench.whole(vec![current(3, 1)]);
    let swap = bench.part(candidate(mark(1, 3), Offer::Withdrawn, &[]));
    assert_eq!(swap.taken, [SwappedTo { name: name(DB), mark: mark(1, 3), version: None }]);
    assert_eq!(bench.served(), Err(Unreadable::NotFound));
    bench.part(current(2, 1));
    assert_eq!(bench.served(), Err(Unreadable::NotFound));
    bench.part(current(3, 1));
    assert_eq!(bench.served(), Ok(1));
}

#[test]
fn what_is_not_in_a_snapshot_is_dropped_unless_it_is_known_to_be_newer() {
    let mut bench = Bench::new();
    let mut other = current(1, 1);
    other.name = name("orders/cache");
    bench.whole(vec![current(1, 1), other]);
    let besides = BTreeSet::from([name("orders/cache")]);
    bench.writer.apply(&Scope::Whole { besides }, vec![], bench.clock.now());
    assert_eq!(bench.served(), Err(Unreadable::NotFound));
    assert!(bench.live.read("orders/cache").is_ok());
}

#[test]
fn the_offline_policies() {
    let hour = Duration::from_hours(1);
    let rows = [
        (Offline::FailClosed, None, 10, true, "closed, within the lease"),
        (Offline::FailClosed, None, 31, false, "closed, beyond the lease"),
        (Offline::UntilExpiry(None), None, 360_000, true, "for ever"),
        (Offline::UntilExpiry(Some(hour)), None, 3_599, true, "an hour alone"),
        (Offline::UntilExpiry(Some(hour)), None, 3_600, false, "more than an hour alone"),
        (Offline::UntilExpiry(Some(Duration::from_secs(1))), None, 29, true, "never less than the lease"),
        (Offline::UntilExpiry(None), Some(60), 59, true, "until the target ends it"),
        (Offline::UntilExpiry(None), Some(60), 60, false, "after the target ended it"),
        (Offline::FailClosed, Some(5), 5, false, "after the target ended it, within the lease"),
    ];
    for (offline, expires, passed, served, what) in rows {
        let mut bench = Bench::new();
        bench.live.granted(bench.clock.now().boot_ms, Duration::from_secs(30));
        let mut offer = offered(1);
        (offer.offline, offer.expires_in) = (Some(offline), expires.map(Duration::from_secs));
        bench.whole(vec![candidate(mark(1, 1), Offer::Current(offer), &[])]);
        bench.clock.advance(Duration::from_secs(passed));
        let expected = if served { Ok(1) } else { Err(Unreadable::Stale) };
        assert_eq!(bench.served(), expected, "{what}");
        bench.clock.jump_wall(86_400_000);
        assert_eq!(bench.served(), expected, "{what}: no wall clock counts");
        if offline == Offline::FailClosed && expires.is_none() {
            bench.live.granted(bench.clock.now().boot_ms, Duration::from_secs(30));
            assert_eq!(bench.served(), Ok(1), "{what}: the next lease brings it back");
        }
    }
}

#[test]
fn freshness_is_that_of_the_read_and_not_of_the_swap() {
    let mut bench = Bench::new();
    bench.live.granted(bench.clock.now().boot_ms, Duration::from_secs(30));
    bench.whole(vec![current(1, 1)]);
    let fresh = |bench: &Bench| bench.live.read(DB).unwrap().freshness;
    assert!(fresh(&bench).stale, "no stream is level");
    let level = bench.live.level();
    bench.clock.advance(Duration::from_secs(7));
    assert_eq!(fresh(&bench), Freshness { age: Duration::from_secs(7), stale: false });
    bench.live.heard();
    assert_eq!(fresh(&bench).age, Duration::ZERO);
    bench.clock.advance(Duration::from_secs(23));
    assert!(fresh(&bench).stale, "the lease has ended");
    drop(level);
    assert!(fresh(&bench).stale);
}

#[test]
fn a_grant_for_an_older_question_does_not_shorten_or_lengthen_the_lease() {
    let mut bench = Bench::new();
    let start = bench.clock.now().boot_ms;
    bench.live.granted(start + 10_000, Duration::from_secs(30));
    bench.live.granted(start, Duration::from_hours(1));
    let mut offer = offered(1);
    offer.offline = Some(Offline::FailClosed);
    bench.whole(vec![candidate(mark(1, 1), Offer::Current(offer), &[])]);
    bench.clock.advance(Duration::from_secs(39));
    assert_eq!(bench.served(), Ok(1));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.served(), Err(Unreadable::Stale));
}

#[tokio::test]
async fn a_reader_waits_for_a_replacement_that_is_owed_and_not_for_ever() {
    let mut bench = Bench::new();
    bench.whole(vec![candidate(mark(1, 2), Offer::Nothing, &[1])]);
    let most = Duration::from_secs(2);
    let (live, clock) = (Arc::clone(&bench.live), bench.clock.clone());
    let waits = live.wait_for_replacement(DB, most);
    let comes = async {
        tokio::task::yield_now().await;
        bench.part(candidate(mark(1, 3), Offer::Current(offered(2)), &[1]));
    };
    tokio::join!(waits, comes);
    assert_eq!(bench.served(), Ok(2));
    bench.part(candidate(mark(1, 4), Offer::Nothing, &[1, 2]));
    let gives_up = async {
        tokio::task::yield_now().await;
        clock.advance(most);
    };
    tokio::join!(live.wait_for_replacement(DB, most), gives_up);
    assert_eq!(bench.served(), Err(Unreadable::Revoked { owed: true }));
}

/// G27 in small: threads read while versions are swapped; no reader ever sees the user of one version with the password
/// of another, or goes back.
#[test]
fn readers_never_see_a_mixture_nor_an_earlier_generation() {
    let mut bench = Bench::new();
    bench.whole(vec![current(1, 1)]);
    let done = AtomicBool::new(false);
    let reads = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        let reader = |reads: &AtomicU64| {
            let mut last = (0, Generation(0));
            while !done.load(Ordering::Relaxed) {
                let answer = bench.live.read(DB).map(|reading| decode(&reading)).unwrap();
                let fields: BTreeMap<&str, &[u8]> =
                    answer.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
                let of = |word: &str| format!("{word}-{}", answer.version).into_bytes();
                assert_eq!((fields["username"], fields["password"]), (&of("user")[..], &of("word")[..]));
                let now = (answer.version, bench.live.snapshot().generation());
                assert!(now >= last, "{now:?} after {last:?}");
                last = now;
                reads.fetch_add(1, Ordering::Relaxed);
            }
        };
        let readers = reads.each_ref().map(|reads| scope.spawn(move || reader(reads)));
        let writer = &mut bench.writer;
        let enough = || reads.iter().all(|reads| reads.load(Ordering::Relaxed) > 20_000);
        for order in 2..1_000_000 {
            writer.apply(&Scope::Part, vec![current(order, order)], bench.clock.now());
            if (order > 3_000 && enough()) || readers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(reads.iter().all(|reads| reads.load(Ordering::Relaxed) > 20_000), "{reads:?}");
}

#[test]
fn debug_shows_no_value() {
    let mut bench = Bench::new();
    bench.whole(vec![current(1, 1)]);
    let shown = format!("{:?} {:?} {:?} {:?}", bench.writer, bench.live, current(2, 2), bench.live.read(DB));
    assert!(!shown.contains("word-") && !shown.contains("user-"), "{shown}");
}

#[test]
fn a_grace_is_said_anew_without_a_generation_and_only_to_holders_of_its_order() {
    let mut bench = Bench::new();
    let lease = Duration::from_secs(30);
    let mut offer = offered(2);
    offer.previous = vec![(1, 2 * lease)];
    bench.whole(vec![candidate(mark(1, 7), Offer::Current(offer), &[])]);
    let said =
        |at: Mark, span: Duration| Accepted { name: name(DB), mark: at, previous: vec![(version(1), span)] };
    let before = bench.answer().unwrap();
    let mut heard = bench.live.revisions();
    heard.mark_unchanged();
    let now = bench.clock.now();
    for other in [mark(1, 6), mark(1, 8), mark(2, 7)] {
        bench.writer.prolong(&[said(other, 100 * lease)], now);
    }
    bench.writer.prolong(&[said(mark(1, 7), 2 * lease)], now);
    assert_eq!(bench.answer().unwrap(), before);
    assert!(!heard.has_changed().unwrap(), "what is known already was told to readers");

    bench.clock.advance(lease + Duration::from_secs(1));
    let now = bench.clock.now();
    bench.writer.prolong(&[said(mark(1, 7), 2 * lease)], now);
    assert!(heard.has_changed().unwrap());
    let after = bench.answer().unwrap();
    let until = after.previous[0].accept_until.unwrap();
    assert_eq!(until.seconds * 1000 + i64::from(until.nanos) / 1_000_000, now.wall_ms + 60_000);
    assert_eq!((after.generation, &after.fields), (before.generation, &before.fields));
    assert_eq!(bench.live.snapshot().generation(), Generation(1));
    assert_eq!(bench.writer.generation(), Generation(1));
}

#[test]
fn a_grace_that_is_said_anew_brings_back_nothing_that_was_fenced() {
    let mut bench = Bench::new();
    let mut offer = offered(2);
    offer.previous = vec![(1, Duration::from_mins(1))];
    bench.whole(vec![candidate(mark(1, 7), Offer::Current(offer), &[])]);
    bench.part(candidate(mark(1, 7), Offer::Current(offered(2)), &[1]));
    let previous = vec![(version(1), Duration::from_hours(1))];
    bench.writer.prolong(&[Accepted { name: name(DB), mark: mark(1, 7), previous }], bench.clock.now());
    assert!(bench.answer().unwrap().previous.is_empty());
}
