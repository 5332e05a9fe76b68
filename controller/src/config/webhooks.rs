//! The webhooks of a config: who is told of what.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rekey_settings::{Section, read_secret_file};

use super::within;
use crate::audit::Verb;
use crate::webhook::{Format, To, Webhook};

/// The most webhooks.
const MOST: usize = 32;
/// The longest and shortest time for one try.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(1));
/// Where the machine has the authorities that everybody trusts.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Reads the list `webhooks`.
pub(super) fn take(section: &Section<'_>, folder: &Path) -> Vec<Webhook> {
    let sections = section.sections("webhooks");
    if sections.len() > MOST {
        let message = format!("has {} entries", sections.len());
        section.problem("webhooks", message, format!("leave at most {MOST}"));
    }
    let mut all: Vec<Webhook> = Vec::new();
    for one in sections {
        let Some(webhook) = webhook(&one, folder) else { continue };
        if all.iter().any(|other| other.name == webhook.name) {
            one.problem("name", "is the name of another webhook too", "choose another");
        }
        all.push(webhook);
    }
    all
}

fn webhook(section: &Section<'_>, folder: &Path) -> Option<Webhook> {
    let name = section.required_like("name", "ops");
    let file = |key: &str| section.optional::<PathBuf>(key).map(|file| folder.join(file));
    let to = match section.one_of(&["url", "url_file"])? {
        "url" => section.required_like("url", "https://hooks.example.com/rekey").map(To::Url),
        _file => file("url_file").map(To::File),
    };
    let secret_file = file("secret_file");
    for (key, file) in [("secret_file", &secret_file), ("url_file", &file("url_file"))] {
        let unreadable = file.as_ref().and_then(|file| read_secret_file(file).err());
        if let Some(why) = unreadable {
            section.problem(key, why, "");
        }
    }
    let format = match section.or("format", "json".to_owned()).as_str() {
        "json" => Some(Format::Json),
        "slack" => Some(Format::Slack),
        _other => {
            section.problem("format", "is neither json nor slack", "write one of them");
            None
        }
    };
    if format == Some(Format::Json) && secret_file.is_none() {
        let remedy =
            "name a file with `whsec_` and 24 or more random bytes in base64, which the receiver has too";
        section.problem("secret_file", "is missing: nobody could tell who sends", remedy);
    }
    Some(Webhook {
        name: name?,
        to: to?,
        secret_file,
        events: events(section),
        format: format?,
        timeout: within(section, "timeout", Duration::from_secs(10), TIMEOUT),
        ca_file: file("ca_file").unwrap_or_else(|| PathBuf::from(SYSTEM)),
    })
}

fn events(section: &Section<'_>) -> Vec<Verb> {
    let words: Vec<String> = section.list("events");
    let known = |word: &String| Verb::ALL.iter().find(|verb| verb.as_str() == word).copied();
    if words.iter().any(|word| known(word).is_none()) {
        let all: Vec<&str> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
        section.problem("events", "has a word that is no event", format!("known: {}", all.join(", ")));
    }
    words.iter().filter_map(known).collect()
}
