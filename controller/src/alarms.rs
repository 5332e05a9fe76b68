//! Everything that needs somebody's attention, of one credential and of the whole controller: one list, which the status
//! shows and the figures count.

mod by_hand;
mod noted;
mod standing;

use rekey_model::{CredentialName, Moment};

use crate::executor::{Reconciling, Report};
use crate::store::{InstanceRow, WebhookRow};
use crate::webhook;

pub use by_hand::{Asked, asked, deletion, to_ask, to_delete};
pub use noted::Noting;
pub use standing::{Ground, Standing};

/// One thing that needs attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its stable name.
    pub kind: &'static str,
    /// What is wrong, and with whom.
    pub message: String,
    /// What to type; empty: nothing to do but know it.
    pub next_command: String,
}

/// Of a credential: what the ledger says, the brake, an adoption that waits, what a person is to do, and what went wrong.
pub fn of_credential(report: &Report) -> Vec<Notice> {
    let name = &report.spec.name;
    let of_ledger = report.alarms.iter().map(|alarm| Notice {
        kind: alarm.kind.as_str(),
        message: format!("{}{}", alarm.message, by_hand::where_to_look(report, alarm.kind)),
        next_command: alarm
            .next_command
            .map(|command| typed(name, by_hand::instead(report, command)))
            .unwrap_or_default(),
    });
    let held = report.ledger.held.as_ref().map(|held| Notice {
        kind: "held",
        message: format!("held by {}: {}", held.by, held.reason),
        next_command: format!("rekeyctl release {name}"),
    });
    let awaits = report.spec.driver.adopt().is_some() && report.ledger.versions.is_empty();
    let adoption = awaits.then(|| Notice {
        kind: "awaits_adoption",
        message: "the application's login was not handed in yet".to_owned(),
        next_command: format!("rekeyctl adopt {name}"),
    });
    let troubles = report.troubles.iter().map(|trouble| Notice {
        kind: "trouble",
        message: trouble.clone(),
        next_command: String::new(),
    });
    of_ledger.chain(held).chain(adoption).chain(by_hand::notices(report)).chain(troubles).collect()
}

/// Of a credential whose stored declaration does not read.
pub fn of_unreadable(name: &CredentialName) -> Notice {
    Notice {
        kind: "spec_unreadable",
        message: format!("the declaration of {name} is of another release: apply it again"),
        next_command: "rekeyctl apply -f FILE".to_owned(),
    }
}

/// Of the whole controller.
pub fn of_controller(
    reconciling: Option<&Reconciling>,
    instances: &[InstanceRow],
    (webhooks, now): (&[WebhookRow], Moment),
) -> Vec<Notice> {
    let reconciling = reconciling.map(|waits| Notice {
        kind: "reconciling",
        message: format!(
            "this store was restored ({}): nothing is rotated and nothing is ended, except by revoke; it waits {}",
            waits.because,
            sentence(waits)
        ),
        next_command: "rekeyctl reconcile".to_owned(),
    });
    let locked = instances.iter().filter(|row| row.removed.is_none()).filter_map(|row| {
        let why = row.locked.as_ref()?;
        Some(Notice {
            kind: "sidecar_locked",
            message: format!("{} is locked: {why}", row.spiffe),
            next_command: format!("rekeyctl sidecar remove {}", row.id),
        })
    });
    let behind = webhooks.iter().filter_map(|row| {
        let message = webhook::behind(row, now)?;
        Some(Notice { kind: "webhook_behind", message, next_command: "rekeyctl webhook list".to_owned() })
    });
    reconciling.into_iter().chain(locked).chain(behind).collect()
}

/// A command of the rotation machine as it is typed for this credential.
pub(crate) fn typed(name: &CredentialName, command: &str) -> String {
    format!("rekeyctl {}", command.replace("NAME", name.as_str()))
}

/// What a restored store waits for, in one sentence.
fn sentence(waits: &Reconciling) -> String {
    let seconds = |span: std::time::Duration| span.as_millis().div_ceil(1000);
    let mut parts = Vec::new();
    if !waits.silent.is_empty() && !waits.hurried {
        let names: Vec<&str> = waits.silent.iter().take(5).map(|silent| silent.name.as_str()).collect();
        let more = match waits.silent.len().saturating_sub(5) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let left = seconds(waits.silence_left);
        parts.push(format!("for {}{more}, {left}s at the most", names.join(", ")));
    }
    if !waits.settle_left.is_zero() {
        parts.push(format!("{}s until no earlier call can land any more", seconds(waits.settle_left)));
    }
    if parts.is_empty() { "for the next look".to_owned() } else { parts.join(", and ") }
}
