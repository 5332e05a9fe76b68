//! The rows of `cloud-aegis`.

mod c4;
mod c7;
mod c9;

pub(crate) use c4::ROW as C4;
pub(crate) use c7::ROW as C7;
pub(crate) use c9::ROW as C9;
