//! What a stream brings, put in its place: a snapshot is gathered and applied whole, a change by its revision.
//!
//! No I/O: messages in, messages out. Fences are obeyed at once, wherever they stand.

use rekey_model::{Generation, Incarnation};
use rekey_proto::fleet::up::Message;
use rekey_proto::fleet::{Change, Resync, SnapshotBegin, SnapshotEnd, Up, Welcome};
use tracing::{info, warn};

use super::{Ground, wire};
use crate::live::{Candidate, Scope, Swap};

/// The most changes that a snapshot may have, and that are kept back while one is gathered.
const MOST: usize = 4096;

/// One stream's place in what the controller tells.
#[derive(Debug)]
pub(super) struct Follow {
    ground: Ground,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Before the first snapshot, or after a gap.
    Lost,
    /// Within a snapshot.
    Gathering { expected: usize, got: Vec<Candidate>, nacks: Vec<Up>, early: Vec<(u64, Candidate)> },
    /// Level with the controller as of this revision.
    Level(u64),
}

/// Why a stream is not followed any longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The controller belongs to an earlier life of the store than one seen before.
    #[error(
        "this controller is of store life {theirs}, but {seen} was seen: is an old controller still running? \
         It is not believed"
    )]
    OlderStore { theirs: Incarnation, seen: Incarnation },
    /// The controller does not keep to the protocol.
    #[error("the controller does not keep to the protocol: {0}")]
    Protocol(&'static str),
}

impl Follow {
    pub(super) fn new(ground: Ground) -> Self {
        Self { ground, place: Place::Lost }
    }

    pub(super) fn is_level(&self) -> bool {
        matches!(self.place, Place::Level(_))
    }

    /// Whether the end of this snapshot is worth a thread of its own.
    pub(super) fn is_large(&self) -> bool {
        matches!(&self.place, Place::Gathering { got, .. } if got.len() > 16)
    }

    pub(super) fn welcome(&mut self, welcome: &Welcome) -> Result<(), Fault> {
        let mut writer = self.ground.writer();
        let (theirs, seen) = (Incarnation(welcome.incarnation), writer.incarnation());
        if theirs < seen {
            return Err(Fault::OlderStore { theirs, seen });
        }
        writer.note_incarnation(theirs);
        writer.raise_floor(Generation(welcome.generation_floor));
        Ok(())
    }

    pub(super) fn begin(&mut self, begin: SnapshotBegin) -> Result<(), Fault> {
        let expected = usize::try_from(begin.changes).unwrap_or(usize::MAX);
        if expected > MOST {
            return Err(Fault::Protocol("a snapshot with more credentials than a sidecar holds"));
        }
        self.place = Place::Gathering { expected, got: Vec::new(), nacks: Vec::new(), early: Vec::new() };
        Ok(())
    }

    pub(super) fn change(&mut self, change: Change) -> Result<Vec<Up>, Fault> {
        let revision = change.revision;
        let candidate = match wire::candidate(change) {
            Ok(candidate) => Ok(candidate),
            Err(nameless) => {
                warn!(why = %nameless.why, "a change for no credential name is refused");
                Err(nameless.nack)
            }
        };
        match &mut self.place {
            Place::Gathering { got, nacks, early, expected } => {
                let room = got.len() + nacks.len() < *expected && early.len() < MOST;
                match candidate {
                    _ if !room && revision == 0 => {
                        return Err(Fault::Protocol("more changes than announced"));
                    }
                    Ok(candidate) if revision == 0 => got.push(candidate),
                    Ok(candidate) => {
                        self.ground.writer().fence(std::slice::from_ref(&candidate));
                        early.push((revision, candidate));
                        early.truncate(MOST);
                    }
                    Err(nack) => nacks.push(nack),
                }
                Ok(Vec::new())
            }
            Place::Lost => {
                self.fence(&candidate);
                Ok(Vec::new())
            }
            Place::Level(_) => Ok(self.next(revision, candidate)),
        }
    }

    /// One change while level: in turn, or again, or after a gap.
    fn next(&mut self, revision: u64, candidate: Result<Candidate, Up>) -> Vec<Up> {
        let Place::Level(last) = &mut self.place else { return Vec::new() };
        if revision > last.saturating_add(1) {
            warn!(
                expected = last.saturating_add(1),
                got = revision,
                "changes are missing: asking for a snapshot"
            );
            self.fence(&candidate);
            self.place = Place::Lost;
            return vec![wire::up(Message::Resync(Resync {}))];
        }
        *last = revision.max(*last);
        match candidate {
            Ok(candidate) => wire::outcome(self.apply(Scope::Part, vec![candidate])),
            Err(nack) => vec![nack],
        }
    }

    /// Applies the snapshot that was gathered, then what came early. What it returns is sent after readers see it.
    pub(super) fn end(&mut self, end: SnapshotEnd) -> Result<Vec<Up>, Fault> {
        let place = std::mem::replace(&mut self.place, Place::Lost);
        let Place::Gathering { expected, got, nacks, early } = place else {
            return Err(Fault::Protocol("the end of a snapshot that did not begin"));
        };
        if got.len() + nacks.len() != expected {
            return Err(Fault::Protocol("fewer changes than announced"));
        }
        let mut ups = wire::outcome(self.apply(Scope::Whole, got));
        ups.extend(nacks);
        self.place = Place::Level(end.revision);
        for (revision, candidate) in early {
            if revision > end.revision {
                ups.extend(self.next(revision, Ok(candidate)));
            }
        }
        Ok(ups)
    }

    /// What comes out of turn is not applied, but what it cuts is cut.
    fn fence(&self, candidate: &Result<Candidate, Up>) {
        if let Ok(candidate) = candidate {
            self.ground.writer().fence(std::slice::from_ref(candidate));
        }
    }

    fn apply(&self, scope: Scope, candidates: Vec<Candidate>) -> Swap {
        let now = self.ground.clock.now();
        let swap = self.ground.writer().apply(scope, candidates, now);
        for refusal in &swap.refused {
            warn!(credential = %refusal.name, order = %refusal.mark.order, why = %refusal.defect, "refused; the last good value stays");
        }
        for taken in &swap.taken {
            let version = taken.version.map_or_else(|| "nothing".to_owned(), |version| version.to_string());
            info!(credential = %taken.name, order = %taken.mark.order, generation = %swap.generation, %version, "serving");
        }
        swap
    }
}
