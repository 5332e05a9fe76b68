//! What the rotator needs at OpenBao: the policy for it, and whether it and the role have what they must.

use rustify::enums::RequestMethod;
use vaultrs::api::auth::approle::responses::ReadAppRoleResponse;
use vaultrs::auth::approle::role;

use super::AppRole;
use super::calls::{Call, Capabilities};
use super::link::{Link, failed};
use super::settings::{Account, Tokens};
use crate::Lack;
use crate::answer::Failed;

/// The longest life of a wrapping, as the policy limits it.
pub(super) const WRAPPED_FOR: &str = "30s";

/// What may be done, and where.
struct Right {
    what: &'static str,
    path: String,
}

/// The policy for the rotator of `account`, in OpenBao's language: what docs/drivers.md shows.
pub fn policy(mount: &str, account: &Account) -> String {
    rights(mount, account).iter().map(|right| right.granted() + "\n").collect()
}

/// All that is needed for `account`.
fn rights(mount: &str, account: &Account) -> Vec<Right> {
    let role = format!("auth/{mount}/role/{}", account.role);
    let of_role = |what, below: &str| Right { what, path: format!("{role}{below}") };
    let of_tokens = |what, below: &str| Right { what, path: format!("auth/token/{below}") };
    let mut rights = vec![
        of_role("read", ""),
        of_role("read", "/role-id"),
        of_role("update", "/secret-id"),
        of_role("list", "/secret-id/"),
        of_role("update", "/secret-id-accessor/lookup"),
        of_role("update", "/secret-id-accessor/destroy"),
    ];
    if account.num_uses.is_some() {
        rights.push(of_role("update", "/secret-id/lookup"));
    }
    if account.tokens == Tokens::Watch {
        rights.push(of_tokens("list", "accessors/"));
        rights.push(of_tokens("update", "lookup-accessor"));
        rights.push(of_tokens("update", "revoke-accessor"));
    }
    rights
}

impl Right {
    /// The line of a policy that gives it.
    fn granted(&self) -> String {
        let Self { what, path } = self;
        // OpenBao guards this path by itself.
        let root = if path == "auth/token/accessors/" { ", \"sudo\"" } else { "" };
        let rule = format!("path \"{path}\" {{ capabilities = [\"{what}\"{root}]");
        // No secret-id is answered in the open, whoever has the rotator's token.
        if path.ends_with("/secret-id") {
            return format!("{rule}\n  min_wrapping_ttl = \"1s\"\n  max_wrapping_ttl = \"{WRAPPED_FOR}\" }}");
        }
        rule + " }"
    }

    fn is_held(&self, held: &Capabilities) -> bool {
        let words = held.get(&self.path).and_then(serde_json::Value::as_array);
        let mut words = words.into_iter().flatten().filter_map(serde_json::Value::as_str);
        words.any(|word| word == self.what || word == "root")
    }
}

impl AppRole {
    pub(super) async fn lacks(&self) -> Result<Vec<Lack>, Failed> {
        let rotator = self.rotator().await?;
        let lacks = self.lacks_by(rotator.link()).await;
        rotator.close().await;
        lacks
    }

    /// Everything that is missing: rights of the rotator, and of the role what a secret-id could not do without.
    pub(super) async fn lacks_by(&self, link: &Link) -> Result<Vec<Lack>, Failed> {
        let needed = rights(&self.target.mount, &self.account);
        let paths: Vec<&str> = needed.iter().map(|right| right.path.as_str()).collect();
        let body = serde_json::json!({ "paths": paths });
        let call = Call::new(RequestMethod::POST, "sys/capabilities-self", Some(body));
        let held: Result<Capabilities, _> = vaultrs::api::exec_with_result(&link.vault, call).await;
        let held = held.map_err(|error| failed(error).during("the rotator's token"))?;
        let missing = needed.iter().filter(|right| !right.is_held(&held));
        let lack = |right: &Right| {
            let what = format!("the policy of the rotator lacks `{}` on {}", right.what, right.path);
            Lack::new(what, right.granted().replace("\n ", ""))
        };
        let mut lacks: Vec<Lack> = missing.map(lack).collect();
        if lacks.is_empty() {
            let (mount, name) = (&self.target.mount, &self.account.role);
            match role::read(&link.vault, mount, name).await.map_err(failed) {
                Ok(role) => lacks.extend(self.misfits(&role)),
                Err(none) if none.is(404) => {
                    let what = format!("there is no role {name} at auth/{mount}");
                    lacks.push(Lack::new(
                        what,
                        format!("bao write auth/{mount}/role/{name} token_policies=…"),
                    ));
                }
                Err(other) => return Err(other.during(&format!("the role {name} at auth/{mount}"))),
            }
        }
        Ok(lacks)
    }

    /// What of the role would not go well.
    fn misfits(&self, role: &ReadAppRoleResponse) -> Vec<Lack> {
        let write =
            |what: &str| format!("bao write auth/{}/role/{} {what}", self.target.mount, self.account.role);
        let mut lacks = Vec::new();
        if !role.bind_secret_id {
            lacks.push(Lack::new("the role logs in without a secret-id", write("bind_secret_id=true")));
        }
        if role.token_type == "batch" && self.account.tokens == Tokens::Watch {
            let what = "the role issues batch tokens, which can be neither seen nor revoked";
            lacks.push(Lack::new(what, format!("`tokens: leave`, or {}", write("token_type=service"))));
        }
        if role.secret_id_ttl != 0 && self.account.ttl.is_none() {
            let what =
                format!("the role's secret-ids end after {} s, and nobody would know", role.secret_id_ttl);
            lacks.push(Lack::new(what, format!("`ttl`, or {}", write("secret_id_ttl=0"))));
        }
        if role.secret_id_num_uses != 0 && self.account.num_uses.is_none() {
            let uses = role.secret_id_num_uses;
            let what = format!("the role lets a secret-id log in {uses} times only");
            lacks.push(Lack::new(what, format!("`num_uses`, or {}", write("secret_id_num_uses=0"))));
        }
        lacks
    }
}
