//! The rows of `aos`.

mod b12;
mod b2;
mod b5;
mod b7;
mod b8;
mod b9;

pub(crate) use b2::ROW as B2;
pub(crate) use b5::ROW as B5;
pub(crate) use b7::ROW as B7;
pub(crate) use b8::ROW as B8;
pub(crate) use b9::ROW as B9;
pub(crate) use b12::ROW as B12;

use crate::login::Database;

/// The database as its team has it.
const DATABASE: Database =
    Database { target: "aos-pg", name: "nova_aos", owner: "nova_owner", table: "runs", legacy: None };
