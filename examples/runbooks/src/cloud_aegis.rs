//! The rows of `cloud-aegis`.

mod c4;

pub(crate) use c4::ROW as C4;
