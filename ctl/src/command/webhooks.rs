//! `webhook list|test`.

use rekey_proto::admin::{ListWebhooksRequest, TestWebhookRequest};

use crate::cli::WebhookCommand;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::session::Session;
use crate::view::{TestedWebhook, Webhooks};

pub(super) async fn run(command: WebhookCommand, mut session: Session) -> Outcome {
    match command {
        WebhookCommand::List => {
            let answer = session.clone().call(session.client.list_webhooks(ListWebhooksRequest {})).await?;
            session.output.show(&Webhooks::from(answer))?;
            Ok(Exit::Ok)
        }
        WebhookCommand::Test { name } => {
            let request = TestWebhookRequest { name: name.clone() };
            let answer = session.clone().call(session.client.test_webhook(request)).await?;
            let exit = if answer.delivered { Exit::Ok } else { Exit::Failed };
            session.output.show(&TestedWebhook::of(name, answer))?;
            Ok(exit)
        }
    }
}
