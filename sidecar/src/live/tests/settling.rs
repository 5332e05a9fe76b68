//! Targets that take one value at a time: readers wait while it is changed, and then know both.

use super::*;

/// A way to spoil what comes next.
type SpoiledNext = (&'static str, fn(&mut OfferedNext));

/// The version `number`, with the one after it beside it; readers wait for `wait`.
fn before(order: u64, number: u64, wait: Option<u64>) -> Candidate {
    let next = offered(number + 1);
    let offered = OfferedVersion {
        one_at_a_time: true,
        next: Some(OfferedNext { version: next.version, fields: next.fields }),
        readers_wait: wait.map(Duration::from_millis),
        ..offered(number)
    };
    candidate(mark(1, order), Offer::Current(offered), &[])
}

fn next_of(credential: &encoded::Credential) -> encoded::Credential {
    encoded::Credential::decode(credential.next.as_slice()).unwrap()
}

#[test]
fn what_comes_next_is_given_to_nobody_before_readers_wait() {
    let mut bench = Bench::new();
    bench.part(before(1, 1, None));
    let answer = bench.answer().unwrap();
    assert_eq!((answer.version, answer.unsettled, answer.next.len()), (1, false, 0));
    assert!(answer.one_at_a_time);
}

#[test]
fn readers_wait_and_then_get_both() {
    let mut bench = Bench::new();
    bench.part(before(1, 1, None));
    let settled = bench.answer().unwrap().generation;
    bench.part(before(2, 1, Some(2_000)));
    assert!(matches!(bench.answer(), Err(Unreadable::Settling { .. })));
    bench.clock.advance(Duration::from_millis(1_999));
    assert!(matches!(bench.answer(), Err(Unreadable::Settling { .. })));
    bench.clock.advance(Duration::from_millis(1));
    let answer = bench.answer().unwrap();
    let next = next_of(&answer);
    assert_eq!((answer.version, answer.unsettled, answer.generation), (1, true, settled));
    assert_eq!((next.version, next.stage), (2, encoded::Stage::Next.into()));
    assert_eq!(next.fields["password"], b"word-2");
}

#[test]
fn the_next_version_ends_the_wait_and_so_does_the_word_that_nothing_is_changed() {
    for (candidate, served) in [(current(3, 2), 2), (before(3, 1, None), 1)] {
        let mut bench = Bench::new();
        bench.part(before(2, 1, Some(2_000)));
        assert!(bench.answer().is_err());
        bench.part(candidate);
        let answer = bench.answer().unwrap();
        assert_eq!((answer.version, answer.unsettled), (served, false));
    }
}

#[test]
fn no_source_makes_readers_wait_for_longer_than_they_can() {
    let mut bench = Bench::new();
    bench.part(before(1, 1, Some(600_000)));
    bench.clock.advance(Duration::from_secs(4));
    assert!(bench.answer().unwrap().unsettled);
}

#[test]
fn a_fenced_next_is_given_to_nobody() {
    let mut bench = Bench::new();
    bench.part(before(1, 1, Some(2_000)));
    // An older order whose fence counts all the same.
    bench.part(candidate(mark(1, 0), Offer::Nothing, &[2]));
    let answer = bench.answer().unwrap();
    assert_eq!((answer.version, answer.unsettled, answer.next.len()), (1, false, 0));
    let refused = bench.part(before(2, 1, None)).refused;
    assert_eq!(refused[0].defect, Defect::Fenced(version(2)));
}

#[test]
fn a_next_that_cannot_be_used_is_refused_before_anything_is_changed() {
    let spoiled: [SpoiledNext; 3] = [
        ("the same version", |next| next.version = 1),
        ("no fields", |next| next.fields.clear()),
        ("an empty field", |next| next.fields[0].1 = SecretBytes::from(String::new())),
    ];
    for (what, spoil) in spoiled {
        let mut bench = Bench::new();
        bench.part(current(1, 1));
        let mut candidate = before(2, 1, None);
        if let Offer::Current(OfferedVersion { next: Some(next), .. }) = &mut candidate.offer {
            spoil(next);
        }
        assert_eq!(bench.part(candidate).refused.len(), 1, "{what}");
        assert_eq!(bench.served(), Ok(1), "{what}");
    }
}

#[test]
fn processes_may_say_that_they_use_the_next_one() {
    let mut bench = Bench::new();
    bench.part(before(1, 1, Some(2_000)));
    let snapshot = bench.live.snapshot();
    assert_eq!(*snapshot.entry(DB).unwrap().known, [version(1), version(2)]);
}
