//! Why no rotation may begin at a credential because of others. Read in the transaction that would begin it, so that of
//! two that are due at once only one begins.

use rekey_model::CredentialName;

use crate::spec::{Spec, ties};
use crate::store::{CredentialRow, Tie};

/// The ties that the gate of a credential depends on.
pub(super) fn asks(spec: &Spec) -> Vec<Tie> {
    ties::pair(spec).into_iter().collect()
}

/// Why nothing may begin, where `tied` is who has one of these ties.
pub(super) fn why(spec: &Spec, tied: &[CredentialRow]) -> Option<String> {
    others(&spec.name, tied).find_map(changes)
}

/// Whom it may have kept waiting.
pub(super) fn waiting(spec: &Spec, tied: &[CredentialRow]) -> Vec<CredentialName> {
    others(&spec.name, tied).map(|row| row.name.clone()).collect()
}

fn others<'a>(
    name: &'a CredentialName,
    tied: &'a [CredentialRow],
) -> impl Iterator<Item = &'a CredentialRow> {
    tied.iter().filter(move |row| row.name != *name)
}

/// What a pair is in the middle of: a rotation in any phase, its grace too, or a replacement that is due.
fn changes(pair: &CredentialRow) -> Option<String> {
    let (name, ledger) = (&pair.name, &pair.ledger);
    let held = ledger.held.as_ref().map(|held| format!(" and is held: {}", held.reason)).unwrap_or_default();
    match ledger.open_rotation() {
        Some(open) => Some(format!("its pair {name} rotates ({}){held}", open.phase)),
        None if ledger.owed => Some(format!("its pair {name} was revoked, and waits for its replacement")),
        None => None,
    }
}
