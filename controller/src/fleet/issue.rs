//! The `Identity` service: how a sidecar gets and keeps its leaf.
//!
//! Who somebody is, is always taken from the store: from the token's row at a join, from the instance's row after. The
//! counter in the leaf tells a copy: once a later leaf was seen in use, an earlier one that asks for the next shows that
//! two have the same identity, and the instance is locked (Teleport's idea; T11).

use std::hash::Hash;
use std::time::Duration;

use rekey_model::{Moment, SpiffeId, millis};
use rekey_proto::fleet::identity_server::Identity;
use rekey_proto::fleet::{IdentityResponse, JoinRequest, RejoinRequest, RenewRequest};
use rekey_runtime::{Peer, random};
use tonic::{Request, Response, Status};

use super::Fleet;
use super::limit::{Limiter, network};
use super::refusal::Refusal;
use crate::audit::{Actor, ActorKind, Entry, Outcome, Verb};
use crate::ca::{RequestedKey, SidecarLeaf};
use crate::identity::SidecarIdentity;
use crate::store::{InstanceRow, Leaf, StoreError, Tx};
use crate::tokens::{JoinToken, TokenTerms};

/// The most bytes of an expired leaf.
const MOST_LEAF: usize = 8192;

#[tonic::async_trait]
impl Identity for Fleet {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<IdentityResponse>, Status> {
        let admitted = self.admit(&request);
        let JoinRequest { token, csr_der } = request.into_inner();
        // From here on the token is wiped whatever happens.
        let token = JoinToken::presented(token);
        let joined = async {
            admitted?;
            self.let_join(&token.ok_or(Refusal::Token)?, &csr_der).await
        };
        answer(joined.await)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<IdentityResponse>, Status> {
        let renewed = async {
            let who = self.sidecar_behind(Peer::of(&request))?;
            admits(&self.limits().renewals, who.instance, self.clock().now())?;
            let key = RequestedKey::from_request(&request.get_ref().csr_der)?;
            self.issue_next(&who, &key, Verb::Renew).await
        };
        answer(renewed.await)
    }

    async fn rejoin(&self, request: Request<RejoinRequest>) -> Result<Response<IdentityResponse>, Status> {
        let rejoined = async {
            self.admit(&request)?;
            self.let_rejoin(request.get_ref()).await
        };
        answer(rejoined.await)
    }
}

/// Lets `who` through, not too often.
pub(super) fn admits<K: Copy + Eq + Hash>(limiter: &Limiter<K>, who: K, now: Moment) -> Result<(), Refusal> {
    if limiter.admits(who, now) { Ok(()) } else { Err(Refusal::TooOften { again: limiter.each() }) }
}

fn answer(outcome: Result<IdentityResponse, Refusal>) -> Result<Response<IdentityResponse>, Status> {
    outcome.map(Response::new).map_err(|refusal| {
        tracing::info!(why = %refusal, "no identity was given");
        refusal.to_status()
    })
}

impl Fleet {
    /// Lets a call without a certificate through, not too often from one address.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Refusal> {
        let Some(Peer::Tls { addr, .. }) = Peer::of(request) else { return Err(Refusal::Anonymous) };
        admits(&self.limits().strangers, network(addr.ip()), self.clock().now())
    }

    async fn let_join(&self, token: &JoinToken, csr: &[u8]) -> Result<IdentityResponse, Refusal> {
        // First, so that a wrong request does not cost the token.
        let key = RequestedKey::from_request(csr)?;
        // The one who writes is kept free for those who know a token: anybody can make up others.
        if !self.store().has_token(&token.hash()).await? {
            return Err(Refusal::Token);
        }
        let mut tx = self.store().begin().await?;
        let Some(row) = tx.take_token(&token.hash()).await? else {
            // An expired token is gone with this.
            tx.commit().await?;
            return Err(Refusal::Token);
        };
        let terms = TokenTerms::new(&self.config().domain, row.spiffe, None).map_err(|error| {
            tracing::error!(%error, token = row.id, "a stored token is for somebody else");
            Refusal::Token
        })?;
        let says = SidecarLeaf { spiffe: terms.spiffe().clone(), instance: random::id(), counter: 1 };
        let (response, leaf) = self.sign(&key, &says, tx.now())?;
        tx.join(says.instance, &says.spiffe, &leaf).await?;
        let how = format!("join token {}", row.id);
        record(&mut tx, (&says, &how), Verb::Join, Outcome::Done).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn let_rejoin(&self, asked: &RejoinRequest) -> Result<IdentityResponse, Refusal> {
        if asked.leaf_der.len() > MOST_LEAF {
            return Err(Refusal::Denied);
        }
        let window = self.config().rejoin_window;
        let said = (asked.csr_der.as_slice(), asked.proof.as_slice());
        let accepted = self.authority().accept_expired(&asked.leaf_der, said, window, self.clock().now());
        accepted.map_err(|error| {
            tracing::warn!(%error, "an expired leaf was not accepted");
            Refusal::Denied
        })?;
        let who = self.sidecar_of(&asked.leaf_der)?;
        admits(&self.limits().renewals, who.instance, self.clock().now())?;
        let key = RequestedKey::from_request(&asked.csr_der)?;
        self.issue_next(&who, &key, Verb::Rejoin).await
    }

    /// Issues the leaf after the one that `who` has shown, or locks the instance if that one is a copy.
    async fn issue_next(
        &self,
        who: &SidecarIdentity,
        key: &RequestedKey,
        verb: Verb,
    ) -> Result<IdentityResponse, Refusal> {
        let mut tx = self.store().begin().await?;
        let row = tx.instance(who.instance).await?.filter(|row| row.welcome() && row.spiffe == who.spiffe);
        let row = row.ok_or(Refusal::Denied)?;
        let Some(counter) = next_counter(&row.leaf, who.counter) else {
            self.lock(tx, who, &row).await?;
            return Err(Refusal::Denied);
        };
        let says = SidecarLeaf { spiffe: row.spiffe, instance: row.id, counter };
        let (response, leaf) = self.sign(key, &says, tx.now())?;
        let confirmed = row.leaf.confirmed.max(who.counter);
        tx.set_leaf(row.id, &Leaf { confirmed, ..leaf }).await?;
        let how = format!("leaf {}", who.counter);
        record(&mut tx, (&says, &how), verb, Outcome::Done).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn lock(&self, mut tx: Tx, who: &SidecarIdentity, row: &InstanceRow) -> Result<(), Refusal> {
        let why = format!(
            "leaf {} asked for the next although leaf {} was seen in use: somebody has a copy of this identity",
            who.counter, row.leaf.confirmed
        );
        tracing::error!(instance = %row.id, spiffe = %row.spiffe, %why, "an instance is locked");
        tx.lock_instance(row.id, &why).await?;
        let actor = Actor::controller();
        let entry = Entry { holder: Some(row.id), ..Entry::new(actor, Verb::Lock, Outcome::Done) };
        tx.audit(&entry.because(why)).await?;
        tx.commit().await?;
        self.cut(row.id);
        Ok(())
    }

    fn sign(
        &self,
        key: &RequestedKey,
        says: &SidecarLeaf,
        now: Moment,
    ) -> Result<(IdentityResponse, Leaf), Refusal> {
        let life = self.config().leaf_life;
        let issued = self.authority().sidecar_leaf(key, says, life, now).map_err(|error| {
            tracing::error!(%error, "no leaf could be issued");
            Refusal::Internal
        })?;
        let expires_ms = issued.not_after.saturating_mul(1000);
        let lives = Duration::from_millis(u64::try_from(expires_ms.saturating_sub(now.wall_ms)).unwrap_or(0));
        let response = IdentityResponse {
            chain_der: vec![issued.der, self.authority().certificate().to_vec()],
            instance: says.instance.to_string(),
            spiffe_id: says.spiffe.to_string(),
            lives_ms: millis(lives),
        };
        let leaf = Leaf {
            issued: says.counter,
            confirmed: 0,
            key: Some(key.fingerprint()),
            expires_ms: Some(expires_ms),
        };
        Ok((response, leaf))
    }
}

/// The counter of the next leaf for somebody who shows leaf `shown`; `None` if a later one was seen in use.
///
/// Leaves after `shown` that nobody has used were answers that got lost. Each answer has a number of its own, so that
/// of two who share an identity the first to use a later leaf exposes the other.
fn next_counter(leaf: &Leaf, shown: u64) -> Option<u64> {
    (shown >= leaf.confirmed).then(|| leaf.issued.max(shown).saturating_add(1))
}

async fn record(
    tx: &mut Tx,
    (says, how): (&SidecarLeaf, &str),
    verb: Verb,
    outcome: Outcome,
) -> Result<(), StoreError> {
    let actor = sidecar_actor(&says.spiffe, how);
    let entry = Entry { holder: Some(says.instance), ..Entry::new(actor, verb, outcome) };
    tx.audit(&entry.because(format!("leaf {}", says.counter))).await
}

fn sidecar_actor(spiffe: &SpiffeId, how: &str) -> Actor {
    Actor { kind: ActorKind::Sidecar, id: spiffe.to_string(), authenticated: how.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_is_no_copy_and_a_copy_is_no_lost_answer() {
        let next =
            |issued, confirmed, shown| next_counter(&Leaf { issued, confirmed, ..Leaf::default() }, shown);
        for (issued, confirmed, shown, expected, why) in [
            (1, 0, 1, Some(2), "the first renewal"),
            (5, 5, 5, Some(6), "the usual one"),
            (6, 5, 5, Some(7), "the answer with leaf 6 was lost"),
            (8, 5, 5, Some(9), "three answers were lost"),
            (6, 6, 5, None, "leaf 6 was seen: 5 is a copy"),
            (9, 6, 7, Some(10), "leaf 7 arrived after all"),
            (9, 8, 7, None, "leaf 8 was seen: 7 is a copy"),
            (3, 3, 9, Some(10), "the store is older than the leaf: it was restored"),
        ] {
            assert_eq!(next(issued, confirmed, shown), expected, "{why}");
        }
    }
}
