//! The passwords of one user as the server shows them, told apart without knowing any, and the words that set others.

use rekey_model::Handle;
use serde::Deserialize;

use super::fault::Fault;
use super::link::{Link, text};
use super::privileges;
use super::sql::{self, literal};
use crate::Sighting;

/// The most ways to log in that usual clients try in turn: they give up when the server asks a second time for another
/// answer.
pub(super) const SLOTS: u32 = 2;

const NATIVE: &str = "mysql_native_password";

/// A user as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) locked: bool,
    /// Whether it is a role, or may do to the whole server what no application needs.
    pub(super) powerful: bool,
    /// Whether another user has the same name and may come from elsewhere.
    pub(super) twin: bool,
    ways: Vec<Way>,
}

/// One way to log in: a plugin, and what it was told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Way {
    plugin: String,
    authentication_string: String,
}

/// What `mysql.global_priv` keeps of a user, as far as it concerns us.
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
    fn native(hash: String) -> Self {
        Self { plugin: NATIVE.to_owned(), authentication_string: hash }
    }

    /// Whether it is a password with this tag.
    fn is(&self, tag: &str) -> bool {
        self.plugin == NATIVE && sql::tag(&self.authentication_string) == tag
    }

    /// Whether nobody needs a password for it.
    fn is_open(&self) -> bool {
        matches!(self.plugin.as_str(), "" | NATIVE) && self.authentication_string.is_empty()
    }

    /// What it is called: as a version is, where it is a password.
    fn name(&self, user: &str) -> String {
        if self.plugin == NATIVE {
            name(user, &self.authentication_string)
        } else {
            format!("{user} by {}", self.plugin)
        }
    }

    /// It, as a statement says it.
    fn words(&self) -> Result<String, Fault> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        if self.plugin.is_empty() || !self.plugin.bytes().all(plain) {
            return Err(Fault::no("the user has a way to log in that cannot be said again"));
        }
        if self.authentication_string.is_empty() {
            return Ok(self.plugin.clone());
        }
        Ok(format!("{} USING {}", self.plugin, literal(&self.authentication_string)))
    }
}

impl Shown {
    fn of(kept: &str, twin: bool) -> Option<Self> {
        let kept: Kept = serde_json::from_str(kept).ok()?;
        let main = Way { plugin: kept.plugin, authentication_string: kept.authentication_string };
        let instead = |way: Way| if way == Way::default() { main.clone() } else { way };
        let ways = match kept.auth_or {
            Some(ways) => ways.into_iter().map(instead).collect(),
            None => vec![main.clone()],
        };
        let powerful = kept.is_role || privileges::powerful(kept.access);
        Some(Self { locked: kept.account_locked, powerful, twin, ways })
    }

    /// Whether the password with this tag logs in, were the user not locked.
    pub(super) fn has(&self, tag: &str) -> bool {
        self.ways.iter().any(|way| way.is(tag))
    }

    /// Whether anybody may come in without a password.
    pub(super) fn is_open(&self) -> bool {
        self.ways.iter().any(Way::is_open)
    }

    /// The words for all its ways and one more password, by its hash. `nobodys` is the hash that no password has; it
    /// goes. No, with what is there, where clients could not use it.
    pub(super) fn with(&self, user: &str, hash: String, nobodys: &str) -> Result<String, Fault> {
        let mut ways = self.without_hash(nobodys);
        if ways.len() >= usize::try_from(SLOTS).unwrap_or(usize::MAX) {
            let named: Vec<String> = ways.iter().map(|way| way.name(user)).collect();
            return Err(Fault::no(format!(
                "the user {user} has {SLOTS} ways to log in already, and usual clients try no third: {}; take away one \
                 that nobody uses (ALTER USER … IDENTIFIED VIA …)",
                named.join(", ")
            )));
        }
        ways.push(Way::native(hash));
        said(&ways)
    }

    /// The words for all its ways but the password with this tag. A user without any would come in without a password,
    /// so the last one is replaced by `nobodys`, a hash that no password has.
    pub(super) fn without(&self, tag: &str, nobodys: &str) -> Result<String, Fault> {
        let mut ways: Vec<Way> = self.ways.iter().filter(|way| !way.is(tag)).cloned().collect();
        if ways.is_empty() {
            ways.push(Way::native(nobodys.to_owned()));
        }
        said(&ways)
    }

    fn without_hash(&self, hash: &str) -> Vec<Way> {
        let is = |way: &&Way| *way != &Way::native(hash.to_owned());
        self.ways.iter().filter(is).cloned().collect()
    }

    /// What comes in as `user`, and whether it is shut.
    pub(super) fn sightings(&self, user: &str, nobodys: &str) -> Vec<Sighting> {
        let shut = || self.locked.then(|| "its user is locked".to_owned());
        let ways = self.without_hash(nobodys);
        let named = ways.iter().map(|way| {
            let name = if way.is_open() { format!("{user} without a password") } else { way.name(user) };
            Sighting { name, shut: shut() }
        });
        named.collect()
    }
}

fn said(ways: &[Way]) -> Result<String, Fault> {
    Ok(ways.iter().map(Way::words).collect::<Result<Vec<_>, _>>()?.join(" OR "))
}

/// What the version is called whose password has this hash.
pub(super) fn name(user: &str, hash: &str) -> String {
    format!("{user}#{}", sql::tag(hash))
}

/// The tag in a handle of `user`; anything else is not this user's.
pub(super) fn tag_in<'h>(user: &str, handle: &'h Handle) -> Option<&'h str> {
    let tag = handle.as_str().strip_prefix(user)?.strip_prefix('#')?;
    let good = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    (tag.len() == sql::TAG && tag.bytes().all(good)).then_some(tag)
}

/// The user `user@'from'` as the server shows it.
pub(super) async fn look(link: &mut Link<'_>, user: &str, from: &str) -> Result<Option<Shown>, Fault> {
    let query = format!("SELECT Host, Priv FROM mysql.global_priv WHERE User = {}", literal(user));
    let rows = link.rows(&query).await?;
    let Some(row) = rows.iter().find(|row| text(row, 0) == Some(from)) else { return Ok(None) };
    let shown = Shown::of(text(row, 1).unwrap_or_default(), rows.len() > 1);
    shown.map(Some).ok_or_else(|| Fault::no("the server shows a user in a way that is not known"))
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

    #[test]
    fn one_more_is_beside_what_is_there_and_never_a_third() {
        let one = shown(ONE);
        let both = "mysql_native_password USING '*AA' OR mysql_native_password USING '*BB'";
        assert_eq!(one.with("o", "*BB".into(), "*NO").unwrap(), both);
        assert_eq!(one.with("o", "*BB".into(), "*AA").unwrap(), "mysql_native_password USING '*BB'");
        let why = shown(TWO).with("o", "*BB".into(), "*NO").unwrap_err().to_string();
        assert!(why.contains(&name("o", "*AA")) && why.contains("o by unix_socket"), "{why}");
    }

    #[test]
    fn what_is_taken_away_is_the_named_one_and_nobody_comes_in_without_a_password() {
        let (two, aa) = (shown(TWO), sql::tag("*AA"));
        assert!(two.has(&aa) && !two.has(&sql::tag("*BB")));
        assert_eq!(two.without(&aa, "*NO").unwrap(), "unix_socket");
        assert_eq!(shown(ONE).without(&aa, "*NO").unwrap(), "mysql_native_password USING '*NO'");
    }

    #[test]
    fn what_comes_in_is_named_and_a_lock_shuts_it() {
        let names = |kept: &str| -> Vec<String> {
            shown(kept).sightings("o", "*NO").into_iter().map(|seen| seen.name).collect()
        };
        assert_eq!(names(TWO), ["o by unix_socket".to_owned(), name("o", "*AA")]);
        assert_eq!(shown(ONE).sightings("o", "*AA"), []);
        assert_eq!(names(OPEN), ["o without a password"]);
        assert!(shown(OPEN).is_open() && shown(OPEN).sightings("o", "*NO")[0].shut.is_some());
        assert!(!shown(TWO).is_open());
    }

    #[test]
    fn a_handle_is_read_whole_or_not_at_all() {
        let good: Handle = name("o", "*AA").parse().unwrap();
        assert_eq!(tag_in("o", &good), Some(sql::tag("*AA").as_str()));
        assert_eq!(tag_in("p", &good), None);
        for bad in ["o#", "o#0123", "o_v1_x", "oo#01234567890123456789", "o#0123456789012345678G"] {
            assert_eq!(tag_in("o", &bad.parse().unwrap()), None, "{bad}");
        }
    }
}
