//! The one row that says whose store this is, which life of it, and who may write.

use std::str::FromStr;

use rekey_model::{Id, Incarnation, Moment};
use rekey_rotation::Mode;
use rekey_runtime::random;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::columns::{Columns, moment, number};
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

/// The columns that [`Meta`] is read from.
macro_rules! meta_columns {
    () => {
        "installation, incarnation, incarnation_id, epoch, mode, former, reconciles_because, commits, audit_seq, \
         audit_head"
    };
}
pub(super) use meta_columns;

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
    /// The life in which what is stored was decided, while it only reconciles.
    pub former: Option<Incarnation>,
    /// Why it only reconciles, while it does.
    pub because: Option<String>,
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
            former: row.number_if("former")?.map(Incarnation),
            because: row.raw("reconciles_because")?,
            commits: row.number("commits")?,
            audit_seq: row.number("audit_seq")?,
            audit_head: row.digest("audit_head")?,
        })
    }

    pub(super) async fn read(connection: &mut AnyConnection) -> Result<Option<Self>, StoreError> {
        let row =
            sqlx::query(concat!("SELECT ", meta_columns!(), " FROM meta")).fetch_optional(connection).await?;
        row.as_ref().map(Self::of).transpose()
    }
}

impl Meta {
    /// The next life of a store that was put back, above everything that was `seen` of it.
    pub(super) fn reborn(&self, seen: (Incarnation, u64), because: &str) -> Self {
        Self {
            incarnation: self.incarnation.max(seen.0).next(),
            life: random::id(),
            epoch: self.epoch.max(seen.1).saturating_add(1),
            mode: Mode::ReconcileOnly,
            former: Some(self.former.unwrap_or(self.incarnation)),
            because: Some(because.to_owned()),
            ..self.clone()
        }
    }

    pub(super) async fn write(&self, on: &mut AnyConnection) -> Result<(), StoreError> {
        let former = self.former.map(|former| number(former.0)).transpose()?;
        sqlx::query(
            "UPDATE meta SET incarnation = $1, incarnation_id = $2, epoch = $3, mode = $4, former = $5, \
             reconciles_because = $6",
        )
        .bind(number(self.incarnation.0)?)
        .bind(self.life.to_string())
        .bind(number(self.epoch)?)
        .bind(word(self.mode))
        .bind(former)
        .bind(self.because.clone())
        .execute(on)
        .await?;
        Ok(())
    }
}

/// Nobody knows how long ago the holders of the life that was lost were heard last: as if it were now.
pub(super) async fn believe_alive(on: &mut AnyConnection, now: Moment) -> Result<(), StoreError> {
    sqlx::query("UPDATE instance SET last_contact = $1 WHERE session IS NOT NULL")
        .bind(moment(now))
        .execute(on)
        .await?;
    Ok(())
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

    /// The life in which what is stored was decided, while it only reconciles; else the present one.
    pub fn former(&self) -> Incarnation {
        self.meta.former.unwrap_or(self.meta.incarnation)
    }

    /// Tells this life of the store from every other.
    pub fn life(&self) -> LifeId {
        self.meta.life
    }

    /// Has the store do everything again. When it may is the caller's to know.
    pub async fn leave_reconciling(&mut self) -> Result<(), StoreError> {
        sqlx::query("UPDATE meta SET mode = $1, former = NULL, reconciles_because = NULL")
            .bind(word(Mode::Normal))
            .execute(self.connection())
            .await?;
        self.meta = Meta { mode: Mode::Normal, former: None, because: None, ..self.meta.clone() };
        self.will_tell(Changed::Mode);
        Ok(())
    }

    /// Begins a new life of the store, which only reconciles: an incarnation above the store's and above `seen`, and a
    /// new random id. For a hello that shows that this store is older than it once was, as `because` says.
    pub async fn begin_life(&mut self, seen: Incarnation, because: &str) -> Result<Incarnation, StoreError> {
        let epoch = self.meta.epoch;
        self.meta = Meta { epoch, ..self.meta.reborn((seen, epoch), because) };
        let (meta, now) = (self.meta.clone(), self.now());
        meta.write(self.connection()).await?;
        believe_alive(self.connection(), now).await?;
        self.will_tell(Changed::Mode);
        Ok(meta.incarnation)
    }
}
