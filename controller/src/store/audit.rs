//! The audit's rows: appended in the transaction of what they tell of, read, and walked.

use rekey_model::{CredentialName, Moment};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::columns::{Columns, number};
use super::meta::Meta;
use super::{Store, StoreError, Tx};
use crate::audit::{Actor, Broken, Chain, Entry, Outcome, Record, Verb};

/// How many records are read at a time.
const PAGE: i64 = 500;

macro_rules! records {
    ($rest:literal) => {
        concat!(
            "SELECT seq, time_wall, installation, actor_kind, actor, authenticated, verb, credential, version, \
             rotation, holder, outcome, request, reason, prev, hash FROM audit ",
            $rest
        )
    };
}

impl Record {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            seq: row.number("seq")?,
            time_ms: row.raw("time_wall")?,
            installation: row.raw("installation")?,
            actor_kind: row.raw("actor_kind")?,
            actor: row.raw("actor")?,
            authenticated: row.raw("authenticated")?,
            verb: row.raw("verb")?,
            credential: row.raw("credential")?,
            version: row.number_if("version")?,
            rotation: row.raw("rotation")?,
            holder: row.raw("holder")?,
            outcome: row.raw("outcome")?,
            request: row.raw("request")?,
            reason: row.raw("reason")?,
            prev: row.digest("prev")?,
            hash: row.digest("hash")?,
        })
    }
}

impl Tx {
    /// Records `entry`: with this transaction, or not at all.
    pub async fn audit(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let record = Record::of(entry, self.audit_end(), self.now(), self.meta.installation);
        let (seq, hash) = (record.seq, record.hash);
        insert(self.connection(), record).await?;
        self.audit_grew(seq, hash);
        Ok(())
    }
}

/// Records that the life which `meta` tells of has begun, in the transaction in which it does.
pub(super) async fn life_began(
    on: &mut AnyConnection,
    meta: &mut Meta,
    now: Moment,
) -> Result<(), StoreError> {
    let entry = Entry::new(Actor::controller(), Verb::Restore, Outcome::Done);
    let entry = entry.because(meta.because.clone().unwrap_or_default());
    let place = (meta.audit_seq.saturating_add(1), meta.audit_head);
    let record = Record::of(&entry, place, now, meta.installation);
    (meta.audit_seq, meta.audit_head) = (record.seq, record.hash);
    insert(on, record).await?;
    sqlx::query("UPDATE meta SET audit_seq = $1, audit_head = $2")
        .bind(number(meta.audit_seq)?)
        .bind(meta.audit_head.to_vec())
        .execute(on)
        .await?;
    Ok(())
}

async fn insert(on: &mut AnyConnection, record: Record) -> Result<(), StoreError> {
    sqlx::query(
            "INSERT INTO audit (seq, time_wall, installation, actor_kind, actor, authenticated, verb, credential, \
             version, rotation, holder, outcome, request, reason, prev, hash) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        )
        .bind(number(record.seq)?)
        .bind(record.time_ms)
        .bind(record.installation)
        .bind(record.actor_kind)
        .bind(record.actor)
        .bind(record.authenticated)
        .bind(record.verb)
        .bind(record.credential)
        .bind(record.version.map(number).transpose()?)
        .bind(record.rotation)
        .bind(record.holder)
        .bind(record.outcome)
        .bind(record.request)
        .bind(record.reason)
        .bind(record.prev.to_vec())
        .bind(record.hash.to_vec())
        .execute(on)
        .await?;
    Ok(())
}

impl Store {
    /// The last records, newest first: of one credential or all, before the place `before`, at most `most` of them.
    pub async fn audit(
        &self,
        of: Option<&CredentialName>,
        before: Option<u64>,
        most: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let rows = sqlx::query(records!(
            "WHERE ($1 = '' OR credential = $1) AND seq < $2 ORDER BY seq DESC LIMIT $3"
        ))
        .bind(of.map_or("", CredentialName::as_str))
        .bind(before.map_or(Ok(i64::MAX), number)?)
        .bind(i64::from(most))
        .fetch_all(&mut *self.reader().await?)
        .await?;
        rows.iter().map(Record::read).collect()
    }

    /// The records after the place `after`, oldest first, at most `most` of them.
    pub async fn audit_after(&self, after: u64, most: u32) -> Result<Vec<Record>, StoreError> {
        let rows = sqlx::query(records!("WHERE seq > $1 ORDER BY seq LIMIT $2"))
            .bind(number(after)?)
            .bind(i64::from(most))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(Record::read).collect()
    }

    /// Walks the whole chain: how many records fit, or the first that does not.
    ///
    /// Shows every change by somebody who cannot also write the row of `meta`; signed heads are to close that door.
    pub async fn verify_audit(&self) -> Result<Result<u64, Broken>, StoreError> {
        let mut on = self.0.readers.begin_with(self.0.dialect.snapshot()).await?;
        let end = Meta::read(&mut on).await?.ok_or(StoreError::Absent("installation"))?;
        let mut chain = Chain::start(end.installation);
        let mut after = i64::MIN;
        loop {
            let rows = sqlx::query(records!("WHERE seq > $1 ORDER BY seq LIMIT $2"))
                .bind(after)
                .bind(PAGE)
                .fetch_all(&mut *on)
                .await?;
            let Some(last) = rows.last() else { break };
            after = last.raw("seq")?;
            for row in &rows {
                if let Err(broken) = chain.follow(&Record::read(row)?) {
                    return Ok(Err(broken));
                }
            }
        }
        Ok(chain.ends(end.audit_seq, end.audit_head).map(|()| chain.length()))
    }
}
