//! What AWS IAM reads from settings, and what it tells of an account.

use std::path::Path;
use std::sync::Arc;

use rekey_model::{Handle, Label};
use rekey_settings::{Section, read_secret_file};

use super::keys::SLOTS;
use super::settings::{Account, Adopt, TargetSettings};
use super::{AwsIam, NAME};
use crate::target::{TlsSettings, built, file, note, note_target, opened, seconds};
use crate::{BuildError, Claim, Claimed, Driver, Facts, Names, Owner, Plan, Strategy};

/// What AWS IAM brings along.
#[derive(Debug, Clone, Copy)]
pub struct Plug;

impl crate::Plug for Plug {
    type Target = TargetSettings;
    type Account = Account;

    fn target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
        let settings = read_target(section, folder)?;
        let secrets = [
            ("access_key_id_file", &settings.access_key_id_file),
            ("secret_access_key_file", &settings.secret_access_key_file),
        ];
        note_target(section, NAME, settings.problems(), &secrets);
        Some(settings)
    }

    fn account(section: &Section<'_>) -> Option<Account> {
        let user = section.required_like("user", "orders");
        let exclusive = section.optional("exclusive").unwrap_or(false);
        let adopt = section.optional_section("adopt").and_then(|adopt| {
            Some(Adopt { access_key_id: adopt.required_like("access_key_id", "AKIAIOSFODNN7EXAMPLE")? })
        });
        let account = Account { user: user?, exclusive, adopt };
        note(section, NAME, account.problems());
        Some(account)
    }

    fn facts(account: &Account, target: &Label) -> Facts {
        let Account { user, adopt, exclusive: _ } = account;
        let adopted = adopt.as_ref().map(|adopt| adopt.access_key_id.clone());
        Facts {
            strategy: Strategy::DualSecret,
            names: Names { stem: user.clone(), longest: 128 },
            fields: &["access_key_id", "secret_access_key"],
            adopt: adopted.as_ref().and_then(|id| id.parse::<Handle>().ok()),
            claims: vec![Claim {
                field: "user",
                what: Claimed::Name(user.clone()),
                taken: "rotates the access keys of this user at this target",
                remedy: "rotate a user's keys in one credential only, and deliver that one to all who need it",
            }],
            fixed: vec![("user", user.clone()), ("adopt.access_key_id", adopted.unwrap_or_default())],
            plan: Plan {
                make: format!(
                    "one more access key of the IAM user {user} at {target}, if it has fewer than two"
                ),
                prove: "sign a request to STS GetCallerIdentity with it, and see that it is this user's"
                    .to_owned(),
                end: "key deactivated, then deleted; a revocation does both at once".to_owned(),
            },
        }
    }

    fn slots(_account: &Account) -> Option<u32> {
        Some(SLOTS)
    }

    fn driver(
        target: &TargetSettings,
        account: &Account,
        owner: Owner,
    ) -> Result<Arc<dyn Driver>, BuildError> {
        let key_id = read_secret_file(&target.access_key_id_file).map_err(BuildError::File)?;
        let target = opened(&target.secret_access_key_file, &target.tls, |secret, ca_pem| {
            target.with((key_id, secret), ca_pem)
        })?;
        built(AwsIam::new(target, account.clone(), &owner))
    }
}

fn read_target(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
    let key_id = file(section, "access_key_id_file", folder);
    let secret = file(section, "secret_access_key_file", folder);
    let text = |field, usual: &str| section.or(field, usual.to_owned());
    Some(TargetSettings {
        endpoint: text("endpoint", "https://iam.amazonaws.com"),
        iam_region: text("iam_region", "us-east-1"),
        region: text("region", "us-east-1"),
        sts_endpoint: section.optional("sts_endpoint"),
        tls: TlsSettings::read(section, folder, false),
        connect_timeout: section.or("connect_timeout", seconds(5)),
        request_timeout: section.or("request_timeout", seconds(10)),
        call_timeout: section.or("call_timeout", seconds(30)),
        settle: section.or("settle", seconds(60)),
        visible_within: section.or("visible_within", seconds(120)),
        access_key_id_file: key_id?,
        secret_access_key_file: secret?,
    })
}
