//! The state of one followed credential: the live value, why there is none, how fresh it is.
//!
//! Written by `keeper` alone, read by every handle. The value is swapped whole; everything else stands behind a lock
//! that the reading path never takes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rekey_model::{CredentialName, Version};
use rekey_proto::local as wire;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::answer;
use crate::clock;
use crate::credential::{Credential, Freshness};
use crate::error::{Error, Reason, Unavailable};
use crate::usage::Usage;

/// No sidecar lets a reader wait for longer than 4 s. One that is gone meanwhile says nothing more.
const LONGEST_CUT: Duration = Duration::from_secs(5);
/// The most revoked versions that are remembered.
const MOST_REVOKED: usize = 64;

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: CredentialName,
    pub(crate) value: ArcSwapOption<Credential>,
    pub(crate) usage: Usage,
    /// Rises with each change of the value, also with its loss.
    turns: watch::Sender<u64>,
    told: Mutex<Told>,
}

/// What the sidecar told beside the value.
#[derive(Debug)]
struct Told {
    why_nothing: Unavailable,
    /// Until when the live value is for no new login, because the target is just being changed.
    settling: Option<Instant>,
    age: Duration,
    stale: bool,
    at: Instant,
    /// The connection that the live value came over.
    link: u64,
    /// Versions that the target was said to accept, beside the live one.
    previous: Vec<Version>,
    revoked: BTreeSet<Version>,
}

impl Slot {
    pub(crate) fn new(name: CredentialName, reports: Arc<Notify>) -> Self {
        let why_nothing = Unavailable {
            name: name.clone(),
            reason: Reason::Waiting,
            message: String::new(),
            retry_after: None,
        };
        Self {
            name,
            value: ArcSwapOption::empty(),
            usage: Usage::new(reports),
            turns: watch::Sender::new(0),
            told: Mutex::new(Told {
                why_nothing,
                settling: None,
                age: Duration::ZERO,
                stale: true,
                at: clock::now(),
                link: 0,
                previous: Vec::new(),
                revoked: BTreeSet::new(),
            }),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one message that came over the connection `link`. One that makes no sense is refused, and the last good
    /// value stays.
    pub(crate) fn take(&self, link: u64, message: wire::WatchResponse) -> Result<(), Error> {
        use wire::watch_response::Update;
        match message.update {
            Some(Update::Credential(encoded)) => {
                let credential = answer::credential(&self.name, encoded)?;
                self.publish(link, Arc::new(credential), message.freshness.unwrap_or_default());
            }
            Some(Update::Unavailable(error)) => self.lose(answer::unavailable(&self.name, &error)),
            None => return Err(Error::Malformed("it says nothing")),
        }
        Ok(())
    }

    /// Makes `credential` the live value. The same value again only tells how fresh it is.
    fn publish(&self, link: u64, credential: Arc<Credential>, freshness: wire::Freshness) {
        let live = self.live_version();
        let same = self.value.load().as_ref().is_some_and(|live| live.same_value(&credential));
        let mut told = self.told();
        told.age = Duration::from_millis(freshness.age_ms);
        told.stale = freshness.stale;
        let settled = told.settling.take().is_some();
        told.at = clock::now();
        told.note_revoked(live, link, &credential);
        drop(told);
        self.usage.handed_out(&credential);
        self.value.store(Some(credential));
        if !same || settled {
            self.turns.send_modify(|turn| *turn += 1);
        }
    }

    /// Notes that there is nothing to use now; what was there before goes if the reason says so.
    pub(crate) fn lose(&self, why: Unavailable) {
        let ends = why.reason.ends_the_value();
        let revoked = why.reason == Reason::Revoked;
        let live = self.live_version();
        let mut told = self.told();
        told.settling = (why.reason == Reason::Settling).then(|| clock::now() + LONGEST_CUT);
        told.why_nothing = why;
        if revoked {
            // Nothing is left to fall back to: the previous ones are cut as well.
            let previous = std::mem::take(&mut told.previous);
            told.revoke(live.into_iter().chain(previous));
        }
        if !ends && told.settling.is_none() && live.is_some() {
            told.stale = true;
        }
        drop(told);
        if ends {
            self.value.store(None);
            self.usage.look_again();
        }
        self.turns.send_modify(|turn| *turn += 1);
    }

    pub(crate) fn live_version(&self) -> Option<Version> {
        self.value.load().as_ref().map(|credential| credential.version())
    }

    /// The version that a new login is to be made with now.
    pub(crate) fn usable_version(&self) -> Option<Version> {
        self.live_version().filter(|_| self.settles_at().is_none())
    }

    /// When what is live may be used again at the latest, if it may not be now.
    pub(crate) fn settles_at(&self) -> Option<Instant> {
        self.told().settling.filter(|until| clock::now() < *until)
    }

    /// Whether `version` is live, or comes after what is while nobody can say which of the two the target takes.
    #[cfg(feature = "deadpool")]
    pub(crate) fn is_good(&self, version: Version) -> bool {
        let live = self.value.load();
        let next = live.as_ref().and_then(|live| live.next());
        live.as_ref().is_some_and(|live| live.version() == version)
            || next.is_some_and(|next| next.version() == version)
    }

    pub(crate) fn why_nothing(&self) -> Unavailable {
        self.told().why_nothing.clone()
    }

    pub(crate) fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    pub(crate) fn was_revoked(&self, version: Version) -> bool {
        self.told().revoked.contains(&version)
    }

    pub(crate) fn freshness(&self, connected: bool) -> Freshness {
        let told = self.told();
        let vouched = connected && !told.stale;
        let since = if vouched { Duration::ZERO } else { clock::now().duration_since(told.at) };
        Freshness { age: told.age.saturating_add(since), stale: !vouched, connected }
    }
}

impl Told {
    /// Finds out from a new value whether the last one was revoked although nobody said so, because there was another
    /// version to fall back to.
    ///
    /// A version that is superseded in the ordinary way is among the `previous` of what supersedes it. That holds for
    /// neighbours only: what happened between two connections is not known, and nothing is made of it. Nor is it where
    /// every new version kills the one before.
    fn note_revoked(&mut self, live: Option<Version>, link: u64, new: &Credential) {
        self.previous = new.previous.iter().map(|previous| previous.version).collect();
        let named = |version| new.version == version || self.previous.contains(&version);
        let revoked = live.filter(|live| self.link == link && !new.one_at_a_time && !named(*live));
        self.link = link;
        self.revoke(revoked.into_iter());
        self.revoked.remove(&new.version);
    }

    fn revoke(&mut self, versions: impl Iterator<Item = Version>) {
        self.revoked.extend(versions);
        while self.revoked.len() > MOST_REVOKED {
            self.revoked.pop_first();
        }
    }
}
