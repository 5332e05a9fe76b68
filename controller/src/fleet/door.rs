//! Who may not even connect: instances that were removed or locked, known in memory so that a handshake asks no store.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use rekey_model::{InstanceId, TrustDomain};
use rekey_runtime::accept::{Doorkeeper, PeerKey};

use crate::identity::Identity;

/// The instances that may not come in. Nobody is ever taken out: removed and locked are for good.
#[derive(Debug)]
pub(super) struct Door {
    domain: TrustDomain,
    closed: RwLock<HashSet<PeerKey>>,
}

impl Door {
    /// A door that is closed to `unwelcome`.
    pub(super) fn new(domain: TrustDomain, unwelcome: Vec<InstanceId>) -> Self {
        let closed = RwLock::new(unwelcome.into_iter().map(key).collect());
        Self { domain, closed }
    }

    /// Closes it to one more. Says whether it was open.
    pub(super) fn close(&self, instance: InstanceId) -> bool {
        self.closed.write().unwrap_or_else(PoisonError::into_inner).insert(key(instance))
    }
}

/// What all leaves of an instance have in common.
pub(super) fn key(instance: InstanceId) -> PeerKey {
    instance.to_string().into_bytes().into()
}

impl Doorkeeper for Door {
    fn peer_of(&self, leaf_der: &[u8]) -> Option<PeerKey> {
        let who = Identity::of_leaf(leaf_der, &self.domain).ok()?.into_sidecar()?;
        Some(key(who.instance))
    }

    fn welcomes(&self, peer: &PeerKey) -> bool {
        !self.closed.read().unwrap_or_else(PoisonError::into_inner).contains(peer)
    }
}
