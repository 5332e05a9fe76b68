//! Logs to standard error, and panics that say where but not what.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

mod escape;

use escape::Escaping;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

static PANICS: AtomicU64 = AtomicU64::new(0);
static HOOK: Once = Once::new();

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for Format {
    type Err = FormatError;
    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(FormatError),
        }
    }
}

/// A word that names no log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log format is text or json")]
pub struct FormatError;

/// Sends logs of level info and above to standard error (`RUST_LOG` says otherwise: a level, or `target=level` pairs
/// with commas between), with control characters escaped, and installs the panic hook. Only the first call counts.
pub fn init(format: Format) {
    hook_panics();
    let (filter, unread) = filter(&std::env::var("RUST_LOG").unwrap_or_default());
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Escaping(std::io::stderr()));
    let installed = match format {
        Format::Text => tracing_subscriber::registry().with(lines).with(filter).try_init(),
        Format::Json => tracing_subscriber::registry().with(lines.json()).with(filter).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logging was set up before");
    }
    if unread {
        tracing::warn!("RUST_LOG cannot be read: write a level, or target=level pairs with commas between");
    }
}

/// What `wish` lets through, and whether it could not be read. Never by fields or spans: that takes a matcher of regular
/// expressions, which is larger than all else here.
fn filter(wish: &str) -> (Targets, bool) {
    let usual = || Targets::new().with_default(LevelFilter::INFO);
    let (wished, unread) = if wish.trim().is_empty() {
        (usual(), false)
    } else {
        wish.parse::<Targets>().map_or_else(|_unreadable| (usual(), true), |targets| (targets, false))
    };
    (SILENT.iter().fold(wished, |targets, name| targets.with_target(*name, LevelFilter::OFF)), unread)
}

/// Crates that log what a target answered: what may be shown of it is told by whoever asked.
const SILENT: [&str; 2] = ["vaultrs", "rustify"];

/// Replaces the panic hook by one that counts and logs only the location: a message may hold a secret.
pub fn hook_panics() {
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(%place, "panic");
        }));
    });
}

/// How many panics there were since the hook was installed.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_wish_is_a_level_or_targets_and_what_cannot_be_read_is_told() {
        let passes = |wish: &str, target: &str, level: Level| filter(wish).0.would_enable(target, &level);
        assert!(passes("", "h2", Level::INFO) && !passes("", "h2", Level::DEBUG));
        assert!(passes("warn", "h2", Level::WARN) && !passes("warn", "h2", Level::INFO));
        let wish = "info,rekey_sidecar::link=trace,h2=off";
        assert!(passes(wish, "rekey_sidecar::link::session", Level::TRACE));
        assert!(passes(wish, "rekey_sidecar", Level::INFO) && !passes(wish, "rekey_sidecar", Level::DEBUG));
        assert!(!passes(wish, "h2::proto", Level::ERROR));
        assert!(!passes("vaultrs=trace", "vaultrs::api", Level::ERROR));
        assert!(!passes("", "rustify::client", Level::ERROR));
        assert!(!filter(wish).1 && filter("rekey=loud").1);
        assert!(passes("rekey=loud", "rekey", Level::INFO));
    }
}
