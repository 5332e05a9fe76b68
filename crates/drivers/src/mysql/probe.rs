//! The proof of a version: a login as the consumer does it, the declared probes, and no right less than before.

use std::sync::atomic::AtomicBool;

use rekey_model::{Fields, Handle, SecretBytes};

use super::Mysql;
use super::fault::{Fault, one_line};
use super::link::{Link, Login, text};
use crate::Proof;

/// The most rows of a probe that are fetched.
const MOST_ROWS: u32 = 1000;
/// The most characters of a probe in an error.
const SHOWN: usize = 60;

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
        for (index, probe) in self.account.probes.iter().enumerate() {
            let shown: String = one_line(probe).chars().take(SHOWN).collect();
            let ran = self.run_probe(&mut link, probe).await;
            ran.map_err(|fault| fault.during(&format!("probe {} ({shown})", index + 1)))?;
        }
        link.close().await;
        self.compare(&handle, old, touched).await.map_err(|fault| fault.during("privileges"))?;
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
        let database = Some(self.account.database.as_str());
        let mut link = self.consumer(handle, password, database, touched).await?;
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

    /// A fresh session over the consumer's route.
    pub(super) async fn consumer<'a>(
        &self,
        handle: &Handle,
        password: &SecretBytes,
        database: Option<&str>,
        touched: &'a AtomicBool,
    ) -> Result<Link<'a>, Fault> {
        let login = Login {
            route: &self.target.consumer,
            tls: self.target.tls.as_ref(),
            database,
            user: handle.as_str(),
            password,
            timeouts: self.target.timeouts,
        };
        Link::open(&login, touched).await
    }

    /// One statement in a transaction that may only read and is undone, with a limit that the server keeps too.
    async fn run_probe(&self, link: &mut Link<'_>, probe: &str) -> Result<(), Fault> {
        let limit = self.target.timeouts.statement;
        let seconds = limit.as_secs_f64();
        let work = async {
            link.rows(&format!("SET SESSION max_statement_time = {seconds}, sql_select_limit = {MOST_ROWS}"))
                .await?;
            // The session too: a statement that commits first would leave the transaction, and then change something.
            link.rows("SET SESSION TRANSACTION READ ONLY").await?;
            link.rows("START TRANSACTION READ ONLY").await?;
            link.rows(probe).await?;
            link.rows("ROLLBACK").await.map(drop)
        };
        match tokio::time::timeout(limit + self.target.timeouts.transit, work).await {
            Ok(ran) => ran,
            Err(_elapsed) => Err(Fault::Away(format!("no end after {limit:?}"))),
        }
    }
}
