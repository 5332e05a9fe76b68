//! The one who publishes: decides by order what is applied, obeys fences first, swaps once, says what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{CredentialName, Generation, Handle, Incarnation, Moment, Version};

use super::candidate::{CheckedContent, CheckedVersion};
use super::entry::Settling;
use super::{Candidate, Checked, Content, Entry, Leaving, Live, Mark, Refusal, Served, Snapshot, answer};

/// How many credentials a sidecar holds at most; more are refused. What it says of all of them still fits one message.
pub const MOST_CREDENTIALS: usize = 1024;
/// How many versions of one credential are known for reports; the oldest are forgotten.
const MOST_KNOWN: usize = 64;

/// What a batch of candidates stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything there is: what is not in it is no longer granted.
    Whole {
        /// Credentials that are known to be newer than the batch: they stay.
        besides: BTreeSet<CredentialName>,
    },
    /// Some credentials; the others stay.
    Part,
    /// Some credentials that belong together, as one decision: all of them, or none if one is refused. Fences are obeyed
    /// all the same. The others stay.
    Together,
}

/// What came of a batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Swap {
    /// The generation that is live now.
    pub generation: Generation,
    /// What is served by order, for each candidate that was applied now or before.
    pub taken: Vec<SwappedTo>,
    /// What was refused.
    pub refused: Vec<Refusal>,
}

/// What is served of one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwappedTo {
    /// The credential.
    pub name: CredentialName,
    /// The change that was applied: the evidence.
    pub mark: Mark,
    /// The version served.
    pub version: Option<Version>,
}

/// One credential as a hello tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldCredential {
    /// The credential.
    pub name: CredentialName,
    /// The change that was applied last.
    pub mark: Mark,
    /// The version served, with its name at the target.
    pub serves: Option<(Version, Handle)>,
    /// Versions never to be served again.
    pub fenced: BTreeSet<Version>,
}

/// What a source says anew, beside a lease, about the earlier versions of one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The credential.
    pub name: CredentialName,
    /// For holders of just this change.
    pub mark: Mark,
    /// The versions, and for how long from now the target accepts them.
    pub previous: Vec<(Version, Duration)>,
}

/// Holds what was applied so far; the only one who changes [`Live`].
#[derive(Debug)]
pub struct Writer {
    live: Arc<Live>,
    held: BTreeMap<CredentialName, Held>,
    generation: Generation,
    incarnation: Incarnation,
    complete: bool,
}

/// Invariant: outlives its entry, so that a withdrawn credential comes back only by a later order, without what was
/// fenced.
#[derive(Debug, Clone, Default)]
struct Held {
    mark: Mark,
    fenced: BTreeSet<Version>,
    /// Versions that local processes may have got from here: what their reports may be about.
    known: BTreeSet<Version>,
    entry: Option<Arc<Entry>>,
}

impl Writer {
    /// One that has applied nothing yet. There is one writer for a [`Live`].
    pub fn new(live: Arc<Live>) -> Self {
        Self {
            live,
            held: BTreeMap::new(),
            generation: Generation::default(),
            incarnation: Incarnation::default(),
            complete: false,
        }
    }

    /// What it publishes to.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The generation that is live.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The next swap gets a generation above `floor`.
    pub fn raise_floor(&mut self, floor: Generation) {
        self.generation = self.generation.max(floor);
    }

    /// The latest life of the store seen; a source in an earlier one is not to be believed.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Notes a life of the store; it never falls.
    pub fn note_incarnation(&mut self, seen: Incarnation) {
        self.incarnation = self.incarnation.max(seen);
    }

    /// What is held, for a hello.
    pub fn held(&self) -> Vec<HeldCredential> {
        let told = |held: &Held| held.mark != Mark::default() || !held.fenced.is_empty();
        let held = self.held.iter().filter(|(_, held)| told(held)).map(|(name, held)| HeldCredential {
            name: name.clone(),
            mark: held.mark,
            serves: held.served().map(|served| (served.version, served.handle.clone())),
            fenced: held.fenced.clone(),
        });
        held.collect()
    }

    /// Obeys the fences of `candidates`, applies what is newer and sound, and makes the outcome visible in one swap.
    ///
    /// When this returns, readers see it. What is refused keeps its last good value, unless that was fenced. Twice is
    /// once: what was applied before is only said again.
    pub fn apply(&mut self, scope: &Scope, candidates: Vec<Candidate>, now: Moment) -> Swap {
        let cut = self.obey_fences(&candidates);
        let named: BTreeSet<CredentialName> = candidates.iter().map(|c| c.name.clone()).collect();
        let mut swap = Swap { generation: self.generation, taken: Vec::new(), refused: Vec::new() };
        let came = match scope {
            Scope::Together => self.take_all_or_none(candidates, now, &mut swap),
            Scope::Part | Scope::Whole { .. } => self.take_each(candidates, now, &mut swap),
        };
        let went = match scope {
            Scope::Whole { besides } => {
                let first = !std::mem::replace(&mut self.complete, true);
                first | self.drop_others(|name| named.contains(name) || besides.contains(name))
            }
            Scope::Part | Scope::Together => false,
        };
        if cut | came | went {
            self.generation = self.generation.next();
            swap.generation = self.generation;
            self.publish();
        }
        swap
    }

    /// Takes what is newer and sound. Says whether that is news to readers.
    fn take_each(&mut self, candidates: Vec<Candidate>, now: Moment, swap: &mut Swap) -> bool {
        let mut changed = false;
        for candidate in candidates {
            let (name, owed) = (candidate.name.clone(), candidate.replacement_owed);
            match self.take(candidate, now) {
                Ok(Taken::Applied) => {
                    changed = true;
                    swap.taken.extend(self.swapped_to(&name));
                }
                Ok(Taken::Before) => swap.taken.extend(self.swapped_to(&name)),
                Ok(Taken::Overtaken) => {}
                Err(refusal) => {
                    changed |= self.held.get_mut(&name).is_some_and(|held| held.stay_empty(&name, owed));
                    swap.refused.push(refusal);
                }
            }
        }
        changed
    }

    /// The same, but none of them where one is refused.
    fn take_all_or_none(&mut self, candidates: Vec<Candidate>, now: Moment, swap: &mut Swap) -> bool {
        let before = self.kept(&candidates);
        let changed = self.take_each(candidates, now, swap);
        if swap.refused.is_empty() {
            return changed;
        }
        swap.taken.clear();
        self.put_back(before)
    }

    /// Takes what is said anew about versions in their grace. No value is swapped, so the generation stays.
    pub fn prolong(&mut self, said: &[Accepted], now: Moment) {
        let mut prolonged = false;
        for said in said {
            let held = self.held.get_mut(&said.name).filter(|held| held.mark == said.mark);
            prolonged |= held.is_some_and(|held| held.prolong(said, now));
        }
        if prolonged {
            self.publish();
        }
    }

    fn publish(&self) {
        let entries = self.held.values().filter_map(|held| held.entry.clone());
        self.live.publish(Snapshot::new(self.generation, self.complete, entries));
    }

    /// Fences only grow, whatever order or life of the store they come with. Says whether something was cut.
    fn obey_fences(&mut self, candidates: &[Candidate]) -> bool {
        let mut cut = false;
        for candidate in candidates.iter().filter(|c| !c.fenced.is_empty()) {
            if self.held.len() >= MOST_CREDENTIALS && !self.held.contains_key(&candidate.name) {
                continue;
            }
            let held = self.held.entry(candidate.name.clone()).or_default();
            held.fenced.extend(candidate.fenced.iter().copied());
            cut |= held.cut_fenced(candidate.replacement_owed && candidate.mark >= held.mark);
        }
        cut
    }

    /// What is held of the credentials that candidates are for, and whether a replacement of it is on its way.
    fn kept(&self, candidates: &[Candidate]) -> Vec<(CredentialName, Held, bool)> {
        let held = |candidate: &Candidate| {
            let held = self.held.get(&candidate.name).cloned().unwrap_or_default();
            (candidate.name.clone(), held, candidate.replacement_owed)
        };
        candidates.iter().map(held).collect()
    }

    /// Holds again what was held before. Says whether that is news to readers.
    fn put_back(&mut self, before: Vec<(CredentialName, Held, bool)>) -> bool {
        let mut changed = false;
        for (name, mut held, owed) in before {
            changed |= held.stay_empty(&name, owed);
            self.held.insert(name, held);
        }
        changed
    }

    fn take(&mut self, candidate: Candidate, now: Moment) -> Result<Taken, Refusal> {
        let (name, mark, next) = (candidate.name.clone(), candidate.mark, self.generation.next());
        if self.held.len() >= MOST_CREDENTIALS && !self.held.contains_key(&name) {
            let defect = super::Defect::TooManyCredentials(MOST_CREDENTIALS);
            return Err(Refusal { name, mark, defect });
        }
        let held = self.held.entry(name).or_default();
        let withdrawn = matches!(candidate.offer, super::Offer::Withdrawn);
        if mark < held.mark {
            return Ok(Taken::Overtaken);
        }
        // A grant is given and taken without a new order; only then does an equal one change something.
        if mark == held.mark && held.mark != Mark::default() && withdrawn == held.entry.is_none() {
            return Ok(Taken::Before);
        }
        let checked = candidate.check(&held.fenced)?;
        held.set(checked, next, now);
        Ok(Taken::Applied)
    }

    fn swapped_to(&self, name: &CredentialName) -> Option<SwappedTo> {
        let held = self.held.get(name)?;
        let version = held.served().map(|served| served.version);
        Some(SwappedTo { name: name.clone(), mark: held.mark, version })
    }

    fn drop_others(&mut self, stays: impl Fn(&CredentialName) -> bool) -> bool {
        let mut dropped = false;
        for (name, held) in &mut self.held {
            if !stays(name) {
                dropped |= held.entry.take().is_some();
            }
        }
        dropped
    }
}

/// What became of a candidate that was not refused.
enum Taken {
    Applied,
    Before,
    Overtaken,
}

impl Held {
    fn served(&self) -> Option<&Served> {
        match &self.entry.as_ref()?.content {
            Content::Served(served) => Some(served),
            Content::Waiting | Content::Revoked { .. } => None,
        }
    }

    /// Stops serving what is fenced. Says whether that changed anything.
    fn cut_fenced(&mut self, owed: bool) -> bool {
        let Some(entry) = &self.entry else { return false };
        let content = match &entry.content {
            Content::Served(served) if self.fenced.contains(&served.version) => Content::Revoked { owed },
            Content::Served(served) => match served.without_previous(&self.fenced) {
                Some(kept) => Content::Served(kept),
                None => return false,
            },
            Content::Waiting | Content::Revoked { .. } => return false,
        };
        self.entry = Some(Arc::new(self.entry_of(entry.name.clone(), content)));
        true
    }

    /// Believes that earlier versions are accepted for longer. Says whether that is news.
    fn prolong(&mut self, said: &Accepted, now: Moment) -> bool {
        let Some(longer) = self.served().and_then(|served| served.prolonged(&said.previous, now)) else {
            return false;
        };
        self.entry = Some(Arc::new(self.entry_of(said.name.clone(), Content::Served(longer))));
        true
    }

    /// After a refusal: what was never good is waited for, or was cut. Says whether that is new.
    fn stay_empty(&mut self, name: &CredentialName, owed: bool) -> bool {
        if self.entry.is_some() {
            return false;
        }
        let content = if self.fenced.is_empty() { Content::Waiting } else { Content::Revoked { owed } };
        self.entry = Some(Arc::new(self.entry_of(name.clone(), content)));
        true
    }

    fn entry_of(&self, name: CredentialName, content: Content) -> Entry {
        Entry { name, mark: self.mark, content, known: self.known.iter().copied().collect() }
    }

    fn set(&mut self, checked: Checked, next: Generation, now: Moment) {
        let Checked { name, mark, content } = checked;
        let coming = match &content {
            CheckedContent::Current(version) => version.next.as_ref().map(|next| next.version),
            CheckedContent::Nothing { .. } | CheckedContent::Withdrawn => None,
        };
        let content = match content {
            CheckedContent::Withdrawn => None,
            CheckedContent::Nothing { .. } if self.fenced.is_empty() => Some(Content::Waiting),
            CheckedContent::Nothing { replacement_owed } => Some(Content::Revoked { owed: replacement_owed }),
            CheckedContent::Current(version) => Some(Content::Served(self.serve(&name, version, next, now))),
        };
        if let Some(Content::Served(served)) = &content {
            self.known.insert(served.version);
            self.known.extend(coming);
            self.known.extend(served.previous.iter().map(|leaving| leaving.version));
            while self.known.len() > MOST_KNOWN {
                self.known.pop_first();
            }
        }
        self.mark = mark;
        self.entry = content.map(|content| Arc::new(self.entry_of(name, content)));
    }

    fn serve(&self, name: &CredentialName, v: CheckedVersion, next: Generation, now: Moment) -> Served {
        let same = self.served().filter(|s| s.version == v.version && answer::same_values(&s.answer, &v));
        let generation = same.map_or(next, |served| served.generation);
        let leaving = |(version, span): &(Version, Duration)| Leaving {
            version: *version,
            until_ms: now.boot_ms_after(*span),
        };
        let settling = v.readers_wait.map(|wait| Settling {
            until_ms: now.boot_ms_after(wait),
            next: v.next.as_ref().map(|next| next.version),
            answer: answer::encode_unsettled(name, &v, generation, now),
        });
        Served {
            version: v.version,
            generation,
            settling,
            previous: v.previous.iter().map(leaving).collect(),
            answer: answer::encode(name, &v, generation, now),
            handle: v.handle,
            offline: v.offline,
            ends_ms: v.expires_in.map(|span| now.boot_ms_after(span)),
        }
    }
}

impl Served {
    /// This without the versions beside it that are in `fenced`; `None` if there is none of them.
    fn without_previous(&self, fenced: &BTreeSet<Version>) -> Option<Self> {
        let next = self.settling.as_ref().and_then(|settling| settling.next);
        let mut beside = self.previous.iter().map(|leaving| leaving.version).chain(next);
        if !beside.any(|version| fenced.contains(&version)) {
            return None;
        }
        let mut kept = self.clone();
        if next.is_some_and(|next| fenced.contains(&next)) {
            kept.settling = None;
        }
        kept.previous.retain(|leaving| !fenced.contains(&leaving.version));
        kept.answer = answer::without_previous(&self.answer, |version| !fenced.contains(&version))?;
        Some(kept)
    }

    /// This with earlier versions that are accepted as long as `said`; `None` while at least half of that is left of
    /// what was said before, so that readers are not told at each lease.
    fn prolonged(&self, said: &[(Version, Duration)], now: Moment) -> Option<Self> {
        let mut longer = self.clone();
        let mut due = false;
        for leaving in &mut longer.previous {
            let again = said.iter().find(|(version, _)| *version == leaving.version);
            let Some((_, span)) = again else { continue };
            due |= leaving.until_ms < now.boot_ms_after(*span / 2);
            leaving.until_ms = now.boot_ms_after(*span);
        }
        longer.answer = due.then(|| answer::prolonged(&self.answer, said, now))??;
        Some(longer)
    }
}
