//! What RabbitMQ reads from settings, and what it tells of an account.

use std::path::Path;
use std::sync::Arc;

use rekey_model::{Handle, Label};
use rekey_settings::Section;

use super::settings::{Account, Adopt, Permission, TargetSettings};
use super::{NAME, Rabbitmq};
use crate::target::{TlsSettings, built, file, note, note_target, opened, seconds};
use crate::{BuildError, Claim, Driver, Facts, Names, Owner, Plan, Strategy};

/// The longest name of a user: what AMQP takes.
const LONGEST_NAME: usize = 255;

/// What RabbitMQ brings along.
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
        let prefix = section.required_like("prefix", "orders");
        let adopt = section
            .optional_section("adopt")
            .and_then(|adopt| Some(Adopt { login: adopt.required_like("login", "orders_legacy")? }));
        let tags = section.list_like("tags", Account::MOST_TAGS, "monitoring");
        let permissions: Option<Vec<Permission>> =
            section.sections("permissions").iter().map(permission).collect();
        let account = Account { prefix: prefix?, adopt, tags, permissions: permissions? };
        note(section, NAME, account.problems());
        Some(account)
    }

    fn facts(account: &Account, target: &Label) -> Facts {
        let Account { prefix, adopt, permissions, .. } = account;
        let login = adopt.as_ref().map(|adopt| adopt.login.clone());
        let vhosts: Vec<&str> = permissions.iter().map(|permission| permission.vhost.as_str()).collect();
        let vhosts = vhosts.join(", ");
        Facts {
            strategy: Strategy::DualAccount,
            names: Names { stem: prefix.clone(), longest: LONGEST_NAME },
            fields: &["username", "password", "host", "port"],
            adopt: login.as_deref().and_then(|login| login.parse::<Handle>().ok()),
            claims: Claim::of_logins(prefix, login.as_deref()),
            fixed: vec![("prefix", prefix.clone()), ("adopt.login", login.unwrap_or_default())],
            plan: Plan {
                make: format!("a user {prefix}_{{next}}_… at {target}, with permissions at {vhosts}"),
                prove: format!(
                    "log in to {vhosts} as a client does, compare its rights with the declared ones and the old user's"
                ),
                end: "no new logins, no connections, user deleted".to_owned(),
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
        built(Rabbitmq::new(target, account.clone(), owner))
    }
}

fn permission(section: &Section<'_>) -> Option<Permission> {
    let part = |key: &str| section.or(key, String::new());
    let [configure, write, read] = ["configure", "write", "read"].map(part);
    Some(Permission { vhost: section.required_like("vhost", "orders")?, configure, write, read })
}

fn read_target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
    let address = section.required_like("address", "https://rabbit.internal:15671");
    let user = section.required("user");
    let password_file = file(section, "password_file", folder);
    Some(TargetSettings {
        consumer_host: section.optional("consumer_host"),
        consumer_port: section.optional("consumer_port"),
        tls: TlsSettings::read(section, folder, false),
        connect_timeout: section.or("connect_timeout", seconds(5)),
        request_timeout: section.or("request_timeout", seconds(5)),
        transit: section.or("transit", seconds(5)),
        call_timeout: section.or("call_timeout", seconds(30)),
        address: address?,
        user: user?,
        password_file: password_file?,
    })
}
