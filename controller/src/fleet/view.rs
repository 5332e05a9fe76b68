//! One credential as holders are to see it: made once for each change, encoded once for all who get it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rekey_model::{
    CredentialName, Fields, Handle, Incarnation, InstanceId, Label, Moment, Order, SpiffeId, Version, millis,
};
use rekey_proto::fleet::serving::Offline as WireOffline;
use rekey_proto::fleet::{Accepted, Change, Previous, Serving, VersionData};
use rekey_rotation::Ledger;

use super::frame::Body;
use crate::fields;
use crate::spec::Spec;
use crate::store::CredentialId;

/// One credential as holders are to see it.
#[derive(Debug)]
pub(super) struct View {
    /// Which credential: names can be used again, ids cannot.
    pub id: CredentialId,
    /// What is to be seen.
    pub seen: Seen,
    /// The version in its grace. When it is gone for good, the order rises.
    leaving: Option<Leaving>,
    /// When what is served was chosen, and how long the target takes it from then on; none: without end.
    life: Option<(Moment, Duration)>,
    /// The spec's word on who gets it.
    spec: Spec,
    /// Whether it changes together with others now.
    is_grouped: bool,
    /// What one holder is to see instead: it has the new version before all others.
    canary: Option<(InstanceId, Arc<Self>)>,
    /// The encoded change while some stream still has to send it.
    body: Mutex<Weak<Body>>,
}

/// All that differs for a holder; two views with the same are the same to all who get them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The credential.
    pub name: CredentialName,
    /// The store's life.
    pub incarnation: Incarnation,
    /// The order.
    pub order: Order,
    /// What to serve.
    pub current: Option<(Version, Handle)>,
    /// Never to be served again.
    pub fenced: BTreeSet<Version>,
    /// A replacement is on its way.
    pub owed: bool,
    /// What is current has no secret here: who has it keeps it.
    pub foreign: bool,
    /// It is to be forgotten.
    pub deleted: bool,
    /// How long it may be served without word from here; none: without end.
    pub alone: Option<Duration>,
    /// What comes after it, where the target takes one value at a time.
    pub next: Option<(Version, Handle)>,
    /// How long readers are to wait for it; none: they are not.
    pub readers_wait: Option<Duration>,
}

/// The values of the versions that a change shows.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Of what is to be served.
    pub current: Option<Fields>,
    /// Of what comes after it.
    pub next: Option<Fields>,
}

/// A version in its grace: since when, and for how long at least.
#[derive(Debug, Clone, Copy)]
struct Leaving {
    version: Version,
    since: Moment,
    floor: Duration,
}

impl View {
    /// What holders are to see of a credential with this spec and ledger.
    pub(super) fn of(id: CredentialId, ledger: &Ledger, spec: Spec, incarnation: Incarnation) -> Self {
        let ahead = |(holder, next)| {
            (holder, Arc::new(Self::serving(id, (ledger, Some(next)), spec.clone(), incarnation)))
        };
        let canary = ledger.canary().map(ahead);
        Self { canary, ..Self::serving(id, (ledger, ledger.current), spec, incarnation) }
    }

    /// What those are to see who are to serve `serves`.
    fn serving(
        id: CredentialId,
        (ledger, serves): (&Ledger, Option<Version>),
        spec: Spec,
        incarnation: Incarnation,
    ) -> Self {
        let named = |version: Version| ledger.version(version).map(|r| (version, r.handle.clone()));
        let accepted = |version: &Version| ledger.is_alive(*version);
        let wait = spec.barrier.map(|barrier| barrier.wait.get()).filter(|_| ledger.barrier_is_up());
        let left = ledger.current.and_then(|current| ledger.version(current)?.promoted);
        let leaving = |(version, since)| Leaving { version, since, floor: spec.grace.floor.get() };
        let seen = Seen {
            name: spec.name.clone(),
            incarnation,
            order: ledger.order,
            current: serves.and_then(named),
            fenced: ledger.fenced.clone(),
            owed: ledger.owed,
            foreign: ledger.is_foreign(),
            deleted: ledger.deleted.is_some(),
            // What went out with this order, not what was declared since: that goes out with the next one.
            alone: ledger.alone(spec.deliver.offline.serves_alone_for()),
            next: ledger.staged().and_then(named),
            readers_wait: wait,
        };
        let leaving = ledger.previous.filter(accepted).zip(left).map(leaving);
        let chosen = serves.and_then(|version| ledger.version(version)).map(|record| record.created);
        let life = chosen.zip(spec.driver.life());
        let is_grouped = ledger.is_grouped();
        Self { id, seen, leaving, life, spec, is_grouped, canary: None, body: Mutex::default() }
    }

    /// The view of one holder, which is the same for all but the canary.
    pub(super) fn for_holder(self: &Arc<Self>, holder: InstanceId) -> Arc<Self> {
        let ahead = self.canary.as_ref().filter(|(canary, _)| *canary == holder);
        Arc::clone(ahead.map_or(self, |(_, ahead)| ahead))
    }

    /// Who sees something else, and what.
    fn ahead(&self) -> Option<(InstanceId, &Seen)> {
        self.canary.as_ref().map(|(holder, ahead)| (*holder, &ahead.seen))
    }

    /// Whether a sidecar with this id may have it.
    pub(super) fn covers(&self, id: &SpiffeId) -> bool {
        !self.seen.deleted && self.spec.deliver.covers(id)
    }

    /// The word of those that it changes with now: outside of a rotation of all of them each is told alone.
    pub(super) fn group(&self) -> Option<&Label> {
        self.spec.group.as_ref().filter(|_| self.is_grouped)
    }

    /// Whether `handle` is what this credential's versions, or the login that it adopts, are called.
    pub(super) fn may_be_called(&self, version: Version, handle: &Handle) -> bool {
        self.spec.driver.may_be_called(version, handle)
    }

    /// Whether a holder could tell this view from `other`.
    pub(super) fn differs_from(&self, other: &Self) -> bool {
        let same = self.id == other.id && self.seen == other.seen && self.ahead() == other.ahead();
        !same || self.spec.deliver.to != other.spec.deliver.to
    }

    /// Whether this view takes something away that `older` still had: such a change overtakes all others.
    pub(super) fn cuts_since(&self, older: &Self) -> bool {
        !self.seen.fenced.is_subset(&older.seen.fenced)
    }

    /// The encoded change, if some stream still has it.
    pub(super) fn body(&self) -> Option<Arc<Body>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// Encodes the change with `values`, for all who ask before it is sent out.
    pub(super) fn encode(&self, values: &Values, now: Moment) -> Arc<Body> {
        let mut kept = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(body) = kept.upgrade() {
            return body;
        }
        let body = Arc::new(Body::encode(self.change(values, now)));
        *kept = Arc::downgrade(&body);
        body
    }

    fn change(&self, values: &Values, now: Moment) -> Change {
        let seen = &self.seen;
        // No less time is taken off than has passed, so that no holder goes on after the target.
        let left = self.life.map(|(chosen, life)| life.saturating_sub(now.at_most_since(chosen)));
        let expires_in_ms = left.map(millis);
        Change {
            current: seen
                .current
                .as_ref()
                .map(|current| VersionData { expires_in_ms, ..data(current, values.current.as_ref()) }),
            next: seen.next.as_ref().map(|next| data(next, values.next.as_ref())),
            readers_wait_ms: seen.readers_wait.map(millis),
            fenced: seen.fenced.iter().map(|version| version.get()).collect(),
            serving: Some(serving(seen.alone, self.spec.barrier.is_some())),
            replacement_owed: seen.owed,
            ..self.bare()
        }
    }

    /// The change that takes the credential away from a holder.
    pub(super) fn withdrawal(&self) -> Arc<Body> {
        let fenced = self.seen.fenced.iter().map(|version| version.get()).collect();
        Arc::new(Body::encode(Change { withdrawn: true, fenced, ..self.bare() }))
    }

    /// The change that takes only what is fenced from a holder that serves that: without any value.
    pub(super) fn fence(&self) -> Arc<Body> {
        let fenced = self.seen.fenced.iter().map(|version| version.get()).collect();
        Arc::new(Body::encode(Change { fenced, replacement_owed: true, ..self.bare() }))
    }

    fn bare(&self) -> Change {
        Change {
            name: self.seen.name.to_string(),
            incarnation: self.seen.incarnation.0,
            order: self.seen.order.0,
            ..Change::default()
        }
    }

    /// The version in its grace, for those who have this order already; none if there is no such version.
    pub(super) fn accepted(&self, now: Moment, lease: Duration) -> Option<Accepted> {
        let previous = self.previous(now, lease);
        let Seen { name, incarnation, order, .. } = &self.seen;
        let (name, incarnation, order) = (name.to_string(), incarnation.0, order.0);
        (!previous.is_empty()).then_some(Accepted { name, incarnation, order, previous })
    }

    /// The version in its grace, with the time that it is still accepted for: what is left of the floor, and never less
    /// than two leases, because as long as the grace lasts each grant of a lease says it anew.
    pub(super) fn previous(&self, now: Moment, lease: Duration) -> Vec<Previous> {
        let left = |leaving: Leaving| {
            let floor = leaving.floor.saturating_sub(now.at_most_since(leaving.since));
            let accept = floor.max(lease.saturating_mul(2));
            let accept_for_ms = millis(accept);
            Previous { version: leaving.version.get(), accept_for_ms }
        };
        self.leaving.map(left).into_iter().collect()
    }
}

fn data((version, handle): &(Version, Handle), values: Option<&Fields>) -> VersionData {
    let fields = values.into_iter().flat_map(fields::handed_out);
    VersionData {
        version: version.get(),
        handle: handle.to_string(),
        fields: fields.map(|(name, value)| (name.to_string(), value.expose().to_vec())).collect(),
        expires_in_ms: None,
    }
}

fn serving(alone: Option<Duration>, one_at_a_time: bool) -> Serving {
    let offline_for_ms = alone.map(millis);
    let (offline, offline_for_ms) = match offline_for_ms {
        Some(0) => (WireOffline::FailClosed, None),
        bound => (WireOffline::ServeUntilExpiry, bound),
    };
    Serving { offline: offline.into(), offline_for_ms, one_at_a_time }
}
