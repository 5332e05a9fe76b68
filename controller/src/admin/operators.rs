//! Operators: their keys are signed, their roles kept, their access ended.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekey_proto::admin as wire;
use rekey_runtime::Peer;

use super::caller::{Caller, fingerprint};
use super::refusal::Refusal;
use super::roles::Role;
use super::{Admin, show};
use crate::audit::{Entry, Outcome, Verb};
use crate::ca::RequestedKey;
use crate::identity::{ADMINS, Identity};
use crate::store::{AdminRow, StoreError};

/// How long a certificate is good when nobody says.
const USUAL_LIFE: Duration = Duration::from_hours(30 * 24);
/// The shortest and the longest.
const LIFE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(366 * 24));

impl Admin {
    pub(super) async fn add_operator(
        &self,
        caller: &Caller,
        asked: wire::AddAdminRequest,
    ) -> Result<wire::AddAdminResponse, Refusal> {
        let roles = roles(&asked.roles)?;
        let life = life(asked.lives_ms)?;
        if asked.name.contains('/') {
            return Err(Refusal::invalid("name", "a-z, 0-9, '-', '_' and '.'"));
        }
        let spiffe = self.0.known.trust_domain.id(&format!("{ADMINS}{}", asked.name));
        let spiffe = spiffe.map_err(|_id| Refusal::invalid("name", "a-z, 0-9, '-', '_' and '.'"))?;
        let key = RequestedKey::from_request(&asked.csr_der)?;
        let leaf = self.0.authority.admin_leaf(&key, &spiffe, life, self.0.clock.now())?;
        let expires_ms = leaf.not_after.saturating_mul(1000);
        let row = AdminRow {
            name: asked.name.clone(),
            roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
            fingerprint: fingerprint(&leaf.der),
            expires_ms,
            last_seen: None,
            removed: None,
        };
        let mut tx = self.0.store.begin().await?;
        tx.put_admin(&row).await?;
        let about = format!("{}: {}", row.name, row.roles.join(", "));
        tx.audit(&Entry::new(caller.actor(), Verb::AddAdmin, Outcome::Done).because(about)).await?;
        tx.commit().await?;
        // A certificate that was replaced is of no use any more, nor is a connection with it.
        self.cut_operator(&asked.name, Some(&row.fingerprint));
        Ok(wire::AddAdminResponse {
            chain_pem: pem(&leaf.der),
            ca_pem: self.0.ca_pem.clone(),
            address: self.0.address.clone(),
            expires_ms,
        })
    }

    pub(super) async fn tell_operators(
        &self,
        _caller: &Caller,
        _asked: wire::ListAdminsRequest,
    ) -> Result<wire::ListAdminsResponse, Refusal> {
        let there = self.0.store.admins().await?.into_iter().filter(|admin| admin.removed.is_none());
        let admins = there.map(|admin| wire::AdminStatus {
            roles: admin.roles.iter().filter_map(|word| Role::of_word(word)).map(Role::to_wire).collect(),
            expires_ms: admin.expires_ms,
            last_seen_ms: show::ms(admin.last_seen),
            name: admin.name,
        });
        Ok(wire::ListAdminsResponse { admins: admins.collect() })
    }

    pub(super) async fn end_operator(
        &self,
        caller: &Caller,
        asked: wire::RemoveAdminRequest,
    ) -> Result<wire::RemoveAdminResponse, Refusal> {
        let mut tx = self.0.store.begin().await?;
        match tx.remove_admin(&asked.name).await {
            Err(StoreError::Absent(_)) => {
                let remedy = "`rekeyctl admin list` lists those that there are";
                return Err(show::not_found("operator", &asked.name, remedy));
            }
            removed => removed?,
        }
        let entry = Entry::new(caller.actor(), Verb::RemoveAdmin, Outcome::Done);
        tx.audit(&entry.because(asked.name.clone())).await?;
        tx.commit().await?;
        self.cut_operator(&asked.name, None);
        Ok(wire::RemoveAdminResponse {})
    }

    /// Ends the connections of an operator, except those with the certificate `kept`.
    fn cut_operator(&self, name: &str, kept: Option<&str>) {
        self.0.connections.cut(|peer: &Peer| {
            let Some(leaf) = peer.leaf() else { return false };
            let identity = Identity::of_leaf(leaf, &self.0.known.trust_domain);
            let theirs = matches!(&identity, Ok(Identity::Admin { name: of, .. }) if of == name);
            theirs && kept != Some(fingerprint(leaf).as_str())
        });
    }
}

fn roles(numbers: &[i32]) -> Result<Vec<Role>, Refusal> {
    let known: Option<Vec<Role>> = numbers.iter().map(|number| Role::of_wire(*number)).collect();
    let mut roles = known.filter(|roles| !roles.is_empty()).ok_or_else(|| {
        Refusal::invalid("roles", "name at least one of viewer, operator, responder, admin, and nothing else")
    })?;
    roles.sort_unstable();
    roles.dedup();
    Ok(roles)
}

fn life(ms: u64) -> Result<Duration, Refusal> {
    let life = if ms == 0 { USUAL_LIFE } else { Duration::from_millis(ms) };
    if life < LIFE.0 || life > LIFE.1 {
        return Err(Refusal::invalid("lives_ms", "from one minute to one year"));
    }
    Ok(life)
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (place, letter) in text.chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem + "\n-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_has_roles_that_are_known_each_once() {
        let wire = |role: Role| role.to_wire();
        let twice = [wire(Role::Responder), wire(Role::Operator), wire(Role::Responder)];
        assert_eq!(roles(&twice).unwrap(), [Role::Operator, Role::Responder]);
        for bad in [&[][..], &[0], &[wire(Role::Viewer), 99]] {
            assert!(roles(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_certificate_lives_no_longer_than_a_year() {
        assert_eq!(life(0).unwrap(), USUAL_LIFE);
        assert!(life(1).is_err());
        assert!(life(u64::MAX).is_err());
    }
}
