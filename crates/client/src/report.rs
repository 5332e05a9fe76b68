//! Sends what this process does with its credentials: on change, and not more often than is useful.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{CredentialName, Version};
use rekey_proto::local as wire;

use crate::client::Shared;
use crate::clock;
use crate::link::Link;
use crate::slot::Slot;
use crate::usage::{OutcomesByVersion, since};

/// What was counted, by credential.
type Counted = BTreeMap<CredentialName, OutcomesByVersion>;

/// Reports for as long as it is polled.
///
/// Outcomes are counted from the beginning of a connection, and what a connection was told dies with it. What could
/// not be sent over one connection is therefore counted to the next.
pub(crate) async fn report(shared: Arc<Shared>) {
    let (mut told, mut before) = (Counted::new(), Counted::new());
    let mut number = None;
    loop {
        let link = shared.link().await;
        if number != Some(link.number) {
            number = Some(link.number);
            before.clone_from(&told);
        }
        tokio::select! {
            () = link.ended() => {}
            () = report_over(&shared, &link, &before, &mut told) => {}
        }
    }
}

/// Reports over one connection until a call fails.
async fn report_over(shared: &Shared, link: &Link, before: &Counted, told: &mut Counted) {
    let gap = shared.timeouts().report;
    let mut last = None;
    loop {
        let slots = shared.slots();
        let counted: Counted = slots.iter().map(|slot| (slot.name.clone(), slot.usage.outcomes())).collect();
        let uses: Vec<_> = slots.iter().map(|slot| uses(slot, &counted, before)).collect();
        if last.as_ref() != Some(&uses) && !uses.is_empty() {
            let mut request = tonic::Request::new(wire::ReportRequest { uses: uses.clone() });
            request.set_timeout(shared.timeouts().call);
            if let Err(status) = link.calls().report(request).await {
                tracing::debug!(code = ?status.code(), "the sidecar did not take a report");
                tokio::time::sleep(gap.max(Duration::from_secs(1))).await;
                return;
            }
            *told = counted;
            last = Some(uses.clone());
        }
        let next = clock::now() + gap;
        // A kept value ends without a sound: while an old version is in use, it is looked for.
        let changed = shared.reports().notified();
        if slots.iter().zip(&uses).any(|(slot, uses)| names_an_old_version(slot, uses)) {
            drop(tokio::time::timeout(gap, changed).await);
        } else {
            changed.await;
        }
        tokio::time::sleep_until(next).await;
    }
}

/// Judged by what was said, not by what is so by now: what has ended in between is then still looked for.
fn names_an_old_version(slot: &Slot, uses: &wire::CredentialUse) -> bool {
    let live = slot.live_version().map(Version::get);
    uses.versions_in_use.iter().any(|version| Some(*version) != live)
}

fn uses(slot: &Slot, counted: &Counted, before: &Counted) -> wire::CredentialUse {
    let nothing = OutcomesByVersion::new();
    let now = counted.get(&slot.name).unwrap_or(&nothing);
    wire::CredentialUse {
        name: slot.name.to_string(),
        versions_in_use: slot.usage.versions().iter().map(|version| version.get()).collect(),
        outcomes: since(now, before.get(&slot.name).unwrap_or(&nothing)),
    }
}
