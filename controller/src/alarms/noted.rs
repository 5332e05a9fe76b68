//! Writes in the audit when an alarm begins and when it ends: an alarm is derived from what is, so somebody has to look.
//!
//! One begins when two looks in a row have found it, and ends when two in a row have not: what comes and goes between is
//! not worth waking anybody. What the audit was told stands in the store, so a restart repeats nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use rekey_runtime::tasks::with_causes;
use rekey_runtime::{CancellationToken, Clock};

use super::standing::{Ground, Standing};
use crate::audit::{Actor, Entry, Outcome, Verb};
use crate::store::{AlarmRow, Store, StoreError};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(10);
/// What is known from memory only: after a start it is not over because it was not found yet.
const OF_MEMORY: [&str; 2] = ["current_fails", "trouble"];

/// What one look found: each alarm with its words.
type Found = BTreeMap<AlarmRow, String>;

/// Keeps the audit up with the alarms.
#[derive(Debug)]
pub struct Noting {
    store: Store,
    clock: Clock,
    /// How long after the start everything that is known from memory only has been found again.
    settled: Duration,
    before: Option<Found>,
}

impl Noting {
    /// For `store`; current versions are tried every `verify`.
    pub fn new(store: Store, clock: Clock, verify: Duration) -> Self {
        let settled = clock.elapsed().saturating_add(verify).saturating_add(EVERY * 2);
        Self { store, clock, settled, before: None }
    }

    /// Looks at `ground` until it is cancelled.
    pub async fn run(mut self, ground: Ground, cancel: CancellationToken) -> Result<(), StoreError> {
        let looking = async {
            loop {
                match ground.look().await {
                    Ok(standing) => {
                        if let Err(error) = self.note(&standing).await {
                            tracing::warn!(
                                error = with_causes(&error),
                                "alarms are not in the audit yet; trying again"
                            );
                        }
                    }
                    Err(error) => {
                        tracing::warn!(error = with_causes(&error), "alarms cannot be read; trying again");
                    }
                }
                self.clock.sleep(EVERY).await;
            }
        };
        tokio::select! {
            () = cancel.cancelled() => Ok(()),
            () = looking => Ok(()),
        }
    }

    /// Compares what stands now with the look before and with what the audit was told; writes what is news, in one
    /// commit. A failure changes nothing, and the next look does it.
    async fn note(&mut self, standing: &Standing) -> Result<(), StoreError> {
        let now = found(standing);
        let told = self.store.alarms().await?;
        let Some(before) = &self.before else {
            self.before = Some(now);
            return Ok(());
        };
        let began: Vec<_> =
            now.iter().filter(|(it, _)| before.contains_key(it) && !told.contains(it)).collect();
        let settled = self.clock.elapsed() >= self.settled;
        let is_over = |it: &&AlarmRow| {
            let known = settled || !OF_MEMORY.contains(&it.kind.as_str());
            known && !now.contains_key(it) && !before.contains_key(it)
        };
        let over: Vec<_> = told.iter().filter(is_over).collect();
        if !began.is_empty() || !over.is_empty() {
            let mut tx = self.store.begin().await?;
            for (alarm, words) in began {
                tx.put_alarm(alarm).await?;
                tx.audit(&entry(alarm, Verb::AlarmBegan, words)).await?;
            }
            for alarm in over {
                tx.drop_alarm(alarm).await?;
                tx.audit(&entry(alarm, Verb::AlarmEnded, "")).await?;
            }
            tx.commit().await?;
        }
        self.before = Some(now);
        Ok(())
    }
}

/// The alarms that stand; of several with one name, the first.
fn found(standing: &Standing) -> Found {
    let mut found = Found::new();
    for (credential, notice) in &standing.notices {
        let credential = credential.as_ref().map(ToString::to_string).unwrap_or_default();
        let next = match notice.next_command.as_str() {
            "" => String::new(),
            command => format!("; next: {command}"),
        };
        let words = format!("{}{next}", notice.message);
        found.entry(AlarmRow { credential, kind: notice.kind.to_owned() }).or_insert(words);
    }
    found
}

fn entry(alarm: &AlarmRow, verb: Verb, words: &str) -> Entry {
    let entry = Entry::new(Actor::controller(), verb, Outcome::Done);
    let entry = entry.because(format!("{}: {words}", alarm.kind));
    match alarm.credential.parse() {
        Ok(name) => entry.about(&name),
        Err(_of_the_controller) => entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::Notice;
    use crate::store::tests::stage::Stage;

    fn standing(kinds: &[&'static str]) -> Standing {
        let notice = |kind: &&'static str| {
            let next_command = "rekeyctl retry orders/db".to_owned();
            (
                Some("orders/db".parse().unwrap()),
                Notice { kind, message: "it is so".to_owned(), next_command },
            )
        };
        Standing { notices: kinds.iter().map(notice).collect(), ..Standing::default() }
    }

    #[tokio::test]
    async fn an_alarm_is_told_when_it_has_begun_and_when_it_is_over_and_a_restart_repeats_nothing() {
        let stage = Stage::sqlite();
        let (store, clock) = (stage.store().await, stage.clock.clone());
        let first = store.meta().await.unwrap().audit_seq;
        let said = async || -> Vec<String> {
            let records = store.audit_after(first, 100).await.unwrap();
            records.into_iter().map(|it| format!("{} {}", it.verb, it.reason)).collect()
        };
        let verify = Duration::from_mins(15);
        let mut noting = Noting::new(store.clone(), clock.clone(), verify);
        noting.note(&standing(&["stuck", "trouble"])).await.unwrap();
        noting.note(&standing(&["trouble"])).await.unwrap();
        assert_eq!(
            said().await,
            ["alarm-begin trouble: it is so; next: rekeyctl retry orders/db"],
            "one look is none"
        );
        noting.note(&standing(&["stuck", "trouble"])).await.unwrap();
        noting.note(&standing(&["stuck", "trouble"])).await.unwrap();
        noting.note(&standing(&["stuck", "trouble"])).await.unwrap();
        assert_eq!(said().await.len(), 2, "{:?}", said().await);
        let mut restarted = Noting::new(store.clone(), clock.clone(), verify);
        for _ in 0..3 {
            restarted.note(&standing(&["stuck"])).await.unwrap();
        }
        assert_eq!(said().await.len(), 2, "what is known from memory is not over, and nothing is told again");
        restarted.note(&standing(&[])).await.unwrap();
        assert_eq!(said().await.len(), 2, "it was there a look ago");
        restarted.note(&standing(&[])).await.unwrap();
        assert_eq!(said().await[2], "alarm-end stuck: ");
        clock.advance(verify + EVERY * 2);
        restarted.note(&standing(&[])).await.unwrap();
        assert_eq!(said().await[3], "alarm-end trouble: ");
        assert_eq!(store.alarms().await.unwrap(), []);
    }
}
