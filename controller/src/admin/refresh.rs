//! Has everybody who holds a credential told of it anew, and tries it at the target: when something looks stale and nobody
//! knows why. No version and no order changes.

use std::time::Duration;

use rekey_proto::admin as wire;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::audit::{Entry, Outcome, Verb};

/// How long holders have to say that they serve the latest, and the target to be tried: within what a call may take.
const PATIENCE: Duration = Duration::from_secs(3);

impl Admin {
    pub(super) async fn refresh_holders(
        &self,
        caller: &Caller,
        asked: wire::RefreshRequest,
    ) -> Result<wire::RefreshResponse, Refusal> {
        let name = show::named(&asked.name)?;
        let report = self.0.executor.report(&name).await.map_err(|e| Refusal::of_commit(&name, e))?;
        let report = report.ok_or_else(|| Refusal::no_credential(name.as_str()))?;
        let live: Vec<_> = report.holders.iter().filter(|it| it.live).map(|it| it.instance).collect();
        let told = self.0.fleet.refresh(&name, report.ledger.order, &live, PATIENCE);
        let tried = self.try_current(caller, wire::VerifyRequest { name: name.to_string() });
        let tried = self.0.clock.within(PATIENCE, tried);
        let (confirmed, tried) = tokio::join!(told, tried);
        let holders: Vec<wire::RefreshedHolder> = report
            .holders
            .iter()
            .map(|holder| wire::RefreshedHolder {
                instance: holder.instance.to_string(),
                name: holder.name.clone(),
                live: holder.live,
                confirmed: confirmed.contains(&holder.instance),
            })
            .collect();
        let (verified, not_verified) = match tried {
            Some(Ok(verified)) => (Some(verified), String::new()),
            Some(Err(refusal)) => (None, refusal.to_string()),
            None => (None, format!("the target has not answered within {PATIENCE:?}")),
        };
        let said = format!("{} of {} holders confirmed the latest", confirmed.len(), holders.len());
        let mut tx = self.0.store.begin().await?;
        tx.audit(&Entry::new(caller.actor(), Verb::Refresh, Outcome::Done).about(&name).because(said))
            .await?;
        tx.commit().await?;
        Ok(wire::RefreshResponse { holders, verified, not_verified })
    }
}
