//! Columns to words and back. Numbers are `i64`, moments and ids are text; see `migrations/`.

use std::error::Error;
use std::str::FromStr;

use rekey_model::{BootId, Moment};
use sqlx::any::AnyRow;
use sqlx::{Any, Decode, Row, Type};

use super::StoreError;

/// A number as the database holds it.
pub(super) fn number(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_above| StoreError::TooLarge)
}

/// A moment as the database holds it: wall milliseconds, boot, milliseconds since that boot.
pub(super) fn moment(at: Moment) -> String {
    format!("{} {:016x} {}", at.wall_ms, at.boot.0, at.boot_ms)
}

/// A span in whole milliseconds as the database holds it.
pub(super) fn millis(span: std::time::Duration) -> Result<i64, StoreError> {
    i64::try_from(span.as_millis()).map_err(|_above| StoreError::TooLarge)
}

/// JSON as the database holds it.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(StoreError::Encode)
}

/// What is wrong with a moment that does not read.
#[derive(Debug, thiserror::Error)]
#[error("not a moment")]
struct NotAMoment;

fn read_moment(text: &str) -> Option<Moment> {
    let mut parts = text.split(' ');
    let (wall, boot, since) = (parts.next()?, parts.next()?, parts.next()?);
    let boot = BootId(u64::from_str_radix(boot, 16).ok()?);
    Some(Moment { wall_ms: wall.parse().ok()?, boot, boot_ms: since.parse().ok()? })
}

fn corrupt<E: Into<Box<dyn Error + Send + Sync>>>(column: &'static str) -> impl FnOnce(E) -> StoreError {
    move |error| StoreError::Corrupt { column, source: error.into() }
}

/// Reads a row's columns as the words they stand for.
pub(super) trait Columns {
    /// The column as the database has it.
    fn raw<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        for<'r> T: Decode<'r, Any> + Type<Any>;

    /// A text that parses.
    fn parsed<T: FromStr<Err: Into<Box<dyn Error + Send + Sync>>>>(
        &self,
        column: &'static str,
    ) -> Result<T, StoreError> {
        self.raw::<String>(column)?.parse().map_err(corrupt(column))
    }

    /// A text that parses, or nothing.
    fn parsed_if<T: FromStr<Err: Into<Box<dyn Error + Send + Sync>>>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let text = self.raw::<Option<String>>(column)?;
        text.map(|text| text.parse()).transpose().map_err(corrupt(column))
    }

    /// A number that is not negative.
    fn number(&self, column: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.raw::<i64>(column)?).map_err(corrupt(column))
    }

    /// A number that is not negative, or nothing.
    fn number_if(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        self.raw::<Option<i64>>(column)?.map(u64::try_from).transpose().map_err(corrupt(column))
    }

    /// A moment, or nothing.
    fn moment_if(&self, column: &'static str) -> Result<Option<Moment>, StoreError> {
        let text = self.raw::<Option<String>>(column)?;
        let read = |text: String| read_moment(&text).ok_or(NotAMoment);
        text.map(read).transpose().map_err(corrupt(column))
    }

    /// A moment.
    fn moment(&self, column: &'static str) -> Result<Moment, StoreError> {
        self.moment_if(column)?.ok_or(NotAMoment).map_err(corrupt(column))
    }

    /// A length of time.
    fn millis(&self, column: &'static str) -> Result<std::time::Duration, StoreError> {
        self.number(column).map(std::time::Duration::from_millis)
    }

    /// A JSON value.
    fn json<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        serde_json::from_str(&self.raw::<String>(column)?).map_err(corrupt(column))
    }

    /// A JSON value, or nothing.
    fn json_if<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        let text = self.raw::<Option<String>>(column)?;
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(corrupt(column))
    }

    /// Thirty-two bytes.
    fn digest(&self, column: &'static str) -> Result<[u8; 32], StoreError> {
        let bytes = self.raw::<Vec<u8>>(column)?;
        <[u8; 32]>::try_from(bytes.as_slice()).map_err(corrupt(column))
    }
}

impl Columns for AnyRow {
    fn raw<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        for<'r> T: Decode<'r, Any> + Type<Any>,
    {
        self.try_get(column).map_err(corrupt(column))
    }
}
