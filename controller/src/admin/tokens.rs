//! Join tokens: made and shown once, listed without their text, made useless.

use std::time::Duration;

use rekey_model::IdError;
use rekey_proto::admin as wire;
use rekey_runtime::random;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::audit::{Entry, Outcome, Verb};
use crate::store::{StoreError, TokenRow};
use crate::tokens::{JoinToken, TokenTerms};

/// The letters of a token's id; it tells nothing of the token.
const ID: usize = 12;

impl Admin {
    pub(super) async fn make_token(
        &self,
        caller: &Caller,
        asked: wire::CreateTokenRequest,
    ) -> Result<wire::CreateTokenResponse, Refusal> {
        let spiffe = asked
            .spiffe_id
            .parse()
            .map_err(|error: IdError| Refusal::invalid("spiffe_id", error.to_string()))?;
        let life = (asked.lives_ms != 0).then(|| Duration::from_millis(asked.lives_ms));
        let terms = TokenTerms::new(&self.0.known.trust_domain, spiffe, life)
            .map_err(|error| Refusal::invalid("spiffe_id or lives_ms", error.to_string()))?;
        let token = JoinToken::draw();
        let text = String::from_utf8(token.text().expose().to_vec())
            .map_err(|_utf8| Refusal::Internal("a token is no text".to_owned()))?;
        let mut tx = self.0.store.begin().await?;
        let row = TokenRow {
            id: random::nonce(ID),
            spiffe: terms.spiffe().clone(),
            made: tx.now(),
            life: terms.life(),
            made_by: caller.name.clone(),
        };
        tx.put_token(&token.hash(), &row).await?;
        let about = format!("{} for {}", row.id, row.spiffe);
        tx.audit(&Entry::new(caller.actor(), Verb::CreateToken, Outcome::Done).because(about)).await?;
        tx.commit().await?;
        Ok(wire::CreateTokenResponse { token: text, expires_ms: expires_ms(&row), id: row.id })
    }

    pub(super) async fn tell_tokens(
        &self,
        _caller: &Caller,
        _asked: wire::ListTokensRequest,
    ) -> Result<wire::ListTokensResponse, Refusal> {
        let now = self.0.clock.now();
        let open = self.0.store.tokens().await?.into_iter().filter(|token| !token.expired(now));
        let tokens = open.map(|token| wire::TokenStatus {
            expires_ms: expires_ms(&token),
            id: token.id,
            spiffe_id: token.spiffe.to_string(),
            by: token.made_by,
        });
        Ok(wire::ListTokensResponse { tokens: tokens.collect() })
    }

    pub(super) async fn end_token(
        &self,
        caller: &Caller,
        asked: wire::RevokeTokenRequest,
    ) -> Result<wire::RevokeTokenResponse, Refusal> {
        let remedy = "it was used, has expired, or never was; `rekeyctl token list` lists the others";
        let unknown = || show::not_found("token", &asked.id, remedy);
        let mut tx = self.0.store.begin().await?;
        match tx.revoke_token(&asked.id).await {
            Err(StoreError::Absent(_)) => return Err(unknown()),
            revoked => revoked?,
        }
        tx.audit(&Entry::new(caller.actor(), Verb::RevokeToken, Outcome::Done).because(asked.id)).await?;
        tx.commit().await?;
        Ok(wire::RevokeTokenResponse {})
    }
}

fn expires_ms(token: &TokenRow) -> i64 {
    token.made.wall_ms_after(token.life)
}
