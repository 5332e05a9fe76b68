//! What `AppRole` reads from settings, and what it tells of an account.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{Label, Span};
use rekey_settings::Section;

use super::settings::{Account, Login, TargetSettings, Tokens};
use super::{AppRole, NAME};
use crate::target::{TlsSettings, built, file, note, note_target, opened, seconds};
use crate::{BuildError, Claim, Claimed, Driver, Facts, Names, Owner, Plan, Strategy};

/// What `AppRole` brings along.
#[derive(Debug, Clone, Copy)]
pub struct Plug;

impl crate::Plug for Plug {
    type Target = TargetSettings;
    type Account = Account;

    fn target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
        let settings = read_target(section, folder)?;
        let secrets = [(settings.secret_field(), &settings.secret_file)];
        note_target(section, NAME, settings.problems(), &secrets);
        Some(settings)
    }

    fn account(section: &Section<'_>) -> Option<Account> {
        let role = section.required_like("role", "orders");
        let tokens = match section.optional::<String>("tokens").as_deref() {
            None | Some("watch") => Tokens::Watch,
            Some("leave") => Tokens::Leave,
            Some(_) => {
                section.problem("tokens", "is not known", "write watch or leave");
                Tokens::Watch
            }
        };
        let account = Account {
            ttl: section.optional_like("ttl", "90d"),
            num_uses: section.optional("num_uses"),
            cidrs: section.list_like("cidrs", Account::MOST, "10.0.0.0/8"),
            tokens,
            policies: section.list_like("policies", Account::MOST, "orders"),
            probes: section.list_like("probes", Account::MOST, "secret/data/orders"),
            role: role?,
        };
        note(section, NAME, account.problems());
        Some(account)
    }

    fn facts(account: &Account, target: &Label) -> Facts {
        let Account { role, probes, tokens, .. } = account;
        let tokens = match tokens {
            Tokens::Watch => "; a revocation revokes the tokens that were issued for it",
            Tokens::Leave => "; tokens that were issued for it live on",
        };
        Facts {
            strategy: Strategy::DualSecret,
            // The accessor follows once OpenBao has answered.
            names: Names { stem: role.clone(), longest: 200 },
            fields: &["role_id", "secret_id", "address", "mount"],
            adopt: None,
            claims: vec![Claim {
                field: "role",
                what: Claimed::Name(role.clone()),
                taken: "rotates this role at this target",
                remedy: "rotate a role in one credential only, and deliver that one to all who need it",
            }],
            fixed: vec![
                ("role", role.clone()),
                ("ttl", account.ttl.map(|ttl| ttl.to_string()).unwrap_or_default()),
            ],
            plan: Plan {
                make: format!("one more secret-id {{next}} of the role {role} at {target}, response-wrapped"),
                prove: format!("log in as a client does, read {} probes, end that token", probes.len()),
                end: format!("secret-id {{old}} destroyed by its accessor{tokens}"),
            },
        }
    }

    fn life(account: &Account) -> Option<Duration> {
        account.ttl.map(Span::get)
    }

    fn driver(
        target: &TargetSettings,
        account: &Account,
        owner: Owner,
    ) -> Result<Arc<dyn Driver>, BuildError> {
        let target = opened(&target.secret_file, &target.tls, |secret, ca_pem| target.with(secret, ca_pem))?;
        built(AppRole::new(target, account.clone(), owner))
    }
}

fn read_target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
    let address = section.required_like::<String>("address", "https://bao.internal:8200");
    let (login, secret_file) = match section.one_of(&["token_file", "login"])? {
        "login" => {
            let login = section.section("login")?;
            let mount = login.or("mount", "approle".to_owned());
            let role_id = login.required("role_id");
            let secret_file = file(&login, "secret_id_file", folder);
            (Login::AppRole { mount, role_id: role_id? }, secret_file)
        }
        _token => (Login::Token, file(section, "token_file", folder)),
    };
    let plain = address.as_deref().is_some_and(|address| address.starts_with("http://"));
    Some(TargetSettings {
        consumer_address: section.optional("consumer_address"),
        mount: section.or("mount", "approle".to_owned()),
        login,
        tls: TlsSettings::read(section, folder, plain),
        connect_timeout: section.or("connect_timeout", seconds(5)),
        request_timeout: section.or("request_timeout", seconds(10)),
        call_timeout: section.or("call_timeout", seconds(30)),
        max_request_duration: section.or("max_request_duration", seconds(90)),
        address: address?,
        secret_file: secret_file?,
    })
}
