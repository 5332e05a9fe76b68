//! Tokens that were issued for a secret-id: found by the metadata that they have of it.

use futures_util::TryFutureExt as _;
use futures_util::future::try_join_all;
use rekey_model::Handle;
use rustify::enums::RequestMethod;
use vaultrs::api::token::responses::LookupTokenResponse;

use super::AppRole;
use super::calls::{Accessors, Call};
use super::link::{Link, failed};
use super::name::{Mark, Name};
use super::secret_id::AT_A_TIME;
use super::settings::Tokens;
use crate::answer::{Failed, Touched};
use crate::{Session, Usage};

/// The most tokens, of everybody, that are looked through.
const MOST: usize = 2000;
/// How often tokens are looked for until none is left.
const ROUNDS: usize = 5;

impl AppRole {
    pub(super) async fn users(&self, handle: &Handle) -> Result<Usage, Failed> {
        if self.account.tokens == Tokens::Leave {
            return Ok(Usage::CannotTell);
        }
        let rotator = self.rotator().await?;
        let tokens = self.tokens_of(rotator.link(), Name::of(handle)).await;
        rotator.close().await;
        let session = |token: LookupTokenResponse| Session {
            id: None,
            client: format!("token with accessor {}", token.accessor),
            application: token.display_name,
            since_ms: i64::try_from(token.creation_time.saturating_mul(1000)).unwrap_or(i64::MAX),
            age: None,
        };
        Ok(Usage::Sessions(tokens?.into_iter().map(session).collect()))
    }

    /// The living tokens of one version.
    pub(super) async fn tokens_of(
        &self,
        link: &Link,
        name: Name<'_>,
    ) -> Result<Vec<LookupTokenResponse>, Failed> {
        let all = Self::accessors(link).await?;
        if all.len() > MOST {
            let text = format!(
                "there are {} tokens: more than {MOST} are not looked through; write `tokens: leave`",
                all.len()
            );
            return Err(Failed::no(text));
        }
        let mut found = Vec::new();
        for some in all.chunks(AT_A_TIME) {
            found.extend(self.of_these(link, name, some).await?);
        }
        Ok(found)
    }

    /// The accessors of all tokens of everybody.
    async fn accessors(link: &Link) -> Result<Vec<String>, Failed> {
        let call = Call::new(RequestMethod::LIST, "auth/token/accessors", None);
        let all: Result<Accessors, _> = vaultrs::api::exec_with_result(&link.vault, call).await;
        Ok(all.map_err(|error| failed(error).during("list the accessors of tokens"))?.keys)
    }

    async fn of_these(
        &self,
        link: &Link,
        name: Name<'_>,
        accessors: &[String],
    ) -> Result<Vec<LookupTokenResponse>, Failed> {
        let looks = accessors.iter().map(|accessor| self.token(link, accessor));
        let mut found: Vec<_> = try_join_all(looks).await?.into_iter().flatten().collect();
        found.retain(|token| {
            let mark = Mark::read(&self.owner, token.meta.as_ref());
            mark.is_some_and(|mark| mark.marker == name.marker)
        });
        Ok(found)
    }

    /// Revokes the tokens of one version until none was seen twice in a row: a login may be under way. Says how many. All
    /// tokens are looked through, however many there are, and each is ended as it is found: whoever makes thousands does
    /// not keep his, and a call that runs out of time has made the next one shorter.
    pub(super) async fn end_tokens_of(
        &self,
        link: &Link,
        name: Name<'_>,
        touched: &Touched,
    ) -> Result<u32, Failed> {
        let (mut ended, mut quiet) = (0, 0);
        for _ in 0..ROUNDS {
            let mut seen = 0_usize;
            for some in Self::accessors(link).await?.chunks(AT_A_TIME) {
                for token in self.of_these(link, name, some).await? {
                    seen += 1;
                    let revoke = vaultrs::token::revoke_accessor(&link.vault, &token.accessor)
                        .map_err(|error| failed(error).during("revoke a token"));
                    match touched.by(revoke).await {
                        Ok(()) => ended += 1,
                        // It ended by itself meanwhile; the next look says.
                        Err(gone) if gone.is(400) || gone.is(404) => {}
                        Err(other) => return Err(other),
                    }
                }
            }
            quiet = if seen == 0 { quiet + 1 } else { 0 };
            if quiet == 2 {
                return Ok(ended);
            }
        }
        Err(Failed::Lost(format!("tokens are still issued for {}", name.marker)))
    }

    /// A token by its accessor; none where it is gone.
    async fn token(&self, link: &Link, accessor: &str) -> Result<Option<LookupTokenResponse>, Failed> {
        let token = vaultrs::token::lookup_accessor(&link.vault, accessor).await;
        match token.map_err(|error| failed(error).during("look up a token")) {
            Ok(token) => Ok(Some(token)),
            Err(gone)
                if gone.is(400)
                    || gone.is(403) && gone.to_string().contains("invalid accessor")
                    || gone.is(404) =>
            {
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }
}
