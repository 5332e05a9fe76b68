//! Trying the current version now, and writing down what was done by hand.

use rekey_drivers::DriverError;
use rekey_proto::admin as wire;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::audit::{Entry, Outcome, Verb};

/// The longest of the words in a record.
const LONGEST: usize = 128;

impl Admin {
    pub(super) async fn try_current(
        &self,
        _caller: &Caller,
        asked: wire::VerifyRequest,
    ) -> Result<wire::VerifyResponse, Refusal> {
        let name = show::named(&asked.name)?;
        let tried = self.0.executor.try_current(&name).await.map_err(|e| Refusal::of_commit(&name, e))?;
        let Some(tried) = tried else {
            let remedy = "`rekeyctl status` says what it waits for";
            return Err(Refusal::NotFound { what: "current version", name: name.to_string(), remedy });
        };
        let (works, probes, why) = match tried.outcome {
            Ok(proof) => (true, proof.probes, String::new()),
            Err(DriverError::Refused(source)) => (false, 0, rekey_runtime::tasks::with_causes(&*source)),
            Err(error) => return Err(Refusal::TargetUnavailable(rekey_runtime::tasks::with_causes(&error))),
        };
        Ok(wire::VerifyResponse {
            version: tried.version.get(),
            handle: tried.handle.to_string(),
            works,
            probes: u32::try_from(probes).unwrap_or(u32::MAX),
            why,
        })
    }

    /// The credential need not be one that Rekey looks after: that is why it was done by hand.
    pub(super) async fn write_down(
        &self,
        caller: &Caller,
        asked: wire::RecordRequest,
    ) -> Result<wire::RecordResponse, Refusal> {
        let name = show::named(&asked.name)?;
        let reason = show::reason(&asked.reason, true)?;
        for (field, word, needed) in
            [("kind", &asked.kind, true), ("old", &asked.old, false), ("new", &asked.new, true)]
        {
            if word.len() > LONGEST || word.chars().any(char::is_control) || needed && word.is_empty() {
                let message = format!("1 to {LONGEST} characters, none of them a control character");
                return Err(Refusal::invalid(field, message));
            }
        }
        let old = if asked.old.is_empty() { "none" } else { asked.old.as_str() };
        let said = format!("by hand: {}, {old} -> {}: {reason}", asked.kind, asked.new);
        let mut tx = self.0.store.begin().await?;
        let entry = Entry::new(caller.actor(), Verb::Record, Outcome::Done).about(&name);
        tx.audit(&entry.because(said)).await?;
        let seq = tx.audit_seq();
        tx.commit().await?;
        Ok(wire::RecordResponse { seq })
    }
}
