//! What ties credentials to each other: all that have the same word of the same kind.

use sqlx::AnyConnection;

use super::credentials::all_tied;
use super::{CredentialId, CredentialRow, Store, StoreError, Tx};

/// What follows from a tie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TieKind {
    /// All of them as one.
    Group,
    /// One of them at a time.
    Pair,
    /// The same class in the same environment: others may wait for it to have rotated well.
    Class,
}

impl TieKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Pair => "pair",
            Self::Class => "class",
        }
    }
}

/// A word that ties a credential to all others that have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tie {
    /// What follows from it.
    pub kind: TieKind,
    /// The word.
    pub word: String,
}

impl Tie {
    /// The tie of a class in an environment. Neither has a control character, so that no two share a word.
    pub fn of_class(class: &str, environment: &str) -> Self {
        Self { kind: TieKind::Class, word: format!("{class}\n{environment}") }
    }
}

impl Store {
    /// All credentials that have this tie, by name.
    pub async fn tied(&self, tie: &Tie) -> Result<Vec<CredentialRow>, StoreError> {
        tied(&mut *self.reader().await?, tie).await
    }
}

impl Tx {
    /// All credentials that have this tie, by name, as it stays until this transaction ends.
    pub async fn tied(&mut self, tie: &Tie) -> Result<Vec<CredentialRow>, StoreError> {
        tied(self.connection(), tie).await
    }

    /// Gives a credential these ties, at most one of a kind, and no others. Twice is once.
    pub async fn tie(&mut self, id: CredentialId, ties: &[Tie]) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM tie WHERE credential = $1")
            .bind(id.to_string())
            .execute(self.connection())
            .await?;
        for tie in ties {
            sqlx::query("INSERT INTO tie (credential, kind, word) VALUES ($1, $2, $3)")
                .bind(id.to_string())
                .bind(tie.kind.as_str())
                .bind(tie.word.as_str())
                .execute(self.connection())
                .await
                .map_err(StoreError::inserting("tie"))?;
        }
        Ok(())
    }
}

async fn tied(on: &mut AnyConnection, tie: &Tie) -> Result<Vec<CredentialRow>, StoreError> {
    all_tied(on, tie.kind.as_str(), &tie.word).await
}
