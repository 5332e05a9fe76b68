//! The chain: what a record's hash covers, and walking it.

use aws_lc_rs::digest::{Context, SHA256};

use super::Record;
use crate::store::InstallationId;

/// What the first record follows: bound to the installation, so that no other's records continue it.
pub fn genesis(whose: InstallationId) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(b"rekey/audit/v1 genesis");
    context.update(whose.to_string().as_bytes());
    finish(context)
}

fn finish(context: Context) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}

/// SHA-256 over the domain, the place, the hash before, and every field with its length before it.
pub(super) fn hash(record: &Record) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(b"rekey/audit/v1 record");
    context.update(&record.seq.to_be_bytes());
    context.update(&record.prev);
    // Nothing is told apart from the empty text: no text is this long.
    let mut field = |bytes: Option<&[u8]>| {
        let length = bytes.map_or(u32::MAX, |b| u32::try_from(b.len()).unwrap_or(u32::MAX - 1));
        context.update(&length.to_be_bytes());
        context.update(bytes.unwrap_or_default());
    };
    field(Some(&record.time_ms.to_be_bytes()));
    field(Some(record.installation.as_bytes()));
    field(Some(record.actor_kind.as_bytes()));
    field(Some(record.actor.as_bytes()));
    field(Some(record.authenticated.as_bytes()));
    field(Some(record.verb.as_bytes()));
    field(record.credential.as_deref().map(str::as_bytes));
    field(record.version.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    field(record.rotation.as_deref().map(str::as_bytes));
    field(record.holder.as_deref().map(str::as_bytes));
    field(Some(record.outcome.as_bytes()));
    field(record.request.as_deref().map(str::as_bytes));
    field(Some(record.reason.as_bytes()));
    finish(context)
}

/// Where a chain is broken: the first record that does not fit, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A record is missing, or one too many.
    #[error("after record {after} comes {found}: a record was taken out, put in, or moved")]
    Gap {
        /// The last one that fits.
        after: u64,
        /// What comes next.
        found: u64,
    },
    /// A record does not follow the one before.
    #[error("record {0} does not follow the one before it")]
    Link(u64),
    /// A record was changed.
    #[error("record {0} was changed")]
    Changed(u64),
    /// The last records are missing, or were not written by this store.
    #[error("the audit ends at record {found}, the store says {expected}")]
    End {
        /// Where it ends.
        found: u64,
        /// Where it should.
        expected: u64,
    },
}

/// A walk along the chain, record by record.
#[derive(Debug, Clone)]
pub struct Chain {
    seq: u64,
    head: [u8; 32],
}

impl Chain {
    /// Before the first record of an installation.
    pub fn start(whose: InstallationId) -> Self {
        Self { seq: 0, head: genesis(whose) }
    }

    /// How many records fitted.
    pub fn length(&self) -> u64 {
        self.seq
    }

    /// Takes the next record if it fits.
    pub fn follow(&mut self, record: &Record) -> Result<(), Broken> {
        if record.seq != self.seq + 1 {
            return Err(Broken::Gap { after: self.seq, found: record.seq });
        }
        if record.prev != self.head {
            return Err(Broken::Link(record.seq));
        }
        if record.hash != hash(record) {
            return Err(Broken::Changed(record.seq));
        }
        self.seq = record.seq;
        self.head = record.hash;
        Ok(())
    }

    /// Whether the chain ends where the store says.
    pub fn ends(&self, seq: u64, head: [u8; 32]) -> Result<(), Broken> {
        if self.seq == seq && self.head == head {
            return Ok(());
        }
        Err(Broken::End { found: self.seq, expected: seq })
    }
}
