//! The rows of `agentaskit`.

mod a10;
mod a11;
mod a12;
mod a3;
mod a5;
mod a7;

pub(crate) use a3::ROW as A3;
pub(crate) use a5::ROW as A5;
pub(crate) use a7::ROW as A7;
pub(crate) use a10::ROW as A10;
pub(crate) use a11::ROW as A11;
pub(crate) use a12::ROW as A12;
