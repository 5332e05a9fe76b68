//! Logs to standard error, and panics that say where but not what.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

mod escape;

use escape::Escaping;
use tracing_subscriber::EnvFilter;

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

/// Sends logs of level info and above to standard error (`RUST_LOG` says otherwise), with control characters escaped,
/// and installs the panic hook. Only the first call counts.
pub fn init(format: Format) {
    hook_panics();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_absent| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(|| Escaping(std::io::stderr()));
    let installed = match format {
        Format::Text => lines.try_init(),
        Format::Json => lines.json().try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logging was set up before");
    }
}

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
