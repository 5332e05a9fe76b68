//! One transaction: begun under the epoch, told of when it is committed.

use rekey_model::Moment;
use sqlx::{Any, AnyConnection, Transaction};

use super::columns::number;
use super::meta::{Meta, meta_columns};
use super::open::NO_EPOCH;
use super::{Changed, Store, StoreError};

/// One change of the store. Dropped without [`Tx::commit`], it never happened.
///
/// There is one at a time on the whole database, so what it reads stays true until it commits.
pub struct Tx {
    inner: Transaction<'static, Any>,
    store: Store,
    now: Moment,
    pub(super) meta: Meta,
    appended: bool,
    changed: Vec<Changed>,
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx").field("commit", &self.meta.commits).finish_non_exhaustive()
    }
}

impl Tx {
    /// Takes the one right to write. The first statement locks the one row of `meta`, on PostgreSQL too: from here on
    /// nobody else writes, and nobody takes the epoch away.
    pub(super) async fn begin(store: Store) -> Result<Self, StoreError> {
        if store.0.epoch == NO_EPOCH {
            return Err(StoreError::OnlyLooking);
        }
        let mut inner = store.0.writer.begin_with(store.0.dialect.begin()).await?;
        let row = sqlx::query(concat!(
            "UPDATE meta SET commits = commits + 1 WHERE epoch = $1 RETURNING ",
            meta_columns!()
        ))
        .bind(number(store.0.epoch)?)
        .fetch_optional(&mut *inner)
        .await?;
        let meta = Meta::of(&row.ok_or(StoreError::LostEpoch)?)?;
        let now = store.0.clock.now();
        Ok(Self { inner, store, now, meta, appended: false, changed: Vec::new() })
    }

    /// The moment that this transaction writes, read when it began: after the wait for its turn.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Makes everything durable, then tells who listens to [`Store::changes`].
    ///
    /// [`StoreError::Unanswered`]: it may have happened. Any other error: it has not.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        if self.appended {
            sqlx::query("UPDATE meta SET audit_seq = $1, audit_head = $2")
                .bind(number(self.meta.audit_seq)?)
                .bind(self.meta.audit_head.to_vec())
                .execute(&mut *self.inner)
                .await?;
        }
        self.inner.commit().await.map_err(StoreError::Unanswered)?;
        if let Some(mirror) = &self.store.0.mirror {
            mirror.record(&self.meta);
        }
        for changed in self.changed {
            // Nobody listening is no fault.
            drop(self.store.0.changes.send(changed));
        }
        Ok(())
    }

    /// Undoes everything, now rather than when dropped.
    pub async fn rollback(self) -> Result<(), StoreError> {
        Ok(self.inner.rollback().await?)
    }

    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }

    /// Remembers what to tell after the commit; the same twice is once.
    pub(super) fn will_tell(&mut self, changed: Changed) {
        if !self.changed.contains(&changed) {
            self.changed.push(changed);
        }
    }

    /// The next place in the audit, and the hash that it follows.
    pub(super) fn audit_end(&self) -> (u64, [u8; 32]) {
        (self.meta.audit_seq.saturating_add(1), self.meta.audit_head)
    }

    pub(super) fn audit_grew(&mut self, seq: u64, head: [u8; 32]) {
        self.meta.audit_seq = seq;
        self.meta.audit_head = head;
        self.appended = true;
    }
}

/// Whether a statement hit the one row it was meant for.
pub(super) fn hit(result: &sqlx::any::AnyQueryResult, what: &'static str) -> Result<(), StoreError> {
    if result.rows_affected() == 0 { Err(StoreError::Absent(what)) } else { Ok(()) }
}
