//! The words of Rekey as types: names, versions, stages, secrets, identities, moments.
//!
//! Everything here is plain data that was checked once, where it entered. This package owns what the words of
//! `docs/glossary.md` mean; it knows no async, no I/O, no protobuf, no SQL.

#[cfg(feature = "fingerprint")]
mod fingerprint;
mod identity;
mod label;
mod moment;
mod name;
mod number;
mod secret;
mod span;
mod stage;

#[cfg(feature = "fingerprint")]
pub use fingerprint::Fingerprint;
pub use identity::{Grant, Id, IdError, InstanceId, RotationId, SessionId, SpiffeId, TrustDomain};
pub use label::{Label, NoLabel};
pub use moment::{BootId, Moment};
pub use name::{CredentialName, FieldName, Handle, NameError};
pub use number::{Generation, Incarnation, Order, Version};
pub use secret::{Fields, FieldsError, SecretBytes};
pub use span::{Span, SpanError, millis};
pub use stage::Stage;
