//! What a stream brings, put in its place: a snapshot is gathered and applied whole, a change by its revision.
//!
//! No I/O: messages in, messages out.

use rekey_model::{CredentialName, Generation, Incarnation};
use rekey_proto::fleet::up::Message;
use rekey_proto::fleet::{Change, Resync, SnapshotBegin, SnapshotEnd, Up, Welcome};
use tracing::{info, warn};

use super::{Ground, wire};
use crate::live::{Candidate, MOST_CREDENTIALS, Scope, Swap};

/// The most credentials that are applied between two answers: a few microseconds each. A thread costs memory for good.
const LARGE: usize = 128;

/// The most changes that are applied together: what a controller ties to each other is no more.
const MOST_TOGETHER: usize = 16;

/// One stream's place in what the controller tells.
#[derive(Debug)]
pub(super) struct Taking {
    ground: Ground,
    place: Place,
    /// Changes of one decision, of which more are to come.
    together: Vec<Candidate>,
}

#[derive(Debug)]
enum Place {
    /// Before the first snapshot, or after a gap.
    Lost,
    /// Within a snapshot; `early`: changes beyond it that came already.
    Gathering { expected: usize, got: Vec<Candidate>, nacks: Vec<Up>, early: Vec<(u64, CredentialName)> },
    /// Level with the controller as of this revision.
    Level(u64),
}

/// Why nothing more is taken from a stream.
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

impl Taking {
    pub(super) fn new(ground: Ground) -> Self {
        Self { ground, place: Place::Lost, together: Vec::new() }
    }

    pub(super) fn is_level(&self) -> bool {
        matches!(self.place, Place::Level(_))
    }

    /// Whether the end of this snapshot is worth a thread of its own.
    pub(super) fn is_large(&self) -> bool {
        matches!(&self.place, Place::Gathering { got, .. } if got.len() > LARGE)
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
        if expected > MOST_CREDENTIALS {
            return Err(Fault::Protocol("a snapshot with more credentials than a sidecar holds"));
        }
        self.together.clear();
        self.place = Place::Gathering { expected, got: Vec::new(), nacks: Vec::new(), early: Vec::new() };
        Ok(())
    }

    /// One change. It is the whole state of a credential, so it is right to apply it wherever it stands; a gap before it
    /// only means that others are missing.
    pub(super) fn change(&mut self, change: Change) -> Result<Vec<Up>, Fault> {
        let (revision, more) = (change.revision, change.more);
        let candidate = wire::candidate(change).map_err(|nameless| {
            warn!(why = %nameless.why, "a change for no credential name is refused");
            nameless.nack
        });
        if revision == 0
            && let Place::Gathering { expected, got, nacks, .. } = &mut self.place
        {
            if got.len() + nacks.len() >= *expected {
                return Err(Fault::Protocol("more changes than announced"));
            }
            match candidate {
                Ok(candidate) => got.push(candidate),
                Err(nack) => nacks.push(nack),
            }
            return Ok(Vec::new());
        }
        let name = candidate.as_ref().ok().map(|candidate| candidate.name.clone());
        let mut ups = Vec::new();
        match candidate {
            Ok(candidate) => self.together.push(candidate),
            Err(nack) => ups.push(nack),
        }
        if !more || self.together.len() >= MOST_TOGETHER {
            let together = std::mem::take(&mut self.together);
            let scope = if together.len() > 1 { Scope::Together } else { Scope::Part };
            ups.extend(wire::outcome(&self.apply(&scope, together)));
        }
        ups.extend(self.passed(revision, name));
        Ok(ups)
    }

    /// Notes that the change with `revision` came; asks for a snapshot if one before it did not.
    fn passed(&mut self, revision: u64, name: Option<CredentialName>) -> Option<Up> {
        match &mut self.place {
            Place::Gathering { early, .. } => {
                early.extend(name.filter(|_| early.len() < MOST_CREDENTIALS).map(|name| (revision, name)));
                None
            }
            Place::Level(last) if revision > last.saturating_add(1) => {
                warn!(expected = last.saturating_add(1), got = revision, "changes are missing");
                self.place = Place::Lost;
                Some(wire::up(Message::Resync(Resync {})))
            }
            Place::Level(last) => {
                *last = revision.max(*last);
                None
            }
            Place::Lost => None,
        }
    }

    /// Applies the snapshot that was gathered. What it returns is sent after readers see it.
    pub(super) fn end(&mut self, end: SnapshotEnd) -> Result<Vec<Up>, Fault> {
        let place = std::mem::replace(&mut self.place, Place::Lost);
        let Place::Gathering { expected, got, nacks, mut early } = place else {
            return Err(Fault::Protocol("the end of a snapshot that did not begin"));
        };
        if got.len() + nacks.len() != expected {
            return Err(Fault::Protocol("fewer changes than announced"));
        }
        early.retain(|(revision, _)| *revision > end.revision);
        early.sort_unstable();
        let besides = early.iter().map(|(_, name)| name.clone()).collect();
        let mut ups = wire::outcome(&self.apply(&Scope::Whole { besides }, got));
        ups.extend(nacks);
        self.place = Place::Level(end.revision);
        for (revision, _) in early {
            ups.extend(self.passed(revision, None));
        }
        Ok(ups)
    }

    fn apply(&self, scope: &Scope, candidates: Vec<Candidate>) -> Swap {
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
