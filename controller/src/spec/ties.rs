//! What ties a credential to others, and what of it cannot be.

use super::Spec;
use super::problem::Problem;
use crate::store::{Tie, TieKind};

/// The most credentials of one pair. Mostly they are two.
const MOST: usize = 16;

/// The ties of a declared credential, as the store keeps them.
pub fn of(spec: &Spec) -> Vec<Tie> {
    let class =
        spec.taken.as_ref().map(|taken| Tie::of_class(taken.class.as_str(), spec.environment.as_str()));
    pair(spec).into_iter().chain(class).collect()
}

/// The tie to those of which only one may rotate at a time.
pub fn pair(spec: &Spec) -> Option<Tie> {
    spec.pair.as_ref().map(|word| Tie { kind: TieKind::Pair, word: word.to_string() })
}

/// The tie of those that must have rotated before it.
pub fn before(spec: &Spec) -> Option<Tie> {
    let (taken, after) = (spec.taken.as_ref()?, spec.after.as_ref()?);
    Some(Tie::of_class(taken.class.as_str(), after.environment.as_str()))
}

/// What in the ties of `spec` does not fit the credentials beside it.
pub fn against_others<'a>(spec: &Spec, others: impl IntoIterator<Item = &'a Spec>) -> Vec<Problem> {
    let Some(word) = &spec.pair else { return Vec::new() };
    let others =
        others.into_iter().filter(|other| other.name != spec.name && other.pair.as_ref() == Some(word));
    let others = others.count();
    if others < MOST {
        return Vec::new();
    }
    let message = format!("is what {others} others have too: they would wait for each other for long");
    vec![Problem::new("pair", message, format!("tie at most {MOST} credentials by one word"))]
}
