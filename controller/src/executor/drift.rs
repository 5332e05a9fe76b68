//! What somebody else changed at a target: found by comparing what is there with the ledger, told, and never overwritten.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rekey_drivers::{Lack, Survey};
use rekey_model::{CredentialName, Version};
use rekey_rotation::{Alarm, AlarmKind, Ledger};

use super::check::in_words;

/// The most strangers that are named.
const NAMED: usize = 5;

/// What the last look at each credential's target found. A restart forgets it, and looks again.
#[derive(Debug, Default)]
pub(super) struct Drift {
    found: Mutex<HashMap<CredentialName, Found>>,
    /// The versions on trial that were refused when they were tried last. What else looks at the target has no say here.
    refused: Mutex<HashMap<CredentialName, Version>>,
}

/// What a look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The version that the target refused, and what it said.
    pub(super) failing: Option<(Version, String)>,
    /// Versions in use that are not let in, and why.
    pub(super) missing: Vec<(Version, String)>,
    /// What comes in and is not ours, or ended.
    pub(super) strangers: Vec<String>,
    /// What the rotator lacks.
    pub(super) lacks: Vec<Lack>,
}

impl Drift {
    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialName, Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget(&self, name: &CredentialName) {
        self.lock().remove(name);
    }

    /// What was found last.
    pub(super) fn found(&self, name: &CredentialName) -> Found {
        self.lock().get(name).cloned().unwrap_or_default()
    }

    /// Keeps what was found; says whether it is news.
    pub(super) fn note(&self, name: &CredentialName, found: Found) -> bool {
        if found.is_nothing() {
            self.forget(name);
            return false;
        }
        let before = self.lock().insert(name.clone(), found.clone());
        before != Some(found)
    }

    /// Keeps what came of trying `version`, which is on trial: why it was refused, if it was. Gives that with whether it was
    /// refused at the try before, too.
    pub(super) fn tried(
        &self,
        name: &CredentialName,
        version: Version,
        refused: Option<String>,
    ) -> Option<(String, bool)> {
        let mut found = self.found(name);
        let mut tries = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if refused.is_some() { tries.insert(name.clone(), version) } else { tries.remove(name) };
        drop(tries);
        found.failing = refused.clone().map(|why| (version, why));
        self.note(name, found);
        refused.map(|why| (why, before == Some(version)))
    }

    /// What is to be told, as far as it still concerns what is in use now.
    pub(super) fn alarms(&self, name: &CredentialName, ledger: &Ledger) -> Vec<Alarm> {
        let found = self.found(name);
        let mut alarms = Vec::new();
        let mut alarm = |kind, message, next_command| alarms.push(Alarm { kind, message, next_command });
        let missing: Vec<_> = found.missing.iter().filter(|(version, _)| ledger.is_alive(*version)).collect();
        for (version, why) in &missing {
            let message = format!("{version} {why}: somebody else did that; nothing was changed");
            let current = ledger.current == Some(*version);
            alarm(AlarmKind::Missing, message, current.then_some("rotate NAME"));
        }
        if let Some((version, why)) = found.failing.filter(|(version, _)| ledger.current == Some(*version))
            && missing.iter().all(|(gone, _)| *gone != version)
        {
            let message = format!(
                "the current version {version} does not work: {why}; somebody else changed its password or what it \
                 may do; nothing was changed"
            );
            alarm(AlarmKind::CurrentFails, message, Some("rotate NAME"));
        }
        if !found.strangers.is_empty() {
            let more = found.strangers.len().saturating_sub(NAMED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let named: Vec<&str> = found.strangers.iter().take(NAMED).map(String::as_str).collect();
            let message = format!(
                "not made by Rekey, and it comes in by the same account: {}{more}; remove it at the target, or declare \
                 it as `adopt` of a credential of its own",
                named.join(", ")
            );
            alarm(AlarmKind::Stranger, message, Some("verify NAME"));
        }
        if !found.lacks.is_empty() {
            let message = format!("the next rotation would fail: {}", in_words(&found.lacks));
            alarm(AlarmKind::RightsMissing, message, Some("verify NAME"));
        }
        alarms
    }
}

/// How a stranger is called in what many may read, logs too: of a hash of somebody's password, only the beginning.
fn shown(name: &str) -> String {
    match name.split_once('#') {
        Some((user, hash)) if hash.len() >= 20 => {
            format!("{user}#{}…", hash.chars().take(8).collect::<String>())
        }
        _ => name.to_owned(),
    }
}

impl Found {
    /// Whether all is as it should be.
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Compares what a target shows with what was decided before it was asked and after: what changed in between is ours.
    pub(super) fn compare(&mut self, survey: Survey, (before, after): (&Ledger, &Ledger)) {
        let Survey::Seen(seen) = survey else { return };
        self.missing.clear();
        self.strangers.clear();
        let in_use = |ledger: &Ledger, version| {
            let settled = ledger.version(version).is_some_and(|it| it.doubt.is_none() && !it.stray);
            let served = ledger.current == Some(version) || ledger.previous == Some(version);
            served && settled && ledger.is_alive(version)
        };
        for (version, record) in after.versions.iter().filter(|(version, _)| in_use(after, **version)) {
            if !in_use(before, *version) {
                continue;
            }
            let why = match seen.iter().find(|sighting| sighting.name == record.handle.as_str()) {
                None => Some("is gone from the target".to_owned()),
                Some(sighting) => sighting.shut.as_ref().map(|why| format!("is shut at the target ({why})")),
            };
            self.missing.extend(why.map(|why| (*version, format!("({}) {why}", record.handle))));
        }
        for sighting in seen.iter().filter(|sighting| sighting.shut.is_none()) {
            // What was chosen since is in the later ledger before anything is made.
            let known = after.versions.iter().find(|(_, it)| it.handle.as_str() == sighting.name);
            match known {
                None => self.strangers.push(shown(&sighting.name)),
                Some((version, record)) => {
                    let over = |ledger: &Ledger| {
                        let ended = ledger.version(*version).is_some_and(|it| it.stage.is_final());
                        ended && !ledger.endings.contains_key(version)
                    };
                    if over(before) && over(after) {
                        let name = shown(record.handle.as_str());
                        self.strangers.push(format!("{name} ({version}, which was ended)"));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rekey_drivers::Sighting;

    use super::*;

    #[test]
    fn of_a_strange_password_nobody_reads_the_hash() {
        let hash = "9f86d081".repeat(8);
        let sighting = Sighting { name: format!("orders#{hash}"), shut: None };
        let mut found = Found::default();
        let ledger = Ledger::default();
        found.compare(Survey::Seen(vec![sighting]), (&ledger, &ledger));
        assert_eq!(found.strangers, ["orders#9f86d081…"]);
        assert_eq!(shown("orders#d821809f681a40a6e379"), "orders#d821809f…");
        assert_eq!(shown("orders_app_v3_x#y"), "orders_app_v3_x#y");
    }
}
