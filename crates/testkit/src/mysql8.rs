//! A scripted double of MySQL 8, where no real one can be had: accounts with a current and a retained password.
//!
//! It speaks as much of the protocol as a login by `caching_sha2_password` and text queries take, on a Unix socket, and
//! knows the few statements by which such accounts are looked at and changed. Anything else is a syntax error. What it says is
//! after the reference manual of 8.4 and was not compared with a server; the vendor's client of MariaDB logs in to it.

mod crypt;
mod say;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use tempfile::TempDir;

/// The rotator's name.
pub const ROTATOR: &str = "rekey";

/// A double that listens as long as this handle lives.
#[derive(Debug)]
pub struct MySql8 {
    folder: TempDir,
    state: Arc<Mutex<State>>,
}

/// An account, `name@'%'`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// What is kept of its current password.
    pub current: String,
    /// What is kept of the one before, if that is retained.
    pub retained: Option<String>,
    /// Whether nobody may log in.
    pub locked: bool,
}

#[derive(Debug, Default)]
struct State {
    accounts: BTreeMap<String, Account>,
    rights: BTreeSet<String>,
    read_only: bool,
    statements: Vec<String>,
    /// What the server remembers of passwords that it has seen: the kept hash, and SHA-256 of SHA-256.
    seen: BTreeMap<String, Vec<u8>>,
    sessions: BTreeMap<u32, (String, UnixStream)>,
    last: u32,
}

impl MySql8 {
    /// Starts one with a rotator that has this password, and all rights that the manual names.
    pub fn start(rotator_password: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rekey-mysql8-").tempdir()?;
        let state = Arc::new(Mutex::new(State::default()));
        for losing in [false, true] {
            let name = if losing { "losing" } else { "socket" };
            listen(UnixListener::bind(folder.path().join(name))?, Arc::clone(&state), losing);
        }
        let double = Self { folder, state };
        double.make(ROTATOR, rotator_password);
        double.with(|state| {
            state.rights = ["CREATE USER", "PROCESS", "CONNECTION_ADMIN", "SELECT"].map(str::to_owned).into();
        });
        Ok(double)
    }

    /// Where it listens; usable as `host`.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Makes an account, or gives it another password and forgets the one before.
    pub fn make(&self, name: &str, password: &str) {
        let account =
            Account { current: crypt::kept(password, b"0ther]salt}than~ours"), ..Account::default() };
        self.with(|state| state.accounts.insert(name.to_owned(), account));
    }

    /// An account as it is kept.
    pub fn account(&self, name: &str) -> Option<Account> {
        self.with(|state| state.accounts.get(name).cloned())
    }

    /// Changes an account by hand.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Account)) {
        self.with(|state| change(state.accounts.entry(name.to_owned()).or_default()));
    }

    /// Takes a right from the rotator, or gives it: a global one, or `SELECT` on `mysql.user`.
    pub fn grant(&self, right: &str, given: bool) {
        self.with(
            |state| if given { state.rights.insert(right.to_owned()) } else { state.rights.remove(right) },
        );
    }

    /// Whether it takes changes.
    pub fn set_read_only(&self, read_only: bool) {
        self.with(|state| state.read_only = read_only);
    }

    /// Another way in: what changes an account is done, and the connection cut instead of the answer.
    pub fn losing_socket(&self) -> PathBuf {
        self.folder.path().join("losing")
    }

    /// Every statement that it was given.
    pub fn statements(&self) -> Vec<String> {
        self.with(|state| state.statements.clone())
    }

    /// How many sessions an account has.
    pub fn sessions(&self, name: &str) -> usize {
        self.with(|state| state.sessions.values().filter(|(user, _)| user == name).count())
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut locked(&self.state))
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(listener: UnixListener, state: Arc<Mutex<State>>, losing: bool) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), state) = (stream, Arc::clone(&state)) else { return };
            thread::spawn(move || drop(serve(stream, &state, losing)));
        }
    });
}

/// One session, until either side ends it.
fn serve(mut stream: UnixStream, state: &Mutex<State>, losing: bool) -> Result<()> {
    let number = {
        let mut state = locked(state);
        state.last += 1;
        state.last
    };
    let challenge: Vec<u8> = hex::encode(sha256(&number.to_le_bytes())).bytes().take(20).collect();
    send(&mut stream, 0, &say::greeting(number, &challenge))?;
    let login = Login::read(&receive(&mut stream)?.1).context("a login")?;
    let Some(next) = log_in(&mut stream, state, &login, &challenge)? else {
        let why = say::error(1045, &format!("Access denied for user '{}'@'%'", login.user));
        return send(&mut stream, 6, &why);
    };
    locked(state).sessions.insert(number, (login.user.clone(), stream.try_clone()?));
    let served =
        send(&mut stream, next, &say::ok()).and_then(|()| answer_all(&mut stream, state, (&login, losing)));
    locked(state).sessions.remove(&number);
    served
}

/// Whether it is let in, and the number of the packet that says so.
fn log_in(
    stream: &mut UnixStream,
    state: &Mutex<State>,
    login: &Login,
    challenge: &[u8],
) -> Result<Option<u8>> {
    let Some(account) = locked(state).accounts.get(&login.user).cloned().filter(|account| !account.locked)
    else {
        return Ok(None);
    };
    let kept = || [Some(&account.current), account.retained.as_ref()].into_iter().flatten();
    let seen = |kept: &&String| {
        let seen = locked(state).seen.get(*kept).cloned();
        seen.is_some_and(|seen| {
            let key = sha256(&[&seen, challenge].concat());
            let once: Vec<u8> = login.answer.iter().zip(key).map(|(one, other)| one ^ other).collect();
            login.answer.len() == 32 && sha256(&once) == seen
        })
    };
    if kept().any(|kept| seen(&kept)) {
        send(stream, 2, &[1, 3])?;
        return Ok(Some(3));
    }
    send(stream, 2, &[1, 4])?;
    let (number, password) = receive(stream)?;
    let password = String::from_utf8(password)?.trim_end_matches('\0').to_owned();
    let right = kept().find(|kept| crypt::is(&password, kept));
    if let Some(kept) = right {
        locked(state).seen.insert(kept.clone(), sha256(&sha256(password.as_bytes())));
    }
    Ok(right.map(|_| number.wrapping_add(1)))
}

fn answer_all(stream: &mut UnixStream, state: &Mutex<State>, (login, losing): (&Login, bool)) -> Result<()> {
    loop {
        let (_, packet) = receive(stream)?;
        let Some((3, sql)) = packet.split_first() else { return Ok(()) };
        let sql = String::from_utf8(sql.to_vec())?;
        let mut state = locked(state);
        state.statements.push(sql.clone());
        let answer = state.answer(&sql, login);
        if losing && sql.starts_with("ALTER USER") {
            return stream.shutdown(Shutdown::Both).context("cut");
        }
        drop(state);
        for (number, packet) in (1..).zip(answer) {
            send(stream, number, &packet)?;
        }
    }
}

impl State {
    /// What is said to a statement: packets.
    fn answer(&mut self, sql: &str, login: &Login) -> Vec<Vec<u8>> {
        let quoted = |after: &str| Some(sql.split_once(after)?.1.split('\'').nth(1)?.to_owned());
        let rights = if login.user == ROTATOR { self.rights.clone() } else { BTreeSet::new() };
        let may = |right: &str| rights.contains(right);
        let text = |text: &str| Some(text.to_owned());
        let number = |yes: bool| text(if yes { "1" } else { "0" });
        if let Some(said) = self.done(sql, may("CREATE USER")) {
            return vec![said];
        }
        if sql.contains("FROM mysql.user") && !may("SELECT") {
            return vec![say::error(1142, "SELECT command denied to user for table 'user'")];
        }
        let user = format!("{}@%", login.user);
        let rows = if sql.starts_with("SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES") {
            rights.iter().map(|right| vec![text(right)]).collect()
        } else if sql.starts_with("SELECT @@global.read_only") {
            vec![vec![number(!self.read_only)]]
        } else if sql.starts_with("SELECT GET_LOCK(") || sql.starts_with("SELECT RELEASE_LOCK(") {
            // Two calls at once are told apart on the real server.
            vec![vec![number(true)]]
        } else if sql == "SELECT CURRENT_USER()" {
            vec![vec![text(&user)]]
        } else if sql == "SELECT CURRENT_USER(), DATABASE()" {
            vec![vec![text(&user), login.database.clone()]]
        } else if sql.ends_with("FROM mysql.user LIMIT 0") {
            Vec::new()
        } else if let Some(name) = quoted("FROM mysql.user WHERE User = ") {
            let shown = |account: &Account| {
                let retained = account.retained.as_ref().map(hex::encode_upper);
                let current = Some(hex::encode_upper(&account.current));
                vec![
                    text("%"),
                    text("caching_sha2_password"),
                    current,
                    retained,
                    number(account.locked),
                    number(false),
                ]
            };
            self.accounts.get(&name).map(shown).into_iter().collect()
        } else if let Some(name) = quoted("FROM information_schema.PROCESSLIST WHERE USER = ") {
            let of = self.sessions.iter().filter(|(_, (user, _))| *user == name);
            of.map(|(number, _)| vec![Some(number.to_string()), text("localhost")]).collect()
        } else if sql == "SELECT count(*) FROM orders" || sql == "SELECT 41 + 1" {
            vec![vec![text(if sql.contains("41") { "42" } else { "1" })]]
        } else {
            return vec![say::error(1064, "You have an error in your SQL syntax")];
        };
        say::rows(rows.first().map_or(1, Vec::len), &rows)
    }

    /// What is said to a statement that has no rows; none: it may have some.
    fn done(&mut self, sql: &str, may_alter: bool) -> Option<Vec<u8>> {
        if let Some(changed) = sql.strip_prefix("ALTER USER '") {
            return Some(match changed.split_once("'@'%' ") {
                _ if self.read_only => say::error(1290, "the server is running with the --read-only option"),
                _ if !may_alter => say::error(1227, "Access denied; you need the CREATE USER privilege"),
                Some((name, words)) => self.alter(name, words),
                None => say::error(1064, "You have an error in your SQL syntax"),
            });
        }
        if let Some(killed) = sql.strip_prefix("KILL CONNECTION ") {
            let session = killed.parse().ok().and_then(|number: u32| self.sessions.remove(&number));
            let ended = session.map(|(_, stream)| stream.shutdown(Shutdown::Both));
            return Some(if ended.is_some() { say::ok() } else { say::error(1094, "Unknown thread id") });
        }
        if sql.contains("max_statement_time") {
            return Some(say::error(1193, "Unknown system variable 'max_statement_time'"));
        }
        let begins = ["SET SESSION", "START TRANSACTION", "ROLLBACK"];
        begins.iter().any(|begin| sql.starts_with(begin)).then(say::ok)
    }

    /// Changes a password: the current one, with the one before retained or not, or gives up the retained one.
    fn alter(&mut self, name: &str, words: &str) -> Vec<u8> {
        let Some(account) = self.accounts.get_mut(name) else {
            return say::error(1396, "Operation ALTER USER failed");
        };
        if words == "DISCARD OLD PASSWORD" {
            account.retained = None;
            return say::ok();
        }
        let hash = words.strip_prefix("IDENTIFIED WITH caching_sha2_password AS 0x");
        let (hash, retain) = match hash.map(|hash| hash.split_once(' ').unwrap_or((hash, ""))) {
            Some((hash, "")) => (hash, false),
            Some((hash, "RETAIN CURRENT PASSWORD")) => (hash, true),
            _ => return say::error(1064, "You have an error in your SQL syntax"),
        };
        let kept = hex::decode(hash).ok().and_then(|hash| String::from_utf8(hash).ok());
        let Some(kept) = kept.filter(|kept| kept.len() == 70 && kept.starts_with("$A$005$")) else {
            return say::error(1827, "The password hash doesn't have the expected format");
        };
        let before = std::mem::replace(&mut account.current, kept);
        if retain {
            account.retained = Some(before);
        }
        say::ok()
    }
}

/// What a client says to come in.
#[derive(Debug)]
struct Login {
    user: String,
    answer: Vec<u8>,
    database: Option<String>,
}

impl Login {
    fn read(packet: &[u8]) -> Option<Self> {
        let with_database = packet.first_chunk().map(|head: &[u8; 4]| u32::from_le_bytes(*head) & 8 != 0)?;
        let rest = packet.get(32..)?;
        let end = rest.iter().position(|&c| c == 0)?;
        let (user, rest) = rest.split_at(end);
        let (&size, rest) = rest.get(1..)?.split_first()?;
        let (answer, rest) = rest.split_at_checked(size.into())?;
        let database = rest.split(|&c| c == 0).next().filter(|_| with_database);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(Self { user: text(user)?, answer: answer.to_vec(), database: database.and_then(text) })
    }
}

fn receive(stream: &mut UnixStream) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let [a, b, c, number] = head;
    let size = u32::from_le_bytes([a, b, c, 0]);
    if size > 1 << 20 {
        bail!("a packet of {size} bytes");
    }
    let mut packet = vec![0; size.try_into()?];
    stream.read_exact(&mut packet)?;
    Ok((number, packet))
}

fn send(stream: &mut UnixStream, number: u8, packet: &[u8]) -> Result<()> {
    let [a, b, c, _] = u32::try_from(packet.len())?.to_le_bytes();
    Ok(stream.write_all(&[&[a, b, c, number], packet].concat())?)
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mariadb::Session;

    #[test]
    fn the_vendors_client_of_mariadb_logs_in_by_either_password_and_by_no_other() {
        let double = MySql8::start("rotator").unwrap();
        double.make("orders", "old");
        let retained = double.account("orders").unwrap().current;
        double.make("orders", "new");
        double.change("orders", |account| account.retained = Some(retained));
        // Twice each: the second time by what was seen the first time.
        for password in ["old", "new", "old", "new"] {
            Session::log_in_at(&double.socket(), "orders", password, "orders").unwrap();
        }
        assert!(Session::log_in_at(&double.socket(), "orders", "other", "orders").is_err());
        double.change("orders", |account| account.locked = true);
        assert!(Session::log_in_at(&double.socket(), "orders", "new", "orders").is_err());
    }
}
