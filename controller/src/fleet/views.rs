//! All credentials as holders are to see them, kept up with the store.
//!
//! One task hears of the store's changes and is the only one to replace a view; streams only read. What a view needs of
//! the sealed secret is opened when a stream has something to send, and forgotten when the last stream has sent it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use rekey_model::{CredentialName, Incarnation, Moment, SpiffeId};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::frame::Body;
use super::hub::{Hub, Urgency};
use super::view::{Values, View};
use crate::fields::{self, OpenFieldsError};
use crate::seal::Seal;
use crate::spec::{Spec, ties};
use crate::store::{Changed, CredentialRow, Mode, Store, StoreError};

/// Why a credential cannot be shown to holders. Says nothing about its value.
#[derive(Debug, thiserror::Error)]
pub(super) enum ViewError {
    /// Its fields.
    #[error(transparent)]
    Fields(#[from] OpenFieldsError),
    /// The stored spec.
    #[error("the stored spec cannot be read")]
    Spec,
}

impl ViewError {
    /// Whether nothing can be read, and not this one credential alone.
    pub(super) fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Fields(OpenFieldsError::Store(_)))
    }
}

/// All views. Streams read them, one task replaces them.
#[derive(Debug)]
pub(super) struct Views {
    store: Store,
    seal: Seal,
    known: RwLock<Known>,
}

#[derive(Debug, Clone)]
struct Known {
    incarnation: Incarnation,
    mode: Mode,
    by_name: BTreeMap<CredentialName, Arc<View>>,
    /// Those that are there and do not read.
    unreadable: BTreeSet<CredentialName>,
}

/// Rows by name; none: it is gone.
type Rows = Vec<(CredentialName, Option<CredentialRow>)>;

/// What is to be looked at.
#[derive(Debug, Default)]
struct Pending {
    names: BTreeSet<CredentialName>,
    everything: bool,
    instances: bool,
}

/// What a batch of changes was about, besides credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// Credentials only.
    Credentials,
    /// Instances too: somebody may have been locked or removed.
    Instances,
}

impl Views {
    /// Reads everything that the store has.
    pub(super) async fn load(store: Store, seal: Seal) -> Result<Self, StoreError> {
        let meta = store.meta().await?;
        let known = Known {
            incarnation: meta.incarnation,
            mode: meta.mode,
            by_name: BTreeMap::new(),
            unreadable: BTreeSet::new(),
        };
        let views = Self { store, seal, known: RwLock::new(known) };
        views.refresh_all(&Hub::new()).await?;
        Ok(views)
    }

    /// The view of one credential.
    pub(super) fn view(&self, name: &CredentialName) -> Option<Arc<View>> {
        self.read(|known| known.by_name.get(name).map(Arc::clone))
    }

    /// All that `id` may have, by name.
    pub(super) fn covering(&self, id: &SpiffeId) -> Vec<Arc<View>> {
        self.read(|known| known.by_name.values().filter(|view| view.covers(id)).map(Arc::clone).collect())
    }

    /// All that change together with `view`, and that `id` may have, by name, as one commit left them.
    pub(super) fn together(&self, view: &Arc<View>, id: &SpiffeId) -> Vec<Arc<View>> {
        let Some(group) = view.group() else { return vec![Arc::clone(view)] };
        let belongs = |other: &&Arc<View>| other.group() == Some(group) && other.covers(id);
        self.read(|known| known.by_name.values().filter(belongs).map(Arc::clone).collect())
    }

    /// Whether one of `names` is there and cannot be shown, because its declaration does not read.
    pub(super) fn hides<'a>(&self, mut names: impl Iterator<Item = &'a CredentialName>) -> bool {
        self.read(|known| names.any(|name| known.unreadable.contains(name)))
    }

    /// The life of the store.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.read(|known| known.incarnation)
    }

    /// What may be done.
    pub(super) fn mode(&self) -> Mode {
        self.read(|known| known.mode)
    }

    fn read<T>(&self, read: impl FnOnce(&Known) -> T) -> T {
        read(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut Known) -> T) -> T {
        write(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The change that shows `view`, encoded; `None` when its current version has no sealed secret here: then holders
    /// keep what they have.
    pub(super) async fn body(&self, view: &View, now: Moment) -> Result<Option<Arc<Body>>, ViewError> {
        if let Some(body) = view.body() {
            return Ok(Some(body));
        }
        let seen = &view.seen;
        if seen.current.is_some() && seen.foreign {
            return Ok(None);
        }
        let mut values = Values::default();
        for (version, place) in [(&seen.current, &mut values.current), (&seen.next, &mut values.next)] {
            let Some((version, _)) = version else { continue };
            let sealed = fields::open((&self.store, &self.seal), view.id, *version).await?;
            let Some(fields) = sealed else { return Ok(None) };
            *place = Some(fields);
        }
        Ok(Some(view.encode(&values, now)))
    }

    /// Waits for changes, brings the views up to date, and tells the streams; fences first.
    ///
    /// Fails when the store cannot be read; what was to be looked at then is everything.
    pub(super) async fn keep_up(
        &self,
        changes: &mut Receiver<Changed>,
        hub: &Hub,
    ) -> Result<Noted, StoreError> {
        let mut pending = Pending::default();
        match changes.recv().await {
            Ok(one) => pending.note(one),
            Err(RecvError::Lagged(_)) => pending.note_all(),
            // The store that sends lives as long as we do.
            Err(RecvError::Closed) => std::future::pending().await,
        }
        loop {
            match changes.try_recv() {
                Ok(one) => pending.note(one),
                Err(TryRecvError::Lagged(_)) => pending.note_all(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let noted = if pending.instances { Noted::Instances } else { Noted::Credentials };
        if pending.everything {
            self.refresh_all(hub).await?;
        } else {
            let rows = self.rows(pending.names).await?;
            self.replace(rows, hub);
        }
        Ok(noted)
    }

    /// The rows of `names`, and of all that change together with one of them: those of one group by one reading, so that
    /// they are as one commit left them.
    async fn rows(&self, names: BTreeSet<CredentialName>) -> Result<Rows, StoreError> {
        let mut rows = BTreeMap::new();
        for name in names {
            if rows.contains_key(&name) {
                continue;
            }
            let row = self.store.credential(&name).await?;
            let spec = row.as_ref().and_then(|row| Spec::parse(&row.spec).ok());
            rows.insert(name, row);
            if let Some(group) = spec.as_ref().and_then(ties::group) {
                rows.extend(
                    self.store.tied(&group).await?.into_iter().map(|row| (row.name.clone(), Some(row))),
                );
            }
        }
        Ok(rows.into_iter().collect())
    }

    /// Looks at everything anew.
    pub(super) async fn refresh_all(&self, hub: &Hub) -> Result<(), StoreError> {
        let (meta, rows) = (self.store.meta().await?, self.store.credentials().await?);
        let moved = self.write(|known| {
            let moved = known.incarnation != meta.incarnation || known.mode != meta.mode;
            (known.incarnation, known.mode) = (meta.incarnation, meta.mode);
            moved
        });
        let mut all: BTreeMap<_, _> = rows.into_iter().map(|row| (row.name.clone(), Some(row))).collect();
        for gone in self.read(|known| known.by_name.keys().cloned().collect::<Vec<_>>()) {
            all.entry(gone).or_insert(None);
        }
        self.replace(all.into_iter().collect(), hub);
        if moved {
            hub.snapshot_all();
        }
        Ok(())
    }

    /// Replaces views, those that take something away first, and tells the streams what differs for a holder.
    fn replace(&self, rows: Rows, hub: &Hub) {
        let incarnation = self.incarnation();
        let mut news = Vec::new();
        for (name, row) in rows {
            let older = self.view(&name);
            self.write(|known| known.unreadable.remove(&name));
            let newer = match row.map(|row| view_of(&row, incarnation)).transpose() {
                Ok(view) => view.map(Arc::new),
                Err(error) => {
                    tracing::error!(credential = %name, %error, "a credential cannot be shown to its holders");
                    self.write(|known| known.unreadable.insert(name));
                    continue;
                }
            };
            news.push((urgency(older.as_deref(), newer.as_deref()), name, newer));
        }
        news.sort_by_key(|(urgency, ..)| *urgency != Some(Urgency::First));
        // All at once: who reads several sees what one commit left.
        self.write(|known| {
            for (_, name, newer) in &news {
                match newer {
                    Some(newer) => known.by_name.insert(name.clone(), Arc::clone(newer)),
                    None => known.by_name.remove(name),
                };
            }
        });
        for (urgency, name, _) in news {
            if let Some(urgency) = urgency {
                hub.changed(&name, urgency);
            }
        }
    }
}

fn view_of(row: &CredentialRow, incarnation: Incarnation) -> Result<View, ViewError> {
    let spec = Spec::parse(&row.spec).map_err(|_problems| ViewError::Spec)?;
    Ok(View::of(row.id, &row.ledger, spec, incarnation))
}

/// How soon holders are to hear of the newer view; `None` when it is the same to them.
fn urgency(older: Option<&View>, newer: Option<&View>) -> Option<Urgency> {
    match (older, newer) {
        (None, None) => None,
        (Some(older), Some(newer)) if older.id == newer.id => {
            let urgency = if newer.cuts_since(older) { Urgency::First } else { Urgency::Usual };
            newer.differs_from(older).then_some(urgency)
        }
        _new_or_gone => Some(Urgency::Usual),
    }
}

impl Pending {
    fn note(&mut self, changed: Changed) {
        match changed {
            Changed::Credential(name) => drop(self.names.insert(name)),
            Changed::Mode => self.everything = true,
            Changed::Instances => self.instances = true,
            Changed::Holders(_) | Changed::Admins => {}
        }
    }

    fn note_all(&mut self) {
        (self.everything, self.instances) = (true, true);
    }
}
