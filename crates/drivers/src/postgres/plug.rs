//! What PostgreSQL reads from settings, and what it tells of an account.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekey_model::{Handle, Label, SecretBytes, Version};
use rekey_settings::Section;
use schemars::JsonSchema;

use super::settings::{Account, Adopt, TargetSettings};
use super::{FixedAccount, FixedRole, Followed, NAME, Postgres, quote, server};
use crate::follower::Way;
use crate::place::Places;
use crate::target::{
    MOST_PROBES, Route, TlsSettings, built, file, note, note_target, opened, opened_for_nobody, seconds,
};
use crate::{BuildError, Claim, Claimed, Driver, Facts, Names, Owner, Place, Plan, Problem, Strategy};

/// An account as it is declared: a login for each version, or one login whose password changes in place.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged, rename = "PostgresAccount")]
pub enum Declared {
    /// `owner_role` and `prefix`.
    Versions(Account),
    /// `role`.
    Fixed(FixedAccount),
}

/// A server as the config describes it, and where passwords are left that somebody else rotates there.
#[derive(Debug, Clone)]
pub struct Server {
    settings: TargetSettings,
    follows: Places,
}

/// What PostgreSQL brings along.
#[derive(Debug, Clone, Copy)]
pub struct Plug;

impl crate::Plug for Plug {
    type Target = Server;
    type Account = Declared;

    fn target(section: &Section<'_>, folder: &Path) -> Option<Server> {
        let follows = Places::read(section, folder);
        let settings = read_target(section, folder, &follows)?;
        let secrets = [("password_file", &settings.password_file)];
        let secrets = if settings.has_rotator() { &secrets[..] } else { &[] };
        note_target(section, NAME, settings.problems(), secrets);
        Some(Server { settings, follows })
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

    fn place(target: &Server, account: &Declared) -> Option<Result<Place, BuildError>> {
        let Declared::Fixed(FixedAccount { follow: Some(name), .. }) = account else { return None };
        Some(target.follows.find(name).cloned())
    }

    fn driver(target: &Server, account: &Declared, owner: Owner) -> Result<Arc<dyn Driver>, BuildError> {
        build(target, account, owner, None)
    }

    fn driver_by(
        target: &Server,
        account: &Declared,
        owner: Owner,
        way: Way,
    ) -> Option<Result<Arc<dyn Driver>, BuildError>> {
        Some(build(target, account, owner, Some(way)))
    }

    fn route(target: &Server) -> Option<(String, u16)> {
        let Route { host, port } = target.settings.consumer();
        Some((host, port))
    }
}

fn versions(section: &Section<'_>) -> Option<Account> {
    if section.has("follow") {
        let why = "goes with `role`: the password of one login is followed";
        section.problem("follow", why, "name the login in `role`, in place of `owner_role` and `prefix`");
    }
    let database = section.required_like("database", "orders");
    let owner_role = section.required_like("owner_role", "orders_owner");
    let prefix = section.required_like("prefix", "orders_app");
    let adopt = section.optional_section("adopt").and_then(|adopt| {
        let member = adopt.flag("member");
        Some(Adopt { login: adopt.required_like("login", "orders_legacy")?, member })
    });
    let search_path = section.list_like("search_path", 16, "orders");
    let probes = section.list_like("probes", MOST_PROBES, "SELECT count(*) FROM orders");
    let account =
        Account { database: database?, owner_role: owner_role?, prefix: prefix?, adopt, search_path, probes };
    note(section, NAME, account.problems());
    Some(account)
}

fn fixed(section: &Section<'_>) -> Option<FixedAccount> {
    let database = section.required_like("database", "orders");
    let role = section.required_like("role", "orders_app");
    let adopt = section.flag("adopt");
    let follow = section.optional_like("follow", "orders-db");
    let probes = section.list_like("probes", MOST_PROBES, "SELECT count(*) FROM orders");
    let account = FixedAccount { database: database?, role: role?, adopt, follow, probes };
    note(section, NAME, account.problems());
    Some(account)
}

fn facts_of_fixed(account: &FixedAccount, target: &Label) -> Facts {
    let FixedAccount { database, role, adopt, follow, probes } = account;
    let prove = format!("log in to {database} as a client does, run {} probes", probes.len());
    let (strategy, taken, plan) = match follow {
        None => {
            let make = format!(
                "a new password {{next}} of the login {role} at {target}; the one before dies with it"
            );
            let end = "the login takes no password, no sessions".to_owned();
            (Strategy::Single, "changes the password of this login", Plan { make, prove, end })
        }
        Some(name) => {
            let make = format!("{{next}} is what somebody else's machine leaves at {target} for {name}");
            let end = "whoever rotates it has ended it".to_owned();
            (Strategy::Follow, "follows the password of this login", Plan { make, prove, end })
        }
    };
    Facts {
        strategy,
        names: Names { stem: role.clone(), longest: 255 },
        fields: server::FIELDS,
        adopt: adopt.then(|| role.parse::<Handle>().ok()).flatten(),
        claims: vec![Claim {
            field: "role",
            what: Claimed::Name(role.clone()),
            taken,
            remedy: "change a login in one credential only, and deliver that one to all who need it",
        }],
        fixed: vec![("database", database.clone()), ("role", role.clone())],
        plan,
    }
}

fn facts_of_versions(account: &Account, target: &Label) -> Facts {
    let Account { database, owner_role, prefix, adopt, probes, .. } = account;
    let login = adopt.as_ref().map(|adopt| adopt.login.clone());
    Facts {
        strategy: Strategy::DualAccount,
        names: Names { stem: prefix.clone(), longest: quote::LONGEST_NAME },
        fields: server::FIELDS,
        adopt: login.as_deref().and_then(|login| login.parse::<Handle>().ok()),
        claims: Claim::of_logins(prefix, login.as_deref()),
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
    server: &Server,
    account: &Declared,
    owner: Owner,
    way: Option<Way>,
) -> Result<Arc<dyn Driver>, BuildError> {
    let Server { settings, follows } = server;
    let follow = if let Declared::Fixed(account) = account { account.follow.as_ref() } else { None };
    let target = match follow {
        Some(name) => {
            follows.find(name)?;
            let settings = settings.without_rotator();
            opened_for_nobody(&settings.tls, |secret, ca_pem| settings.with(secret, ca_pem))?
        }
        None if settings.has_rotator() => {
            opened(&settings.password_file, &settings.tls, |secret, ca_pem| settings.with(secret, ca_pem))?
        }
        None => {
            let message = "names no rotator: what is there is only followed, and this is to be changed";
            return Err(BuildError::Mismatch(vec![Problem::new("user", message)]));
        }
    };
    let target = match way {
        Some(way) => target.by(way),
        None => target,
    };
    match account.clone() {
        Declared::Versions(account) => built(Postgres::new(target, account, owner)),
        Declared::Fixed(account) if follow.is_some() => built(FixedRole::new(target, account).map(Followed)),
        Declared::Fixed(account) => built(FixedRole::new(target, account)),
    }
}

fn read_target(section: &Section<'_>, folder: &Path, follows: &Places) -> Option<TargetSettings> {
    let host: Option<String> = section.required("host");
    let rotates = follows.is_empty() || section.has("user") || section.has("password_file");
    let (user, password_file) = if rotates {
        (section.required("user"), file(section, "password_file", folder))
    } else {
        (Some(String::new()), Some(PathBuf::new()))
    };
    let local = host.as_deref().is_some_and(|host| host.starts_with('/'));
    Some(TargetSettings {
        port: section.or("port", 5432),
        consumer_host: section.optional("consumer_host"),
        consumer_port: section.optional("consumer_port"),
        admin_database: section.or("admin_database", "postgres".to_owned()),
        tls: TlsSettings::read(section, folder, local),
        connect_timeout: section.or("connect_timeout", seconds(5)),
        statement_timeout: section.or("statement_timeout", seconds(5)),
        transit: section.or("transit", seconds(5)),
        call_timeout: section.or("call_timeout", seconds(30)),
        pending_life: section.or("pending_life", seconds(3600)),
        host: host?,
        user: user?,
        password_file: password_file?,
    })
}
