//! A restored store: what it waits for, and leaving that without waiting.

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
        Ok(wire::ReconcileResponse { reconciling: self.tell_reconciling().await? })
    }

    /// What a restored store waits for; none: everything is done as usual.
    pub(super) async fn tell_reconciling(&self) -> Result<Option<wire::Reconciling>, Refusal> {
        Ok(self.0.executor.reconciling().await?.map(|waits| told(&waits)))
    }
}

fn told(waits: &Reconciling) -> wire::Reconciling {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let one = |silent: &crate::executor::Silent| wire::SilentSidecar {
        instance: silent.instance.to_string(),
        name: silent.name.clone(),
    };
    wire::Reconciling {
        because: waits.because.clone(),
        heard: count(waits.heard),
        silent: waits.silent.iter().take(NAMED).map(one).collect(),
        silent_count: count(waits.silent.len()),
        silence_left_ms: ms(waits.silence_left),
        settle_left_ms: ms(waits.settle_left),
        hurried: waits.hurried,
    }
}

/// What it waits for, in one sentence.
pub(super) fn sentence(waits: &wire::Reconciling) -> String {
    let seconds = |ms: u64| ms.div_ceil(1000);
    let mut parts = Vec::new();
    if waits.silent_count > 0 && !waits.hurried {
        let names: Vec<&str> = waits.silent.iter().take(5).map(|silent| silent.name.as_str()).collect();
        let more = match waits.silent_count.saturating_sub(5) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let left = seconds(waits.silence_left_ms);
        parts.push(format!("for {}{more}, {left}s at the most", names.join(", ")));
    }
    if waits.settle_left_ms > 0 {
        parts.push(format!("{}s until no earlier call can land any more", seconds(waits.settle_left_ms)));
    }
    if parts.is_empty() { "for the next look".to_owned() } else { parts.join(", and ") }
}
