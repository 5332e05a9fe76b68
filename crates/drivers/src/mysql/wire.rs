//! The part of the MySQL protocol that is needed: packets, the greeting, a login by `mysql_native_password` or
//! `caching_sha2_password`, and the results of text queries.
//!
//! Spoken here and not by a client crate, because what the server may ask for is to be ours to decide (never the password in clear text,
//! never a local file), and because nothing may outlive a call: the usual crates close connections from tasks of their own.

use rekey_model::SecretBytes;

use super::fault::{Fault, Told};
use super::{sha2, sql};

/// The longest packet that is read.
pub(super) const LONGEST: usize = 1024 * 1024;
/// The longest challenge of a login.
const CHALLENGE: usize = 20;
const NATIVE: &str = "mysql_native_password";
/// utf8mb4.
const CHARACTERS: u8 = 45;

const LONG_PASSWORD: u32 = 1;
const LONG_FLAG: u32 = 1 << 2;
const WITH_DATABASE: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const TLS: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const NEEDED: u32 = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;

/// A row as text; `None` is NULL.
pub(super) type Row = Vec<Option<String>>;

/// Whose server it is: accounts are kept and said in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    MariaDb,
    MySql,
}

/// What a server says first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) server: Server,
    /// The connection's number in the process list.
    pub(super) connection: u32,
    capabilities: u32,
    challenge: Vec<u8>,
}

/// What a server says in the course of a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    In,
    /// It wants an answer to this challenge.
    Answer(Challenge),
    /// It has checked the answer, and will say whether we are in.
    Wait,
    /// It has not seen the password lately, and wants the password itself.
    Password,
}

/// What a server asks to be answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    plugin: &'static str,
    bytes: Vec<u8>,
}

/// What a packet after a query is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// The statement was done and has no rows.
    Done,
    /// So many columns come, then rows.
    Columns(u64),
}

/// The fault of a server that does not speak as it should.
pub(super) fn noise() -> Fault {
    Fault::no("this is not what a MariaDB or MySQL server says")
}

/// The error in `packet`, if it is one.
pub(super) fn told(packet: &[u8]) -> Option<Told> {
    let (0xff, rest) = packet.split_first().map(|(&kind, rest)| (kind, rest))? else { return None };
    let mut reader = Reader(rest);
    let code = u16::from_le_bytes(reader.array()?);
    let rest = match reader.0.split_first() {
        Some((b'#', state)) => state.get(5..).unwrap_or_default(),
        _ => reader.0,
    };
    Some(Told { code, text: String::from_utf8_lossy(rest).into_owned() })
}

/// Whether `packet` ends a list of columns or rows.
pub(super) fn ends(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

impl Greeting {
    /// Reads it.
    pub(super) fn read(packet: &[u8]) -> Result<Self, Fault> {
        if let Some(told) = told(packet) {
            return Err(told.into());
        }
        Self::parts(packet).ok_or_else(noise)
    }

    fn parts(packet: &[u8]) -> Option<Self> {
        let mut reader = Reader(packet);
        let [10] = reader.array()? else { return None };
        let version = reader.text()?;
        let connection = u32::from_le_bytes(reader.array()?);
        let mut challenge = reader.take(8)?.to_vec();
        reader.take(1)?;
        let [low, below] = reader.array()?;
        let [_characters, _status, _more] = reader.array()?;
        let [high, top] = reader.array()?;
        let capabilities = u32::from_le_bytes([low, below, high, top]);
        reader.take(11)?;
        challenge.extend(reader.take(CHALLENGE - 8)?);
        let server = if version.contains("MariaDB") { Server::MariaDb } else { Server::MySql };
        Some(Self { server, connection, capabilities, challenge })
    }

    /// What to ask of it, with TLS or without.
    fn wanted(&self, tls: bool, database: bool) -> Result<u32, Fault> {
        if self.capabilities & NEEDED != NEEDED {
            return Err(noise());
        }
        if tls && self.capabilities & TLS == 0 {
            return Err(Fault::no("the server speaks no TLS: give it ssl_cert and ssl_key"));
        }
        let more = if tls { TLS } else { 0 } | if database { WITH_DATABASE } else { 0 };
        Ok(NEEDED | LONG_PASSWORD | LONG_FLAG | TRANSACTIONS | more)
    }

    /// The request to go on in TLS.
    pub(super) fn request_for_tls(&self, database: bool) -> Result<Vec<u8>, Fault> {
        Ok(head(self.wanted(true, database)?))
    }

    /// The login.
    pub(super) fn login(
        &self,
        tls: bool,
        user: &str,
        password: &SecretBytes,
        database: Option<&str>,
    ) -> Result<Vec<u8>, Fault> {
        let mut packet = head(self.wanted(tls, database.is_some())?);
        packet.extend([user.as_bytes(), b"\0"].concat());
        let plugin = self.server.plugin();
        let answer = Challenge { plugin, bytes: self.challenge.clone() }.answer(password);
        packet.push(u8::try_from(answer.len()).unwrap_or_default());
        packet.extend(answer);
        if let Some(database) = database {
            packet.extend([database.as_bytes(), b"\0"].concat());
        }
        packet.extend([plugin.as_bytes(), b"\0"].concat());
        Ok(packet)
    }
}

impl Server {
    /// The way to log in that is usual there.
    fn plugin(self) -> &'static str {
        match self {
            Self::MariaDb => NATIVE,
            Self::MySql => sha2::PLUGIN,
        }
    }
}

impl Challenge {
    /// The answer to it.
    pub(super) fn answer(&self, password: &SecretBytes) -> Vec<u8> {
        if self.plugin == NATIVE {
            sql::answer(password, &self.bytes)
        } else {
            sha2::answer(password, &self.bytes)
        }
    }
}

fn head(capabilities: u32) -> Vec<u8> {
    let longest = u32::try_from(LONGEST).unwrap_or(u32::MAX);
    let mut packet = [capabilities.to_le_bytes(), longest.to_le_bytes()].concat();
    packet.push(CHARACTERS);
    packet.extend([0; 23]);
    packet
}

/// Reads what the server says to a login. It gets the answer to a challenge and nothing else, whatever it asks for: but for
/// the password itself, which MySQL cannot do without, and whoever reads this says where that may go.
pub(super) fn verdict(server: Server, packet: &[u8]) -> Result<Verdict, Fault> {
    if let Some(told) = told(packet) {
        return Err(Fault::from(told).during("login"));
    }
    match packet.split_first() {
        Some((0, _)) => Ok(Verdict::In),
        Some((0xfe, rest)) => {
            let mut reader = Reader(rest);
            let asked = reader.text().ok_or_else(noise)?;
            let Some(plugin) = [NATIVE, server.plugin()].into_iter().find(|plugin| *plugin == asked) else {
                let asked = super::fault::one_line(&asked);
                return Err(Fault::no(format!(
                    "login: the server asks for {asked}; the account must be set up for {}",
                    server.plugin()
                )));
            };
            let bytes = reader.take(CHALLENGE).ok_or_else(noise)?.to_vec();
            Ok(Verdict::Answer(Challenge { plugin, bytes }))
        }
        Some((1, [3])) if server == Server::MySql => Ok(Verdict::Wait),
        Some((1, [4])) if server == Server::MySql => Ok(Verdict::Password),
        _ => Err(Fault::no("login: the server asks for something that it does not get")),
    }
}

/// Reads the first packet after a query.
pub(super) fn head_of_result(packet: &[u8]) -> Result<Head, Fault> {
    match packet.first() {
        Some(0) => Ok(Head::Done),
        Some(0xfb) => Err(Fault::no("the server asks for a local file, and does not get it")),
        _ => Reader(packet).number().flatten().map(Head::Columns).ok_or_else(noise),
    }
}

/// Reads a row of `columns` values.
pub(super) fn row(packet: &[u8], columns: u64) -> Result<Row, Fault> {
    let mut reader = Reader(packet);
    let mut row = Vec::new();
    for _ in 0..columns {
        let value = match reader.number().ok_or_else(noise)? {
            None => None,
            Some(size) => {
                let size = usize::try_from(size).map_err(|_too_long| noise())?;
                Some(String::from_utf8_lossy(reader.take(size).ok_or_else(noise)?).into_owned())
            }
        };
        row.push(value);
    }
    if reader.0.is_empty() { Ok(row) } else { Err(noise()) }
}

/// Takes a packet apart.
struct Reader<'p>(&'p [u8]);

impl<'p> Reader<'p> {
    fn take(&mut self, size: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A text that a NUL ends.
    fn text(&mut self) -> Option<String> {
        let size = self.0.iter().position(|&c| c == 0)?;
        let text = String::from_utf8_lossy(self.take(size)?).into_owned();
        self.take(1)?;
        Some(text)
    }

    /// A number of its own length; none inside for NULL.
    #[expect(clippy::option_option, reason = "a packet that ends is another thing than a NULL")]
    fn number(&mut self) -> Option<Option<u64>> {
        let [first] = self.array()?;
        Some(match first {
            0xfb => None,
            0xfc => Some(u64::from(u16::from_le_bytes(self.array()?))),
            0xfd => {
                let [a, b, c] = self.array()?;
                Some(u64::from(u32::from_le_bytes([a, b, c, 0])))
            }
            0xfe => Some(u64::from_le_bytes(self.array()?)),
            0xff => return None,
            small => Some(u64::from(small)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(version: &str, capabilities: u32) -> Vec<u8> {
        let [a, b, c, d] = capabilities.to_le_bytes();
        [
            &[10],
            version.as_bytes(),
            &[0, 7, 0, 0, 0],
            b"12345678\0",
            &[a, b, 45, 2, 0, c, d, 21],
            &[0; 10],
            b"abcdefghijkl\0mysql_native_password\0",
        ]
        .concat()
    }

    #[test]
    fn a_greeting_is_read_and_a_cut_one_is_refused() {
        let whole = greeting("10.11.19-MariaDB", NEEDED);
        let read = Greeting::read(&whole).unwrap();
        assert_eq!((read.connection, read.challenge.as_slice()), (7, b"12345678abcdefghijkl".as_slice()));
        let end = whole.len() - b"\0mysql_native_password\0".len();
        for size in 0..end {
            assert_eq!(Greeting::read(&whole[..size]), Err(noise()), "{size}");
        }
    }

    #[test]
    fn each_server_is_answered_in_its_own_way_and_one_without_tls_is_refused() {
        let password = SecretBytes::from("p".to_owned());
        let login = |version: &str, tls| {
            let read = Greeting::read(&greeting(version, NEEDED)).unwrap();
            read.login(tls, "u", &password, None)
        };
        for (version, plugin) in [("10.11.19-MariaDB", NATIVE), ("8.4.0", sha2::PLUGIN)] {
            let sent = login(version, false).unwrap();
            assert!(sent.ends_with(format!("{plugin}\0").as_bytes()), "{version}");
            assert!(login(version, true).unwrap_err().to_string().contains("no TLS"));
        }
    }

    #[test]
    fn mysql_may_ask_for_what_it_cannot_do_without_and_mariadb_not() {
        assert_eq!(verdict(Server::MySql, b"\x01\x03"), Ok(Verdict::Wait));
        assert_eq!(verdict(Server::MySql, b"\x01\x04"), Ok(Verdict::Password));
        for more in [b"\x01\x03".as_slice(), b"\x01\x04"] {
            assert!(verdict(Server::MariaDb, more).is_err());
        }
        let switch = b"\xfecaching_sha2_password\x0012345678abcdefghijkl\0";
        assert!(matches!(verdict(Server::MySql, switch), Ok(Verdict::Answer(_))));
        assert!(verdict(Server::MySql, b"\xfemysql_clear_password\0").is_err());
    }

    #[test]
    fn a_server_gets_no_password_in_clear_text_and_no_file() {
        for plugin in ["mysql_clear_password", "dialog", "sha256_password", "caching_sha2_password"] {
            let packet = [b"\xfe", plugin.as_bytes(), b"\0whatever it wants to say\0"].concat();
            assert!(verdict(Server::MariaDb, &packet).unwrap_err().to_string().contains(plugin));
        }
        assert!(verdict(Server::MariaDb, b"").is_err());
        assert!(head_of_result(b"\xfb/etc/passwd").unwrap_err().to_string().contains("local file"));
        let again = [b"\xfemysql_native_password\0".as_slice(), b"12345678abcdefghijkl\0"].concat();
        let challenge = Challenge { plugin: NATIVE, bytes: b"12345678abcdefghijkl".to_vec() };
        assert_eq!(verdict(Server::MariaDb, &again), Ok(Verdict::Answer(challenge)));
        assert_eq!(verdict(Server::MariaDb, b"\0\0\0"), Ok(Verdict::In));
    }

    #[test]
    fn an_error_is_told_with_its_code() {
        let error = told(b"\xff\x15\x04#28000Access denied").unwrap();
        assert_eq!(error, Told { code: 1045, text: "Access denied".into() });
        assert_eq!(told(b"\xff\x10\x04Too many").unwrap().text, "Too many");
        assert_eq!(told(b"\0"), None);
    }

    #[test]
    fn rows_are_read_whole_or_not_at_all() {
        assert_eq!(row(b"\x02ab\xfb\x00", 3).unwrap(), [Some("ab".into()), None, Some(String::new())]);
        for bad in [b"\x05ab".as_slice(), b"\x02abc", b"", b"\xff", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(row(bad, 1).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..100)) {
            drop((Greeting::read(&bytes), verdict(Server::MySql, &bytes), head_of_result(&bytes), row(&bytes, 3), told(&bytes)));
        }
    }
}
