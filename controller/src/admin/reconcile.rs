//! A restored store: what it waits for, and leaving that without waiting.

use rekey_model::millis;
use rekey_proto::admin as wire;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::executor::Reconciling;

/// How many silent sidecars are named.
const NAMED: usize = 100;

impl Admin {
    pub(super) async fn take_up_again(
        &self,
        caller: &Caller,
        asked: wire::ReconcileRequest,
    ) -> Result<wire::ReconcileResponse, Refusal> {
        let reason = show::reason(&asked.reason, true)?;
        self.0.executor.hurry(caller.actor(), &reason).await?;
        Ok(wire::ReconcileResponse { reconciling: self.0.executor.reconciling().await?.as_ref().map(told) })
    }
}

/// What a restored store waits for.
pub(super) fn told(waits: &Reconciling) -> wire::Reconciling {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let one = |silent: &crate::executor::Silent| wire::SilentSidecar {
        instance: silent.instance.to_string(),
        name: silent.name.clone(),
    };
    wire::Reconciling {
        because: waits.because.clone(),
        heard: count(waits.heard),
        silent: waits.silent.iter().take(NAMED).map(one).collect(),
        silent_count: count(waits.silent.len()),
        silence_left_ms: millis(waits.silence_left),
        settle_left_ms: millis(waits.settle_left),
        hurried: waits.hurried,
    }
}
