//! The wire: what the `.proto` files beside this folder say, as generated Rust.
//!
//! - [`local`]: `rekey.v1`, what an application speaks to its sidecar (feature `local`).
//! - [`encoded`]: the same messages for the side that serves them, in which a stored credential is ready-made bytes
//!   (feature `local-server`). On the wire a message field and a bytes field look the same.
//! - [`fleet`]: `rekey.fleet.v1`, sidecar and controller (feature `fleet`).
//! - [`admin`]: `rekey.admin.v1`, operator and controller (feature `admin`).
//!
//! The code in `generated/` is made by `tests/generated.rs`, which also refuses what would break a peer. Messages that
//! hold a secret have a `Debug` that does not show it. Nobody inside a program speaks these types: they end at `rpc.rs`.

/// Declares one generated module.
macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        #[allow(
            missing_debug_implementations,
            let_underscore_drop,
            unreachable_pub,
            unused_qualifications,
            clippy::all,
            clippy::pedantic,
            clippy::wildcard_enum_match_arm,
            clippy::clone_on_ref_ptr,
            clippy::allow_attributes_without_reason,
            reason = "generated code follows its generator's style"
        )]
        pub mod $name {
            include!(concat!("generated/", $file));
        }
    };
}

#[cfg(feature = "local")]
generated!(
    /// `rekey.v1` for those who ask.
    local, "local/rekey.v1.rs"
);
#[cfg(feature = "local-server")]
generated!(
    /// `rekey.v1` for the one who answers; a stored credential is [`bytes::Bytes`] of an encoded `Credential`.
    encoded, "encoded/rekey.v1.rs"
);
#[cfg(feature = "fleet")]
generated!(
    /// `rekey.fleet.v1`.
    fleet, "fleet/rekey.fleet.v1.rs"
);
#[cfg(feature = "admin")]
generated!(
    /// `rekey.admin.v1`.
    admin, "admin/rekey.admin.v1.rs"
);

#[cfg(any(feature = "local", feature = "local-server", feature = "fleet", feature = "admin"))]
pub mod refusal;

/// The descriptors of all packages, for reflection and for tests that go through every call.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.binpb");

/// The metadata key that every call of `rekey.v1` must carry, with `name/version` of the caller.
pub const CLIENT_METADATA: &str = "rekey-client";
