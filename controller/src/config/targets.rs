//! The targets of a config: how the controller reaches each, and with which login.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rekey_drivers::postgres::{TargetSettings, TlsMode, TlsSettings};
use rekey_model::{SecretBytes, Span};
use rekey_settings::{Section, read_secret_file};

use crate::spec::Label;

/// One target; one variant a driver.
#[derive(Debug, Clone)]
pub enum TargetConfig {
    /// A PostgreSQL server.
    Postgres(TargetSettings),
}

/// Reads all targets.
pub(super) fn take(section: &Section<'_>, folder: &Path) -> BTreeMap<Label, TargetConfig> {
    let mut targets = BTreeMap::new();
    for (name, target) in section.named() {
        match name.parse::<Label>() {
            Ok(label) => targets.extend(one(&target, folder).map(|one| (label, one))),
            Err(error) => section.problem(&name, error.to_string(), "choose another name"),
        }
    }
    targets
}

fn one(section: &Section<'_>, folder: &Path) -> Option<TargetConfig> {
    section.one_of(&["postgres"])?;
    postgres(&section.section("postgres")?, folder).map(TargetConfig::Postgres)
}

fn postgres(section: &Section<'_>, folder: &Path) -> Option<TargetSettings> {
    let host: Option<String> = section.required("host");
    let user = section.required("user");
    let password_file = section.required::<PathBuf>("password_file").map(|file| folder.join(file));
    let local = host.as_deref().is_some_and(|host| host.starts_with('/'));
    let five = Span::new(Duration::from_secs(5));
    let settings = TargetSettings {
        port: section.or("port", 5432),
        consumer_host: section.optional("consumer_host"),
        consumer_port: section.optional("consumer_port"),
        admin_database: section.or("admin_database", "postgres".to_owned()),
        tls: tls(section, folder, local),
        connect_timeout: section.or("connect_timeout", five),
        statement_timeout: section.or("statement_timeout", five),
        transit: section.or("transit", five),
        call_timeout: section.or("call_timeout", Span::new(Duration::from_secs(30))),
        pending_life: section.or("pending_life", Span::new(Duration::from_hours(1))),
        host: host?,
        user: user?,
        password_file: password_file?,
    };
    for problem in settings.problems() {
        section.problem(&problem.field, problem.message, "");
    }
    if let Err(reason) = rekey_settings::check_secret_file(&settings.password_file) {
        section.problem("password_file", reason, "");
    }
    Some(settings)
}

/// A Unix socket speaks no TLS; everything else is verified in full unless it says otherwise.
fn tls(section: &Section<'_>, folder: &Path, local: bool) -> TlsSettings {
    let default = if local { TlsMode::Disable } else { TlsMode::VerifyFull };
    let Some(tls) = section.optional_section("tls") else {
        return TlsSettings { mode: default, ..TlsSettings::default() };
    };
    let mode = match tls.optional::<String>("mode").as_deref() {
        None => default,
        Some("verify-full") => TlsMode::VerifyFull,
        Some("disable") => TlsMode::Disable,
        Some(_) => {
            tls.problem(
                "mode",
                "is not known",
                "write verify-full, or disable for a Unix socket or loopback",
            );
            default
        }
    };
    let ca_file = tls.optional::<PathBuf>("ca_file").map(|file| folder.join(file));
    TlsSettings { mode, ca_file, server_name: tls.optional("server_name") }
}

/// The secret in a file that only we may read; a problem with `key` if there is none.
pub(super) fn secret(section: &Section<'_>, key: &str, file: &Path) -> Option<SecretBytes> {
    match read_secret_file(file) {
        Ok(secret) => Some(secret),
        Err(reason) => {
            section.problem(key, reason, "");
            None
        }
    }
}
