//! Keeps the identity good: joins once, renews at half life, rejoins after the leaf has ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekey_runtime::{Clock, backoff};
use rekey_settings::read_secret_file;
use tonic::transport::Channel;
use tracing::{error, info, warn};

use super::{EnrolError, Leaf, StateDir, StateError, enrol};
use crate::dial::Dial;

/// The owner of the identity.
pub struct Keeper {
    state: Option<StateDir>,
    token_file: Option<PathBuf>,
    dial: Arc<dyn Dial>,
    clock: Clock,
    leaf: Option<Arc<Leaf>>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

impl Keeper {
    /// With what `state` holds already.
    pub fn open(
        state: Option<StateDir>,
        token_file: Option<PathBuf>,
        dial: Arc<dyn Dial>,
        clock: Clock,
    ) -> Result<Self, StateError> {
        let leaf = state.as_ref().map(StateDir::load).transpose()?.flatten().map(Arc::new);
        Ok(Self { state, token_file, dial, clock, leaf })
    }

    /// A leaf that is good now: the one held, or a new one by a rejoin, or by a join.
    ///
    /// A token works once; when the controller's answer to it is lost, a new token is needed.
    pub async fn leaf(&mut self) -> Result<Arc<Leaf>, EnrolError> {
        let Some(held) = self.leaf.clone() else { return self.join().await };
        if !held.is_over(self.clock.now()) {
            return Ok(held);
        }
        let channel = self.dial.dial(None).await?;
        match enrol::rejoin(channel, &held, &self.clock).await {
            Err(refused @ EnrolError::Refused { .. }) if self.token_file.is_some() => {
                warn!("cannot rejoin ({refused}); trying the join token");
                self.join().await
            }
            rejoined => rejoined.map(|leaf| self.keep(leaf)),
        }
    }

    /// The next leaf, asked for over `channel`, which was opened as the one held.
    pub async fn renew(&mut self, channel: Channel) -> Result<Arc<Leaf>, EnrolError> {
        let leaf = enrol::renew(channel, &self.clock).await?;
        Ok(self.keep(leaf))
    }

    async fn join(&mut self) -> Result<Arc<Leaf>, EnrolError> {
        let file = self.token_file.as_deref().ok_or(EnrolError::NoToken)?;
        let token = read_secret_file(file).map_err(EnrolError::Token)?;
        let channel = self.dial.dial(None).await?;
        let leaf = enrol::join(channel, &token, &self.clock).await?;
        info!(instance = %leaf.instance, spiffe_id = %leaf.spiffe_id, "joined");
        Ok(self.keep(leaf))
    }

    fn keep(&mut self, leaf: Leaf) -> Arc<Leaf> {
        // The controller knows the new leaf already, so it is used whether or not the disk takes it.
        if let Some(Err(problem)) = self.state.as_ref().map(|state| state.save(&leaf)) {
            error!(
                error = &problem as &dyn std::error::Error,
                "the identity is not kept: a restart needs a new token"
            );
        }
        let leaf = Arc::new(leaf);
        self.leaf = Some(Arc::clone(&leaf));
        leaf
    }
}

/// How long to wait before `leaf` is renewed: half of its life, less up to a tenth, so that a fleet spreads out.
pub fn until_renewal(leaf: &Leaf, clock: &Clock) -> Duration {
    let spread = backoff::jitter(leaf.lives / 10);
    let half = (leaf.lives / 2).saturating_sub(spread);
    half.saturating_sub(clock.now().at_most_since(leaf.since))
}
