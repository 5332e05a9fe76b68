//! The admin API: what operators ask of this controller, over mutual TLS or the local socket.
//!
//! Every call passes `guard`, which knows who calls and what the table in `roles` lets them do; what is not in the table
//! is refused. Behind it there is one file a topic. Whatever changes a rotation goes through the executor, and every
//! change is audited in the transaction that makes it.

mod adopt;
mod audit;
mod caller;
mod checks;
mod declare;
mod differ;
mod drifted;
mod drive;
mod guard;
mod hand_in;
mod operators;
mod plan;
mod reconcile;
mod refresh;
mod refusal;
mod revoke;
pub mod roles;
mod service;
mod show;
mod sidecars;
mod status;
mod tokens;
mod verify;
mod watch;
mod webhooks;
mod who;

use std::sync::Arc;

use rekey_model::TrustDomain;
use rekey_runtime::{Clock, Connections};

use crate::ca::{self, Authority};
use crate::executor::{Drivers, Executor};
use crate::fleet::Fleet;
use crate::policy::Policy;
use crate::spec::claims::Known;
use crate::store::Store;
use crate::targets::Targets;
use crate::webhook::Webhooks;

pub(crate) use differ::differing;
pub use guard::AdminService;

/// What the admin API is made of.
#[derive(Debug)]
pub struct AdminParts {
    /// The store.
    pub store: Store,
    /// Changes ledgers.
    pub executor: Executor,
    /// Cuts sidecars off.
    pub fleet: Fleet,
    /// What specs may name, and the drivers for it.
    pub targets: Targets,
    /// What the config asks of declarations.
    pub policy: Policy,
    /// Who is told what happens.
    pub webhooks: Webhooks,
    /// Issues the leaves of operators.
    pub authority: Authority<ca::Admin>,
    /// The installation's name.
    pub domain: TrustDomain,
    /// What operators trust the controller by, as PEM.
    pub ca_pem: String,
    /// The admin listener's address as operators reach it.
    pub address: String,
    /// Time.
    pub clock: Clock,
    /// The connections of the admin listener.
    pub connections: Connections,
}

/// The admin API. Clones are the same.
#[derive(Debug, Clone)]
pub struct Admin(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    executor: Executor,
    fleet: Fleet,
    drivers: Arc<dyn Drivers>,
    known: Known,
    webhooks: Webhooks,
    authority: Authority<ca::Admin>,
    ca_pem: String,
    address: String,
    clock: Clock,
    connections: Connections,
}

impl Admin {
    /// The API over `parts`.
    pub fn new(parts: AdminParts) -> Self {
        let known =
            Known { trust_domain: parts.domain, targets: parts.targets.kinds(), policy: parts.policy };
        Self(Arc::new(Inner {
            store: parts.store,
            executor: parts.executor,
            fleet: parts.fleet,
            drivers: Arc::new(parts.targets),
            known,
            webhooks: parts.webhooks,
            authority: parts.authority,
            ca_pem: parts.ca_pem,
            address: parts.address,
            clock: parts.clock,
            connections: parts.connections,
        }))
    }

    /// The service for a listener: both listeners serve the same.
    pub fn server(&self) -> AdminService {
        AdminService::new(self)
    }
}

#[cfg(test)]
mod tests;
