//! Everything that can happen next in a state.

use std::collections::BTreeSet;

use rekey_model::{RotationId, Version};

use super::super::properties::was_used;
use super::super::world::at;
use super::model::{Call, Down, NOW, Sidecar, State, Up, Verb, named, named_holder};
use crate::*;

/// What happened, whether it took something from a budget, and the state then, or what was wrong with the step.
pub(super) type Move = (String, bool, Result<State, String>);

impl State {
    pub(super) fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.up {
            self.operator(&mut moves);
            self.executor(&mut moves);
            self.controller_hears(&mut moves);
            self.canary_tells(&mut moves);
        } else {
            let started = Self { up: true, ..self.clone() };
            moves.push(("start".to_owned(), false, Ok(started.after(&Event::Resumed).unwrap())));
        }
        self.target_acts(&mut moves);
        self.sidecars_act(&mut moves);
        moves
    }

    fn spend(&self, budget: &'static str) -> Option<Self> {
        let left = self.budgets.get(budget).copied().filter(|left| *left > 0)?;
        let mut state = self.clone();
        state.budgets.insert(budget, left - 1);
        Some(state)
    }

    fn operator(&self, moves: &mut Vec<Move>) {
        let id = u128::from(self.ledger.order.0) * 100 + self.ledger.versions.len() as u128;
        let why = Why::Asked { reason: String::new(), by: String::new(), request: String::new() };
        let begin = Event::Begin { rotation: RotationId::from_bits(id), why };
        let rollback = Event::Rollback { reason: String::new() };
        let hold = Event::Hold { reason: String::new(), by: String::new() };
        for (budget, event) in [("rotate", begin), ("fail", rollback), ("hold", hold)] {
            if let Some(next) = self.spend(budget).and_then(|state| state.after(&event)) {
                moves.push((event.name().to_owned(), true, Ok(next)));
            }
        }
        if self.ledger.held.is_some() {
            moves.push(("release".to_owned(), false, Ok(self.after(&Event::Release).unwrap())));
        }
        if self.ledger.endings.values().any(|ending| ending.refusals > 0) {
            moves.push(("retry".to_owned(), false, Ok(self.after(&Event::Retry).unwrap())));
        }
        if let Some(spent) = self.spend("revoke") {
            let one_by_one = self.ledger.versions.keys().copied().map(Some);
            for version in one_by_one.chain([None]) {
                let id = EmergencyId::from_bits(id);
                let event =
                    Event::Revoke { id, version, reason: String::new(), by: String::new(), replace: true };
                let Some(mut next) = spent.after(&event).filter(|next| next.ledger != self.ledger) else {
                    continue;
                };
                next.revoked.extend(&next.ledger.fenced);
                moves.push((format!("revoke {version:?}"), true, Ok(next)));
            }
        }
        if let Some(mut next) = self.spend("crash") {
            next.up = false;
            next.calls = next
                .calls
                .iter()
                .filter(|call| !call.landed)
                .map(|call| Call { awaited: false, ..*call })
                .collect();
            moves.push(("crash".to_owned(), true, Ok(next)));
        }
    }

    /// What is due is begun, once; looks are taken at any time.
    fn executor(&self, moves: &mut Vec<Move>) {
        if let Some(next) = self.after(&Event::Look).filter(|next| next.ledger != self.ledger) {
            moves.push(("look".to_owned(), false, self.checked(next)));
        }
        moves.extend(self.given().map(|next| ("give".to_owned(), false, next)));
        for step in self.due() {
            let label = format!("{step:?}");
            match step {
                Step::Choose { version } => moves.push((label, false, self.choose(version))),
                Step::Install { version, .. } if self.is_made_again(version) => {
                    moves.push((label, false, Err(format!("C {version} is made twice"))));
                }
                Step::Install { version, .. } => self.send(moves, Verb::Install, version),
                Step::Lift { version } => self.send(moves, Verb::Lift, version),
                Step::End { version, .. } => self.send(moves, Verb::Revoke, version),
                Step::Probe { version, .. } => self.probe(moves, version),
                Step::List | Step::Check { .. } => {}
                Step::CleanUp { version } => {
                    moves.push((label, false, self.commit(&Event::CleanedUp { version })));
                }
                Step::Sample { .. } | Step::Verify { .. } | Step::Try { .. } | Step::Follow => {}
                Step::Begin { why } => {
                    let event = Event::Begin { rotation: RotationId::from_bits(7), why };
                    moves.push((label, false, self.commit(&event)));
                }
            }
        }
    }

    /// Whether a lost call would be repeated that makes another secret.
    fn is_made_again(&self, version: Version) -> bool {
        let lost = |call: &Call| call.verb == Verb::Install && call.version == version && !call.awaited;
        let answered = self.calls.iter().any(|call| call.landed && call.version == version);
        let there = self.target.contains_key(&version) && !answered;
        self.making == Making::Listed && (there || self.calls.iter().any(lost))
    }

    fn is_given(&self) -> bool {
        matches!(self.making, Making::Given | Making::Followed)
    }

    /// Somebody hands in the next version, as soon as it is taken.
    fn given(&self) -> Option<Result<Self, String>> {
        let version = Some(self.ledger.next_version()).filter(|_| self.is_given())?;
        self.after(&self.choosing(version)).map(|next| self.checked(next))
    }

    fn choose(&self, version: Version) -> Result<Self, String> {
        if self.is_given() {
            return Err(format!("H {version} is drawn, and is somebody else's to make"));
        }
        if self.ledger.versions.keys().any(|known| *known >= version) {
            return Err(format!("I4 {version} is chosen again"));
        }
        self.commit(&self.choosing(version))
    }

    fn choosing(&self, version: Version) -> Event {
        let bits = 1_000_000 + u128::from(version.get());
        let rotation = self.ledger.open_rotation().map_or(RotationId::from_bits(bits), |open| open.id);
        let listed = self.making == Making::Listed;
        let marker = format!("marker_{version}").parse().unwrap();
        let handle = if listed { marker } else { named(version) };
        Event::Choose { rotation, version, handle, baseline: listed.then(|| self.listed()) }
    }

    fn commit(&self, event: &Event) -> Result<Self, String> {
        let next = self.after(event).ok_or_else(|| format!("{event:?} is due and refused"))?;
        self.checked(next)
    }

    /// Checks a commit: what it decides to end is served by nobody, and not while held.
    fn checked(&self, next: Self) -> Result<Self, String> {
        let decided =
            next.ledger.endings.iter().filter(|(version, _)| !self.ledger.endings.contains_key(version));
        for (version, ending) in decided.filter(|(_, ending)| ending.cause != Cause::Emergency) {
            let was_used = was_used(&self.ledger, *version);
            if was_used && self.ledger.held.is_some() {
                return Err(format!("I5 {version} is ended ({:?}) while held", ending.cause));
            }
            let live = self.sidecars.iter().filter(|sidecar| sidecar.row_live).count();
            if was_used && live == 0 {
                return Err(format!("I5 {version} is ended although nobody is known to have another"));
            }
        }
        Ok(next)
    }

    fn send(&self, moves: &mut Vec<Move>, verb: Verb, version: Version) {
        let busy = self.calls.iter().any(|call| call.verb == verb && call.version == version && call.awaited);
        if busy {
            return;
        }
        let mut next = self.clone();
        let settled = !self.unsettled();
        let ends = if verb == Verb::Revoke { self.to_end(version) } else { 0 };
        next.calls.insert(Call { verb, version, landed: false, awaited: true, settled, ends });
        moves.push((format!("send {verb:?} {version}"), false, Ok(next)));
    }

    fn probe(&self, moves: &mut Vec<Move>, version: Version) {
        let refused = Event::Refused { version, attempt: 0, why: String::new() };
        if self.target.contains_key(&version) {
            moves.push((
                format!("probe {version}"),
                false,
                self.commit(&Event::Probed { version, attempt: 0 }),
            ));
            if let Some(next) = self.spend("poison").and_then(|state| state.after(&refused)) {
                moves.push((format!("probe {version} refused"), true, Ok(next)));
            }
        } else {
            moves.push((format!("probe {version} refused"), false, self.commit(&refused)));
        }
    }

    fn target_acts(&self, moves: &mut Vec<Move>) {
        for call in self.calls.clone() {
            let mut rest = self.clone();
            rest.calls.remove(&call);
            if call.landed {
                self.answers(moves, call, &rest);
            } else {
                moves.push((format!("{call:?} lands"), false, rest.land(call)));
                if !call.awaited {
                    moves.push((format!("{call:?} dies"), false, Ok(rest)));
                } else if let Some(spent) = self.spend("lost") {
                    moves.push((format!("{call:?} is late"), true, Ok(spent.loses(call))));
                }
            }
        }
    }

    /// The effect of a call at the target.
    fn land(&self, call: Call) -> Result<Self, String> {
        let (mut next, version) = (self.clone(), call.version);
        match call.verb {
            Verb::Install => drop(next.target.insert(version, false)),
            Verb::Lift => {
                if let Some(lasting) = next.target.get_mut(&version) {
                    *lasting = true;
                }
            }
            Verb::Revoke => {
                let bit = |version: &Version| call.ends & (1 << version.get()) > 0;
                let ended: Vec<Version> = next.target.keys().copied().filter(bit).collect();
                for version in ended {
                    let served = next.sidecars.iter().any(|it| it.lease && it.serves == Some(version));
                    if served && !next.revoked.contains(&version) {
                        return Err(format!("I5 {version} is ended while a live holder serves it"));
                    }
                    next.target.remove(&version);
                }
            }
        }
        if call.awaited {
            next.calls.insert(Call { landed: true, ..call });
        }
        Ok(next)
    }

    /// A call whose answer nobody gets: the controller knows that it does not know.
    fn loses(&self, call: Call) -> Self {
        let mut next = self.clone();
        next.calls.remove(&call);
        if !call.landed {
            next.calls.insert(Call { awaited: false, ..call });
        }
        let lost = Event::Lost { version: call.version, attempt: 0, why: String::new() };
        if call.verb == Verb::Install { next.after(&lost).unwrap_or(next) } else { next }
    }

    /// The answer to a call that has landed; an answer to something that has moved on changes nothing.
    fn answers(&self, moves: &mut Vec<Move>, call: Call, rest: &Self) {
        if !self.up {
            return;
        }
        let (version, attempt) = (call.version, 0);
        let event = match call.verb {
            Verb::Install => {
                let handle = (self.making == Making::Listed).then(|| named(version));
                Event::Installed { version, attempt, handle }
            }
            Verb::Lift => Event::Lifted { version, attempt },
            Verb::Revoke => Event::Ended { version, asked: at(NOW), sessions: 0 },
        };
        let settled = call.settled && (call.verb == Verb::Revoke || !rest.unsettled());
        let next = rest.after_if(&event, settled).unwrap_or_else(|| rest.clone());
        moves.push((format!("{call:?} answered"), false, self.checked(next)));
        if let Some(spent) = self.spend("lost") {
            moves.push((format!("{call:?} answer lost"), true, Ok(spent.loses(call))));
        }
        if call.verb == Verb::Revoke && !self.revoked.contains(&version) {
            let refused = Event::EndingRefused { version, why: String::new() };
            let twice = self.spend("stuck").and_then(|state| state.after(&refused)?.after(&refused));
            if let Some(mut next) = twice {
                next.calls.remove(&call);
                moves.push((format!("{call:?} refused"), true, Ok(next)));
            }
        }
    }

    fn controller_hears(&self, moves: &mut Vec<Move>) {
        for (index, sidecar) in self.sidecars.iter().enumerate() {
            let mut with = |label: &str, change: &dyn Fn(&mut Sidecar)| {
                let mut next = self.clone();
                change(&mut next.sidecars[index]);
                moves.push((format!("{label} {index}"), false, Ok(next)));
            };
            let view = Down {
                session: sidecar.row_session,
                order: self.ledger.order,
                current: self.ledger.served_by(named_holder(index)),
                fenced: self.ledger.fenced.clone(),
            };
            let behind = sidecar.row_acked.is_none_or(|acked| acked < self.ledger.order);
            if sidecar.row_live && behind && sidecar.down.as_ref() != Some(&view) {
                with("tell", &|it| it.down = Some(view.clone()));
            }
            let over = !sidecar.connected || sidecar.session != sidecar.row_session;
            if sidecar.row_live && !sidecar.lease && over {
                with("lease over", &|it| it.row_live = false);
            }
            for said in &sidecar.up {
                with(&format!("{said:?} of"), &|it| it.hear(said));
            }
        }
    }

    /// The processes behind the canary have used what it has, and tell how that went.
    fn canary_tells(&self, moves: &mut Vec<Move>) {
        let Some((canary, next)) = self.ledger.canary().filter(|_| self.told.is_none()) else { return };
        let has_it = |(index, it): (usize, &Sidecar)| {
            named_holder(index) == canary && it.lease && it.serves == Some(next)
        };
        if self.sidecars.iter().enumerate().any(has_it) {
            moves.push(("uses went well".to_owned(), false, Ok(Self { told: Some(true), ..self.clone() })));
            if let Some(spent) = self.spend("fail") {
                moves.push(("uses went badly".to_owned(), true, Ok(Self { told: Some(false), ..spent })));
            }
        }
    }

    fn sidecars_act(&self, moves: &mut Vec<Move>) {
        for (index, sidecar) in self.sidecars.iter().enumerate() {
            let mut with = |label: &str, from: Option<Self>, change: &dyn Fn(&mut Sidecar)| {
                let Some(mut next) = from else { return };
                change(&mut next.sidecars[index]);
                moves.push((format!("{label} {index}"), label.starts_with("fault"), Ok(next)));
            };
            let same = || Some(self.clone());
            if let Some(down) = &sidecar.down {
                with("take", same(), &|it| it.take(down));
            }
            if sidecar.lease {
                with("fault: lease ends at", self.spend("lease"), &|it| {
                    it.lease = false;
                    it.connected = false;
                });
            }
            with("fault: restart of", self.spend("restart"), &Sidecar::restart);
            if !sidecar.connected && self.up && sidecar.up.len() < 2 {
                with("hello of", same(), &|it| {
                    it.session += 1;
                    it.connected = true;
                    it.up.insert(Up::Hello { session: it.session });
                });
            }
        }
    }
}

impl Sidecar {
    /// The controller takes what was said; only the current session counts, and a hello acknowledges nothing.
    fn hear(&mut self, said: &Up) {
        self.up.remove(said);
        match *said {
            Up::Hello { session } if session > self.row_session => {
                self.row_session = session;
                self.row_live = true;
                self.row_acked = None;
            }
            Up::Ack { session, order } if session == self.row_session && self.row_live => {
                self.row_acked = self.row_acked.max(Some(order));
            }
            Up::Hello { .. } | Up::Ack { .. } => {}
        }
    }

    /// The sidecar takes a change: a later order wins, the same is acknowledged again.
    fn take(&mut self, down: &Down) {
        self.down = None;
        if down.session != self.session || !self.connected || down.order < self.order || self.up.len() > 2 {
            return;
        }
        self.order = down.order;
        self.lease = true;
        self.fenced = down.fenced.clone();
        self.serves = down.current;
        self.up.insert(Up::Ack { session: self.session, order: self.order });
    }

    /// It begins anew with nothing.
    fn restart(&mut self) {
        self.lease = false;
        self.connected = false;
        self.serves = None;
        self.order = rekey_model::Order(0);
        self.fenced = BTreeSet::new();
        self.down = None;
    }
}
