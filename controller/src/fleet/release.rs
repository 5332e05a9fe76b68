//! What is recorded of every release of a value to a sidecar, and of its end, before it happens (I28).

use std::collections::BTreeSet;

use rekey_model::CredentialName;

use crate::audit::{Actor, ActorKind, Entry, Outcome, Verb};
use crate::identity::SidecarIdentity;
use crate::store::{HolderRow, StoreError, Tx};

/// Makes `who` count as a holder of `names`, and records it. To be committed before it gets a value.
pub(super) async fn grant(
    tx: &mut Tx,
    who: &SidecarIdentity,
    names: &[CredentialName],
) -> Result<(), StoreError> {
    for name in names {
        tx.grant(who.instance, name).await?;
        tx.audit(&entry(who, Verb::Grant, name)).await?;
    }
    Ok(())
}

/// Notes that `who` may no longer have `name`, and records it.
pub(super) async fn withdraw(
    tx: &mut Tx,
    who: &SidecarIdentity,
    name: &CredentialName,
) -> Result<(), StoreError> {
    tx.withdraw(who.instance, name).await?;
    tx.audit(&entry(who, Verb::Withdraw, name)).await
}

/// Records what a hello has granted and taken away, by the holdings before and after it.
pub(super) async fn record_changes(
    tx: &mut Tx,
    who: &SidecarIdentity,
    (before, after): (&[HolderRow], &[HolderRow]),
) -> Result<(), StoreError> {
    let (had, has) = (granted(before), granted(after));
    for name in has.difference(&had) {
        tx.audit(&entry(who, Verb::Grant, name)).await?;
    }
    for name in had.difference(&has) {
        tx.audit(&entry(who, Verb::Withdraw, name)).await?;
    }
    Ok(())
}

fn granted(rows: &[HolderRow]) -> BTreeSet<CredentialName> {
    let granted = rows.iter().filter(|row| !row.withdrawn && row.gone.is_none());
    granted.map(|row| row.credential.clone()).collect()
}

/// That the controller did `verb` to `who` about `name`.
pub(super) fn entry(who: &SidecarIdentity, verb: Verb, name: &CredentialName) -> Entry {
    let actor = Actor {
        kind: ActorKind::Sidecar,
        id: who.spiffe.to_string(),
        authenticated: format!("leaf {}", who.counter),
    };
    Entry { holder: Some(who.instance), ..Entry::new(actor, verb, Outcome::Done).about(name) }
}
