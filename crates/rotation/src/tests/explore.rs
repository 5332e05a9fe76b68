//! Explores the real [`Ledger::after`] breadth first: two holders, one target, one controller, every interleaving of a
//! bounded number of commands and faults.
//!
//! Time is not counted: a lease ends by an event, first at the sidecar and later at the controller, and "no call can land
//! any more" is an event too. The target never tells who uses a version: acknowledgements are the only evidence. After
//! each step the invariants are checked; and from every state a good end must be reachable without further faults.

mod model;
mod moves;
mod search;

use search::{Found, explore};

use crate::Making;

/// A scenario: its budgets of commands and faults, and how many states are looked at, at the most.
pub(super) struct Scenario {
    name: &'static str,
    making: Making,
    canary: bool,
    budgets: &'static [(&'static str, u8)],
    most: usize,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "plain",
        making: Making::Ours,
        canary: false,
        budgets: &[("rotate", 1), ("fail", 1), ("crash", 1), ("lost", 1), ("poison", 1)],
        most: 100_000,
    },
    Scenario {
        name: "holders",
        making: Making::Ours,
        canary: false,
        budgets: &[("rotate", 1), ("lease", 1), ("restart", 1), ("fail", 1)],
        most: 40_000,
    },
    Scenario {
        name: "hold",
        making: Making::Ours,
        canary: false,
        budgets: &[("rotate", 1), ("hold", 1), ("fail", 1), ("stuck", 1)],
        most: 40_000,
    },
    Scenario {
        name: "twice",
        making: Making::Ours,
        canary: false,
        budgets: &[("rotate", 2), ("fail", 1), ("crash", 1)],
        most: 40_000,
    },
    Scenario {
        name: "emergency",
        making: Making::Ours,
        canary: false,
        budgets: &[("rotate", 1), ("revoke", 1), ("fail", 1)],
        most: 40_000,
    },
    Scenario {
        name: "emergency, lost answers",
        making: Making::Ours,
        canary: false,
        budgets: &[("rotate", 1), ("revoke", 1), ("crash", 1), ("lost", 1)],
        most: 40_000,
    },
    Scenario {
        name: "emergency, stuck and held",
        making: Making::Ours,
        canary: false,
        budgets: &[("rotate", 1), ("revoke", 1), ("stuck", 1), ("hold", 1)],
        most: 40_000,
    },
    Scenario {
        name: "two emergencies",
        making: Making::Ours,
        canary: false,
        budgets: &[("rotate", 1), ("revoke", 2)],
        most: 40_000,
    },
    Scenario {
        name: "class C",
        making: Making::Listed,
        canary: false,
        budgets: &[("rotate", 1), ("crash", 1), ("lost", 2), ("poison", 1)],
        most: 100_000,
    },
    Scenario {
        name: "class C, emergency",
        making: Making::Listed,
        canary: false,
        budgets: &[("rotate", 1), ("revoke", 1), ("crash", 1), ("lost", 1)],
        most: 60_000,
    },
    Scenario {
        name: "given",
        making: Making::Given,
        canary: false,
        budgets: &[("rotate", 1), ("fail", 1), ("crash", 1), ("hold", 1), ("poison", 1)],
        most: 60_000,
    },
    Scenario {
        name: "followed",
        making: Making::Followed,
        canary: false,
        budgets: &[("rotate", 1), ("fail", 1), ("revoke", 1), ("crash", 1), ("hold", 1)],
        most: 60_000,
    },
    Scenario {
        name: "given, emergency",
        making: Making::Given,
        canary: false,
        budgets: &[("rotate", 1), ("revoke", 1), ("crash", 1), ("hold", 1)],
        most: 60_000,
    },
    Scenario {
        name: "canary",
        making: Making::Ours,
        canary: true,
        budgets: &[("rotate", 1), ("fail", 1), ("lease", 1)],
        most: 40_000,
    },
    Scenario {
        name: "canary, held",
        making: Making::Ours,
        canary: true,
        budgets: &[("rotate", 1), ("fail", 1), ("hold", 1), ("stuck", 1)],
        most: 40_000,
    },
    Scenario {
        name: "canary, restarts",
        making: Making::Ours,
        canary: true,
        budgets: &[("rotate", 1), ("restart", 1), ("crash", 1)],
        most: 40_000,
    },
    Scenario {
        name: "canary, emergency",
        making: Making::Ours,
        canary: true,
        budgets: &[("rotate", 1), ("revoke", 1)],
        most: 40_000,
    },
    Scenario {
        name: "canary, emergency, away",
        making: Making::Ours,
        canary: true,
        budgets: &[("rotate", 1), ("revoke", 1), ("lease", 1)],
        most: 40_000,
    },
];

fn check(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap();
    let Found { states, whole, violation } = explore(scenario);
    assert!(violation.is_none(), "{name}, after {states} states: {}", violation.unwrap_or_default());
    assert!(whole || states >= scenario.most, "{name}: only {states} states were looked at");
}

#[test]
fn plain_rotations_break_no_invariant() {
    check("plain");
}

#[test]
fn holders_that_come_and_go_break_no_invariant() {
    check("holders");
}

#[test]
fn holds_and_stuck_endings_break_no_invariant() {
    check("hold");
}

#[test]
fn two_rotations_break_no_invariant() {
    check("twice");
}

#[test]
fn an_emergency_in_any_phase_breaks_no_invariant() {
    check("emergency");
}

#[test]
fn an_emergency_with_crashes_and_lost_answers_breaks_no_invariant() {
    check("emergency, lost answers");
}

#[test]
fn an_emergency_while_stuck_or_held_breaks_no_invariant() {
    check("emergency, stuck and held");
}

#[test]
fn two_emergencies_break_no_invariant() {
    check("two emergencies");
}

#[test]
fn secrets_that_the_target_makes_break_no_invariant() {
    check("class C");
}

#[test]
fn an_emergency_where_the_target_makes_the_secret_breaks_no_invariant() {
    check("class C, emergency");
}

#[test]
fn versions_that_somebody_gives_break_no_invariant() {
    check("given");
}

#[test]
fn versions_that_are_followed_break_no_invariant() {
    check("followed");
}

#[test]
fn an_emergency_where_somebody_gives_the_versions_breaks_no_invariant() {
    check("given, emergency");
}

#[test]
fn one_holder_first_breaks_no_invariant() {
    check("canary");
}

#[test]
fn a_canary_that_is_held_breaks_no_invariant() {
    check("canary, held");
}

#[test]
fn a_canary_that_starts_anew_breaks_no_invariant() {
    check("canary, restarts");
}

#[test]
fn an_emergency_during_a_canary_breaks_no_invariant() {
    check("canary, emergency");
}

#[test]
fn an_emergency_during_a_canary_that_goes_away_breaks_no_invariant() {
    check("canary, emergency, away");
}
