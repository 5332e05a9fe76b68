//! The rows of `cloud-aegis`.

mod c3;
mod c4;
mod c7;
mod c8;
mod c9;

pub(crate) use c3::ROW as C3;
pub(crate) use c4::ROW as C4;
pub(crate) use c7::ROW as C7;
pub(crate) use c8::ROW as C8;
pub(crate) use c9::ROW as C9;
