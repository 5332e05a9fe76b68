//! `webhook list`, `webhook test`: who is told what happens, and how far.

use rekey_proto::admin as wire;
use serde::Serialize;

use crate::output::{Style, Tone, View};
use crate::table::columns;
use crate::text::{or_dash, printable};
use crate::time::At;

/// The webhooks.
#[derive(Debug, Serialize)]
pub struct Webhooks {
    webhooks: Vec<Webhook>,
}

#[derive(Debug, Serialize)]
struct Webhook {
    name: String,
    to: String,
    format: String,
    /// Empty: everything.
    events: Vec<String>,
    told: u64,
    behind: u32,
    failing_since: Option<At>,
    last_error: String,
    stopped: bool,
}

impl From<wire::ListWebhooksResponse> for Webhooks {
    fn from(wire: wire::ListWebhooksResponse) -> Self {
        let webhook = |it: wire::WebhookStatus| Webhook {
            name: it.name,
            to: it.to,
            format: it.format,
            events: it.events,
            told: it.told,
            behind: it.behind,
            failing_since: At::said(it.failing_since_ms),
            last_error: it.last_error,
            stopped: it.stopped,
        };
        Self { webhooks: wire.webhooks.into_iter().map(webhook).collect() }
    }
}

impl View for Webhooks {
    fn text(&self, style: Style) -> String {
        if self.webhooks.is_empty() {
            return "No webhook is set up: `webhooks` in the controller's config has them.\n".to_owned();
        }
        let rows = self.webhooks.iter().map(|it| {
            let state = match (it.stopped, it.failing_since) {
                (true, _) => style.paint(Tone::Bad, "stopped"),
                (false, Some(since)) => style.paint(Tone::Bad, &format!("failing since {since}")),
                (false, None) => style.paint(Tone::Good, "well"),
            };
            let events = if it.events.is_empty() { "all".to_owned() } else { it.events.join(",") };
            [
                printable(&it.name),
                state,
                it.behind.to_string(),
                printable(&it.to),
                printable(&it.format),
                printable(&events),
                or_dash(&it.last_error),
            ]
        });
        columns(["NAME", "STATE", "BEHIND", "TO", "FORMAT", "EVENTS", "LAST ERROR"], rows)
    }
}

/// What came of a test.
#[derive(Debug, Serialize)]
pub struct TestedWebhook {
    name: String,
    delivered: bool,
    status: u32,
    why: String,
}

impl TestedWebhook {
    /// What the controller said.
    pub fn of(name: String, answer: wire::TestWebhookResponse) -> Self {
        let wire::TestWebhookResponse { delivered, status, why } = answer;
        Self { name, delivered, status, why }
    }
}

impl View for TestedWebhook {
    fn text(&self, style: Style) -> String {
        let name = printable(&self.name);
        if self.delivered {
            return format!(
                "{} {name}: the receiver said {}\n",
                style.paint(Tone::Good, "works"),
                self.status
            );
        }
        format!("{} {name}: {}\n", style.paint(Tone::Bad, "does not work"), printable(&self.why))
    }
}
