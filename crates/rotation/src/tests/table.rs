//! The phase × event table: every pair. This is the specification to read; a pair that is not listed is refused.

use std::fmt::Write as _;

use super::world::{World, ending_refused, refused, v};
use crate::*;

/// A column: the event, and how the world is brought to meet it. Nothing acknowledges or shows anything by itself.
type Column = (&'static str, fn(&mut World) -> Event);

const COLUMNS: [Column; 32] = [
    ("begin", World::beginning),
    ("choose", World::choosing),
    ("lost", |w| Event::Lost { version: w.next(), attempt: 0, why: String::new() }),
    ("untouched", |w| {
        w.wait(1_000);
        Event::Untouched { version: w.next(), attempt: 0, why: String::new() }
    }),
    ("installed", |w| Event::Installed { version: w.next(), attempt: 0, handle: None }),
    ("probed", |w| Event::Probed { version: w.next(), attempt: 0 }),
    ("let in", |w| Event::LetIn { version: w.next(), attempt: 0, why: String::new() }),
    ("lifted", |w| Event::Lifted { version: w.next(), attempt: 0 }),
    ("refused once", |_| refused(2)),
    ("budget spent", |w| {
        drop(w.try_event(&refused(2)));
        refused(2)
    }),
    ("all acked", |w| {
        w.all_ack();
        Event::Look
    }),
    ("guard met", |w| {
        w.all_ack();
        w.wait(super::world::FLOOR + 1);
        w.show_quiet_if_open();
        Event::Look
    }),
    ("canary good", |w| {
        w.all_ack();
        w.tries(10, 10);
        Event::Look
    }),
    ("canary bad", |w| {
        w.tries(9, 10);
        Event::Look
    }),
    ("failed", |w| Event::Failed { order: w.ledger.order, why: "nack".to_owned() }),
    ("overtaken", |w| {
        w.policy.making = Making::Followed;
        Event::Overtaken
    }),
    ("rollback", |_| Event::Rollback { reason: String::new() }),
    ("ended old", |w| w.ended(1)),
    ("ended next", |w| w.ended(2)),
    ("end refused", |w| {
        let version = w.ledger.endings.keys().next().copied().unwrap_or(v(1)).get();
        drop(w.try_event(&ending_refused(version)));
        ending_refused(version)
    }),
    ("retry", |_| Event::Retry),
    ("hold", |_| Event::Hold { reason: "wait".to_owned(), by: "test".to_owned() }),
    ("release", |_| Event::Release),
    ("no holders", |_| Event::NoHolders { reason: "test".to_owned() }),
    ("cleaned up", |w| Event::CleanedUp { version: w.ledger.endings.keys().next().copied().unwrap_or(v(1)) }),
    ("resumed", |_| Event::Resumed),
    ("lost, C", |w| {
        w.make_listed();
        Event::Lost { version: w.next(), attempt: 0, why: String::new() }
    }),
    ("resumed, C", |w| {
        w.make_listed();
        Event::Resumed
    }),
    ("revoke next", |w| w.revoke(Some(2))),
    ("revoke old", |w| w.revoke(Some(1))),
    ("revoke both", |w| w.revoke(None)),
    ("delete", |_| Event::Delete { at_target: AtTarget::End }),
];

/// For each phase of a rotation from v1 to v2: the events that have an edge, and the phase after. `=`: the same phase.
/// Every event that is not named is refused there.
const TABLE: &str = include_str!("table.txt");

impl World {
    /// The target makes the secrets, and more than one lost answer is borne.
    fn make_listed(&mut self) {
        (self.policy.making, self.policy.budget) = (Making::Listed, 3);
    }

    fn show_quiet_if_open(&mut self) {
        if self.phase().is_some() {
            self.show_quiet();
        }
    }
}

fn cell(phase: Option<Phase>, column: &Column) -> String {
    let mut world = phase.map_or_else(World::settled, World::in_phase);
    let event = (column.1)(&mut world);
    let before = world.ledger.rotation.as_ref().map(|rotation| (rotation.id, rotation.phase));
    if let Err(_refusal) = world.try_event(&event) {
        return ".".to_owned();
    }
    let after = world.ledger.rotation.as_ref().map(|rotation| (rotation.id, rotation.phase));
    if before == after { "=".to_owned() } else { format!("{:?}", after.unwrap().1) }
}

fn table() -> String {
    let rows: Vec<Option<Phase>> = std::iter::once(None).chain(Phase::ALL.map(Some)).collect();
    let mut text = String::new();
    for row in rows {
        let name = row.map_or("none".to_owned(), |phase| format!("{phase:?}"));
        text.push_str(&name);
        text.push('\n');
        for column in &COLUMNS {
            let cell = cell(row, column);
            if cell != "." {
                writeln!(text, "    {:<13} {cell}", column.0).unwrap();
            }
        }
    }
    text
}

#[test]
fn every_phase_meets_every_event() {
    let found = table();
    if std::env::var_os("REKEY_REGENERATE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/table.txt"), &found).unwrap();
        return;
    }
    for (line, (found, expected)) in found.lines().zip(TABLE.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", line + 1);
    }
    assert_eq!(found.lines().count(), TABLE.lines().count());
}
