//! Why no rotation may begin at a credential because of others. Read in the transaction that would begin it, so that of
//! two that are due at once only one begins.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rekey_model::{CredentialName, Moment, Span};
use rekey_rotation::{Ledger, Phase, VersionRecord};

use crate::spec::{After, Spec, ties};
use crate::store::{CredentialRow, Tie, TieKind};

/// How many credentials are named at the most.
const NAMED: usize = 5;

/// Who has the ties that a gate depends on, by kind, itself included.
pub(super) type Tied = BTreeMap<TieKind, Vec<CredentialRow>>;

/// The ties that the gate of a credential depends on, at most one of a kind.
pub(super) fn asks(spec: &Spec) -> Vec<Tie> {
    ties::group(spec).into_iter().chain(ties::pair(spec)).chain(ties::before(spec)).collect()
}

/// Why nothing may begin. Of a first version there is nothing that anybody could be moved away from: it begins.
pub(super) fn why(spec: &Spec, ledger: &Ledger, (tied, now): (&Tied, Moment)) -> Option<String> {
    let current = ledger.version(ledger.current?)?;
    let pair = |row: &CredentialRow| changes(row).map(|how| format!("its pair {} {how}", row.name));
    let group =
        |row: &CredentialRow| hinders(row).map(|how| format!("{}, of the same group, {how}", row.name));
    let mut pairs = others(spec, tied, TieKind::Pair);
    let mut mates = others(spec, tied, TieKind::Group);
    mates.find_map(group).or_else(|| {
        if dies_soon(spec, current, now) {
            return None;
        }
        pairs.find_map(pair).or_else(|| untried(spec, spec.after.as_ref()?, (tied, now)))
    })
}

/// Whether the target ends `current` soon by itself: it is renewed when 80 % of its life are over, and waits for nobody
/// after 85 %.
fn dies_soon(spec: &Spec, current: &VersionRecord, now: Moment) -> bool {
    spec.driver.life().is_some_and(|life| is_nearly_over(now.at_least_since(current.created), life))
}

fn is_nearly_over(age: Duration, life: Duration) -> bool {
    age.saturating_mul(100) >= life.saturating_mul(85)
}

/// Whom it may have kept waiting.
pub(super) fn waiting(spec: &Spec, tied: &Tied) -> Vec<CredentialName> {
    let tied = others(spec, tied, TieKind::Pair).chain(others(spec, tied, TieKind::Group));
    tied.map(|row| row.name.clone()).collect()
}

/// Where the others stand that its open rotation goes together with.
pub(super) fn mates(spec: &Spec, tied: &Tied) -> Vec<String> {
    let stand = |row: &CredentialRow| {
        let open = row.ledger.open_rotation().filter(|open| open.is_grouped())?;
        Some(format!("{} of its group, which is in {}{}", row.name, open.phase, held(row)))
    };
    others(spec, tied, TieKind::Group).filter_map(stand).collect()
}

fn others<'a>(spec: &'a Spec, tied: &'a Tied, kind: TieKind) -> impl Iterator<Item = &'a CredentialRow> {
    tied.get(&kind).into_iter().flatten().filter(|row| row.name != spec.name && row.ledger.deleted.is_none())
}

fn held(row: &CredentialRow) -> String {
    row.ledger.held.as_ref().map(|held| format!(" and is held: {}", held.reason)).unwrap_or_default()
}

/// What one is in the middle of: a rotation in any phase, its grace too, or a replacement that is due. One that waits for a
/// person to make something changes nothing yet.
fn changes(row: &CredentialRow) -> Option<String> {
    match row.ledger.open_rotation() {
        Some(open) if open.phase == Phase::Planned && is_made_by_hand(row) => None,
        Some(open) => Some(format!("rotates ({}){}", open.phase, held(row))),
        None if row.ledger.owed => Some("was revoked, and waits for its replacement".to_owned()),
        None => None,
    }
}

fn is_made_by_hand(row: &CredentialRow) -> bool {
    Spec::parse(&row.spec).is_ok_and(|spec| spec.driver.by_hand().is_some())
}

/// Why one cannot begin together with others. One that has nothing in use is left out of what they do, until its
/// replacement comes.
fn hinders(row: &CredentialRow) -> Option<String> {
    let ledger = &row.ledger;
    if ledger.current.is_none() && !ledger.owed {
        return None;
    }
    let unchecked =
        ledger.unchecked.as_ref().map(|it| format!("has a target that was not checked: {}", it.why));
    changes(row)
        .or_else(|| ledger.held.as_ref().map(|held| format!("is held: {}", held.reason)))
        .or(unchecked)
}

/// How the last rotation of a credential went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// There was none that anybody moved in.
    None,
    /// It goes on.
    Open,
    /// It ended well so long ago, at the most.
    Well(Duration),
    /// It was taken back, or has no way back: so long ago, at the least.
    Badly(Duration),
}

impl Last {
    fn of(ledger: &Ledger, now: Moment) -> Self {
        let Some(last) = ledger.rotation.as_ref().filter(|last| last.old.is_some()) else {
            return Self::None;
        };
        let open = last.phase.is_open();
        if last.failed || (last.forward_only.is_some() && open) {
            return Self::Badly(last.ended.map(|ended| now.at_least_since(ended)).unwrap_or_default());
        }
        match last.ended {
            // What a restore left behind ends without anybody moving.
            Some(ended) if last.phase == Phase::Done && last.promoted.is_some() => {
                Self::Well(now.at_most_since(ended))
            }
            Some(_) => Self::None,
            None => Self::Open,
        }
    }

    fn in_words(self) -> String {
        match self {
            Self::None => "has not rotated yet".to_owned(),
            Self::Open => "rotates now".to_owned(),
            Self::Well(age) => format!("did {}", Ago(age)),
            Self::Badly(age) => format!("failed {}", Ago(age)),
        }
    }
}

/// Why the same class has not rotated well where it is to do that first; none: it has.
fn untried(spec: &Spec, after: &After, (tied, now): (&Tied, Moment)) -> Option<String> {
    let class = spec.taken.as_ref().map(|taken| taken.class.to_string()).unwrap_or_default();
    let (environment, within) = (&after.environment, after.within);
    let looked: Vec<(&CredentialName, Last)> =
        others(spec, tied, TieKind::Class).map(|row| (&row.name, Last::of(&row.ledger, now))).collect();
    if is_tried(looked.iter().map(|(_, last)| *last), within.get()) {
        return None;
    }
    let rule = format!("class {class} has not rotated well in {environment} within {within}");
    if looked.is_empty() {
        return Some(format!("{rule}: no credential there has it"));
    }
    let more = looked.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let named: Vec<String> =
        looked.iter().take(NAMED).map(|(name, last)| format!("{name} {}", last.in_words())).collect();
    Some(format!("{rule}: {}{more}", named.join(", ")))
}

/// Whether one went well that is no older than `within`, and none badly after it.
fn is_tried(lasts: impl Iterator<Item = Last> + Clone, within: Duration) -> bool {
    let well = lasts.clone().filter_map(|last| match last {
        Last::Well(age) => Some(age),
        Last::None | Last::Open | Last::Badly(_) => None,
    });
    let well = well.min().filter(|age| *age <= within);
    well.is_some_and(|well| !lasts.into_iter().any(|last| matches!(last, Last::Badly(age) if age <= well)))
}

/// An age in its largest unit, rounded down: a text that many compare is not to change all the time.
struct Ago(Duration);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [Duration::from_hours(24), Duration::from_hours(1), Duration::from_mins(1)];
        let secs = self.0.as_secs();
        match units.into_iter().map(|unit| unit.as_secs()).find(|unit| secs >= *unit) {
            Some(unit) => write!(f, "{} ago", Span::new(Duration::from_secs(secs - secs % unit))),
            None => f.write_str("just now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let ages =
            [(0, "just now"), (59, "just now"), (61, "1m ago"), (7_199, "1h ago"), (200_000, "2days ago")];
        for (secs, told) in ages {
            assert_eq!(Ago(Duration::from_secs(secs)).to_string(), told);
        }
    }

    #[test]
    fn what_dies_at_its_target_waits_until_85_hundredths_of_its_life_are_over() {
        let life = Duration::from_mins(10);
        for (secs, over) in [(0, false), (480, false), (509, false), (510, true), (601, true)] {
            assert_eq!(is_nearly_over(Duration::from_secs(secs), life), over, "{secs}");
        }
    }

    #[test]
    fn one_must_have_rotated_well_in_time_and_none_badly_since() {
        let (well, badly) =
            (|mins| Last::Well(Duration::from_mins(mins)), |mins| Last::Badly(Duration::from_mins(mins)));
        for (lasts, tried) in [
            (vec![], false),
            (vec![Last::None, Last::Open], false),
            (vec![well(60)], true),
            (vec![well(61)], false),
            (vec![Last::None, well(60), Last::Open], true),
            (vec![well(30), badly(31)], true),
            (vec![badly(29), well(30)], false),
            (vec![well(30), badly(29), well(10)], true),
            (vec![badly(0)], false),
        ] {
            assert_eq!(is_tried(lasts.iter().copied(), Duration::from_hours(1)), tried, "{lasts:?}");
        }
    }
}
