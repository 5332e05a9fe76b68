//! What hand-in reads from settings, and what it tells of an account.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{Handle, Label, SecretBytes, Span, Version};
use rekey_settings::Section;

use super::settings::{Account, Probe, TargetSettings};
use super::{FIELD, HandIn, NAME};
use crate::by_hand::ByHand;
use crate::place::Places;
use crate::target::{TlsSettings, built, note, opened_for_nobody, seconds};
use crate::{BuildError, Claim, Claimed, Driver, Facts, Names, Owner, Place, Plan, Strategy};

/// A provider as the config describes it, and where values are left that somebody else rotates there.
#[derive(Debug, Clone)]
pub struct Provider {
    settings: TargetSettings,
    follows: Places,
}

/// What hand-in brings along.
#[derive(Debug, Clone, Copy)]
pub struct Plug;

impl crate::Plug for Plug {
    type Target = Provider;
    type Account = Account;

    fn target(section: &Section<'_>, folder: &Path) -> Option<Provider> {
        let follows = Places::read(section, folder);
        let settings = TargetSettings {
            address: section.optional_like("address", "https://api.clerk.com"),
            tls: TlsSettings::read(section, folder, false),
            connect_timeout: section.or("connect_timeout", seconds(5)),
            request_timeout: section.or("request_timeout", seconds(10)),
            call_timeout: section.or("call_timeout", seconds(15)),
        };
        note(section, NAME, settings.problems());
        Some(Provider { settings, follows })
    }

    fn account(section: &Section<'_>) -> Option<Account> {
        let name = section.required_like("name", "aos-clerk");
        let page = section.required_like("page", "https://dashboard.clerk.com");
        let list = |key, example| section.list_like(key, Account::MOST, example);
        let account = Account {
            steps: list("steps", "\"Add a key, call it {name}\""),
            delete: list("delete", "\"Delete {old}\""),
            probe: section.optional_section("probe").and_then(|probe| read_probe(&probe)),
            follow: section.optional_like("follow", "aos-clerk"),
            notice: section.optional_like("notice", "14d"),
            life: section.optional_like("life", "90d"),
            name: name?,
            page: page?,
        };
        note(section, NAME, account.problems());
        Some(account)
    }

    fn facts(account: &Account, target: &Label) -> Facts {
        let Account { name, page, follow, probe, .. } = account;
        let prove = match probe {
            Some(probe) => format!("GET {} at {target} with it, and see that the status is good", probe.get),
            None => "nothing: it is taken on the word of whoever makes it".to_owned(),
        };
        let (strategy, make, end) = match follow {
            None => (
                Strategy::HandIn,
                format!("somebody makes {{next}} at {page} and hands it in"),
                format!("somebody deletes {{old}} at {page}"),
            ),
            Some(place) => (
                Strategy::Follow,
                format!("{{next}} is what somebody else's machine leaves at {target} for {place}"),
                "whoever rotates it has ended it".to_owned(),
            ),
        };
        Facts {
            strategy,
            names: Names { stem: name.clone(), longest: 128 },
            fields: &[FIELD],
            adopt: None,
            claims: vec![Claim {
                field: "name",
                what: Claimed::Name(name.clone()),
                taken: "is what people call what they hand in at this target",
                remedy: "declare each key in one credential only, and deliver that one to all who need it",
            }],
            fixed: vec![("name", name.clone())],
            plan: Plan { make, prove, end },
        }
    }

    fn by_hand(account: &Account) -> Option<ByHand> {
        Some(account.by_hand())
    }

    fn place(target: &Provider, account: &Account) -> Option<Result<Place, BuildError>> {
        Some(target.follows.find(account.follow.as_ref()?).cloned())
    }

    fn handle(account: &Account, version: Version, _value: &SecretBytes) -> Option<String> {
        Some(account.by_hand().called(version))
    }

    fn life(account: &Account) -> Option<Duration> {
        account.life.map(Span::get)
    }

    fn may_be_called(account: &Account, _target: &Label, version: Version, handle: &Handle) -> bool {
        handle.as_str() == account.by_hand().called(version)
    }

    fn driver(provider: &Provider, account: &Account, owner: Owner) -> Result<Arc<dyn Driver>, BuildError> {
        let Provider { settings, follows } = provider;
        account.follow.as_ref().map(|place| follows.find(place)).transpose()?;
        let target = opened_for_nobody(&settings.tls, |_nobody, authority| settings.with(authority))?;
        built(HandIn::new(target, account.clone(), &owner))
    }
}

fn read_probe(section: &Section<'_>) -> Option<Probe> {
    let (get, header) = (
        section.required_like("get", "/v1/me"),
        section.required_like("header", "\"Authorization: Bearer {value}\""),
    );
    let statuses = |key, usual: &[u16]| {
        let said: Vec<u16> = section.list_like(key, Account::MOST, "401");
        if section.has(key) { said } else { usual.to_vec() }
    };
    let (good, refused) = (statuses("good", &[200]), statuses("refused", &[401, 403]));
    Some(Probe { get: get?, header: header?, good, refused })
}
