//! Whether the rotator may do all that rotations of an account need: looked at, nothing is changed.

use super::Rabbitmq;
use super::api::{NO_ADMINISTRATOR, piece};
use crate::Lack;
use crate::answer::Failed;

impl Rabbitmq {
    /// Everything that is missing.
    pub(super) async fn lacks(&self) -> Result<Vec<Lack>, Failed> {
        let rotator = &self.target.user;
        // Only an administrator is shown users, even itself.
        if let Err(failed) = self.user(rotator).await {
            let Failed::No { status: 401, text } = failed else { return Err(failed) };
            let remedy = if text.contains(NO_ADMINISTRATOR) {
                format!("rabbitmqctl set_user_tags {rotator} administrator")
            } else {
                format!("rabbitmqctl change_password {rotator} …, with the password in the password_file")
            };
            return Ok(vec![Lack::new(text, remedy)]);
        }
        let without = |vhost: &String| {
            Lack::new(format!("there is no virtual host {vhost}"), format!("rabbitmqctl add_vhost '{vhost}'"))
        };
        let mut lacks: Vec<Lack> = self.missing_vhosts().await?.iter().map(without).collect();
        lacks.extend(self.lack_of_adopted().await?);
        Ok(lacks)
    }

    /// The declared virtual hosts that are not there.
    pub(super) async fn missing_vhosts(&self) -> Result<Vec<String>, Failed> {
        let mut missing = Vec::new();
        for permission in &self.account.permissions {
            let path = format!("vhosts/{}?columns=name", piece(&permission.vhost));
            if self.get_if_there(&path).await?.is_none() {
                missing.push(permission.vhost.clone());
            }
        }
        Ok(missing)
    }

    async fn lack_of_adopted(&self) -> Result<Option<Lack>, Failed> {
        let Some(adopt) = &self.account.adopt else { return Ok(None) };
        if self.user(&adopt.login).await?.is_some() {
            return Ok(None);
        }
        let what = format!("there is no user {} to adopt", adopt.login);
        Ok(Some(Lack::new(what, "name the user that the application has, or leave `adopt` out")))
    }
}
