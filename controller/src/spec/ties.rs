//! What ties a credential to others, and what of it cannot be.

use rekey_drivers::Strategy;

use super::Spec;
use super::problem::Problem;
use crate::store::{Tie, TieKind};

/// The most credentials of one group, and of one pair. Mostly they are two.
const MOST: usize = 16;

/// The ties of a declared credential, as the store keeps them.
pub fn of(spec: &Spec) -> Vec<Tie> {
    let class =
        spec.taken.as_ref().map(|taken| Tie::of_class(taken.class.as_str(), spec.environment.as_str()));
    group(spec).into_iter().chain(pair(spec)).chain(class).collect()
}

/// The tie to those that it changes with.
pub fn group(spec: &Spec) -> Option<Tie> {
    spec.group.as_ref().map(|word| Tie { kind: TieKind::Group, word: word.to_string() })
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

/// What in the ties of `spec` cannot be, whatever stands beside it.
pub fn alone(spec: &Spec) -> Vec<Problem> {
    let Some(group) = &spec.group else { return Vec::new() };
    let mut problems = Vec::new();
    if !spec.driver.facts().strategy.two_live_versions() {
        let remedy = "take it out; only what has two valid versions at once can go back together with others";
        problems.push(Problem::new(
            "group",
            "has no meaning here: the new value kills the old one at once",
            remedy,
        ));
    }
    if spec.driver.facts().strategy == Strategy::HandIn {
        let remedy = "take it out; nobody can say when a person will have made its next value";
        problems.push(Problem::new("group", "has no meaning here: a person makes the values", remedy));
    }
    if spec.driver.life().is_some() {
        let remedy = "take it out; a group waits for each of its members, however long that takes";
        problems.push(Problem::new(
            "group",
            "has no meaning here: its target ends each value in time",
            remedy,
        ));
    }
    if spec.canary.is_some() {
        let message = format!(
            "cannot stand beside `group: {group}`: whoever has the new value of one has the new values of all"
        );
        problems.push(Problem::new("canary", message, "keep one of them"));
    }
    if spec.pair.is_some() {
        let message =
            format!("cannot stand beside `group: {group}`, which begins with all others of its group");
        problems.push(Problem::new("pair", message, "keep one of them"));
    }
    problems
}

/// What in the ties of `spec` does not fit the credentials beside it.
pub fn against_others<'a>(spec: &Spec, others: impl Iterator<Item = &'a Spec> + Clone) -> Vec<Problem> {
    let others = others.filter(|other| other.name != spec.name);
    let paired = others.clone().filter(|other| spec.pair.is_some() && other.pair == spec.pair);
    let grouped: Vec<&Spec> =
        others.filter(|other| spec.group.is_some() && other.group == spec.group).collect();
    let too_many = |kind: &str, others: usize| {
        let message = format!("is what {others} others have too: they would wait for each other for long");
        let remedy = format!("tie at most {MOST} credentials by one word");
        (others >= MOST).then(|| Problem::new(kind, message, remedy))
    };
    let apart = grouped.iter().find(|other| other.deliver.to != spec.deliver.to).map(|other| {
        let message = format!("is not that of {}, which is of the same group", other.name);
        Problem::new(
            "deliver.to",
            message,
            "give all of a group to the same sidecars: they change there as one",
        )
    });
    let bounds = [too_many("pair", paired.count()), too_many("group", grouped.len()), apart];
    bounds.into_iter().flatten().collect()
}
