//! `token create|list|revoke`.

use rekey_model::millis;
use rekey_proto::admin::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest};

use crate::cli::{Format, TokenCommand};
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::say;
use crate::session::Session;
use crate::view::{Done, Token, Tokens};

pub(super) async fn run(command: TokenCommand, mut session: Session) -> Outcome {
    match command {
        TokenCommand::Create { spiffe_id, lives } => {
            let request =
                CreateTokenRequest { spiffe_id: spiffe_id.to_string(), lives_ms: millis(lives.get()) };
            let answer = session.clone().call(session.client.create_token(request)).await?;
            let token = Token::from(answer);
            if session.output.format == Format::Table {
                say(&token.word());
            }
            session.output.show(&token)?;
        }
        TokenCommand::List => {
            let answer = session.clone().call(session.client.list_tokens(ListTokensRequest {})).await?;
            session.output.show(&Tokens::from(answer))?;
        }
        TokenCommand::Revoke { id } => {
            let request = RevokeTokenRequest { id: id.clone() };
            session.clone().call(session.client.revoke_token(request)).await?;
            session.output.show(&Done::new("revoked", id))?;
        }
    }
    Ok(Exit::Ok)
}
