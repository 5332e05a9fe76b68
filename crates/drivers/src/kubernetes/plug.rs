//! What Kubernetes reads from settings, and what it tells of an account.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::Label;
use rekey_settings::Section;

use super::settings::{Account, TargetSettings};
use super::{Kubernetes, NAME};
use crate::target::{MOST_PROBES, TlsSettings, built, file, note, note_target, opened, seconds};
use crate::{BuildError, Claim, Claimed, Driver, Facts, Names, Owner, Plan, Strategy};

/// What Kubernetes brings along.
#[derive(Debug, Clone, Copy)]
pub struct Plug;

impl crate::Plug for Plug {
    type Target = TargetSettings;
    type Account = Account;

    fn target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
        let settings = read_target(section, folder)?;
        let secrets = [("token_file", &settings.token_file)];
        note_target(section, NAME, settings.problems(), &secrets);
        Some(settings)
    }

    fn account(section: &Section<'_>) -> Option<Account> {
        let namespace = section.required_like("namespace", "orders");
        let service_account = section.required_like("service_account", "orders");
        let life = section.required_like("life", "1h");
        let account = Account {
            audiences: section.list_like("audiences", Account::MOST_AUDIENCES, "vault"),
            probes: section.list_like("probes", MOST_PROBES, "get configmaps/settings"),
            namespace: namespace?,
            service_account: service_account?,
            life: life?,
        };
        note(section, NAME, account.problems());
        Some(account)
    }

    fn facts(account: &Account, target: &Label) -> Facts {
        let Account { namespace, service_account, life, probes, .. } = account;
        let whole = format!("{namespace}/{service_account}");
        Facts {
            strategy: Strategy::DualSecret,
            names: Names { stem: service_account.clone(), longest: 253 },
            fields: &["token", "server", "namespace", "service_account"],
            adopt: None,
            claims: vec![Claim {
                field: "service_account",
                what: Claimed::Name(whole.clone()),
                taken: "rotates this service account at this target",
                remedy: "rotate it in one credential only, and deliver that one to all who need it",
            }],
            fixed: vec![
                ("namespace", namespace.clone()),
                ("service_account", service_account.clone()),
                ("life", life.to_string()),
            ],
            plan: Plan {
                make: format!(
                    "a token of {whole} at {target} for {life}, bound to a Secret of its own ({{next}})"
                ),
                prove: format!("TokenReview, log in as a client does, ask for {} rights", probes.len()),
                end: "the Secret of {old} deleted, which ends its token within 11 s".to_owned(),
            },
        }
    }

    fn life(account: &Account) -> Option<Duration> {
        Some(account.life.get())
    }

    fn driver(
        target: &TargetSettings,
        account: &Account,
        owner: Owner,
    ) -> Result<Arc<dyn Driver>, BuildError> {
        let target = opened(&target.token_file, &target.tls, |secret, ca_pem| target.with(secret, ca_pem))?;
        built(Kubernetes::new(target, account.clone(), owner))
    }
}

fn read_target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
    let server = section.required_like::<String>("server", "https://10.0.0.1:6443");
    let token_file = file(section, "token_file", folder);
    let plain = server.as_deref().is_some_and(|server| server.starts_with("http://"));
    Some(TargetSettings {
        consumer_server: section.optional("consumer_server"),
        tls: TlsSettings::read(section, folder, plain),
        connect_timeout: section.or("connect_timeout", seconds(5)),
        request_timeout: section.or("request_timeout", seconds(10)),
        call_timeout: section.or("call_timeout", seconds(40)),
        server_timeout: section.or("server_timeout", seconds(60)),
        server: server?,
        token_file: token_file?,
    })
}
