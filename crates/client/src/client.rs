//! The client: calls, and the handles that it gives out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rekey_model::{CredentialName, Generation, Version};
use rekey_proto::local as wire;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::answer;
use crate::back_off::BackOff;
use crate::builder::{Builder, Timeouts};
use crate::clock;
use crate::credential::Credential;
use crate::error::{Error, Unavailable};
use crate::fetch::Fetch;
use crate::keeper::{self, Chore, follow};
use crate::link::Link;
use crate::slot::Slot;
use crate::watched::Watched;

/// The most credentials that one client follows: a sidecar allows 32 streams in one connection, and reads need some.
const MOST_WATCHED: usize = 24;
/// The most chores that wait for the background task to take them up.
const MOST_CHORES: usize = 64;

/// A connection to the sidecar that is kept up in the background. Cheap to clone; the connection ends with the last
/// clone and the last handle.
#[derive(Clone)]
pub struct Client {
    owner: Arc<Owner>,
}

/// One line of [`Client::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The credential's name.
    pub name: CredentialName,
    /// The version that is served; none while there is nothing.
    pub version: Option<Version>,
    /// The generation that it was first part of.
    pub generation: Generation,
    /// How long ago the sidecar last knew that this is what it is to serve.
    pub age: Duration,
    /// Whether the sidecar's controller is out of its reach, so that a newer version may exist.
    pub stale: bool,
    /// Why it cannot be read now; none if it can.
    pub unavailable: Option<Unavailable>,
}

impl Client {
    /// Connects within the limit and starts the background task.
    pub(crate) async fn open(builder: Builder) -> Result<Self, Error> {
        let deadline = clock::now() + builder.timeouts().connect;
        let mut back_off = BackOff::new();
        let link = loop {
            match Link::open(&builder, 1).await {
                Ok(link) => break link,
                // A sidecar that is just starting is waited for; a stranger at its place is not.
                Err(error @ Error::Connect { .. }) => {
                    let next = clock::now() + back_off.next();
                    if next >= deadline {
                        return Err(error);
                    }
                    tokio::time::sleep_until(next).await;
                }
                Err(error) => return Err(error),
            }
        };
        let shared = Arc::new(Shared {
            builder,
            link: watch::Sender::new(Some(link)),
            slots: Mutex::default(),
            reports: Arc::new(Notify::new()),
        });
        let (chores, more) = mpsc::channel(MOST_CHORES);
        keeper::start(Arc::clone(&shared), more);
        Ok(Self { owner: Arc::new(Owner { shared, chores }) })
    }

    /// Follows a credential. Two calls with one name share what they follow.
    ///
    /// Returns at once, even if there is nothing to give yet: see [`Watched::ready`].
    pub async fn watch(&self, name: &str) -> Result<Watched, Error> {
        let name: CredentialName = name.parse()?;
        let (slot, new) = self.owner.shared.slot(name)?;
        if new {
            let following = follow(Arc::clone(&self.owner.shared), Arc::clone(&slot));
            self.owner.chores.send(Box::pin(following)).await.ok().ok_or(Error::Ended)?;
        }
        Ok(Watched::new(slot, Arc::clone(&self.owner)))
    }

    /// Asks once for the current version of a credential. To read often, use [`Client::watch`].
    pub async fn get(&self, name: &str) -> Result<Credential, Error> {
        let name: CredentialName = name.parse()?;
        let mut route = self.route();
        let answer = loop {
            let mut request = tonic::Request::new(wire::GetRequest { name: name.to_string() });
            request.set_timeout(route.limit);
            match route.link().await?.calls().get(request).await {
                Ok(answer) => break answer.into_inner(),
                Err(status) => route.failed(answer::failure(&name, &status, route.limit))?,
            }
        };
        answer::credential(&name, answer.credential.ok_or(Error::Malformed("it says nothing"))?)
    }

    /// The credentials that this process may read, in the order of their names.
    pub async fn list(&self) -> Result<Vec<Listed>, Error> {
        let mut route = self.route();
        let answer = loop {
            let mut request = tonic::Request::new(wire::ListRequest {});
            request.set_timeout(route.limit);
            match route.link().await?.calls().list(request).await {
                Ok(answer) => break answer.into_inner(),
                Err(status) => route.failed(answer::call_failure(&status, route.limit))?,
            }
        };
        answer.credentials.into_iter().map(listed).collect()
    }

    /// A stream of reads: one message a read, several times cheaper than [`Client::get`].
    pub fn fetch(&self) -> Fetch {
        Fetch::new(self.clone())
    }

    /// The way of one read to the sidecar.
    pub(crate) fn route(&self) -> Route<'_> {
        let limit = self.owner.timeouts().call;
        Route { shared: &self.owner.shared, limit, until: clock::now() + limit, number: None, broken: None }
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.owner.timeouts()
    }
}

/// The way of one read: over the connection that there is, and if that breaks, once more over the next one.
pub(crate) struct Route<'a> {
    shared: &'a Shared,
    /// How long the read may take.
    pub(crate) limit: Duration,
    until: Instant,
    number: Option<u64>,
    broken: Option<u64>,
}

impl Route<'_> {
    /// The connection to use now, waited for within the limit.
    pub(crate) async fn link(&mut self) -> Result<Link, Error> {
        let link = tokio::time::timeout_at(self.until, self.shared.link_other_than(self.broken)).await;
        let link = link.ok().ok_or(Error::Disconnected)?;
        self.number = Some(link.number);
        Ok(link)
    }

    /// Says how the read failed: whether to try again, or what to tell the caller.
    pub(crate) fn failed(&mut self, error: Error) -> Result<(), Error> {
        if matches!(error, Error::Disconnected) && self.broken.is_none() {
            self.broken = self.number;
            return Ok(());
        }
        Err(error)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.owner.shared.builder.path();
        f.debug_struct("Client").field("socket", &socket).field("connected", &self.owner.connected()).finish()
    }
}

fn listed(line: wire::ListedCredential) -> Result<Listed, Error> {
    let name: CredentialName = line.name.parse().ok().ok_or(Error::Malformed("a listed name is none"))?;
    let unavailable = line.error.map(|error| answer::unavailable(&name, &error));
    let freshness = line.freshness.unwrap_or_default();
    Ok(Listed {
        version: Version::new(line.version),
        generation: Generation(line.generation),
        age: Duration::from_millis(freshness.age_ms),
        stale: freshness.stale,
        unavailable,
        name,
    })
}

/// The life of the background task: it ends when this is dropped.
pub(crate) struct Owner {
    shared: Arc<Shared>,
    chores: mpsc::Sender<Chore>,
}

impl Owner {
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.shared.timeouts()
    }

    pub(crate) fn connected(&self) -> bool {
        self.shared.link.borrow().is_some()
    }

    /// Has the background task do `chore` beside its own work.
    #[cfg(any(feature = "deadpool", feature = "sqlx"))]
    pub(crate) fn attend(&self, chore: Chore) -> Result<(), Error> {
        self.chores.try_send(chore).ok().ok_or(Error::Ended)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").finish_non_exhaustive()
    }
}

/// What the handles and the background task share.
pub(crate) struct Shared {
    builder: Builder,
    link: watch::Sender<Option<Link>>,
    slots: Mutex<BTreeMap<CredentialName, Arc<Slot>>>,
    reports: Arc<Notify>,
}

impl Shared {
    pub(crate) fn builder(&self) -> &Builder {
        &self.builder
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.builder.timeouts()
    }

    /// The connection, as soon as there is one.
    pub(crate) async fn link(&self) -> Link {
        self.link_other_than(None).await
    }

    /// As [`Shared::link`], but not the one with this number.
    async fn link_other_than(&self, broken: Option<u64>) -> Link {
        let mut links = self.link.subscribe();
        loop {
            let link = links.borrow_and_update().clone().filter(|link| Some(link.number) != broken);
            match link {
                Some(link) => return link,
                // The sender lives in `self`: this never fails.
                None => drop(links.changed().await),
            }
        }
    }

    pub(crate) fn set_link(&self, link: Option<Link>) {
        self.link.send_replace(link);
    }

    /// The slot with this name, and whether it is new.
    fn slot(&self, name: CredentialName) -> Result<(Arc<Slot>, bool), Error> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&name) {
            return Ok((Arc::clone(slot), false));
        }
        if slots.len() >= MOST_WATCHED {
            return Err(Error::TooMany { most: MOST_WATCHED });
        }
        let slot = Arc::new(Slot::new(name.clone(), Arc::clone(&self.reports)));
        slots.insert(name, Arc::clone(&slot));
        Ok((slot, true))
    }

    /// All slots in the order of their names.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// Woken when there may be something to report.
    pub(crate) fn reports(&self) -> &Notify {
        &self.reports
    }
}
