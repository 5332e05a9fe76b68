//! Whether a version works: a login at each virtual host over the consumers' route, and its rights.

use rekey_model::{Fields, Handle, SecretBytes};

use super::Rabbitmq;
use super::amqp;
use super::rights;
use crate::Proof;
use crate::answer::Failed;

impl Rabbitmq {
    /// Logs in at each virtual host, and makes sure that the rights are there: the declared ones, and those of `old`.
    pub(super) async fn prove(&self, fields: &Fields, old: Option<&Handle>) -> Result<Proof, Failed> {
        let field =
            |name: &str| fields.get(name).ok_or_else(|| Failed::no(format!("login: there is no {name}")));
        let user = std::str::from_utf8(field("username")?.expose()).ok().and_then(|user| user.parse().ok());
        let user: Handle = user.ok_or_else(|| Failed::no("login: username is no name"))?;
        self.log_in(user.as_str(), field("password")?).await?;
        let lost = if self.adopts(user.as_str()) { Vec::new() } else { self.lost_of(&user).await? };
        if !lost.is_empty() {
            return Err(Failed::no(format!("rights: {user} lacks {}", lost.join(", "))));
        }
        if let Some(old) = old.filter(|old| **old != user) {
            let lost = rights::lost(&self.rights_of(old).await?, &self.rights_of(&user).await?);
            if !lost.is_empty() {
                let lost = lost.join(", ");
                return Err(Failed::no(format!(
                    "rights: {old} may do what {user} may not: {lost}; declare it, or take it from {old} first"
                )));
            }
        }
        Ok(Proof { probes: self.account.permissions.len() })
    }

    /// A fresh connection to each declared virtual host, closed again.
    pub(super) async fn log_in(&self, user: &str, password: &SecretBytes) -> Result<(), Failed> {
        for permission in &self.account.permissions {
            let vhost = permission.vhost.as_str();
            let login = amqp::Login { user, password, vhost };
            let done = amqp::log_in(&self.target.consumer, &login).await;
            done.map_err(|failed| failed.during(&format!("login at {vhost}")))?;
        }
        Ok(())
    }

    /// What is declared and a version has not: rights, in words, and tags.
    pub(super) async fn lost_of(&self, user: &Handle) -> Result<Vec<String>, Failed> {
        let (declared, has) = (self.declared(), self.rights_of(user).await?);
        let mut lost: Vec<String> = Vec::new();
        for (vhost, rights) in &declared {
            if has.get(vhost) != Some(rights) {
                lost.push(format!("its declared permissions at {vhost}"));
            }
        }
        let shown = self.user(user.as_str()).await?;
        let tags = shown.map(|shown| shown.tags).unwrap_or_default();
        let missing = self.account.tags.iter().filter(|tag| !tags.contains(tag));
        lost.extend(missing.map(|tag| format!("the tag {tag}")));
        Ok(lost)
    }
}
