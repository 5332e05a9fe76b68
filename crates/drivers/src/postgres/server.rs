//! What every kind of account does at a server: limits of a call, the rotator's session, what consumers get.

use std::sync::atomic::AtomicBool;

use rekey_model::{Fields, SecretBytes};
use tokio::time::timeout;

use super::fault::Fault;
use super::link::{ChannelBinding, Link, Login};
use super::settings::Target;
use crate::DriverError;
use crate::driver::given;

/// The names of what consumers get.
pub(super) const FIELDS: &[&str] = &["username", "password", "host", "port", "database"];

/// The most rows of a probe that are fetched.
const MOST_ROWS: i32 = 1000;

impl Target {
    /// Does the `work` of one call within its limit, and says what a failure means.
    pub(super) async fn bounded<T>(
        &self,
        work: impl AsyncFnOnce(&AtomicBool) -> Result<T, Fault>,
    ) -> Result<T, DriverError> {
        crate::fault::call(self.timeouts.call, work).await
    }

    /// A session of the rotator in `database`.
    pub(super) async fn rotator<'a>(
        &self,
        database: &str,
        touched: &'a AtomicBool,
    ) -> Result<Link<'a>, Fault> {
        let login = Login {
            route: &self.route,
            tls: self.tls.as_ref(),
            database,
            user: &self.user,
            password: &self.password,
            application: "rekey",
            own_settings: true,
            binding: ChannelBinding::Require,
            timeouts: self.timeouts,
        };
        Link::open(&login, touched).await.map_err(|fault| fault.during("as the rotator"))
    }

    /// A fresh session over the consumer's route, as a consumer gets it.
    pub(super) async fn as_consumer<'a>(
        &self,
        (user, password, database): (&str, &SecretBytes, &str),
        touched: &'a AtomicBool,
    ) -> Result<Link<'a>, Fault> {
        let login = Login {
            route: &self.consumer,
            tls: self.consumer_tls.as_ref(),
            database,
            user,
            password,
            application: "rekey-probe",
            own_settings: false,
            binding: self.consumer_binding,
            timeouts: self.timeouts,
        };
        Link::open(&login, touched).await
    }

    /// Runs one declared statement in a transaction that is undone, with a limit that the server keeps too.
    pub(super) async fn run_probe(&self, link: &mut Link<'_>, probe: &str) -> Result<(), Fault> {
        let limit = self.timeouts.statement;
        match timeout(limit + self.timeouts.transit, link.try_out(probe, MOST_ROWS, limit)).await {
            Ok(ran) => ran,
            Err(_elapsed) => Err(Fault::Away(format!("no end after {limit:?}"))),
        }
    }

    /// What consumers get who log in to `database` as `user`.
    pub(super) fn given(&self, user: &str, secret: &SecretBytes, database: &str) -> Result<Fields, Fault> {
        if std::str::from_utf8(secret.expose()).is_err() || secret.expose().contains(&0) {
            return Err(Fault::no("a password in PostgreSQL is UTF-8 without NUL"));
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
