//! What users may do at virtual hosts: as declared, as the broker shows it, and compared.

use std::collections::BTreeMap;

use rekey_model::Handle;
use serde_json::json;

use super::Rabbitmq;
use super::api::{entries, piece, text};
use super::settings::Permission;
use crate::answer::{Failed, Touched};

/// For each virtual host: what may be configured, written and read.
pub(super) type Rights = BTreeMap<String, [String; 3]>;

const KINDS: [&str; 3] = ["configure", "write", "read"];

impl Rabbitmq {
    /// What every version is to have.
    pub(super) fn declared(&self) -> Rights {
        let of = |permission: &Permission| {
            let Permission { vhost, configure, write, read } = permission.clone();
            (vhost, [configure, write, read])
        };
        self.account.permissions.iter().map(of).collect()
    }

    /// What a user has; of one that is not there, nothing.
    pub(super) async fn rights_of(&self, user: &Handle) -> Result<Rights, Failed> {
        let path = format!("users/{}/permissions", piece(user.as_str()));
        let Some(shown) = self.get_if_there(&path).await? else { return Ok(Rights::new()) };
        let mut rights = Rights::new();
        for entry in entries(&shown)? {
            let kind = |kind| text(entry, kind).unwrap_or_default().to_owned();
            rights.insert(text(entry, "vhost").unwrap_or_default().to_owned(), KINDS.map(kind));
        }
        Ok(rights)
    }

    /// Gives a version what is declared, and nothing beside it.
    pub(super) async fn give_rights(&self, user: &Handle, touched: &Touched) -> Result<(), Failed> {
        let (declared, has) = (self.declared(), self.rights_of(user).await?);
        let at = |vhost: &str| format!("permissions/{}/{}", piece(vhost), piece(user.as_str()));
        for (vhost, rights) in declared.iter().filter(|(vhost, rights)| has.get(*vhost) != Some(rights)) {
            let [configure, write, read] = rights;
            let body = json!({ "configure": configure, "write": write, "read": read });
            touched.by(self.put(&at(vhost), &body)).await?;
        }
        for vhost in has.keys().filter(|vhost| !declared.contains_key(*vhost)) {
            touched.by(self.delete(&at(vhost))).await?;
        }
        Ok(())
    }
}

/// What `old` may do and `new` may not, in words. Two expressions that are not the same cannot be compared: another one than
/// before is told, unless it fits everything.
pub(super) fn lost(old: &Rights, new: &Rights) -> Vec<String> {
    let mut lost = Vec::new();
    for (vhost, old) in old {
        let Some(new) = new.get(vhost) else {
            lost.push(format!("the virtual host {vhost}"));
            continue;
        };
        for ((kind, old), new) in KINDS.into_iter().zip(old).zip(new) {
            let nothing = |expression: &str| matches!(expression, "" | "^$");
            if old != new && !nothing(old) && new != ".*" {
                lost.push(format!("{kind} {old:?} at {vhost}, where it has {new:?}"));
            }
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(list: &[(&str, [&str; 3])]) -> Rights {
        list.iter().map(|(vhost, kinds)| ((*vhost).to_owned(), kinds.map(str::to_owned))).collect()
    }

    #[test]
    fn what_is_lost_is_named() {
        let old = rights(&[("/", ["", "^a", "^$"]), ("x", [".*", "", ""])]);
        assert!(lost(&old, &old).is_empty());
        assert!(lost(&Rights::new(), &old).is_empty());
        assert!(lost(&old, &rights(&[("/", ["", ".*", ""]), ("x", [".*", "", ""])])).is_empty());
        let less = rights(&[("/", ["", "^b", ""])]);
        assert_eq!(lost(&old, &less), [r#"write "^a" at /, where it has "^b""#, "the virtual host x"]);
    }
}
