//! The proof of a version: a login as the consumer does it, the declared probes, and no right less than before.

use std::sync::atomic::AtomicBool;

use rekey_model::{Fields, Handle};

use super::Mysql;
use super::fault::Fault;
use super::link::{Link, text};
use crate::Proof;

impl Mysql {
    pub(super) async fn prove(
        &self,
        fields: &Fields,
        old: Option<&Handle>,
        touched: &AtomicBool,
    ) -> Result<Proof, Fault> {
        let username = fields.get("username").ok_or_else(|| Fault::no("login: there is no username"))?;
        let handle: Handle = std::str::from_utf8(username.expose())
            .ok()
            .and_then(|name| name.parse().ok())
            .ok_or_else(|| Fault::no("login: the username is not a name at a target"))?;
        let mut link = self.log_in(fields, &handle, touched).await?;
        let proof = self.target.run_probes(&mut link, &self.account.probes).await?;
        link.close().await;
        self.compare(&handle, old, touched).await.map_err(|fault| fault.during("privileges"))?;
        Ok(proof)
    }

    /// A fresh session by `fields` over the consumer's route, that is who it should be.
    pub(super) async fn log_in<'a>(
        &self,
        fields: &Fields,
        handle: &Handle,
        touched: &'a AtomicBool,
    ) -> Result<Link<'a>, Fault> {
        let password = fields.get("password").ok_or_else(|| Fault::no("login: there is no password"))?;
        let database = Some(self.account.database.as_str());
        let mut link = self.target.as_consumer((handle.as_str(), password, database), touched).await?;
        let sql = "SELECT CURRENT_USER(), CURRENT_ROLE(), DATABASE()";
        let rows = link.rows(sql).await?;
        let row = rows.first().ok_or_else(|| Fault::no("login: no answer"))?;
        let [user, role, database] = [0, 1, 2].map(|column| text(row, column).unwrap_or_default());
        let wanted = format!("{handle}@{}", self.from(handle));
        let right_role = role == self.account.role || self.adopts(handle);
        if user == wanted && right_role && database == self.account.database {
            return Ok(link);
        }
        Err(Fault::no(format!(
            "login: the session is {user} as {role} in {database}, not {wanted} as {} in {}",
            self.account.role, self.account.database
        )))
    }
}
