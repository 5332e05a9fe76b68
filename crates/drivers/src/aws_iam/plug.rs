//! What AWS IAM reads from settings, and what it tells of an account.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{Handle, Label, Span};
use rekey_settings::{Section, read_secret_file};

use super::keys::SLOTS;
use super::settings::{Account, Adopt, TargetSettings};
use super::{AwsIam, NAME};
use crate::target::{TlsSettings, built, note, note_target, opened};
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
            ("access_key_id_file", settings.access_key_id_file.as_path()),
            ("secret_access_key_file", settings.secret_access_key_file.as_path()),
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
    let file = |field| section.required::<PathBuf>(field).map(|file| folder.join(file));
    let (id, secret) = (file("access_key_id_file"), file("secret_access_key_file"));
    let time = |field, usual| section.optional(field).unwrap_or(Span::new(usual));
    let (short, long) = (Duration::from_secs(5), Duration::from_secs(30));
    let text = |field, usual: &str| section.optional(field).unwrap_or_else(|| usual.to_owned());
    let settings = TargetSettings {
        endpoint: text("endpoint", "https://iam.amazonaws.com"),
        iam_region: text("iam_region", "us-east-1"),
        region: text("region", "us-east-1"),
        sts_endpoint: section.optional("sts_endpoint"),
        access_key_id_file: PathBuf::new(),
        secret_access_key_file: PathBuf::new(),
        tls: TlsSettings::read(section, folder, false),
        connect_timeout: time("connect_timeout", short),
        request_timeout: time("request_timeout", Duration::from_secs(10)),
        call_timeout: time("call_timeout", long),
        settle: time("settle", Duration::from_mins(1)),
        visible_within: time("visible_within", Duration::from_mins(2)),
    };
    Some(TargetSettings { access_key_id_file: id?, secret_access_key_file: secret?, ..settings })
}
