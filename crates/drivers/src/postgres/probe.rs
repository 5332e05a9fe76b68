//! The proof of a version: a login as the consumer does it, the declared probes, and no right less than before.

use std::sync::atomic::AtomicBool;

use rekey_model::{Fields, Handle};

use super::Postgres;
use super::fault::{Fault, one_line};
use super::link::{Link, column};
use crate::Proof;

/// The most characters of a probe in an error.
const SHOWN: usize = 60;

impl Postgres {
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
        let tried = self.try_out(fields, &handle, touched).await;
        if let Err(Fault::No(_)) = tried {
            return tried;
        }
        // Also when the login has to wait: a connection limit of 0 asks to wait for ever, and shows here.
        self.compare(&handle, old, touched).await.map_err(|fault| fault.during("privileges"))?;
        tried
    }

    async fn try_out(&self, fields: &Fields, handle: &Handle, touched: &AtomicBool) -> Result<Proof, Fault> {
        let mut link = self.log_in(fields, handle, touched).await?;
        for (index, probe) in self.account.probes.iter().enumerate() {
            let ran = self.target.run_probe(&mut link, probe).await;
            ran.map_err(|fault| fault.during(&shown(index, probe)))?;
        }
        link.close().await;
        Ok(Proof { probes: self.account.probes.len() })
    }

    /// A fresh session by `fields` over the consumer's route, that is who it should be.
    pub(super) async fn log_in<'a>(
        &self,
        fields: &Fields,
        handle: &Handle,
        touched: &'a AtomicBool,
    ) -> Result<Link<'a>, Fault> {
        let password = fields.get("password").ok_or_else(|| Fault::no("login: there is no password"))?;
        let login = (handle.as_str(), password, self.account.database.as_str());
        let mut link = self.target.as_consumer(login, touched).await?;
        self.right_person(&mut link, handle).await?;
        Ok(link)
    }

    /// Whether the session is who it should be, and acts as the owner role.
    async fn right_person(&self, link: &mut Link<'_>, handle: &Handle) -> Result<(), Fault> {
        let sql = "SELECT session_user::text, current_user::text, current_database()::text";
        link.begin().await?;
        let row = link.row(sql, &[]).await?.ok_or_else(|| Fault::no("login: no answer"))?;
        link.run("ROLLBACK").await?;
        let (is_user, is_role, is_database): (String, String, String) =
            (column(&row, 0)?, column(&row, 1)?, column(&row, 2)?);
        let user = handle.as_str();
        let role = if self.adopts(handle) { is_role.as_str() } else { self.account.owner_role.as_str() };
        let database = self.account.database.as_str();
        if (is_user.as_str(), is_role.as_str(), is_database.as_str()) == (user, role, database) {
            return Ok(());
        }
        Err(Fault::no(format!(
            "login: the session is {is_user} as {is_role} in {is_database}, not {user} as {role} in {database}"
        )))
    }
}

/// How a probe is named in an error.
pub(super) fn shown(index: usize, probe: &str) -> String {
    let shown: String = one_line(probe).chars().take(SHOWN).collect();
    format!("probe {} ({shown})", index + 1)
}
