//! Who calls: told by the kernel on the local socket, by the certificate elsewhere.

use std::time::Duration;

use aws_lc_rs::digest;
use rekey_runtime::Peer;

use super::refusal::Refusal;
use super::roles::Role;
use super::{Admin, Inner};
use crate::audit::{Actor, ActorKind};
use crate::identity::Identity;
use crate::store::StoreError;

/// How long the last call of an operator is not written down again.
const SEEN_EVERY: Duration = Duration::from_mins(1);

/// Who calls, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// A name.
    pub(super) name: String,
    /// What they may do.
    pub(super) roles: Vec<Role>,
    /// How they are known.
    pub(super) by: KnownBy,
}

/// How a caller is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KnownBy {
    /// The kernel said which user: break-glass.
    LocalSocket,
    /// The certificate with this SHA-256.
    Mtls(String),
}

impl Caller {
    /// Whether they may do what needs `role`.
    pub(super) fn may(&self, role: Role) -> bool {
        self.roles.iter().any(|has| has.may(role))
    }

    /// The same for the audit.
    pub(super) fn actor(&self) -> Actor {
        let (kind, authenticated) = match &self.by {
            KnownBy::LocalSocket => (ActorKind::Host, self.known_by().to_owned()),
            KnownBy::Mtls(fingerprint) => {
                (ActorKind::Admin, format!("mtls {}", fingerprint.get(..16).unwrap_or(fingerprint)))
            }
        };
        Actor { kind, id: self.name.clone(), authenticated }
    }

    /// The word for how they are known.
    pub(super) fn known_by(&self) -> &'static str {
        match self.by {
            KnownBy::LocalSocket => "local-socket",
            KnownBy::Mtls(_) => "mtls",
        }
    }
}

/// The SHA-256 of a certificate, as hexadecimal digits.
pub(super) fn fingerprint(der: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, der))
}

/// The caller on the local socket: the controller's own user and root, nobody else.
pub(super) fn local(uid: u32, own: u32) -> Result<Caller, Refusal> {
    if uid != own && uid != 0 {
        let why = "the local socket is for root and the controller's own user";
        return Err(Refusal::UnknownCaller(why));
    }
    let name = if uid == 0 { "root".to_owned() } else { format!("uid {uid}") };
    Ok(Caller { name, roles: vec![Role::Admin], by: KnownBy::LocalSocket })
}

impl Admin {
    /// Who is at the other end of `peer`.
    pub(super) async fn caller(&self, peer: Option<&Peer>) -> Result<Caller, Refusal> {
        match peer {
            Some(Peer::Local { uid, .. }) => local(*uid, rustix::process::geteuid().as_raw()),
            Some(Peer::Tls { leaf_der: Some(der), .. }) => self.0.operator(der).await,
            Some(_) | None => Err(Refusal::UnknownCaller("show an operator's certificate")),
        }
    }
}

impl Inner {
    /// The operator whose leaf was verified: only the latest certificate of one who was not removed counts.
    async fn operator(&self, der: &[u8]) -> Result<Caller, Refusal> {
        let unknown = Refusal::UnknownCaller("the certificate is no operator's, or was replaced or removed");
        let Ok(Identity::Admin { name, .. }) = Identity::of_leaf(der, &self.known.trust_domain) else {
            return Err(unknown);
        };
        let fingerprint = fingerprint(der);
        let row = self.store.admin_with(&fingerprint).await?;
        let Some(row) = row.filter(|row| row.removed.is_none() && row.name == name) else {
            return Err(unknown);
        };
        let now = self.clock.now();
        let due = row.last_seen.is_none_or(|seen| now.at_least_since(seen) >= SEEN_EVERY);
        if due && let Err(error) = self.note_seen(&name).await {
            tracing::warn!(%error, "that an operator called was not written down");
        }
        let roles = row.roles.iter().filter_map(|word| Role::of_word(word)).collect();
        Ok(Caller { name, roles, by: KnownBy::Mtls(fingerprint) })
    }

    async fn note_seen(&self, name: &str) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        tx.admin_seen(name).await?;
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_socket_is_for_root_and_the_controllers_own_user() {
        assert!(local(1000, 1000).unwrap().may(Role::Admin));
        assert_eq!(local(0, 1000).unwrap().name, "root");
        assert!(local(1001, 1000).is_err());
        assert_eq!(local(1000, 1000).unwrap().actor().authenticated, "local-socket");
    }

    #[test]
    fn a_caller_may_what_one_of_the_roles_may() {
        let caller = Caller {
            name: "alice".to_owned(),
            roles: vec![Role::Operator, Role::Responder],
            by: KnownBy::Mtls("ab".repeat(32)),
        };
        assert!(caller.may(Role::Operator) && caller.may(Role::Responder) && caller.may(Role::Viewer));
        assert!(!caller.may(Role::Admin));
        assert_eq!(caller.actor().authenticated, format!("mtls {}", "ab".repeat(8)));
        let nobody = Caller { roles: Vec::new(), ..caller };
        assert!(!nobody.may(Role::Viewer));
    }
}
