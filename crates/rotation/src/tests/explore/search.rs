//! Breadth first over all states, then backwards from the good ends.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::Scenario;
use super::model::State;

/// What the search found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) states: usize,
    /// Whether all states were looked at.
    pub(super) whole: bool,
    /// What was wrong, and how it came to that.
    pub(super) violation: Option<String>,
}

/// How a state was come to.
struct Step {
    from: usize,
    label: String,
}

#[derive(Default)]
struct Search {
    known: HashMap<u128, usize>,
    steps: Vec<Step>,
    edges: Vec<(usize, usize)>,
    good: Vec<usize>,
}

pub(super) fn explore(scenario: &Scenario) -> Found {
    let mut search = Search::default();
    let start = State::start(scenario);
    search.enter(&start, 0, String::new());
    let mut layer = vec![(0, start)];
    while !layer.is_empty() && search.steps.len() < scenario.most {
        let mut next = Vec::new();
        for (index, state) in layer {
            if let Some(violation) = search.expand(index, &state, &mut next) {
                return Found { states: search.steps.len(), whole: false, violation: Some(violation) };
            }
        }
        layer = next;
    }
    let whole = layer.is_empty();
    let violation = if whole { search.without_good_end() } else { None };
    Found { states: search.steps.len(), whole, violation }
}

/// A state as 128 bits: two hashes of it that do not depend on each other.
fn digest(state: &State) -> u128 {
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        state.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    hash(0) << 64 | hash(1)
}

impl Search {
    /// The number of a state, and whether it is new.
    fn enter(&mut self, state: &State, from: usize, label: String) -> (usize, bool) {
        let fresh = self.steps.len();
        let index = *self.known.entry(digest(state)).or_insert(fresh);
        if index == fresh {
            self.steps.push(Step { from, label });
            if state.is_good() {
                self.good.push(index);
            }
        }
        (index, index == fresh)
    }

    fn expand(&mut self, index: usize, state: &State, next: &mut Vec<(usize, State)>) -> Option<String> {
        for (label, fault, outcome) in state.moves() {
            let after = match outcome {
                Ok(after) => after,
                Err(wrong) => return Some(format!("{wrong}:{}\n  {label}", self.way(index))),
            };
            let (number, fresh) = self.enter(&after, index, label);
            if !fault {
                self.edges.push((index, number));
            }
            if fresh {
                if let Some(wrong) = after.violation() {
                    return Some(format!("{wrong}:{}\n{after:#?}", self.way(number)));
                }
                next.push((number, after));
            }
        }
        None
    }

    fn way(&self, mut index: usize) -> String {
        let mut labels = Vec::new();
        while index > 0 {
            labels.push(self.steps[index].label.as_str());
            index = self.steps[index].from;
        }
        labels.push("");
        labels.reverse();
        labels.join("\n  ")
    }

    /// I26: from every state a good one can be reached without further faults or commands.
    fn without_good_end(&self) -> Option<String> {
        let mut backwards = vec![Vec::new(); self.steps.len()];
        for (from, to) in &self.edges {
            backwards[*to].push(*from);
        }
        let mut reaches = vec![false; self.steps.len()];
        let mut todo = self.good.clone();
        while let Some(index) = todo.pop() {
            if !std::mem::replace(&mut reaches[index], true) {
                todo.extend(&backwards[index]);
            }
        }
        let lost = reaches.iter().position(|reaches| !reaches)?;
        Some(format!("I26 no good end can be reached:{}", self.way(lost)))
    }
}
