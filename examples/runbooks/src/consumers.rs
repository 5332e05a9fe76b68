//! What consumers do with a credential, one kind of target each.

pub(crate) mod http;
pub(crate) mod postgres;
pub(crate) mod redis;
