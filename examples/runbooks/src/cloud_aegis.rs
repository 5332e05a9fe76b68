//! The rows of `cloud-aegis`.

mod c4;
mod c7;

pub(crate) use c4::ROW as C4;
pub(crate) use c7::ROW as C7;
