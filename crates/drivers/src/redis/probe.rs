//! The proof of a version: a login as the consumer does it, and the declared probes.

use rekey_model::Fields;

use super::Redis;
use super::link::{Link, Login};
use crate::Proof;
use crate::answer::{Failed, Touched};
use crate::fault::one_line;

/// The most characters of a probe in an error.
const SHOWN: usize = 60;

impl Redis {
    /// A session as a consumer has it, which has answered.
    pub(super) async fn session<'a>(
        &'a self,
        fields: &'a Fields,
        touched: &'a Touched,
    ) -> Result<Link<'a>, Failed> {
        let username = fields.get("username").ok_or_else(|| Failed::no("login: there is no username"))?;
        let password = fields.get("password").ok_or_else(|| Failed::no("login: there is no password"))?;
        if username.expose() != self.account.user.as_bytes() {
            return Err(Failed::no(format!("login: the username is not {}", self.account.user)));
        }
        let login = Login {
            route: &self.target.consumer,
            tls: self.target.tls.as_ref(),
            user: &self.account.user,
            password,
            timeouts: self.target.timeouts,
        };
        let mut link = Link::open(&login, touched).await?;
        permitted(link.ask(&["PING"]).await).map_err(|failed| failed.during("PING"))?;
        Ok(link)
    }

    pub(super) async fn prove(&self, fields: &Fields, touched: &Touched) -> Result<Proof, Failed> {
        let mut link = self.session(fields, touched).await?;
        for (index, probe) in self.account.probes.iter().enumerate() {
            let words: Vec<&str> = probe.split_ascii_whitespace().collect();
            let shown: String = one_line(probe).chars().take(SHOWN).collect();
            let answered = elsewhere(link.ask(&words).await.map(drop));
            answered.map_err(|failed| failed.during(&format!("probe {} ({shown})", index + 1)))?;
        }
        link.close().await;
        Ok(Proof { probes: self.account.probes.len() })
    }
}

/// A user whose rules leave PING out is logged in all the same.
fn permitted<T>(answer: Result<T, Failed>) -> Result<(), Failed> {
    match answer {
        Err(Failed::No { text, .. }) if text.starts_with("NOPERM") => Ok(()),
        answer => answer.map(drop),
    }
}

/// A node of a cluster looks at the user's rules before it says that a key is another's.
fn elsewhere(answer: Result<(), Failed>) -> Result<(), Failed> {
    match answer {
        Err(Failed::No { text, .. }) if text.starts_with("MOVED ") || text.starts_with("ASK ") => Ok(()),
        answer => answer,
    }
}
