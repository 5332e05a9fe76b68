//! Telling everybody everything anew, and hearing who then says that it serves the latest of one credential.

use std::collections::BTreeSet;
use std::time::Duration;

use rekey_model::{CredentialName, InstanceId, Order};
use tokio::sync::broadcast::error::RecvError;

use super::Fleet;

impl Fleet {
    /// Sends a fresh snapshot down the streams of `holders`, and says which of them acknowledged `order` of `name`
    /// after that, within `limit`. Who has no stream here is not waited for.
    pub async fn refresh(
        &self,
        name: &CredentialName,
        order: Order,
        holders: &[InstanceId],
        limit: Duration,
    ) -> BTreeSet<InstanceId> {
        // Before anything is sent, so that no answer is missed.
        let mut acks = self.hub().acks();
        let asked = self.hub().snapshot_to(holders);
        let mut confirmed = BTreeSet::new();
        let all = async {
            while confirmed.len() < asked.len() {
                match acks.recv().await {
                    Ok(ack) if ack.name == *name && ack.order >= order && asked.contains(&ack.instance) => {
                        confirmed.insert(ack.instance);
                    }
                    // Who was missed counts as one that did not say so.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        };
        // Whoever is late is missing from the answer.
        let _in_time = self.clock().within(limit, all).await;
        confirmed
    }
}
