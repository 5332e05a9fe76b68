//! The settings of a sidecar: one YAML file, read once, checked whole, every problem told with its line.
//!
//! Relative paths are below the folder of the file. `callers` is reloaded while the sidecar runs ([`reload`]);
//! everything else needs a restart.

pub mod files;
pub mod reload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rekey_runtime::accept::UnixMode;
use rekey_runtime::tls;
use rekey_settings::{Document, Problem, Problems, Section, read_text};

use self::files::FileSpec;
use crate::callers::{Callers, Pattern, Rule, Who, is_nobodys};

/// Where the socket is when nobody says otherwise.
pub const SOCKET: &str = "/run/rekey/rekey.sock";

/// Everything that was set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the controller is, and the name in its certificate.
    pub controller: tls::Dial,
    /// The CA of the controller.
    pub ca_file: PathBuf,
    /// Where the identity is kept; `None`: in memory only.
    pub state_dir: Option<PathBuf>,
    /// The join token.
    pub join_token_file: Option<PathBuf>,
    /// The socket.
    pub socket: PathBuf,
    /// Who may connect to it.
    pub socket_mode: UnixMode,
    /// Where figures and health are served, on loopback; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Who may read what.
    pub callers: Callers,
    /// What is kept for programs that can read nothing but a file.
    pub files: Vec<FileSpec>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// What it says is wrong.
    #[error("{0}")]
    Wrong(Problems),
}

impl ConfigError {
    /// What is wrong, one line each.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Read(path, error) => vec![format!("{}: {error}", path.display())],
            Self::Wrong(problems) => problems.iter().map(Problem::to_string).collect(),
        }
    }
}

impl Config {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |error| ConfigError::Read(path.to_owned(), error);
        let text = read_text(path).map_err(read)?;
        let whole = std::path::absolute(path).map_err(read)?;
        let folder = whole.parent().unwrap_or(Path::new("/"));
        Self::parse(&path.display().to_string(), folder, &text).map_err(ConfigError::Wrong)
    }

    /// Reads `text`, which came from `file` in `folder`. Tells all that is wrong at once.
    pub fn parse(file: &str, folder: &Path, text: &str) -> Result<Self, Problems> {
        Document::parse(file, text)?.read(|root| config(root, folder))
    }

    /// Which settings differ from `other` in a way that needs a restart.
    pub fn differs_beyond_reload(&self, other: &Self) -> Vec<&'static str> {
        let same_controller = self.controller.address == other.controller.address
            && self.controller.server_name == other.controller.server_name;
        let rows = [
            ("controller", same_controller && self.ca_file == other.ca_file),
            (
                "identity",
                (&self.state_dir, &self.join_token_file) == (&other.state_dir, &other.join_token_file),
            ),
            ("socket", (&self.socket, self.socket_mode) == (&other.socket, other.socket_mode)),
            ("metrics", self.metrics == other.metrics),
            ("files", self.files == other.files),
        ];
        rows.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

fn config(root: &Section<'_>, folder: &Path) -> Option<Config> {
    let controller = root.section("controller").and_then(|section| controller(&section, folder));
    let (state_dir, join_token_file) = identity(root, folder);
    let (socket, socket_mode) = socket(root, folder);
    let metrics = metrics(root);
    let callers = callers(root);
    let files = files::files(root, folder);
    let (controller, ca_file) = controller?;
    Some(Config {
        controller,
        ca_file,
        state_dir,
        join_token_file,
        socket,
        socket_mode,
        metrics,
        callers,
        files,
    })
}

fn metrics(root: &Section<'_>) -> Option<SocketAddr> {
    let address: SocketAddr = root.optional("metrics")?;
    if !address.ip().is_loopback() {
        let remedy =
            "write 127.0.0.1:PORT, and let a collector on this machine or in this pod carry the figures";
        root.problem("metrics", "is not on loopback, and this page knows no caller", remedy);
    }
    Some(address)
}

/// The path `key`, below `folder` unless it says where it is itself.
fn path(section: &Section<'_>, key: &str, folder: &Path) -> Option<PathBuf> {
    section.optional::<PathBuf>(key).map(|path| folder.join(path))
}

fn controller(section: &Section<'_>, folder: &Path) -> Option<(tls::Dial, PathBuf)> {
    let address = section.required("address");
    let server_name = section.optional::<String>("server_name");
    let ca_file = section.required::<PathBuf>("ca_file").map(|path| folder.join(path));
    if let Some(path) = &ca_file
        && let Err(why) = roots(path)
    {
        section.problem("ca_file", why, "give the ca.pem that `rekey-controller init` wrote");
    }
    Some((tls::Dial { address: address?, server_name }, ca_file?))
}

/// The CA in `path`.
pub(crate) fn roots(path: &Path) -> Result<tls::Roots, String> {
    let pem = read_text(path).map_err(|error| format!("the file cannot be read: {error}"))?;
    tls::Roots::from_pem(pem.as_bytes()).map_err(|error| format!("the file holds no CA: {error}"))
}

fn identity(root: &Section<'_>, folder: &Path) -> (Option<PathBuf>, Option<PathBuf>) {
    let Some(section) = root.section("identity") else { return (None, None) };
    let (state_dir, token) = (path(&section, "state_dir", folder), path(&section, "join_token_file", folder));
    if state_dir.is_none() && token.is_none() {
        let remedy =
            "set identity.join_token_file (made by `rekeyctl token create`), and state_dir to keep it";
        section.problem("", "there is no way to get an identity", remedy);
    }
    (state_dir, token)
}

fn socket(root: &Section<'_>, folder: &Path) -> (PathBuf, UnixMode) {
    let default = (PathBuf::from(SOCKET), UnixMode::PRIVATE);
    let Some(section) = root.optional_section("socket") else { return default };
    let mode = section.or("mode", Mode(UnixMode::PRIVATE.mode)).0;
    let gid = section.optional("gid");
    if gid.is_some() && mode & 0o060 == 0 {
        section.problem("gid", "the group gets no access by this mode", "set `mode: 0660` too");
    }
    (path(&section, "path", folder).unwrap_or(default.0), UnixMode { mode, gid })
}

fn callers(root: &Section<'_>) -> Callers {
    if !root.has("callers") {
        let own = rustix::process::geteuid().as_raw();
        if is_nobodys(own) {
            let message = "this sidecar runs as the uid that stands for nobody, which proves nothing";
            root.problem("", message, "run it as a user of its own, or set `callers`");
        }
        return Callers::only(own);
    }
    Callers::new(root.sections("callers").iter().filter_map(rule).collect())
}

fn rule(section: &Section<'_>) -> Option<Rule> {
    let key = section.one_of(&["uid", "gid"]);
    let may_read: Vec<Pattern> = section.list("may_read");
    let require_pid = section.or("require_pid", false);
    if !section.has("may_read") {
        section.problem("", "it says nothing of what they may read", "set `may_read: [orders/*]`");
    }
    let number: u32 = section.required::<Number>(key?)?.0;
    if is_nobodys(number) {
        section.problem(key?, "this number stands for nobody", "run the application as a user of its own");
    }
    let who = if key? == "uid" { Who::User(number) } else { Who::Group(number) };
    Some(Rule { who, require_pid, may_read })
}

/// A uid or gid.
struct Number(u32);

impl FromStr for Number {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_digits| "write the number, as `id` shows it")
    }
}

/// The permission bits of a socket.
struct Mode(u32);

impl FromStr for Mode {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bits = u32::from_str_radix(text.trim_start_matches("0o"), 8).ok();
        let fits = bits.filter(|bits| bits & !0o666 == 0 && bits & 0o600 == 0o600);
        fits.map(Self).ok_or("write 0600, 0660 or 0666")
    }
}

#[cfg(test)]
mod tests;
