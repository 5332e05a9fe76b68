//! When to look at which credential: several at a time, one look a credential, emergencies first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rekey_model::CredentialName;

/// The longest that nothing at all is looked at.
pub(super) const LONGEST: Duration = Duration::from_mins(1);
/// Looks at a time; the looks of emergencies have as much room again.
const WIDTH: usize = 4;

/// When a credential is to be looked at. Whoever is due longest goes first, and emergencies before everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    /// As soon as possible: an emergency.
    First,
    /// When the controller has run for so long.
    At(Duration),
}

impl When {
    fn is_due(self, elapsed: Duration) -> bool {
        self <= Self::At(elapsed)
    }
}

/// When to look at which credential, and at which somebody looks now.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    at: BTreeMap<CredentialName, When>,
    under_way: BTreeSet<CredentialName>,
}

impl Agenda {
    /// A credential is to be looked at as soon as there is room.
    pub(super) fn soon(&mut self, name: CredentialName, elapsed: Duration) {
        self.put(name, When::At(elapsed));
    }

    /// A credential is in an emergency: it is looked at before all others.
    pub(super) fn first(&mut self, name: CredentialName) {
        self.put(name, When::First);
    }

    /// A look has ended: the next one comes after `next`, or when something was noted meanwhile.
    pub(super) fn looked(&mut self, name: &CredentialName, next: Option<Duration>, elapsed: Duration) {
        self.under_way.remove(name);
        if let Some(next) = next {
            self.put(name.clone(), When::At(elapsed.saturating_add(next)));
        }
    }

    fn put(&mut self, name: CredentialName, when: When) {
        let known = self.at.entry(name).or_insert(when);
        *known = when.min(*known);
    }

    /// How long nothing is due; what has no room waits for the end of a look.
    pub(super) fn wait(&self, elapsed: Duration) -> Duration {
        let waiting = self.at.iter().filter(|(name, _)| !self.under_way.contains(*name));
        let later = waiting.filter_map(|(_, when)| match when {
            When::At(at) => at.checked_sub(elapsed).filter(|left| !left.is_zero()),
            When::First => None,
        });
        later.min().unwrap_or(LONGEST).min(LONGEST)
    }

    /// What is to be looked at now, as far as there is room. Each is under way until it was looked at.
    pub(super) fn take_due(&mut self, elapsed: Duration) -> Vec<CredentialName> {
        let mut due: Vec<(When, &CredentialName)> = self
            .at
            .iter()
            .filter(|(name, when)| when.is_due(elapsed) && !self.under_way.contains(*name))
            .map(|(name, when)| (*when, name))
            .collect();
        due.sort_unstable();
        let mut busy = self.under_way.len();
        let has_room = |(when, name): (When, &CredentialName)| {
            let width = if when == When::First { 2 * WIDTH } else { WIDTH };
            (busy < width).then(|| {
                busy += 1;
                name.clone()
            })
        };
        let taken: Vec<CredentialName> = due.into_iter().map_while(has_room).collect();
        for name in &taken {
            self.at.remove(name);
            self.under_way.insert(name.clone());
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(10);

    fn name(of: &str) -> CredentialName {
        of.parse().unwrap()
    }

    fn names(of: &[&str]) -> Vec<CredentialName> {
        of.iter().map(|of| name(of)).collect()
    }

    #[test]
    fn an_emergency_goes_first_and_has_room_when_there_is_none() {
        let mut agenda = Agenda::default();
        for of in ["a", "b", "c", "d", "e", "f"] {
            agenda.soon(name(of), NOW);
        }
        assert_eq!(agenda.take_due(NOW), names(&["a", "b", "c", "d"]));
        agenda.first(name("z"));
        assert_eq!(agenda.take_due(NOW), names(&["z"]), "whatever the usual looks take");
        assert_eq!(agenda.wait(NOW), LONGEST, "the rest waits for the end of a look");
        agenda.looked(&name("z"), Some(Duration::from_secs(1)), NOW);
        assert_eq!(agenda.take_due(NOW), names(&[]));
        agenda.looked(&name("b"), Some(Duration::from_secs(1)), NOW);
        assert_eq!(agenda.take_due(NOW), names(&["e"]));
    }

    #[test]
    fn there_is_one_look_a_credential_and_what_comes_meanwhile_is_not_lost() {
        let mut agenda = Agenda::default();
        agenda.soon(name("a"), NOW);
        assert_eq!(agenda.take_due(NOW), names(&["a"]));
        agenda.soon(name("a"), NOW);
        assert_eq!(agenda.take_due(NOW), names(&[]));
        agenda.looked(&name("a"), Some(LONGEST), NOW);
        assert_eq!(agenda.take_due(NOW), names(&["a"]));
        agenda.looked(&name("a"), Some(Duration::from_secs(3)), NOW);
        assert_eq!(agenda.wait(NOW), Duration::from_secs(3));
        assert_eq!(agenda.take_due(NOW), names(&[]));
        assert_eq!(agenda.take_due(NOW + Duration::from_secs(3)), names(&["a"]));
        agenda.looked(&name("a"), None, NOW);
        assert_eq!(agenda.take_due(NOW + LONGEST), names(&[]), "it is gone");
    }

    #[test]
    fn whoever_is_due_longest_goes_first() {
        let mut agenda = Agenda::default();
        for (of, at) in [("a", 5), ("b", 4), ("c", 3), ("d", 2), ("e", 1)] {
            agenda.soon(name(of), Duration::from_secs(at));
        }
        assert_eq!(agenda.take_due(NOW), names(&["e", "d", "c", "b"]));
    }
}
