//! What MariaDB reads from settings, and what it tells of an account.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{Handle, Label, Span};
use rekey_settings::Section;

use super::settings::{Account, Adopt, TargetSettings, anywhere};
use super::{Mysql, NAME, sql};
use crate::target::{TlsSettings, built, note, note_target, opened};
use crate::{BuildError, Claim, Claimed, Driver, Facts, Names, Owner, Plan, Strategy};

/// What MariaDB brings along.
#[derive(Debug, Clone, Copy)]
pub struct Plug;

impl crate::Plug for Plug {
    type Target = TargetSettings;
    type Account = Account;

    fn target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
        let settings = read_target(section, folder)?;
        let secrets = [("password_file", settings.password_file.as_path())];
        note_target(section, NAME, settings.problems(), &secrets);
        Some(settings)
    }

    fn account(section: &Section<'_>) -> Option<Account> {
        let database = section.required_like("database", "orders");
        let role = section.required_like("role", "orders_app");
        let prefix = section.required_like("prefix", "orders");
        let from = section.or("from", anywhere());
        let adopt = section.optional_section("adopt").and_then(|adopt| {
            let from = adopt.or("from", anywhere());
            Some(Adopt { login: adopt.required_like("login", "orders_legacy")?, from })
        });
        let probes = section.list_like("probes", Account::MOST_PROBES, "SELECT count(*) FROM orders");
        let account = Account { database: database?, role: role?, prefix: prefix?, from, adopt, probes };
        note(section, NAME, account.problems());
        Some(account)
    }

    fn facts(account: &Account, target: &Label) -> Facts {
        let Account { database, role, prefix, from, adopt, probes } = account;
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
            names: Names { stem: prefix.clone(), longest: sql::LONGEST_NAME },
            fields: &["username", "password", "host", "port", "database"],
            adopt: login.as_deref().and_then(|login| login.parse::<Handle>().ok()),
            claims,
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

    fn driver(
        target: &TargetSettings,
        account: &Account,
        owner: Owner,
    ) -> Result<Arc<dyn Driver>, BuildError> {
        let target =
            opened(&target.password_file, &target.tls, |secret, ca_pem| target.with(secret, ca_pem))?;
        built(Mysql::new(target, account.clone(), owner))
    }
}

fn read_target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
    let host: Option<String> = section.required("host");
    let user = section.required("user");
    let password_file = section.required::<PathBuf>("password_file").map(|file| folder.join(file));
    let local = host.as_deref().is_some_and(|host| host.starts_with('/'));
    let five = Span::new(Duration::from_secs(5));
    Some(TargetSettings {
        port: section.or("port", 3306),
        consumer_host: section.optional("consumer_host"),
        consumer_port: section.optional("consumer_port"),
        tls: TlsSettings::read(section, folder, local),
        connect_timeout: section.or("connect_timeout", five),
        statement_timeout: section.or("statement_timeout", five),
        transit: section.or("transit", five),
        call_timeout: section.or("call_timeout", Span::new(Duration::from_secs(30))),
        host: host?,
        user: user?,
        password_file: password_file?,
    })
}
