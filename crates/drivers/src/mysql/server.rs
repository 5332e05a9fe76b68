//! What every kind of account does at a server: limits of a call, the rotator's session, what consumers get, probes.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rekey_model::{Fields, SecretBytes};

use super::check;
use super::fault::{Fault, one_line};
use super::link::{Link, Login};
use super::settings::Target;
use super::wire::Server;
use crate::driver::given;
use crate::{DriverError, Proof};

/// The names of what consumers get.
pub(super) const FIELDS: &[&str] = &["username", "password", "host", "port", "database"];

/// The most rows of a probe that are fetched.
const MOST_ROWS: u32 = 1000;
/// The most characters of a probe in an error.
const SHOWN: usize = 60;

impl Target {
    /// Does the `work` of one call within its limit, and says what a failure means.
    pub(super) async fn bounded<T>(
        &self,
        work: impl AsyncFnOnce(&AtomicBool) -> Result<T, Fault>,
    ) -> Result<T, DriverError> {
        crate::fault::call(self.timeouts.call, work).await
    }

    /// How long after a call was given up it may still take effect, at the most.
    pub(super) fn settle(&self) -> Duration {
        Duration::from_secs(self.timeouts.transit_seconds()) + self.timeouts.statement
    }

    /// A session of the rotator, whatever it may do.
    pub(super) async fn admin<'a>(&self, touched: &'a AtomicBool) -> Result<Link<'a>, Fault> {
        let login = Login {
            route: &self.route,
            tls: self.tls.as_ref(),
            database: None,
            user: &self.user,
            password: &self.password,
            timeouts: self.timeouts,
        };
        let mut link = Link::open(&login, touched).await?;
        link.bind(self.timeouts).await?;
        Ok(link)
    }

    /// A session of the rotator. Without `PROCESS` it would be shown its own sessions alone, and take that for all; and by
    /// what it may do to connections, MySQL would let it change a standby that takes no changes.
    pub(super) async fn rotator<'a>(&self, touched: &'a AtomicBool) -> Result<Link<'a>, Fault> {
        let during = |fault: Fault| fault.during("as the rotator");
        let mut link = self.admin(touched).await.map_err(during)?;
        if let Some(right) = check::missing(&mut link).await.map_err(during)?.first() {
            return Err(Fault::no(format!("the rotator has no {right}")));
        }
        if link.server() == Server::MySql && !check::takes_changes(&mut link).await.map_err(during)? {
            return Err(Fault::Away(check::READ_ONLY.to_owned()));
        }
        Ok(link)
    }

    /// A fresh session over the consumer's route, as a consumer gets it.
    pub(super) async fn as_consumer<'a>(
        &self,
        (user, password, database): (&str, &SecretBytes, Option<&str>),
        touched: &'a AtomicBool,
    ) -> Result<Link<'a>, Fault> {
        let login = Login {
            route: &self.consumer,
            tls: self.tls.as_ref(),
            database,
            user,
            password,
            timeouts: self.timeouts,
        };
        Link::open(&login, touched).await
    }

    /// Runs the declared statements; the first that fails is named.
    pub(super) async fn run_probes(&self, link: &mut Link<'_>, probes: &[String]) -> Result<Proof, Fault> {
        for (index, probe) in probes.iter().enumerate() {
            let shown: String = one_line(probe).chars().take(SHOWN).collect();
            let ran = self.run_probe(link, probe).await;
            ran.map_err(|fault| fault.during(&format!("probe {} ({shown})", index + 1)))?;
        }
        Ok(Proof { probes: probes.len() })
    }

    /// One statement in a transaction that may only read and is undone, with a limit that the server keeps too.
    async fn run_probe(&self, link: &mut Link<'_>, probe: &str) -> Result<(), Fault> {
        let limit = self.timeouts.statement;
        let work = async {
            let own = link.limit(limit);
            link.rows(&format!("SET SESSION {own}, sql_select_limit = {MOST_ROWS}")).await?;
            // The session too: a statement that commits first would leave the transaction, and then change something.
            link.rows("SET SESSION TRANSACTION READ ONLY").await?;
            link.rows("START TRANSACTION READ ONLY").await?;
            link.rows(probe).await?;
            link.rows("ROLLBACK").await.map(drop)
        };
        match tokio::time::timeout(limit + self.timeouts.transit, work).await {
            Ok(ran) => ran,
            Err(_elapsed) => Err(Fault::Away(format!("no end after {limit:?}"))),
        }
    }

    /// What consumers get who log in to `database` as `user`.
    pub(super) fn given(&self, user: &str, secret: &SecretBytes, database: &str) -> Result<Fields, Fault> {
        if std::str::from_utf8(secret.expose()).is_err() || secret.expose().contains(&0) || secret.size() == 0
        {
            return Err(Fault::no("a password is UTF-8 without NUL, and not empty"));
        }
        let values = [
            user.as_bytes().to_vec(),
            secret.expose().to_vec(),
            self.consumer.host.clone().into_bytes(),
            self.consumer.port.to_string().into_bytes(),
            database.to_owned().into_bytes(),
        ];
        given(FIELDS.iter().copied().zip(values)).map_err(Fault::no)
    }
}
