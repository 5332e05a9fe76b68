//! Who is connected to a node: as the user, and as an earlier call of ours.

use std::time::Duration;

use rekey_model::Handle;

use super::Redis;
use super::link::Link;
use super::resp::Reply;
use crate::answer::{Failed, Touched};
use crate::fault::one_line;
use crate::target::Route;
use crate::{Age, Session, Usage};

/// The step in which Redis tells ages.
const SECOND: Duration = Duration::from_secs(1);

/// A connection as a node shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Client {
    id: String,
    address: String,
    name: String,
    user: String,
    age: Option<u64>,
}

impl Client {
    /// Reads one line of `CLIENT LIST`.
    fn of(line: &str) -> Self {
        let mut client = Self::default();
        for (key, value) in line.split(' ').filter_map(|word| word.split_once('=')) {
            match key {
                "id" => value.clone_into(&mut client.id),
                "addr" => value.clone_into(&mut client.address),
                "name" => value.clone_into(&mut client.name),
                "user" => value.clone_into(&mut client.user),
                "age" => client.age = value.parse().ok(),
                _ => {}
            }
        }
        client
    }
}

impl Redis {
    pub(super) async fn sessions(&self, handle: &Handle, touched: &Touched) -> Result<Usage, Failed> {
        self.hash_in(handle)?;
        let at = self.everywhere(|node| self.sessions_at(node, touched)).await?;
        Ok(Usage::OfAccount(at.into_iter().flatten().collect()))
    }

    async fn sessions_at(&self, node: &Route, touched: &Touched) -> Result<Vec<Session>, Failed> {
        let mut link = self.rotator(node, touched).await?;
        let now_ms = now_ms(&mut link).await?;
        let clients = self.of_the_user(&mut link).await?;
        link.close().await;
        let session = |client: Client| {
            let age = client.age.map(|age| Age { least: Duration::from_secs(age), step: SECOND });
            let begun = age.and_then(|age| i64::try_from(age.least.as_millis()).ok());
            Session {
                id: None,
                client: one_line(client.address.rsplit_once(':').map_or("", |(host, _port)| host)),
                application: one_line(&client.name),
                since_ms: now_ms.saturating_sub(begun.unwrap_or_default()),
                age,
            }
        };
        Ok(clients.into_iter().map(session).collect())
    }

    /// Ends every session of the user and says how many; those that come afterwards came with another password.
    pub(super) async fn end_sessions(&self, link: &mut Link<'_>) -> Result<u32, Failed> {
        let before = self.of_the_user(link).await?;
        let killed = link.ask(&["CLIENT", "KILL", "USER", &self.account.user]).await?;
        let Reply::Number(killed) = killed else {
            return Err(Failed::no("the answer to CLIENT KILL is none of Redis: is this its port?"));
        };
        let after = self.of_the_user(link).await?;
        if after.iter().any(|client| before.iter().any(|other| other.id == client.id)) {
            return Err(Failed::Away(format!("{} is refused, but has sessions yet", self.account.user)));
        }
        Ok(u32::try_from(killed).unwrap_or_default())
    }

    /// Ends what is left of earlier calls that changed something of this credential, and becomes the next one: what they
    /// sent and was not read yet is never done.
    pub(super) async fn fence(&self, link: &mut Link<'_>) -> Result<(), Failed> {
        let mark = self.mark();
        for client in clients(link).await? {
            if client.name == mark && client.user == self.target.user {
                link.ask(&["CLIENT", "KILL", "ID", &client.id]).await?;
            }
        }
        link.ask(&["CLIENT", "SETNAME", &mark]).await.map(drop)
    }

    async fn of_the_user(&self, link: &mut Link<'_>) -> Result<Vec<Client>, Failed> {
        let mut clients = clients(link).await?;
        clients.retain(|client| client.user == self.account.user);
        Ok(clients)
    }
}

async fn clients(link: &mut Link<'_>) -> Result<Vec<Client>, Failed> {
    let answer = link.ask(&["CLIENT", "LIST"]).await?;
    let Reply::Text(text) = answer else {
        return Err(Failed::no("the answer to CLIENT LIST is none of Redis: is this its port?"));
    };
    Ok(String::from_utf8_lossy(&text).lines().map(Client::of).collect())
}

/// The node's clock, in milliseconds since 1970 UTC.
async fn now_ms(link: &mut Link<'_>) -> Result<i64, Failed> {
    let answer = link.ask(&["TIME"]).await?;
    let seconds = answer.list().and_then(|list| list.first()).and_then(Reply::text);
    let seconds: Option<i64> = seconds.and_then(|text| text.parse().ok());
    seconds
        .and_then(|seconds| seconds.checked_mul(1000))
        .ok_or_else(|| Failed::no("the answer to TIME is none of Redis: is this its port?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list_is_read_whatever_else_stands_in_it() {
        let line =
            "id=15 addr=[::1]:40794 laddr=[::1]:7999 fd=7 name=a=b age=9 idle=0 user=orders lib-name= x";
        let client = Client::of(line);
        let Client { id, address, name, user, age } = client;
        assert_eq!((id.as_str(), address.as_str(), name.as_str()), ("15", "[::1]:40794", "a=b"));
        assert_eq!((user.as_str(), age), ("orders", Some(9)));
        assert_eq!(Client::of("name= age=x nonsense"), Client::default());
    }
}
