//! When to tell the controller what local processes do: after a change, at most once a second, only if it is news.

use std::time::Duration;

use rekey_proto::fleet::Up;
use tokio::sync::watch;

use super::{Ground, wire};
use crate::usage::CredentialUsage;

/// The least time between two.
const APART: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Telling {
    ground: Ground,
    uses: watch::Receiver<u64>,
    swaps: watch::Receiver<u64>,
    due: bool,
    told: Option<(u64, Vec<CredentialUsage>)>,
}

impl Telling {
    pub(super) fn new(ground: Ground) -> Self {
        let (uses, swaps) = (ground.consumers.changes(), ground.live.revisions());
        Self { ground, uses, swaps, due: true, told: None }
    }

    /// Returns when it is time to look. Cancelling it loses nothing.
    pub(super) async fn due(&mut self) {
        if !self.due {
            // Neither sender ends before this session does.
            tokio::select! {
                _ = self.uses.changed() => {}
                _ = self.swaps.changed() => {}
            }
            self.due = true;
        }
        if let Some((at, _)) = &self.told {
            let clock = &self.ground.clock;
            let passed = Duration::from_millis(clock.now().boot_ms.saturating_sub(*at));
            clock.sleep(APART.saturating_sub(passed)).await;
        }
    }

    /// What there is to tell, if it is news.
    pub(super) fn news(&mut self) -> Vec<Up> {
        self.due = false;
        // The order is read before the reports are: they may be newer than it says, never older.
        let snapshot = std::sync::Arc::clone(&self.ground.live.snapshot());
        let usage = self.ground.consumers.usage(&snapshot);
        if self.told.as_ref().is_some_and(|(_, told)| *told == usage) {
            return Vec::new();
        }
        let messages = wire::usage(&usage);
        self.told = Some((self.ground.clock.now().boot_ms, usage));
        messages
    }
}
