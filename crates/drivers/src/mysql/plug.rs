//! What MariaDB reads from settings, and what it tells of an account.

use std::path::Path;
use std::sync::Arc;

use rekey_model::{Handle, Label, SecretBytes, Version};
use rekey_settings::Section;
use schemars::JsonSchema;

use super::passwords::{self, SLOTS};
use super::server::FIELDS;
use super::settings::{Account, Adopt, AdoptPassword, TargetSettings, UserAccount, anywhere};
use super::{Mysql, NAME, TwoPasswords, sql};
use crate::target::{MOST_PROBES, TlsSettings, built, file, note, note_target, opened, seconds};
use crate::{BuildError, Claim, Claimed, Driver, Facts, Names, Owner, Plan, Strategy};

/// An account as it is declared: a login for each version, or one user that takes two passwords.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged, rename = "MysqlAccount")]
pub enum Declared {
    /// `role` and `prefix`.
    Versions(Account),
    /// `user`.
    User(UserAccount),
}

/// What MariaDB brings along.
#[derive(Debug, Clone, Copy)]
pub struct Plug;

impl crate::Plug for Plug {
    type Target = TargetSettings;
    type Account = Declared;

    fn target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
        let settings = read_target(section, folder)?;
        let secrets = [("password_file", &settings.password_file)];
        note_target(section, NAME, settings.problems(), &secrets);
        Some(settings)
    }

    fn account(section: &Section<'_>) -> Option<Declared> {
        if section.has("user") {
            user(section).map(Declared::User)
        } else {
            versions(section).map(Declared::Versions)
        }
    }

    fn facts(account: &Declared, target: &Label) -> Facts {
        match account {
            Declared::Versions(account) => facts_of_versions(account, target),
            Declared::User(account) => facts_of_user(account, target),
        }
    }

    fn handle(account: &Declared, _version: Version, secret: &SecretBytes) -> Option<String> {
        match account {
            Declared::Versions(_) => None,
            Declared::User(account) => Some(passwords::name(&account.user, &sql::tag(&sql::hash(secret)))),
        }
    }

    fn slots(account: &Declared) -> Option<u32> {
        match account {
            Declared::Versions(_) => None,
            Declared::User(_) => Some(SLOTS),
        }
    }

    fn may_be_called(account: &Declared, _target: &Label, version: Version, handle: &Handle) -> bool {
        match account {
            Declared::Versions(account) => {
                handle.as_str().starts_with(&format!("{}_{version}_", account.prefix))
            }
            Declared::User(account) => passwords::tag_in(&account.user, handle).is_some(),
        }
    }

    fn driver(
        target: &TargetSettings,
        account: &Declared,
        owner: Owner,
    ) -> Result<Arc<dyn Driver>, BuildError> {
        let target =
            opened(&target.password_file, &target.tls, |secret, ca_pem| target.with(secret, ca_pem))?;
        match account.clone() {
            Declared::Versions(account) => built(Mysql::new(target, account, owner)),
            Declared::User(account) => built(TwoPasswords::new(target, account, owner)),
        }
    }
}

fn versions(section: &Section<'_>) -> Option<Account> {
    let database = section.required_like("database", "orders");
    let role = section.required_like("role", "orders_app");
    let prefix = section.required_like("prefix", "orders");
    let from = section.or("from", anywhere());
    let adopt = section.optional_section("adopt").and_then(|adopt| {
        let from = adopt.or("from", anywhere());
        Some(Adopt { login: adopt.required_like("login", "orders_legacy")?, from })
    });
    let probes = probes(section);
    let account = Account { database: database?, role: role?, prefix: prefix?, from, adopt, probes };
    note(section, NAME, account.problems());
    Some(account)
}

fn user(section: &Section<'_>) -> Option<UserAccount> {
    let database = section.required_like("database", "orders");
    let user = section.required_like("user", "orders");
    let from = section.or("from", anywhere());
    let adopt = section
        .optional_section("adopt")
        .and_then(|adopt| Some(AdoptPassword { hash: adopt.required_like("hash", "*9F86D08188…")? }));
    let probes = probes(section);
    let account = UserAccount { database: database?, user: user?, from, adopt, probes };
    note(section, NAME, account.problems());
    Some(account)
}

fn probes(section: &Section<'_>) -> Vec<String> {
    section.list_like("probes", MOST_PROBES, "SELECT count(*) FROM orders")
}

fn facts_of_versions(account: &Account, target: &Label) -> Facts {
    let Account { database, role, prefix, from, adopt, probes } = account;
    let login = adopt.as_ref().map(|adopt| adopt.login.clone());
    Facts {
        strategy: Strategy::DualAccount,
        names: Names { stem: prefix.clone(), longest: sql::LONGEST_NAME },
        fields: FIELDS,
        adopt: login.as_deref().and_then(|login| login.parse::<Handle>().ok()),
        claims: Claim::of_logins(prefix, login.as_deref()),
        fixed: vec![
            ("database", database.clone()),
            ("role", role.clone()),
            ("prefix", prefix.clone()),
            ("from", from.clone()),
            ("adopt.login", login.unwrap_or_default()),
            ("adopt.from", adopt.as_ref().map(|adopt| adopt.from.clone()).unwrap_or_default()),
        ],
        plan: Plan {
            make: format!("a login {prefix}_{{next}}_… at {target}, with the role {role}"),
            prove: format!(
                "log in to {database} as a client does, run {} probes, compare its privileges with the old version's",
                probes.len()
            ),
            end: "locked, no sessions, login dropped".to_owned(),
        },
    }
}

fn facts_of_user(account: &UserAccount, target: &Label) -> Facts {
    let UserAccount { database, user, from, adopt, probes } = account;
    let hash = adopt.as_ref().map(|adopt| adopt.hash.as_str());
    Facts {
        strategy: Strategy::DualSecret,
        names: Names { stem: user.clone(), longest: 255 },
        fields: FIELDS,
        adopt: hash.and_then(|hash| passwords::name(user, &sql::tag(hash)).parse::<Handle>().ok()),
        claims: vec![Claim {
            field: "user",
            what: Claimed::Name(user.clone()),
            taken: "rotates this user at this target",
            remedy: "rotate a user in one credential only, and deliver that one to all who need it",
        }],
        fixed: vec![
            ("database", database.clone()),
            ("user", user.clone()),
            ("from", from.clone()),
            ("adopt.hash", hash.unwrap_or_default().to_owned()),
        ],
        plan: Plan {
            make: format!("one more password {{next}} of the user {user} at {target}"),
            prove: format!("log in to {database} as a client does, run {} probes", probes.len()),
            end: "password taken away; a revocation ends all sessions of the user".to_owned(),
        },
    }
}

fn read_target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
    let host: Option<String> = section.required("host");
    let user = section.required("user");
    let password_file = file(section, "password_file", folder);
    let local = host.as_deref().is_some_and(|host| host.starts_with('/'));
    Some(TargetSettings {
        port: section.or("port", 3306),
        consumer_host: section.optional("consumer_host"),
        consumer_port: section.optional("consumer_port"),
        tls: TlsSettings::read(section, folder, local),
        connect_timeout: section.or("connect_timeout", seconds(5)),
        statement_timeout: section.or("statement_timeout", seconds(5)),
        transit: section.or("transit", seconds(5)),
        call_timeout: section.or("call_timeout", seconds(30)),
        host: host?,
        user: user?,
        password_file: password_file?,
    })
}
