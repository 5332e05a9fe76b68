//! The table of all drivers; `docs/drivers.md` shows the same rows, and a test compares them.

/// One kind of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its name: the key in a credential's spec and in the controller's targets.
    pub name: &'static str,
    /// What overlap the target allows.
    pub strategy: Strategy,
    /// Whether two versions can be valid at the same time.
    pub two_live_versions: bool,
    /// Who chooses the secret, and what follows for a lost answer.
    pub class: Class,
}

/// What overlap a target allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// A login of its own for each version.
    DualAccount,
}

/// Who chooses the secret (`ROTATION.md` 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// We choose: the same call is repeated after a lost answer.
    A,
}

impl Strategy {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::DualAccount => "dual-account",
        }
    }
}

impl Class {
    /// Its letter.
    pub fn word(self) -> &'static str {
        match self {
            Self::A => "A",
        }
    }
}

/// All drivers.
pub const ALL: &[Kind] = &[Kind {
    name: crate::postgres::NAME,
    strategy: Strategy::DualAccount,
    two_live_versions: true,
    class: Class::A,
}];
