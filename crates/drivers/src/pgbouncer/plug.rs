//! What `PgBouncer` reads from settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekey_settings::Section;

use super::{NAME, PgBouncer, TargetSettings};
use crate::BuildError;
use crate::follower::Following;
use crate::plug::Settings;
use crate::target::{TlsSettings, file, note_target, opened, seconds};

/// Reads `targets.NAME.pgbouncer`. Everything wrong is noted with the section.
pub(crate) fn read(section: &Section<'_>, folder: &Path) -> Option<Arc<Settings>> {
    let host: Option<String> = section.required("host");
    let user = section.required("user");
    let password_file = file(section, "password_file", folder);
    let local = host.as_deref().is_some_and(|host| host.starts_with('/'));
    let settings = TargetSettings {
        port: section.or("port", 6432),
        userlist: section.optional::<PathBuf>("userlist").map(|file| folder.join(file)),
        consumer_host: section.optional("consumer_host"),
        consumer_port: section.optional("consumer_port"),
        tls: TlsSettings::read(section, folder, local),
        connect_timeout: section.or("connect_timeout", seconds(5)),
        command_timeout: section.or("command_timeout", seconds(5)),
        call_timeout: section.or("call_timeout", seconds(30)),
        host: host?,
        user: user?,
        password_file: password_file?,
    };
    let secrets = [("password_file", &settings.password_file)];
    note_target(section, NAME, settings.problems(), &secrets);
    Some(Arc::new(settings))
}

/// The follower for logins of this stem, and how consumers come by way of it. Files are read now, so that they can be
/// changed without a restart.
pub(crate) fn build(settings: &Settings, stem: &str) -> Option<Result<Following, BuildError>> {
    let settings: &TargetSettings = settings.downcast_ref()?;
    let target =
        opened(&settings.password_file, &settings.tls, |secret, ca_pem| settings.with(secret, ca_pem));
    Some(target.map(|target| {
        let way = target.way();
        (Arc::new(PgBouncer::new(target, stem)) as _, way)
    }))
}
