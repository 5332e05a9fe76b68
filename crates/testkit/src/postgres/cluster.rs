//! The files of a cluster: where the programs are, a template made once, the configuration.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Options, Postgres};
use crate::unprivileged;

/// The folder of `postgres` and `initdb`: `REKEY_PG_BIN`, else the newest of the distribution's, else from `PATH`.
pub(super) fn bin() -> Result<PathBuf> {
    if let Some(chosen) = std::env::var_os("REKEY_PG_BIN") {
        let chosen = PathBuf::from(chosen);
        ensure!(complete(&chosen), "REKEY_PG_BIN={} holds no postgres and initdb", chosen.display());
        return Ok(chosen);
    }
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.retain(|bin| complete(bin));
    versions.sort();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let found = versions.pop().or_else(|| std::env::split_paths(&on_path).find(|bin| complete(bin)));
    found.context("PostgreSQL is not installed: apt-get install -y postgresql")
}

fn complete(bin: &Path) -> bool {
    bin.join("postgres").is_file() && bin.join("initdb").is_file()
}

/// An own folder that the server's user can enter and, for its socket, everybody can pass through.
pub(super) fn folder() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("rekey-pg-").tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    fs::create_dir(folder.path().join("socket"))?;
    for path in [folder.path().to_owned(), folder.path().join("socket")] {
        chown(&path, unprivileged(), unprivileged())?;
    }
    Ok(folder)
}

/// Copies the template cluster to `data` and gives the superuser's password.
pub(super) fn copy_template(bin: &Path, data: &Path) -> Result<String> {
    let template = template(bin)?;
    run(Command::new("cp").arg("-a").arg("--reflink=auto").arg(template.join("data")).arg(data))?;
    Ok(fs::read_to_string(template.join("password"))?)
}

/// `initdb` takes 2 s, so its result is kept for this user and this version in the temporary folder.
fn template(bin: &Path) -> Result<PathBuf> {
    let version =
        Command::new(bin.join("postgres")).arg("--version").output().context("ask postgres its version")?;
    let version: String = String::from_utf8_lossy(&version.stdout)
        .chars()
        .filter(|c| c.is_ascii_digit() || *c == '.')
        .take(12)
        .collect();
    let me = rustix::process::geteuid().as_raw();
    let cache = std::env::temp_dir().join(format!("rekey-testkit-{me}-{}", unprivileged().unwrap_or(me)));
    if let Err(error) = fs::create_dir(&cache) {
        ensure!(error.kind() == std::io::ErrorKind::AlreadyExists, "make {}: {error}", cache.display());
    }
    let kept = fs::symlink_metadata(&cache)?;
    ensure!(kept.is_dir() && kept.uid() == me, "{} is not ours: remove it", cache.display());
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o711))?;
    let template = cache.join(format!("postgres-{version}"));
    if !template.exists() {
        let fresh = tempfile::Builder::new().prefix("making-").tempdir_in(&cache)?;
        make_template(bin, fresh.path())?;
        // Of two processes that make one at the same time, one wins the rename and the other's is thrown away.
        if fs::rename(fresh.path(), &template).is_ok() {
            drop(fresh.keep());
        }
    }
    Ok(template)
}

fn make_template(bin: &Path, folder: &Path) -> Result<()> {
    let password = random_hex()?;
    let file = folder.join("password");
    fs::write(&file, &password)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711))?;
    let data = folder.join("data");
    fs::create_dir(&data)?;
    for path in [&file, &data] {
        chown(path, unprivileged(), unprivileged())?;
    }
    let mut initdb = Command::new(bin.join("initdb"));
    initdb.args(["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C", "--wal-segsize=1"]);
    initdb.arg(format!("--username={}", Postgres::SUPERUSER)).arg("--pwfile").arg(&file).arg("-D").arg(&data);
    initdb.current_dir("/");
    if let Some(id) = unprivileged() {
        std::os::unix::process::CommandExt::gid(std::os::unix::process::CommandExt::uid(&mut initdb, id), id);
    }
    run(&mut initdb)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    chown(&file, Some(rustix::process::geteuid().as_raw()), None).context("take the password file back")
}

/// Writes `postgresql.auto.conf` and `pg_hba.conf`.
pub(super) fn configure(postgres: &Postgres, options: &Options) -> Result<()> {
    let mut settings = vec![
        ("unix_socket_directories", postgres.socket_folder().display().to_string()),
        ("listen_addresses", if postgres.tcp { "127.0.0.1" } else { "" }.to_owned()),
        ("fsync", "off".into()),
        ("full_page_writes", "off".into()),
        ("synchronous_commit", "off".into()),
        ("shared_buffers", "16MB".into()),
        ("log_timezone", "UTC".into()),
        ("timezone", "UTC".into()),
        ("log_line_prefix", "%m [%p] %u@%d ".into()),
        ("logging_collector", "off".into()),
    ];
    if options.log_statements {
        settings.push(("log_statement", "all".into()));
    }
    if let Some(names) = &options.tls {
        write_leaf(postgres, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
        settings.push(("ssl", "on".into()));
    }
    let more = options.settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let mut text = String::new();
    for (name, value) in settings.into_iter().chain(more) {
        writeln!(text, "{name} = '{}'", value.replace('\'', "''"))?;
    }
    fs::write(postgres.data().join("postgresql.auto.conf"), text)?;
    let mut hba = options.hba.clone();
    hba.push("local all all scram-sha-256".into());
    hba.push(format!(
        "{} all all 127.0.0.1/32 scram-sha-256\n",
        if options.tls.is_some() { "hostssl" } else { "host" }
    ));
    fs::write(postgres.data().join("pg_hba.conf"), hba.join("\n"))?;
    Ok(())
}

fn write_leaf(postgres: &Postgres, names: &[&str]) -> Result<()> {
    let authority = postgres.authority.as_ref().context("TLS without an authority")?;
    let leaf = authority.leaf(names)?;
    for (name, text) in [("server.crt", leaf.certificate), ("server.key", leaf.key)] {
        let path = postgres.data().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        chown(&path, unprivileged(), unprivileged())?;
    }
    Ok(())
}

/// Signals the server and its children. Its children are found by their parent, never by a name.
pub(super) fn signal_all(server: Option<u32>, signal: Signal) {
    let Some(server) = server else { return };
    let mut processes = vec![server];
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if parent(&entry.path()) == Some(server) {
            processes.push(id);
        }
    }
    for id in processes {
        if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            kill_process(pid, signal).ok();
        }
    }
}

fn parent(process: &Path) -> Option<u32> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

fn random_hex() -> Result<String> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("no random numbers")?;
    Ok(hex::encode(bytes))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): {}",
            command.get_program().display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
