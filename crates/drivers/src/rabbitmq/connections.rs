//! Who is on a user, how its connections end, and how the user itself goes.

use std::collections::BTreeSet;
use std::time::Duration;

use rekey_model::Handle;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::Rabbitmq;
use super::api::{entries, piece, text};
use super::user::{Standing, foreign, path};
use crate::answer::{Failed, Touched};
use crate::{Cut, Session, Sessions, Usage};

/// A login that was let in just before it was refused may show up a moment later.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
const UNTIL_GONE: Duration = Duration::from_millis(50);

impl Rabbitmq {
    pub(super) async fn sessions(&self, handle: &Handle) -> Result<Usage, Failed> {
        let sessions = match self.standing(handle).await? {
            Standing::Absent => Vec::new(),
            Standing::Foreign => return Err(foreign(handle)),
            Standing::Ours(..) | Standing::Adopted(_) => self.connections(handle).await?,
        };
        Ok(Usage::Sessions(sessions))
    }

    pub(super) async fn cut(
        &self,
        handle: &Handle,
        sessions: Sessions,
        touched: &Touched,
    ) -> Result<Cut, Failed> {
        let shown = match self.standing(handle).await? {
            Standing::Absent => return Ok(Cut::default()),
            Standing::Foreign => return Err(foreign(handle)),
            Standing::Ours(shown, _) | Standing::Adopted(shown) => shown,
        };
        self.shut(&shown, touched).await?;
        match sessions {
            Sessions::Leave => {
                let mut left = self.connections(handle).await?.len();
                if left == 0 {
                    sleep(BETWEEN_LOOKS).await;
                    left = self.connections(handle).await?.len();
                }
                Ok(Cut { sessions_ended: 0, sessions_left: u32::try_from(left).unwrap_or(u32::MAX) })
            }
            Sessions::End => {
                let limit = self.target.call / 2;
                let mut ended = BTreeSet::new();
                let gone = timeout(limit, self.end_all(handle, &mut ended, touched)).await;
                gone.unwrap_or_else(|_elapsed| {
                    Err(Failed::Away(format!("{handle} is refused, but has connections after {limit:?}")))
                })?;
                Ok(Cut { sessions_ended: u32::try_from(ended.len()).unwrap_or(u32::MAX), sessions_left: 0 })
            }
        }
    }

    pub(super) async fn remove(&self, handle: &Handle, touched: &Touched) -> Result<(), Failed> {
        let (shown, ours) = match self.standing(handle).await? {
            Standing::Absent => return Ok(()),
            Standing::Foreign => return Err(foreign(handle)),
            Standing::Ours(shown, _) => (shown, true),
            Standing::Adopted(shown) => (shown, false),
        };
        // To delete a user ends its connections.
        if shown.open() || !self.connections(handle).await?.is_empty() {
            return Err(Failed::no(format!(
                "{handle} can log in or has connections: revoking it comes first"
            )));
        }
        if !ours {
            return Ok(());
        }
        touched.by(self.delete(&path(handle.as_str()))).await?;
        match self.standing(handle).await? {
            Standing::Absent => Ok(()),
            Standing::Ours(..) | Standing::Adopted(_) | Standing::Foreign => {
                Err(Failed::Away(format!("{handle} is still there")))
            }
        }
    }

    /// The connections of a user, from the broker's own register: its statistics come seconds later.
    async fn connections(&self, handle: &Handle) -> Result<Vec<Session>, Failed> {
        let columns = "columns=name,connected_at,user_provided_name";
        let shown = self.get(&format!("{}?{columns}", of_user(handle))).await?;
        Ok(entries(&shown)?.iter().map(session).collect())
    }

    /// Ends connections until none was seen twice in a row.
    async fn end_all(
        &self,
        handle: &Handle,
        ended: &mut BTreeSet<String>,
        touched: &Touched,
    ) -> Result<(), Failed> {
        let mut quiet = false;
        loop {
            let connections = self.connections(handle).await?;
            let none = connections.is_empty();
            if !none {
                ended.extend(connections.into_iter().map(|session| session.client));
                let end = touched.by(self.delete(&of_user(handle))).await;
                end.map_err(|failed| failed.during("ending its connections"))?;
            }
            match (none, quiet) {
                (true, true) => return Ok(()),
                (true, false) => sleep(BETWEEN_LOOKS).await,
                (false, _) => sleep(UNTIL_GONE).await,
            }
            quiet = none;
        }
    }
}

/// Where the connections of a user are.
fn of_user(handle: &Handle) -> String {
    format!("connections/username/{}", piece(handle.as_str()))
}

/// A connection; when it began and what it calls itself is known some seconds later.
fn session(connection: &Value) -> Session {
    let told = |field| text(connection, field).unwrap_or_default().to_owned();
    Session {
        id: None,
        client: told("name"),
        application: told("user_provided_name"),
        since_ms: connection.get("connected_at").and_then(Value::as_i64).unwrap_or_default(),
        age: None,
    }
}
