//! The passwords of one user as the server shows them, told apart without knowing any, and the words that set others.

use rekey_model::{Handle, SecretBytes};
use serde::Deserialize;

use super::fault::Fault;
use super::link::{Link, text};
use super::privileges;
use super::sha2;
use super::sql::{self, literal};
use super::wire::{Row, Server};
use crate::Sighting;

/// The most passwords. MySQL keeps no more; of MariaDB's ways to log in, usual clients try two and give up when the server
/// asks for another answer once more.
pub(super) const SLOTS: u32 = 2;

const NATIVE: &str = "mysql_native_password";

/// A user as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    server: Server,
    pub(super) locked: bool,
    /// Whether it is a role, or may do to the whole server what no application needs.
    pub(super) powerful: bool,
    /// Whether another user has the same name and may come from elsewhere.
    pub(super) twin: bool,
    /// MySQL: the current password first, then the one that is retained.
    ways: Vec<Way>,
}

/// One way to log in: a plugin, and what it was told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Way {
    plugin: String,
    authentication_string: String,
}

/// What MariaDB's `mysql.global_priv` keeps of a user, as far as it concerns us.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kept {
    access: u64,
    is_role: bool,
    account_locked: bool,
    plugin: String,
    authentication_string: String,
    /// All ways, where there are several: an empty one stands for the two fields above.
    auth_or: Option<Vec<Way>>,
}

impl Way {
    fn of(plugin: &str, authentication_string: String) -> Self {
        Self { plugin: plugin.to_owned(), authentication_string }
    }

    /// What tells it from other passwords; none: it is no password.
    fn tag(&self) -> Option<String> {
        match self.plugin.as_str() {
            sha2::PLUGIN if sha2::tag(&self.authentication_string).is_some() => {
                sha2::tag(&self.authentication_string).map(str::to_owned)
            }
            NATIVE | sha2::PLUGIN => Some(sql::tag(&self.authentication_string)),
            _ => None,
        }
    }

    /// Whether it is a password with this tag.
    fn is(&self, tag: &str) -> bool {
        self.tag().is_some_and(|own| own == tag)
    }

    /// Whether nobody needs a password for it.
    fn is_open(&self) -> bool {
        matches!(self.plugin.as_str(), "" | NATIVE | sha2::PLUGIN) && self.authentication_string.is_empty()
    }

    /// What it is called: as a version is, where it is a password.
    fn name(&self, user: &str) -> String {
        match self.tag() {
            Some(_) if self.is_open() => format!("{user} without a password"),
            Some(tag) => name(user, &tag),
            None => format!("{user} by {}", self.plugin),
        }
    }

    /// It, as a statement of MariaDB says it.
    fn words(&self) -> Result<String, Fault> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        if self.plugin.is_empty() || !self.plugin.bytes().all(plain) {
            let plugin = &self.plugin;
            return Err(Fault::no(format!(
                "the user has a way to log in that cannot be said again, by the plugin {plugin:?}: take it from the user"
            )));
        }
        if self.authentication_string.is_empty() {
            return Ok(self.plugin.clone());
        }
        Ok(format!("{} USING {}", self.plugin, literal(&self.authentication_string)))
    }

    /// It, as a statement of MySQL says it: in hexadecimal, since a salt is of any bytes.
    fn alone(&self) -> String {
        format!("IDENTIFIED WITH {} AS 0x{}", sha2::PLUGIN, hex::encode_upper(&self.authentication_string))
    }
}

impl Shown {
    /// A user of MariaDB.
    fn of(kept: &str, twin: bool) -> Option<Self> {
        let kept: Kept = serde_json::from_str(kept).ok()?;
        let main = Way { plugin: kept.plugin, authentication_string: kept.authentication_string };
        let instead = |way: Way| if way == Way::default() { main.clone() } else { way };
        let ways = match kept.auth_or {
            Some(ways) => ways.into_iter().map(instead).collect(),
            None => vec![main.clone()],
        };
        let powerful = kept.is_role || privileges::powerful(kept.access);
        Some(Self { server: Server::MariaDb, locked: kept.account_locked, powerful, twin, ways })
    }

    /// A user of MySQL, by a row of [`IN_MYSQL`].
    fn of_row(row: &Row, twin: bool) -> Option<Self> {
        let plugin = text(row, 1)?;
        let way = |column| {
            let bytes = hex::decode(text(row, column)?).ok()?;
            Some(Way::of(plugin, String::from_utf8(bytes).ok()?))
        };
        let retained = if text(row, 3).is_some() { Some(way(3)?) } else { None };
        let ways = [Some(way(2)?), retained].into_iter().flatten().collect();
        let set = |column| text(row, column) == Some("1");
        Some(Self { server: Server::MySql, locked: set(4), powerful: set(5), twin, ways })
    }

    /// Whether the password with this tag logs in, were the user not locked.
    pub(super) fn has(&self, tag: &str) -> bool {
        self.ways.iter().any(|way| way.is(tag))
    }

    /// Whether anybody may come in without a password.
    pub(super) fn is_open(&self) -> bool {
        self.ways.iter().any(Way::is_open)
    }

    /// What no password opens; `mark` makes it ours.
    fn nobodys(&self, mark: &str) -> Way {
        match self.server {
            Server::MariaDb => Way::of(NATIVE, mark.to_owned()),
            Server::MySql => Way::of(sha2::PLUGIN, sha2::NOBODYS.to_owned()),
        }
    }

    /// Every way in that somebody can take, each once.
    fn taken(&self, mark: &str) -> Vec<Way> {
        let nobodys = self.nobodys(mark);
        let mut taken: Vec<Way> = Vec::new();
        for way in self.ways.iter().filter(|way| **way != nobodys) {
            if !taken.contains(way) {
                taken.push(way.clone());
            }
        }
        taken
    }

    /// What to say of the user, in turn, so that one more password is let in beside what there is. No, with what is
    /// there, where there is no place for it.
    pub(super) fn with(&self, user: &str, secret: &SecretBytes, mark: &str) -> Result<Vec<String>, Fault> {
        let mut ways = self.taken(mark);
        if ways.len() >= usize::try_from(SLOTS).unwrap_or(usize::MAX) {
            let named: Vec<String> = ways.iter().map(|way| way.name(user)).collect();
            let (why, remedy) = match self.server {
                Server::MariaDb => ("usual clients try", "ALTER USER … IDENTIFIED VIA …"),
                Server::MySql => ("MySQL keeps", "ALTER USER … DISCARD OLD PASSWORD"),
            };
            return Err(Fault::no(format!(
                "the user {user} has {SLOTS} ways to log in already, and {why} no third: {}; take away one that nobody \
                 uses ({remedy})",
                named.join(", ")
            )));
        }
        match self.server {
            Server::MariaDb => {
                ways.push(Way::of(NATIVE, sql::hash(secret)));
                said(&ways).map(|words| vec![words])
            }
            Server::MySql => {
                if let Some(other) = ways.iter().find(|way| way.plugin != sha2::PLUGIN) {
                    return Err(Fault::no(format!(
                        "the user {user} logs in by {}; ALTER USER … IDENTIFIED WITH {} BY '…' comes first",
                        other.plugin,
                        sha2::PLUGIN
                    )));
                }
                let next = Way::of(sha2::PLUGIN, sha2::kept(secret)).alone();
                Ok(vec![if ways.is_empty() { next } else { format!("{next} RETAIN CURRENT PASSWORD") }])
            }
        }
    }

    /// What to say of the user, in turn, so that the password with this tag is let in no more, and all others are. A user
    /// without any would come in without a password, so a last one is replaced by what no password opens.
    pub(super) fn without(&self, tag: &str, mark: &str) -> Result<Vec<String>, Fault> {
        let mut ways: Vec<Way> = self.ways.iter().filter(|way| !way.is(tag)).cloned().collect();
        if ways.is_empty() {
            ways.push(self.nobodys(mark));
        }
        match self.server {
            Server::MariaDb => said(&ways).map(|words| vec![words]),
            Server::MySql => {
                // The retained one takes the place of the current one before it is given up as the retained one.
                let stays = ways.first().filter(|way| self.ways.first() != Some(way)).map(Way::alone);
                let retained = (self.ways.len() > 1).then(|| "DISCARD OLD PASSWORD".to_owned());
                Ok(stays.into_iter().chain(retained).collect())
            }
        }
    }

    /// What comes in as `user`, and whether it is shut.
    pub(super) fn sightings(&self, user: &str, mark: &str) -> Vec<Sighting> {
        let shut = || self.locked.then(|| "its user is locked".to_owned());
        self.taken(mark).iter().map(|way| Sighting { name: way.name(user), shut: shut() }).collect()
    }
}

fn said(ways: &[Way]) -> Result<String, Fault> {
    let words = ways.iter().map(Way::words).collect::<Result<Vec<_>, _>>()?.join(" OR ");
    Ok(format!("IDENTIFIED VIA {words}"))
}

/// What the version is called whose password has this tag.
pub(super) fn name(user: &str, tag: &str) -> String {
    format!("{user}#{tag}")
}

/// The tag in a handle of `user`; anything else is not this user's.
pub(super) fn tag_in<'h>(user: &str, handle: &'h Handle) -> Option<&'h str> {
    let tag = handle.as_str().strip_prefix(user)?.strip_prefix('#')?;
    let good = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    (tag.len() == sql::TAG && tag.bytes().all(good)).then_some(tag)
}

/// How MySQL shows a user.
const IN_MYSQL: &str = "SELECT Host, plugin, HEX(authentication_string), \
    HEX(JSON_UNQUOTE(JSON_EXTRACT(User_attributes, '$.additional_password'))), account_locked = 'Y', \
    'Y' IN (Super_priv, Create_user_priv, Grant_priv, Shutdown_priv) FROM mysql.user";

/// The user `user@'from'` as the server shows it.
pub(super) async fn look(link: &mut Link<'_>, user: &str, from: &str) -> Result<Option<Shown>, Fault> {
    let what = match link.server() {
        Server::MariaDb => "SELECT Host, Priv FROM mysql.global_priv",
        Server::MySql => IN_MYSQL,
    };
    let rows = link.rows(&format!("{what} WHERE User = {}", literal(user))).await?;
    let Some(row) = rows.iter().find(|row| text(row, 0) == Some(from)) else { return Ok(None) };
    let twin = rows.len() > 1;
    let shown = match link.server() {
        Server::MariaDb => Shown::of(text(row, 1).unwrap_or_default(), twin),
        Server::MySql => Shown::of_row(row, twin),
    };
    shown.map(Some).ok_or_else(|| {
        Fault::no(format!(
            "the server shows the user {user}@'{from}' in a way that is not known: is it a version that docs/drivers.md names?"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // As MariaDB 10.11 shows them.
    const ONE: &str = r#"{"access":0,"version_id":101119,"plugin":"mysql_native_password","authentication_string":"*AA","password_last_changed":1}"#;
    const TWO: &str = r#"{"access":0,"plugin":"mysql_native_password","authentication_string":"*AA","auth_or":[{"plugin":"unix_socket"},{}]}"#;
    const OPEN: &str =
        r#"{"access":0,"plugin":"mysql_native_password","authentication_string":"","account_locked":true}"#;

    fn shown(kept: &str) -> Shown {
        Shown::of(kept, false).unwrap()
    }

    fn secret() -> SecretBytes {
        SecretBytes::from("next".to_owned())
    }

    /// A user of MySQL with these passwords, the current one first.
    fn in_mysql(passwords: &[&str]) -> Shown {
        let mut hashes = passwords.iter().map(|kept| Some(hex::encode(kept)));
        let (current, retained) = (hashes.next().unwrap(), hashes.next().flatten());
        let text = |text: &str| Some(text.to_owned());
        let row = vec![text("%"), text(sha2::PLUGIN), current, retained, text("0"), text("0")];
        Shown::of_row(&row, false).unwrap()
    }

    #[test]
    fn one_more_is_beside_what_is_there_and_never_a_third() {
        let (one, next) = (shown(ONE), sql::hash(&secret()));
        let alone = format!("mysql_native_password USING '{next}'");
        let both = format!("IDENTIFIED VIA mysql_native_password USING '*AA' OR {alone}");
        assert_eq!(one.with("o", &secret(), "*NO").unwrap(), [both]);
        assert_eq!(one.with("o", &secret(), "*AA").unwrap(), [format!("IDENTIFIED VIA {alone}")]);
        let why = shown(TWO).with("o", &secret(), "*NO").unwrap_err().to_string();
        assert!(why.contains(&name("o", &sql::tag("*AA"))) && why.contains("o by unix_socket"), "{why}");
    }

    #[test]
    fn what_is_taken_away_is_the_named_one_and_nobody_comes_in_without_a_password() {
        let (two, aa) = (shown(TWO), sql::tag("*AA"));
        assert!(two.has(&aa) && !two.has(&sql::tag("*BB")));
        assert_eq!(two.without(&aa, "*NO").unwrap(), ["IDENTIFIED VIA unix_socket"]);
        let nobodys = "IDENTIFIED VIA mysql_native_password USING '*NO'";
        assert_eq!(shown(ONE).without(&aa, "*NO").unwrap(), [nobodys]);
    }

    #[test]
    fn mysql_keeps_the_current_one_beside_the_next_and_never_a_third() {
        let next = Way::of(sha2::PLUGIN, sha2::kept(&secret())).alone();
        let retaining = format!("{next} RETAIN CURRENT PASSWORD");
        assert_eq!(in_mysql(&["theirs"]).with("o", &secret(), "").unwrap(), [retaining.as_str()]);
        assert_eq!(in_mysql(&[sha2::NOBODYS]).with("o", &secret(), "").unwrap(), [next]);
        // What is current is retained too when a taking-away was cut in its middle.
        assert_eq!(in_mysql(&["theirs", "theirs"]).with("o", &secret(), "").unwrap(), [retaining]);
        let why = in_mysql(&["theirs", "others"]).with("o", &secret(), "").unwrap_err().to_string();
        assert!(why.contains(&name("o", &sql::tag("others"))) && why.contains("DISCARD OLD"), "{why}");
    }

    #[test]
    fn mysql_takes_away_either_and_keeps_the_other() {
        let ours = sha2::kept(&secret());
        let tag = sha2::tag(&ours).unwrap();
        let discard = "DISCARD OLD PASSWORD".to_owned();
        assert_eq!(in_mysql(&["theirs", &ours]).without(tag, "").unwrap(), [discard.as_str()]);
        let theirs = Way::of(sha2::PLUGIN, "theirs".to_owned()).alone();
        assert_eq!(in_mysql(&[&ours, "theirs"]).without(tag, "").unwrap(), [theirs, discard.clone()]);
        let nobodys = Way::of(sha2::PLUGIN, sha2::NOBODYS.to_owned()).alone();
        assert_eq!(in_mysql(&[&ours]).without(tag, "").unwrap(), [nobodys.as_str()]);
        assert_eq!(in_mysql(&[&ours, &ours]).without(tag, "").unwrap(), [nobodys, discard]);
    }

    #[test]
    fn what_comes_in_is_named_and_a_lock_shuts_it() {
        let names = |kept: &str| -> Vec<String> {
            shown(kept).sightings("o", "*NO").into_iter().map(|seen| seen.name).collect()
        };
        assert_eq!(names(TWO), ["o by unix_socket".to_owned(), name("o", &sql::tag("*AA"))]);
        assert_eq!(shown(ONE).sightings("o", "*AA"), []);
        assert_eq!(in_mysql(&[sha2::NOBODYS]).sightings("o", ""), []);
        assert_eq!(names(OPEN), ["o without a password"]);
        assert!(shown(OPEN).is_open() && shown(OPEN).sightings("o", "*NO")[0].shut.is_some());
        assert!(!shown(TWO).is_open());
    }

    #[test]
    fn a_handle_is_read_whole_or_not_at_all() {
        let good: Handle = name("o", &sql::tag("*AA")).parse().unwrap();
        assert_eq!(tag_in("o", &good), Some(sql::tag("*AA").as_str()));
        assert_eq!(tag_in("p", &good), None);
        for bad in ["o#", "o#0123", "o_v1_x", "oo#01234567890123456789", "o#0123456789012345678G"] {
            assert_eq!(tag_in("o", &bad.parse().unwrap()), None, "{bad}");
        }
    }
}
