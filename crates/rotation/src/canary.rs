//! One holder uses the new version before everybody moves: who that is, and what follows from how it does.
//!
//! All others go on with `current`, which stays the old version until the promotion: what knows nothing of a canary shows
//! the old one. The new one is no longer unused, so there is no way from here to Undoing but through Returning.

use std::time::Duration;

use rekey_model::{InstanceId, Span, Version};

use crate::due::ToGo;
use crate::facts::{Facts, HolderFacts, Trial};
use crate::guard::Unmet;
use crate::ledger::Ledger;
use crate::phase::{Canary, Phase, Rotation};

impl Ledger {
    /// The holder that has the new version before all others, and that version; none: nobody has.
    pub fn canary(&self) -> Option<(InstanceId, Version)> {
        let open = self.open_rotation().filter(|open| open.phase == Phase::Canary)?;
        Some((open.canary.as_ref()?.holder?, open.next?))
    }

    /// The version that `holder` is to use.
    pub fn served_by(&self, holder: InstanceId) -> Option<Version> {
        let canary = self.canary().filter(|(canary, _)| *canary == holder);
        canary.map(|(_, next)| next).or(self.current)
    }

    /// How much is left of the time that the canary has, from when it was told; none: there is no canary, or none is
    /// declared any more.
    pub fn canary_left(&self, facts: &Facts<'_>) -> Option<Duration> {
        let open = self.open_rotation().filter(|open| open.phase == Phase::Canary)?;
        let told = open.canary.as_ref()?.since;
        Some(facts.policy.canary?.within.saturating_sub(facts.now.at_least_since(told)))
    }

    /// Proven → Canary; or → Rolling, where no canary is declared or where nobody could stay with the old version.
    pub(crate) fn lead(&mut self, open: &Rotation, facts: &Facts<'_>) -> bool {
        let stay = open.old.is_some_and(|old| self.current == Some(old) && self.is_servable(old));
        let kills = open.cut_over.is_some() || Self::is_followed(facts);
        if facts.policy.canary.is_some() && stay && !open.replacement && !kills {
            self.send_ahead(open, facts)
        } else {
            self.promote(open, facts)
        }
    }

    /// A live holder gets the new version first: the declared one, or else the first by name. Where none is live there is
    /// nobody to try it, and everybody is told.
    fn send_ahead(&mut self, open: &Rotation, facts: &Facts<'_>) -> bool {
        let rank = |holder: &&HolderFacts| (!holder.tries_first, holder.name.clone(), holder.instance);
        let Some(first) = facts.live().min_by_key(rank) else {
            return self.let_all_have_it(open, "no sidecar was connected to try it", facts);
        };
        let counted = u32::try_from(facts.counting().count()).unwrap_or(u32::MAX);
        self.order = self.order.next();
        self.update(|rotation| {
            rotation.phase = Phase::Canary;
            rotation.canary = Some(Canary::told(Some(first), facts.now));
            rotation.turned = Some(facts.now);
            rotation.counted = counted;
            rotation.last_error = None;
        })
    }

    /// Canary → Rolling when it did well, → Returning when it did not; another canary when its lease has ended. A hold
    /// stops all but the return.
    pub(crate) fn follow_canary(&mut self, open: &Rotation, facts: &Facts<'_>) -> bool {
        if let Some((old, why)) = open.old.zip(self.speaks_against(facts)) {
            return self.turn_back(old, &why, facts.now);
        }
        if self.held.is_some() {
            return false;
        }
        let holder = open.canary.as_ref().and_then(|canary| canary.holder);
        let Some(holder) = facts.live().find(|live| Some(live.instance) == holder) else {
            return self.send_ahead(open, facts);
        };
        let speaks_for = self.speaks_for(facts).filter(|_| holder.has_acked(self.order));
        speaks_for.is_some_and(|why| self.let_all_have_it(open, &why, facts))
    }

    /// What speaks for telling everybody, if enough does.
    fn speaks_for(&self, facts: &Facts<'_>) -> Option<String> {
        let tried = facts.tried;
        let Some(trial) = facts.policy.canary else {
            return Some("no canary is declared any more".to_owned());
        };
        if tried.uses >= trial.uses {
            return (!tried.misses).then(|| format!("{} of {} uses were good", tried.good, tried.uses));
        }
        let over = self.canary_left(facts).is_some_and(|left| left.is_zero());
        let within = Span::new(trial.within);
        (over && tried.good == tried.uses)
            .then(|| format!("none of {} uses was refused within {within}", tried.uses))
    }

    /// What speaks against telling anybody else, if enough does.
    fn speaks_against(&self, facts: &Facts<'_>) -> Option<String> {
        let (tried, Trial { uses, within }) = (facts.tried, facts.policy.canary?);
        let over = self.canary_left(facts)?.is_zero();
        let enough = tried.uses >= uses;
        let told = format!("{} of {} uses behind the canary were good", tried.good, tried.uses);
        if enough && tried.misses {
            Some(format!("{told}, fewer than asked for"))
        } else if over && !enough && tried.good < tried.uses {
            Some(format!("{told} within {}, and {uses} were asked for", Span::new(within)))
        } else {
            None
        }
    }

    /// The canary is over: everybody is to use `next`.
    pub(crate) fn let_all_have_it(&mut self, open: &Rotation, why: &str, facts: &Facts<'_>) -> bool {
        self.update(|rotation| {
            let canary = rotation.canary.get_or_insert_with(|| Canary::told(None, facts.now));
            canary.passed = Some(why.to_owned());
        });
        self.promote(open, facts)
    }

    /// What a canary waits for.
    pub(crate) fn canary_waits_for(&self, open: &Rotation, facts: &Facts<'_>) -> Vec<String> {
        let Some(canary) = &open.canary else { return Vec::new() };
        if let Some(held) = &self.held {
            return vec![format!("held: {}", held.reason)];
        }
        let acked = facts.live().any(|it| Some(it.instance) == canary.holder && it.has_acked(self.order));
        if !acked {
            return vec![Unmet::NotAcked(vec![canary.name.clone()]).to_string()];
        }
        let (Some(left), Some(Trial { uses, .. })) = (self.canary_left(facts), facts.policy.canary) else {
            return Vec::new();
        };
        let had = facts.tried.uses;
        vec![format!(
            "{uses} uses behind {}, which has it first ({had} so far), for {}",
            canary.name,
            ToGo(left)
        )]
    }
}
