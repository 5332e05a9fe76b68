//! The `postgres` section of a spec.

use std::str::FromStr;

use rekey_model::Handle;

use super::problem::Problem;
use super::reader::{Label, Section};

/// PostgreSQL cuts off longer names without a word.
const LONGEST_NAME: usize = 63;
/// Leaves room for `_v<version>_<nonce>`.
const LONGEST_PREFIX: usize = 36;
const MOST_PROBES: usize = 16;

/// A login role in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresSpec {
    /// The target, as it is named in the controller's config.
    pub target: Label,
    /// The database that consumers connect to.
    pub database: RoleName,
    /// The NOLOGIN role that owns the objects; each version becomes its member.
    pub owner_role: RoleName,
    /// What the names of our login roles begin with.
    pub prefix: Prefix,
    /// The login that the application uses before the first rotation.
    pub adopt: Option<Adopt>,
    /// Statements that must succeed with a new version before anybody gets it.
    pub probes: Vec<Probe>,
}

/// The login that the application uses before the first rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopt {
    /// Its name at the target.
    pub login: Handle,
    /// Whether it is to become a member of the owner role.
    pub member: bool,
}

/// Declares a checked text.
macro_rules! checked {
    ($(#[$doc:meta])* $type:ident, $why:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $type(String);

        impl $type {
            /// As it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) { Ok(Self(text.to_owned())) } else { Err($why) }
            }
        }
    };
}

checked!(
    /// The name of a role or a database that exists. It is always quoted, so any letter goes.
    RoleName,
    "a name in PostgreSQL has 1 to 63 bytes, without control characters",
    |text| (1..=LONGEST_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
);
checked!(
    /// What the names of our login roles begin with.
    Prefix,
    "a prefix has 1 to 36 characters of a-z, 0-9 and '_', and begins with a letter",
    |text| (1..=LONGEST_PREFIX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
);
checked!(
    /// One SQL statement.
    Probe,
    "a probe is one statement of 1 to 4096 bytes",
    |text| (1..=4096).contains(&text.trim().len()) && !text.contains('\0')
);

/// Reads the section.
pub(super) fn read(mut section: Section<'_>, problems: &mut Vec<Problem>) -> Option<PostgresSpec> {
    let target = section.required("target", "orders-pg", problems);
    let database = section.required("database", "orders", problems);
    let owner_role: Option<RoleName> = section.required("owner_role", "orders_owner", problems);
    let prefix: Option<Prefix> = section.required("prefix", "orders_app", problems);
    let adopt = section.section("adopt", problems).and_then(|adopt| read_adopt(adopt, problems));
    let probes = section.texts(("probes", MOST_PROBES), "\"SELECT count(*) FROM orders\"", problems);
    section.end(problems);
    let (owner_role, prefix) = (owner_role?, prefix?);
    not_ours(adopt.as_ref(), &owner_role, &prefix, problems);
    Some(PostgresSpec { target: target?, database: database?, owner_role, prefix, adopt, probes })
}

fn read_adopt(mut section: Section<'_>, problems: &mut Vec<Problem>) -> Option<Adopt> {
    let login: Option<Handle> = section.required("login", "orders_legacy", problems);
    let member = section.flag("member", problems);
    let field = section.path("login");
    section.end(problems);
    let login = login?;
    if login.as_str().len() > LONGEST_NAME {
        let message = "a name in PostgreSQL has at most 63 bytes";
        problems.push(Problem::new(field, message, "write the name of the login as it exists"));
    }
    Some(Adopt { login, member })
}

/// An adopted login must not be one that we end for other reasons.
fn not_ours(adopt: Option<&Adopt>, owner: &RoleName, prefix: &Prefix, problems: &mut Vec<Problem>) {
    let Some(login) = adopt.map(|adopt| adopt.login.as_str()) else { return };
    let field = "postgres.adopt.login";
    if login == owner.as_str() {
        problems.push(Problem::new(
            field,
            "is the owner role itself, which owns the objects and is not to be ended",
            "make a NOLOGIN role that owns the objects, and name that in owner_role",
        ));
    }
    if login.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with("_v")) {
        problems.push(Problem::new(
            field,
            "looks like a login that Rekey made itself (<prefix>_v…)",
            "choose another prefix, so that Rekey's own logins can be told apart",
        ));
    }
}
