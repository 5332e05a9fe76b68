//! Who may call what: one table. A call without a row is refused to everybody.

use std::fmt::Write as _;

use rekey_proto::admin as wire;

use crate::audit::Verb;

/// What an operator may do. Each role may also do what [`Role::Viewer`] may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May look.
    Viewer,
    /// May declare, adopt, hand in, rotate, roll back, hold, release, retry, record.
    Operator,
    /// May revoke in an emergency.
    Responder,
    /// May do everything.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Responder, Self::Admin];

    /// Whether somebody with this role may do what needs `needed`.
    pub fn may(self, needed: Self) -> bool {
        self == needed || self == Self::Admin || needed == Self::Viewer
    }

    /// The word for it, in the store and in the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Responder => "responder",
            Self::Admin => "admin",
        }
    }

    /// The role of a stored word; an unknown one gives nothing.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// The role of a number on the wire.
    pub fn of_wire(number: i32) -> Option<Self> {
        match wire::Role::try_from(number) {
            Ok(wire::Role::Viewer) => Some(Self::Viewer),
            Ok(wire::Role::Operator) => Some(Self::Operator),
            Ok(wire::Role::Responder) => Some(Self::Responder),
            Ok(wire::Role::Admin) => Some(Self::Admin),
            Ok(wire::Role::Unspecified) | Err(_) => None,
        }
    }

    /// The same on the wire.
    pub fn to_wire(self) -> i32 {
        match self {
            Self::Viewer => wire::Role::Viewer,
            Self::Operator => wire::Role::Operator,
            Self::Responder => wire::Role::Responder,
            Self::Admin => wire::Role::Admin,
        }
        .into()
    }
}

/// One call, the role that it needs, and the audit's word for it where it changes something.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The call, as in the descriptors.
    pub call: &'static str,
    /// The role that it needs.
    pub role: Role,
    /// The audit's word; none: it changes nothing.
    pub verb: Option<Verb>,
}

const fn looks(call: &'static str, role: Role) -> Row {
    Row { call, role, verb: None }
}

const fn changes(call: &'static str, role: Role, verb: Verb) -> Row {
    Row { call, role, verb: Some(verb) }
}

/// Every call of `rekey.admin.v1.Admin`.
pub const TABLE: [Row; 30] = [
    looks("Status", Role::Viewer),
    looks("PlanRotate", Role::Viewer),
    looks("WatchRotation", Role::Viewer),
    looks("Who", Role::Viewer),
    looks("Verify", Role::Viewer),
    looks("ListSidecars", Role::Viewer),
    looks("QueryAudit", Role::Viewer),
    looks("WhoAmI", Role::Viewer),
    looks("ListWebhooks", Role::Viewer),
    changes("Apply", Role::Operator, Verb::Apply),
    changes("Adopt", Role::Operator, Verb::Adopt),
    changes("HandIn", Role::Operator, Verb::HandIn),
    changes("Rotate", Role::Operator, Verb::Rotate),
    changes("Rollback", Role::Operator, Verb::Rollback),
    changes("Hold", Role::Operator, Verb::Hold),
    changes("Release", Role::Operator, Verb::Release),
    changes("Retry", Role::Operator, Verb::Retry),
    changes("Record", Role::Operator, Verb::Record),
    changes("Refresh", Role::Operator, Verb::Refresh),
    changes("TestWebhook", Role::Operator, Verb::TestWebhook),
    changes("Revoke", Role::Responder, Verb::Revoke),
    changes("Delete", Role::Admin, Verb::Delete),
    changes("RemoveSidecar", Role::Admin, Verb::RemoveSidecar),
    changes("Reconcile", Role::Admin, Verb::Mode),
    changes("CreateToken", Role::Admin, Verb::CreateToken),
    looks("ListTokens", Role::Admin),
    changes("RevokeToken", Role::Admin, Verb::RevokeToken),
    changes("AddAdmin", Role::Admin, Verb::AddAdmin),
    looks("ListAdmins", Role::Admin),
    changes("RemoveAdmin", Role::Admin, Verb::RemoveAdmin),
];

/// The row of a call, if it has one.
pub fn row(call: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.call == call)
}

/// The page `docs/roles.md`.
pub fn page() -> String {
    let mut page = PREFACE.to_owned();
    for row in &TABLE {
        let marks = Role::ALL.map(|role| if role.may(row.role) { "yes" } else { "–" });
        let audited = row.verb.map_or("–", Verb::as_str);
        // Writing to a String cannot fail.
        let _written = writeln!(page, "| `{}` | {} | {audited} |", row.call, marks.join(" | "));
    }
    page += REASONS;
    for (reason, code, meaning) in super::refusal::REASONS {
        let _written = writeln!(page, "| `{reason}` | {code:?} | {meaning} |");
    }
    page
}

const PREFACE: &str = "\
# Who may do what

Every call of `rekey.admin.v1.Admin` is checked in one place against this table, which the controller itself is built
from (`controller/src/admin/roles.rs`; a test compares). A call that is not in it is refused to everybody. Over mutual TLS
an operator has the roles that `rekeyctl admin add` gave; on the local socket, root and the controller's own user are
`admin` (break-glass), and the audit says `local-socket`. What is refused for want of a role is audited too. No call needs
a second person, and `Revoke` never will.

| call | viewer | operator | responder | admin | audited as |
|---|---|---|---|---|---|
";

const REASONS: &str = "
## Reasons of refusals

A refused call carries `google.rpc.ErrorInfo` with domain `rekey` and one of these reasons. They are stable.

| reason | gRPC code | meaning |
|---|---|---|
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    /// Just enough of descriptor.proto to find the calls of a service.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Set {
        #[prost(message, repeated, tag = "1")]
        file: Vec<File>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct File {
        #[prost(string, tag = "2")]
        package: String,
        #[prost(message, repeated, tag = "6")]
        service: Vec<Named>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, repeated, tag = "2")]
        method: Vec<Method>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Method {
        #[prost(string, tag = "1")]
        name: String,
    }

    #[test]
    fn every_call_of_the_descriptors_has_a_row_and_no_row_is_without_a_call() {
        let set = Set::decode(rekey_proto::DESCRIPTORS).unwrap();
        let file = set.file.iter().find(|file| file.package == "rekey.admin.v1").unwrap();
        let calls: BTreeSet<&str> =
            file.service.iter().flat_map(|service| &service.method).map(|m| m.name.as_str()).collect();
        assert!(calls.len() >= 23, "the descriptors are no longer read: {calls:?}");
        let rows: BTreeSet<&str> = TABLE.iter().map(|row| row.call).collect();
        assert_eq!(calls, rows);
        assert_eq!(rows.len(), TABLE.len(), "a call has two rows");
    }

    #[test]
    fn the_cross_product_is_as_it_was_meant() {
        let may = |role: Role| -> Vec<&str> {
            TABLE.iter().filter(|row| role.may(row.role)).map(|row| row.call).collect()
        };
        let looking = [
            "Status",
            "PlanRotate",
            "WatchRotation",
            "Who",
            "Verify",
            "ListSidecars",
            "QueryAudit",
            "WhoAmI",
            "ListWebhooks",
        ];
        let driving = [
            "Apply",
            "Adopt",
            "HandIn",
            "Rotate",
            "Rollback",
            "Hold",
            "Release",
            "Retry",
            "Record",
            "Refresh",
            "TestWebhook",
        ];
        assert_eq!(may(Role::Viewer), looking);
        assert_eq!(may(Role::Operator), [&looking[..], &driving].concat());
        assert_eq!(may(Role::Responder), [&looking[..], &["Revoke"]].concat());
        assert_eq!(may(Role::Admin).len(), TABLE.len());
    }

    #[test]
    fn whatever_is_only_looked_at_is_not_audited_and_all_else_is() {
        for row in &TABLE {
            let looks = ["Status", "Plan", "Watch", "Who", "Verify", "List", "Query"];
            assert_eq!(
                looks.iter().any(|word| row.call.starts_with(word)),
                row.verb.is_none(),
                "{}",
                row.call
            );
        }
    }

    #[test]
    fn the_page_of_roles_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/roles.md");
        if std::env::var_os("REKEY_REGENERATE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        let how = "REKEY_REGENERATE=1 cargo test -p rekey-controller page_of_roles";
        assert!(found == page(), "docs/roles.md is out of date: run `{how}`");
    }
}
