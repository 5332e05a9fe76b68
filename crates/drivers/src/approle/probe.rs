//! The proof of a version: a login as the consumer does it, and the declared reads.

use rekey_model::Fields;
use rustify::enums::RequestMethod;
use rustify::errors::ClientError as Rest;
use serde::de::IgnoredAny;
use vaultrs::api::AuthInfo;
use vaultrs::auth::approle::role;
use vaultrs::error::ClientError;

use super::AppRole;
use super::calls::Call;
use super::link::{Link, failed};
use crate::Proof;
use crate::answer::Failed;

impl AppRole {
    pub(super) async fn prove(&self, fields: &Fields) -> Result<Proof, Failed> {
        let role_id = text(fields, "role_id")?;
        let secret_id = text(fields, "secret_id")?;
        if let Some(uses) = self.account.num_uses
            && self.uses_left(secret_id).await? <= u64::from(uses)
        {
            // Our own login was made; another would be the consumer's.
            return Ok(Proof { probes: 0 });
        }
        let nobody = self.consumer("")?;
        let auth = vaultrs::auth::approle::login(&nobody.vault, &self.target.mount, role_id, secret_id).await;
        let auth = auth.map_err(|error| failed(error).during("login"))?;
        let token = self.consumer(&auth.client_token)?;
        let used = self.used(&auth, &token).await;
        // No probe leaves a token behind.
        let ended = vaultrs::token::revoke_self(&token.vault).await;
        let proof = used?;
        ended.map_err(|error| {
            failed(error).during("the token of this probe cannot end itself (policy default)")
        })?;
        Ok(proof)
    }

    async fn used(&self, auth: &AuthInfo, token: &Link) -> Result<Proof, Failed> {
        let role = auth.metadata.as_ref().and_then(|metadata| metadata.get("role_name"));
        if role != Some(&self.account.role) {
            return Err(Failed::no(format!("login: it is not the role {}", self.account.role)));
        }
        if let Some(missing) = self.account.policies.iter().find(|policy| !auth.policies.contains(policy)) {
            return Err(Failed::no(format!("the token has not the policy {missing}")));
        }
        for (index, path) in self.account.probes.iter().enumerate() {
            let call: Call<IgnoredAny> = Call::new(RequestMethod::GET, path, None);
            let read: Result<(), _> = vaultrs::api::exec_with_empty(&token.vault, call).await;
            read.map_err(|error| failed(error).during(&format!("probe {} (read {path})", index + 1)))?;
        }
        Ok(Proof { probes: self.account.probes.len() })
    }

    /// How often a secret-id may still log in, asked without logging in.
    async fn uses_left(&self, secret_id: &str) -> Result<u64, Failed> {
        let rotator = self.rotator().await?;
        let (mount, role) = (&self.target.mount, &self.account.role);
        let read = role::secret::read(&rotator.link().vault, mount, role, secret_id).await;
        rotator.close().await;
        match read {
            Ok(read) => Ok(read.secret_id_num_uses),
            // No content.
            Err(ClientError::RestClientError { source: Rest::ResponseParseError { .. } }) => {
                Err(Failed::no("login: there is no such secret-id, or it has no use left"))
            }
            Err(error) => Err(failed(error).during("look up the secret-id")),
        }
    }
}

fn text<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, Failed> {
    let value = fields.get(name).and_then(|value| std::str::from_utf8(value.expose()).ok());
    value.ok_or_else(|| Failed::no(format!("login: there is no {name}")))
}
