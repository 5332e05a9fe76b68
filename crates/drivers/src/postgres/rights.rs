//! What the rotator needs at a server; `docs/drivers.md` shows the same lines, and the tests run with exactly these.

/// Once for each target, by an administrator. No superuser, no `pg_signal_backend`.
/// Its password is set with `\password rekey`, which sends a verifier.
pub const RIGHTS_FOR_TARGET: &str = "CREATE ROLE rekey LOGIN CREATEROLE;";

/// Once for each credential, by an administrator.
pub const RIGHTS_FOR_CREDENTIAL: &str = "GRANT orders_owner TO rekey WITH ADMIN OPTION;";

/// Once for each login that is adopted, by an administrator.
pub const RIGHTS_FOR_ADOPTION: &str = "GRANT orders_legacy TO rekey WITH ADMIN OPTION;";
