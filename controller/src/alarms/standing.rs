//! Everything that stands now, read once: for the figures, and for the audit, which says when an alarm begins and ends.

use rekey_model::CredentialName;
use rekey_runtime::Clock;

use super::{Notice, of_controller, of_credential, of_unreadable};
use crate::executor::{CommitError, Executor, Reconciling, Report};
use crate::policy::Policy;
use crate::store::Store;

/// What is read to know what stands. Clones read the same.
#[derive(Debug, Clone)]
pub struct Ground {
    /// How each credential stands.
    pub executor: Executor,
    /// Everything else.
    pub store: Store,
    /// What the config asks of declarations.
    pub policy: Policy,
    /// The time.
    pub clock: Clock,
}

/// Everything that stands now.
#[derive(Debug, Default)]
pub struct Standing {
    /// Every credential whose declaration reads.
    pub reports: Vec<Report>,
    /// What a restored store waits for.
    pub reconciling: Option<Reconciling>,
    /// What needs attention: of a credential, or of the whole controller.
    pub notices: Vec<(Option<CredentialName>, Notice)>,
}

impl Ground {
    /// Reads everything. One credential that does not read does not hide the others.
    pub async fn look(&self) -> Result<Standing, CommitError> {
        let mut standing = Standing::default();
        for row in self.store.credentials().await? {
            let mut notices = self.policy.notices(&row.spec);
            match self.executor.report(&row.name).await {
                Ok(None) => continue,
                Ok(Some(report)) => {
                    notices.extend(of_credential(&report));
                    standing.reports.push(report);
                }
                Err(CommitError::Spec(name)) => notices.push(of_unreadable(&name)),
                Err(error) => return Err(error),
            }
            standing.notices.extend(notices.into_iter().map(|notice| (Some(row.name.clone()), notice)));
        }
        standing.reconciling = self.executor.reconciling().await?;
        let (instances, webhooks) = (self.store.instances().await?, self.store.webhooks().await?);
        let whole = of_controller(standing.reconciling.as_ref(), &instances, (&webhooks, self.clock.now()));
        standing.notices.extend(whole.into_iter().map(|notice| (None, notice)));
        Ok(standing)
    }
}
