//! The one row that says whose store this is, which life of it, and who may write.

use std::str::FromStr;

use rekey_model::{Id, Incarnation};
use rekey_rotation::Mode;
use rekey_runtime::random;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::{Changed, Store, StoreError, Tx};

/// Marks the id of an installation.
#[derive(Debug)]
pub enum Installation {}
/// Marks the id of one life of a store.
#[derive(Debug)]
pub enum Life {}

/// Tells installations apart; drawn when the store is made, part of what every sealed secret is bound to.
pub type InstallationId = Id<Installation>;
/// Tells two lives of a store apart that have the same incarnation number.
pub type LifeId = Id<Life>;

/// The word for a mode in the store.
pub(super) fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Normal => "normal",
        Mode::ReconcileOnly => "reconcile-only",
    }
}

/// A text that names a mode.
struct ModeWord(Mode);

/// A text that names no mode.
#[derive(Debug, thiserror::Error)]
#[error("no such mode")]
struct NoSuchMode;

impl FromStr for ModeWord {
    type Err = NoSuchMode;
    fn from_str(text: &str) -> Result<Self, NoSuchMode> {
        let mode = [Mode::Normal, Mode::ReconcileOnly].into_iter().find(|mode| word(*mode) == text);
        mode.map(Self).ok_or(NoSuchMode)
    }
}

/// Whose store this is, which life of it, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Whose.
    pub installation: InstallationId,
    /// Which life: one more after each restore.
    pub incarnation: Incarnation,
    /// Drawn with each incarnation.
    pub life: LifeId,
    /// Rises whenever a controller opens the store.
    pub epoch: u64,
    /// What may be done.
    pub mode: Mode,
    /// Commits so far, in all lives.
    pub commits: u64,
    /// The last record of the audit.
    pub audit_seq: u64,
    /// Its hash.
    pub audit_head: [u8; 32],
}

impl Meta {
    pub(super) fn of(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            installation: row.parsed("installation")?,
            incarnation: Incarnation(row.number("incarnation")?),
            life: row.parsed("incarnation_id")?,
            epoch: row.number("epoch")?,
            mode: row.parsed::<ModeWord>("mode")?.0,
            commits: row.number("commits")?,
            audit_seq: row.number("audit_seq")?,
            audit_head: row.digest("audit_head")?,
        })
    }

    pub(super) async fn read(connection: &mut AnyConnection) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query(
            "SELECT installation, incarnation, incarnation_id, epoch, mode, commits, audit_seq, audit_head FROM meta",
        )
        .fetch_optional(connection)
        .await?;
        row.as_ref().map(Self::of).transpose()
    }
}

impl Store {
    /// Whose store this is and how far it is, now.
    pub async fn meta(&self) -> Result<Meta, StoreError> {
        Meta::read(&mut *self.reader().await?).await?.ok_or(StoreError::Absent("installation"))
    }
}

impl Tx {
    /// The mode that this transaction acts in.
    pub fn mode(&self) -> Mode {
        self.meta.mode
    }

    /// The number of the last record of the audit, those of this transaction included.
    pub fn audit_seq(&self) -> u64 {
        self.meta.audit_seq
    }

    /// The life of the store that this transaction acts in.
    pub fn incarnation(&self) -> Incarnation {
        self.meta.incarnation
    }

    /// Changes the mode. When the store may leave `reconcile-only` is the caller's to know (`ROTATION.md` 8).
    pub async fn set_mode(&mut self, mode: Mode) -> Result<(), StoreError> {
        sqlx::query("UPDATE meta SET mode = $1").bind(word(mode)).execute(self.connection()).await?;
        self.meta.mode = mode;
        self.will_tell(Changed::Mode);
        Ok(())
    }

    /// Begins a new life of the store, which only reconciles: an incarnation above the store's and above `seen`, and a
    /// new random id. For a hello that shows that this store is older than it once was.
    pub async fn begin_life(&mut self, seen: Incarnation) -> Result<Incarnation, StoreError> {
        let incarnation = self.meta.incarnation.max(seen).next();
        let life: LifeId = random::id();
        sqlx::query("UPDATE meta SET incarnation = $1, incarnation_id = $2, mode = $3")
            .bind(super::columns::number(incarnation.0)?)
            .bind(life.to_string())
            .bind(word(Mode::ReconcileOnly))
            .execute(self.connection())
            .await?;
        self.meta = Meta { incarnation, life, mode: Mode::ReconcileOnly, ..self.meta.clone() };
        self.will_tell(Changed::Mode);
        Ok(incarnation)
    }
}
