//! What the rotator needs at a server; `docs/drivers.md` shows the same lines, and the tests run with exactly these.

/// Once for each target, by an administrator. Its password is set with `SET PASSWORD FOR rekey = PASSWORD('…')`.
pub const RIGHTS_FOR_TARGET: &str = "CREATE USER rekey;
GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO rekey;
GRANT SELECT (Host, User, Priv) ON mysql.global_priv TO rekey;
GRANT SELECT ON mysql.roles_mapping TO rekey;
GRANT SELECT ON mysql.db TO rekey;
GRANT SELECT ON mysql.tables_priv TO rekey;
GRANT SELECT ON mysql.columns_priv TO rekey;
GRANT SELECT ON mysql.procs_priv TO rekey;";

/// Once for each credential, by an administrator.
pub const RIGHTS_FOR_CREDENTIAL: &str = "GRANT orders_app TO rekey WITH ADMIN OPTION;";

/// Once for each target, by an administrator, where all its credentials are users with two passwords: nothing more is needed
/// for any of them.
pub const RIGHTS_FOR_USERS: &str = "CREATE USER rekey;
GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO rekey;
GRANT SELECT (Host, User, Priv) ON mysql.global_priv TO rekey;";

/// The same at MySQL 8, which keeps accounts in another table.
pub const RIGHTS_FOR_MYSQL_8: &str = "CREATE USER rekey IDENTIFIED WITH caching_sha2_password BY '…';
GRANT CREATE USER, PROCESS, CONNECTION_ADMIN ON *.* TO rekey;
GRANT SELECT (Host, User, plugin, authentication_string, account_locked, User_attributes,
  Super_priv, Create_user_priv, Grant_priv, Shutdown_priv) ON mysql.user TO rekey;";
