//! What Redis reads from settings, and what it tells of an account.

use std::path::Path;
use std::sync::Arc;

use rekey_model::{Handle, Label, SecretBytes, Version};
use rekey_settings::Section;

use super::settings::{Account, Adopt, Persist, TargetSettings};
use super::user::hash_of;
use super::{NAME, Redis};
use crate::target::{MOST_PROBES, TlsSettings, built, file, note, note_target, opened, seconds};
use crate::{BuildError, Claim, Claimed, Driver, Facts, Names, Owner, Plan, Strategy};

/// What Redis brings along.
#[derive(Debug, Clone, Copy)]
pub struct Plug;

impl crate::Plug for Plug {
    type Target = TargetSettings;
    type Account = Account;

    fn target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
        let settings = read_target(section, folder)?;
        let secrets = [("password_file", &settings.password_file)];
        note_target(section, NAME, settings.problems(), &secrets);
        Some(settings)
    }

    fn account(section: &Section<'_>) -> Option<Account> {
        let user = section.required_like("user", "orders");
        let adopt = section
            .optional_section("adopt")
            .and_then(|adopt| Some(Adopt { sha256: adopt.required_like("sha256", "9f86d08188…")? }));
        let probes = section.list_like("probes", MOST_PROBES, "GET orders:probe");
        let one_password = section.flag("one_password");
        let account = Account { user: user?, adopt, one_password, probes };
        note(section, NAME, account.problems());
        Some(account)
    }

    fn facts(account: &Account, target: &Label) -> Facts {
        let Account { user, adopt, one_password, probes } = account;
        let adopted = adopt.as_ref().map(|adopt| name_of(user, &adopt.sha256));
        Facts {
            strategy: if *one_password { Strategy::Single } else { Strategy::DualSecret },
            names: Names { stem: user.clone(), longest: 255 },
            fields: &["username", "password", "host", "port"],
            adopt: adopted.and_then(|name| name.parse::<Handle>().ok()),
            claims: vec![Claim {
                field: "user",
                what: Claimed::Name(user.clone()),
                taken: "rotates this user at this target",
                remedy: "rotate a user in one credential only, and deliver that one to all who need it",
            }],
            fixed: vec![
                ("user", user.clone()),
                ("one_password", one_password.to_string()),
                ("adopt.sha256", adopt.as_ref().map(|adopt| adopt.sha256.clone()).unwrap_or_default()),
            ],
            plan: Plan {
                make: if *one_password {
                    format!(
                        "the password {{next}} of the user {user} at every node of {target}, in place of any other"
                    )
                } else {
                    format!("one more password {{next}} of the user {user} at every node of {target}")
                },
                prove: format!("log in as a client does, run PING and {} probes", probes.len()),
                end: "password removed at every node; a revocation ends all sessions of the user".to_owned(),
            },
        }
    }

    fn handle(account: &Account, _version: Version, secret: &SecretBytes) -> Option<String> {
        Some(name_of(&account.user, &hash_of(secret)))
    }

    fn may_be_called(account: &Account, _target: &Label, _version: Version, handle: &Handle) -> bool {
        let hash =
            handle.as_str().strip_prefix(account.user.as_str()).and_then(|rest| rest.strip_prefix('#'));
        hash.is_some_and(|hash| hash.len() == 64 && hash.bytes().all(|c| c.is_ascii_hexdigit()))
    }

    fn driver(
        target: &TargetSettings,
        account: &Account,
        owner: Owner,
    ) -> Result<Arc<dyn Driver>, BuildError> {
        let target =
            opened(&target.password_file, &target.tls, |secret, ca_pem| target.with(secret, ca_pem))?;
        built(Redis::new(target, account.clone(), owner))
    }
}

/// What a version is called at the target.
fn name_of(user: &str, hash: &str) -> String {
    format!("{user}#{hash}")
}

fn read_target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
    let user = section.required("user");
    let password_file = file(section, "password_file", folder);
    let persist = match section.optional::<String>("persist").as_deref() {
        None | Some("acl-file") => Persist::AclFile,
        Some("config-rewrite") => Persist::ConfigRewrite,
        Some("none") => Persist::None,
        Some(_) => {
            section.problem("persist", "is not known", "write acl-file, config-rewrite or none");
            Persist::AclFile
        }
    };
    Some(TargetSettings {
        nodes: section.list_like("nodes", TargetSettings::MOST_NODES, "cache-1.internal:6379"),
        consumer_host: section.optional("consumer_host"),
        consumer_port: section.optional("consumer_port"),
        persist,
        tls: TlsSettings::read(section, folder, false),
        connect_timeout: section.or("connect_timeout", seconds(5)),
        command_timeout: section.or("command_timeout", seconds(5)),
        call_timeout: section.or("call_timeout", seconds(30)),
        user: user?,
        password_file: password_file?,
    })
}
