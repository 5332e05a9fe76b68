//! The rows of `flashfusion`.

mod d1;
mod d3;
mod d4;

pub(crate) use d1::ROW as D1;
pub(crate) use d3::ROW as D3;
pub(crate) use d4::ROW as D4;

use crate::login::Database;

/// The database as its team has it.
const DATABASE: Database = Database {
    target: "flashfusion-pg",
    name: "flashfusion",
    owner: "flashfusion_owner",
    table: "agents",
    legacy: None,
};
