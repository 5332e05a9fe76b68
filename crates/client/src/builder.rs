//! The settings of a client, and where they come from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};

use crate::client::Client;
use crate::error::Error;
use crate::link::Trust;

/// The default place of the sidecar's socket.
const DEFAULT_SOCKET: &str = "/run/rekey/rekey.sock";

/// Settings of a [`Client`]. Every one has a default that fits.
///
/// ```no_run
/// # async fn example() -> Result<(), rekey_client::Error> {
/// let client = rekey_client::Builder::from_env()?.application("orders", "1.4.2")?.connect().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    path: PathBuf,
    trust: Trust,
    application: MetadataValue<Ascii>,
    timeouts: Timeouts,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) call: Duration,
    pub(crate) ready: Duration,
    pub(crate) report: Duration,
}

impl Builder {
    /// Settings for the socket at `path`, trusting a server of this process's own user or root.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            trust: Trust::OwnOrRoot,
            application: MetadataValue::from_static(concat!("rekey-client/", env!("CARGO_PKG_VERSION"))),
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                call: Duration::from_secs(5),
                ready: Duration::from_secs(10),
                report: Duration::from_secs(1),
            },
        }
    }

    /// Settings from the environment: `REKEY_SOCKET` (else `/run/rekey/rekey.sock`), and `REKEY_SOCKET_UID`, the user
    /// that the sidecar runs as (else this process's own user, or root).
    pub fn from_env() -> Result<Self, Error> {
        let path = std::env::var_os("REKEY_SOCKET").unwrap_or_else(|| DEFAULT_SOCKET.into());
        let builder = Self::new(PathBuf::from(path));
        match std::env::var("REKEY_SOCKET_UID") {
            Err(std::env::VarError::NotPresent) => Ok(builder),
            Ok(uid) => Ok(builder.server_uid(uid.trim().parse().ok().ok_or_else(not_a_uid)?)),
            Err(std::env::VarError::NotUnicode(_)) => Err(not_a_uid()),
        }
    }

    /// Another place of the socket.
    #[must_use]
    pub fn socket(mut self, path: impl AsRef<Path>) -> Self {
        path.as_ref().clone_into(&mut self.path);
        self
    }

    /// The one user that the sidecar may run as. Nothing is sent to a server of another.
    #[must_use]
    pub fn server_uid(mut self, uid: u32) -> Self {
        self.trust = Trust::Only(uid);
        self
    }

    /// How this program is named to the sidecar, for those who look up who uses a credential. Letters, digits, `.`,
    /// `-`, `_` and `+`, at most 64 each.
    pub fn application(mut self, name: &str, version: &str) -> Result<Self, Error> {
        for part in [name, version] {
            let fits = |c: char| c.is_ascii_alphanumeric() || ".-_+".contains(c);
            if part.is_empty() || part.len() > 64 || !part.chars().all(fits) {
                let problem = "1 to 64 of a-z, A-Z, 0-9, `.`, `-`, `_`, `+` are right".to_owned();
                return Err(Error::Setting { setting: "the application's name or version", problem });
            }
        }
        self.application = format!("{name}/{version}").parse().ok().ok_or(Error::Setting {
            setting: "the application's name or version",
            problem: "it does not fit gRPC metadata".to_owned(),
        })?;
        Ok(self)
    }

    /// How long [`Builder::connect`] tries before it gives up. Default 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, within: Duration) -> Self {
        self.timeouts.connect = within;
        self
    }

    /// How long one call may take. Default 5 s.
    #[must_use]
    pub fn call_timeout(mut self, within: Duration) -> Self {
        self.timeouts.call = within;
        self
    }

    /// How long [`crate::Watched::ready`] waits. Default 10 s.
    #[must_use]
    pub fn ready_timeout(mut self, within: Duration) -> Self {
        self.timeouts.ready = within;
        self
    }

    /// The least time between two reports of use. Default 1 s; at least 50 ms.
    #[must_use]
    pub fn report_every(mut self, gap: Duration) -> Self {
        self.timeouts.report = gap.max(Duration::from_millis(50));
        self
    }

    /// Connects, checks who answers, and starts the client's background task on the current tokio runtime.
    ///
    /// A sidecar that is just starting is waited for, within [`Builder::connect_timeout`].
    pub async fn connect(self) -> Result<Client, Error> {
        Client::open(self).await
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn trust(&self) -> Trust {
        self.trust
    }

    pub(crate) fn application_metadata(&self) -> MetadataValue<Ascii> {
        self.application.clone()
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }
}

fn not_a_uid() -> Error {
    Error::Setting { setting: "REKEY_SOCKET_UID", problem: "it must be a number such as 1000".to_owned() }
}
