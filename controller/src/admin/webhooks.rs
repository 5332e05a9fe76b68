//! Which webhooks there are and how far they are told, and trying one.

use rekey_proto::admin as wire;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::audit::{Entry, Outcome, Verb};
use crate::webhook::{Standing, To};

impl Admin {
    pub(super) async fn tell_webhooks(
        &self,
        _caller: &Caller,
        _asked: wire::ListWebhooksRequest,
    ) -> Result<wire::ListWebhooksResponse, Refusal> {
        let standing = self.0.webhooks.standing().await?;
        Ok(wire::ListWebhooksResponse { webhooks: standing.into_iter().map(status).collect() })
    }

    pub(super) async fn try_webhook(
        &self,
        caller: &Caller,
        asked: wire::TestWebhookRequest,
    ) -> Result<wire::TestWebhookResponse, Refusal> {
        let tried = self.0.webhooks.test(&asked.name).await?;
        let remedy = "`rekeyctl webhook list` lists them; the controller's config has them";
        let tried = tried.ok_or_else(|| show::not_found("webhook", &asked.name, remedy))?;
        let (outcome, said) = match &tried {
            Ok(status) => (Outcome::Done, format!("{}: the receiver said {status}", asked.name)),
            Err(why) => (Outcome::Failed, format!("{}: {why}", asked.name)),
        };
        let mut tx = self.0.store.begin().await?;
        tx.audit(&Entry::new(caller.actor(), Verb::TestWebhook, outcome).because(said)).await?;
        tx.commit().await?;
        Ok(match tried {
            Ok(status) => {
                wire::TestWebhookResponse { delivered: true, status: status.into(), why: String::new() }
            }
            Err(why) => wire::TestWebhookResponse { delivered: false, status: 0, why },
        })
    }
}

fn status(Standing { webhook, row, behind }: Standing) -> wire::WebhookStatus {
    wire::WebhookStatus {
        name: row.name,
        to: match &webhook.to {
            To::Url(url) => url.to_string(),
            To::File(file) => format!("the address in {}", file.display()),
        },
        format: webhook.format.as_str().to_owned(),
        events: webhook.events.iter().map(ToString::to_string).collect(),
        told: row.told,
        behind: u32::try_from(behind).unwrap_or(u32::MAX),
        failing_since_ms: show::ms(row.failing),
        last_error: row.last_error,
        stopped: row.stopped,
    }
}
