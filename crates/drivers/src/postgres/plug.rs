//! What PostgreSQL reads from settings, and what it tells of an account.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{Handle, Label, SecretBytes, Span, Version};
use rekey_settings::Section;
use schemars::JsonSchema;

use super::settings::{Account, Adopt, Route, TargetSettings};
use super::{FixedAccount, FixedRole, NAME, Postgres, quote, server};
use crate::follower::Way;
use crate::target::{TlsSettings, built, note, note_target, opened};
use crate::{BuildError, Claim, Claimed, Driver, Facts, Names, Owner, Plan, Strategy};

/// An account as it is declared: a login for each version, or one login whose password changes in place.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged, rename = "PostgresAccount")]
pub enum Declared {
    /// `owner_role` and `prefix`.
    Versions(Account),
    /// `role`.
    Fixed(FixedAccount),
}

/// What PostgreSQL brings along.
#[derive(Debug, Clone, Copy)]
pub struct Plug;

impl crate::Plug for Plug {
    type Target = TargetSettings;
    type Account = Declared;

    fn target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
        let settings = read_target(section, folder)?;
        let secrets = [("password_file", settings.password_file.as_path())];
        note_target(section, NAME, settings.problems(), &secrets);
        Some(settings)
    }

    fn account(section: &Section<'_>) -> Option<Declared> {
        if section.has("role") {
            fixed(section).map(Declared::Fixed)
        } else {
            versions(section).map(Declared::Versions)
        }
    }

    fn facts(account: &Declared, target: &Label) -> Facts {
        match account {
            Declared::Versions(account) => facts_of_versions(account, target),
            Declared::Fixed(account) => facts_of_fixed(account, target),
        }
    }

    fn handle(account: &Declared, version: Version, _secret: &SecretBytes) -> Option<String> {
        match account {
            Declared::Versions(_) => None,
            Declared::Fixed(account) => Some(account.name_of(version)),
        }
    }

    fn may_be_called(account: &Declared, _target: &Label, version: Version, handle: &Handle) -> bool {
        match account {
            Declared::Versions(account) => {
                handle.as_str().starts_with(&format!("{}_{version}_", account.prefix))
            }
            Declared::Fixed(account) => handle.as_str() == account.name_of(version),
        }
    }

    fn driver(
        target: &TargetSettings,
        account: &Declared,
        owner: Owner,
    ) -> Result<Arc<dyn Driver>, BuildError> {
        build(target, account, owner, None)
    }

    fn driver_by(
        target: &TargetSettings,
        account: &Declared,
        owner: Owner,
        way: Way,
    ) -> Option<Result<Arc<dyn Driver>, BuildError>> {
        Some(build(target, account, owner, Some(way)))
    }

    fn route(target: &TargetSettings) -> Option<(String, u16)> {
        let Route { host, port } = target.consumer();
        Some((host, port))
    }
}

fn versions(section: &Section<'_>) -> Option<Account> {
    let database = section.required_like("database", "orders");
    let owner_role = section.required_like("owner_role", "orders_owner");
    let prefix = section.required_like("prefix", "orders_app");
    let adopt = section.optional_section("adopt").and_then(|adopt| {
        let member = adopt.flag("member");
        Some(Adopt { login: adopt.required_like("login", "orders_legacy")?, member })
    });
    let search_path = section.list_like("search_path", 16, "orders");
    let probes = section.list_like("probes", Account::MOST_PROBES, "SELECT count(*) FROM orders");
    let account =
        Account { database: database?, owner_role: owner_role?, prefix: prefix?, adopt, search_path, probes };
    note(section, NAME, account.problems());
    Some(account)
}

fn fixed(section: &Section<'_>) -> Option<FixedAccount> {
    let database = section.required_like("database", "orders");
    let role = section.required_like("role", "orders_app");
    let adopt = section.flag("adopt");
    let probes = section.list_like("probes", Account::MOST_PROBES, "SELECT count(*) FROM orders");
    let account = FixedAccount { database: database?, role: role?, adopt, probes };
    note(section, NAME, account.problems());
    Some(account)
}

fn facts_of_fixed(account: &FixedAccount, target: &Label) -> Facts {
    let FixedAccount { database, role, adopt, probes } = account;
    Facts {
        strategy: Strategy::Single,
        names: Names { stem: role.clone(), longest: 255 },
        fields: server::FIELDS,
        adopt: adopt.then(|| role.parse::<Handle>().ok()).flatten(),
        claims: vec![Claim {
            field: "role",
            what: Claimed::Name(role.clone()),
            taken: "changes the password of this login",
            remedy: "change a login in one credential only, and deliver that one to all who need it",
        }],
        fixed: vec![("database", database.clone()), ("role", role.clone())],
        plan: Plan {
            make: format!(
                "a new password {{next}} of the login {role} at {target}; the one before dies with it"
            ),
            prove: format!("log in to {database} as a client does, run {} probes", probes.len()),
            end: "the login takes no password, no sessions".to_owned(),
        },
    }
}

fn facts_of_versions(account: &Account, target: &Label) -> Facts {
    let Account { database, owner_role, prefix, adopt, probes, .. } = account;
    let login = adopt.as_ref().map(|adopt| adopt.login.clone());
    let mut claims = vec![Claim {
        field: "prefix",
        what: Claimed::Stem(prefix.clone()),
        taken: "makes logins with this prefix at this target",
        remedy: "choose a prefix that no other credential at this target has",
    }];
    claims.extend(login.clone().map(|login| Claim {
        field: "adopt.login",
        what: Claimed::Name(login),
        taken: "has adopted this login",
        remedy: "adopt a login in one credential only, and deliver that one to all who need it",
    }));
    Facts {
        strategy: Strategy::DualAccount,
        names: Names { stem: prefix.clone(), longest: quote::LONGEST_NAME },
        fields: server::FIELDS,
        adopt: login.as_deref().and_then(|login| login.parse::<Handle>().ok()),
        claims,
        fixed: vec![
            ("database", database.clone()),
            ("owner_role", owner_role.clone()),
            ("prefix", prefix.clone()),
            ("adopt.login", login.unwrap_or_default()),
        ],
        plan: Plan {
            make: format!("a login {prefix}_{{next}}_… at {target}, member of {owner_role}"),
            prove: format!(
                "log in to {database} as a client does, run {} probes, compare its privileges with the old version's",
                probes.len()
            ),
            end: "no new logins, no sessions, role removed".to_owned(),
        },
    }
}

fn build(
    target: &TargetSettings,
    account: &Declared,
    owner: Owner,
    way: Option<Way>,
) -> Result<Arc<dyn Driver>, BuildError> {
    let target = opened(&target.password_file, &target.tls, |secret, ca_pem| target.with(secret, ca_pem))?;
    let target = match way {
        Some(way) => target.by(way),
        None => target,
    };
    match account.clone() {
        Declared::Versions(account) => built(Postgres::new(target, account, owner)),
        Declared::Fixed(account) => built(FixedRole::new(target, account)),
    }
}

fn read_target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
    let host: Option<String> = section.required("host");
    let user = section.required("user");
    let password_file = section.required::<PathBuf>("password_file").map(|file| folder.join(file));
    let local = host.as_deref().is_some_and(|host| host.starts_with('/'));
    let five = Span::new(Duration::from_secs(5));
    Some(TargetSettings {
        port: section.or("port", 5432),
        consumer_host: section.optional("consumer_host"),
        consumer_port: section.optional("consumer_port"),
        admin_database: section.or("admin_database", "postgres".to_owned()),
        tls: TlsSettings::read(section, folder, local),
        connect_timeout: section.or("connect_timeout", five),
        statement_timeout: section.or("statement_timeout", five),
        transit: section.or("transit", five),
        call_timeout: section.or("call_timeout", Span::new(Duration::from_secs(30))),
        pending_life: section.or("pending_life", Span::new(Duration::from_hours(1))),
        host: host?,
        user: user?,
        password_file: password_file?,
    })
}
