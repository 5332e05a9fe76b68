//! What can be said on the command line.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Takes orders, with a database login that changes under it.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// The sidecar's socket; else `REKEY_SOCKET`, else /run/rekey/rekey.sock.
    #[arg(long)]
    pub(crate) socket: Option<PathBuf>,
    /// The credential to log in with.
    #[arg(long, default_value = "orders/db")]
    pub(crate) credential: String,
    /// The database's host or socket directory, instead of the credential's field `host`.
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// The database's port, instead of the credential's field `port`.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// The database's name, instead of the credential's field `database`.
    #[arg(long)]
    pub(crate) database: Option<String>,
    /// Orders a second, of all workers together.
    #[arg(long, default_value = "40")]
    pub(crate) rate: NonZeroU32,
    /// Fresh logins a second, beside those of the pool.
    #[arg(long, default_value = "5")]
    pub(crate) login_rate: NonZeroU32,
    /// How many workers take orders.
    #[arg(long, default_value = "4")]
    pub(crate) workers: NonZeroU32,
    /// Where to write the figures, five times a second, as one JSON object that is replaced as a whole.
    #[arg(long)]
    pub(crate) stats_file: Option<PathBuf>,
    /// How many seconds to wait at the start for the sidecar and the credential.
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub(crate) start_within: Duration,
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}
