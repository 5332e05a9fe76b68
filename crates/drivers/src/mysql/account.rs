//! The account of a version: made, found, set again. And whose it is.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rekey_model::{Handle, SecretBytes, Version};
use tokio::time::sleep;

use super::fault::Fault;
use super::link::{Link, text};
use super::sql::{self, identifier, literal};
use super::{Mysql, privileges};
use crate::{Found, Installed, Intent, ListedVersion};

/// How often, and how far apart, we look whether the server has forgotten a session that we closed.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// An account as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) locked: bool,
    default_role: String,
    access: u64,
    is_role: bool,
    /// Whether another account has the same name and may come from elsewhere.
    pub(super) twin: bool,
}

/// What is found under a handle.
#[derive(Debug)]
pub(super) enum Standing {
    Absent,
    /// Made by us for this version of this credential.
    Ours(Shown, Version),
    /// The login that the account declares as adopted.
    Adopted(Shown),
    /// Anything else: never touched.
    Foreign,
}

impl Mysql {
    /// Looks at the account called `handle`, and whose it is.
    pub(super) async fn standing(&self, link: &mut Link<'_>, handle: &Handle) -> Result<Standing, Fault> {
        let version = self.version(handle);
        let marked = match version {
            Some(version) => {
                format!("Priv LIKE {}", literal(&format!("%\"{}\"%", sql::mark(&self.owner, version))))
            }
            None => "0".to_owned(),
        };
        let rows = link
            .rows(&format!(
                "SELECT Host, JSON_VALUE(Priv, '$.account_locked'), JSON_VALUE(Priv, '$.default_role'), \
                 JSON_VALUE(Priv, '$.access'), JSON_VALUE(Priv, '$.is_role'), {marked} \
                 FROM mysql.global_priv WHERE User = {}",
                literal(handle.as_str())
            ))
            .await?;
        if rows.is_empty() {
            return Ok(Standing::Absent);
        }
        let twin = rows.len() > 1;
        let Some(row) = rows.iter().find(|row| text(row, 0) == Some(self.from(handle))) else {
            return Ok(Standing::Foreign);
        };
        let set = |column| text(row, column).is_some_and(|value| value != "0");
        let shown = Shown {
            locked: set(1),
            default_role: text(row, 2).unwrap_or_default().to_owned(),
            access: privileges::access(text(row, 3))?,
            is_role: set(4),
            twin,
        };
        Ok(match version {
            _ if self.adopts(handle) => Standing::Adopted(shown),
            Some(version) if set(5) => Standing::Ours(shown, version),
            _ => Standing::Foreign,
        })
    }

    /// Whether `handle` is the adopted login.
    pub(super) fn adopts(&self, handle: &Handle) -> bool {
        self.account.adopt.as_ref().is_some_and(|adopt| adopt.login == handle.as_str())
    }

    /// Where `handle` may come from.
    pub(super) fn from(&self, handle: &Handle) -> &str {
        match &self.account.adopt {
            Some(adopt) if adopt.login == handle.as_str() => &adopt.from,
            _ => &self.account.from,
        }
    }

    /// The account of `handle`, quoted.
    pub(super) fn name(&self, handle: &Handle) -> String {
        format!("{}@{}", literal(handle.as_str()), literal(self.from(handle)))
    }

    /// The version that a name of ours says.
    pub(super) fn version(&self, handle: &Handle) -> Option<Version> {
        let rest = handle.as_str().strip_prefix(&self.account.prefix)?.strip_prefix("_v")?;
        rest.split_once('_')?.0.parse::<u64>().ok().and_then(Version::new)
    }

    pub(super) async fn make(&self, intent: &Intent, touched: &AtomicBool) -> Result<Installed, Fault> {
        let handle = &intent.handle;
        let secret = intent.secret.as_ref().ok_or_else(|| Fault::no("this driver needs a secret"))?;
        let fields = self.target.given(handle.as_str(), secret, &self.account.database)?;
        let mut link = self.rotator(touched).await?;
        match self.standing(&mut link, handle).await? {
            Standing::Absent => self.create(&mut link, intent, secret).await?,
            Standing::Ours(shown, version) if version == intent.version => {
                // A version that was revoked stays so: a late call must not bring it back.
                if shown.locked {
                    return Err(Fault::no(format!("{handle} was revoked already")));
                }
                let (name, ways) = (self.name(handle), self.ways(intent.version, secret));
                link.change(&format!("ALTER USER {name} IDENTIFIED VIA {ways}")).await?;
                self.shape(&mut link, handle, secret, &shown.default_role).await?;
            }
            Standing::Adopted(shown) => {
                adoptable(handle, &shown)?;
                self.log_in(&fields, handle, touched).await?.close().await;
            }
            Standing::Ours(..) | Standing::Foreign => {
                return Err(Fault::no(format!("a login {handle} that we did not make exists")));
            }
        }
        link.close().await;
        Ok(Installed { fields, handle: handle.clone() })
    }

    pub(super) async fn look(&self, intent: &Intent, touched: &AtomicBool) -> Result<Found, Fault> {
        let mut link = self.rotator(touched).await?;
        let standing = self.standing(&mut link, &intent.handle).await?;
        link.close().await;
        Ok(match standing {
            Standing::Absent => Found::Absent,
            Standing::Ours(_, version) if version == intent.version => Found::Present,
            Standing::Adopted(_) => Found::Present,
            Standing::Ours(..) | Standing::Foreign => Found::Foreign,
        })
    }

    /// Every version of this credential, and the adopted login.
    pub(super) async fn versions(&self, touched: &AtomicBool) -> Result<Vec<ListedVersion>, Fault> {
        let mut link = self.rotator(touched).await?;
        let begin = format!("{}_v", self.account.prefix);
        let (length, begin) = (begin.len(), literal(&begin));
        let adopted = self.account.adopt.as_ref().map(|adopt| adopt.login.as_str());
        let query = format!(
            "SELECT DISTINCT User FROM mysql.global_priv WHERE LEFT(User, {length}) = {begin} OR User = {}",
            literal(adopted.unwrap_or_default())
        );
        let mut versions = Vec::new();
        for row in link.rows(&query).await? {
            let Some(handle) = text(&row, 0).and_then(|name| name.parse::<Handle>().ok()) else { continue };
            let (version, shown, adopted) = match self.standing(&mut link, &handle).await? {
                Standing::Ours(shown, version) => (version, shown, false),
                Standing::Adopted(shown) => (Version::FIRST, shown, true),
                Standing::Absent | Standing::Foreign => continue,
            };
            versions.push(ListedVersion { version: Some(version), handle, accepted: !shown.locked, adopted });
        }
        link.close().await;
        Ok(versions)
    }

    /// There is no expiry to set: whether there is something that is ours.
    pub(super) async fn have(&self, handle: &Handle, touched: &AtomicBool) -> Result<(), Fault> {
        let mut link = self.rotator(touched).await?;
        let standing = self.standing(&mut link, handle).await?;
        link.close().await;
        match standing {
            Standing::Ours(..) | Standing::Adopted(_) => Ok(()),
            Standing::Absent => Err(Fault::no(format!("there is no login {handle}"))),
            Standing::Foreign => Err(foreign(handle)),
        }
    }

    async fn create(&self, link: &mut Link<'_>, intent: &Intent, secret: &SecretBytes) -> Result<(), Fault> {
        let handle = &intent.handle;
        if self.adopts(handle) {
            return Err(Fault::no(format!("there is no login {handle} to adopt")));
        }
        if self.version(handle) != Some(intent.version) || handle.as_str().len() > sql::LONGEST_NAME {
            let (prefix, version) = (&self.account.prefix, intent.version);
            return Err(Fault::no(format!(
                "{handle} does not begin with {prefix}_{version}_, or is too long"
            )));
        }
        let (name, ways) = (self.name(handle), self.ways(intent.version, secret));
        link.change(&format!("CREATE USER {name} IDENTIFIED VIA {ways}")).await?;
        let shaped = self.shape(link, handle, secret, "").await;
        if let Err(Fault::No(_)) = shaped {
            // Nothing is to have happened when somebody says no.
            link.change(&format!("DROP USER {name}")).await?;
        }
        shaped
    }

    /// The ways to log in as a version: by its password, and by none that there is.
    fn ways(&self, version: Version, secret: &SecretBytes) -> String {
        let (hash, mark) = (sql::hash(secret), sql::mark(&self.owner, version));
        format!("mysql_native_password USING '{hash}' OR mysql_native_password USING '{mark}'")
    }

    /// Gives a version's login its role, and makes that the role it begins with. A login may say the latter for itself;
    /// to say it for another takes rights on the whole of `mysql`, which the rotator has not.
    async fn shape(
        &self,
        link: &mut Link<'_>,
        handle: &Handle,
        secret: &SecretBytes,
        default_role: &str,
    ) -> Result<(), Fault> {
        let (role, name) = (identifier(&self.account.role), self.name(handle));
        link.change(&format!("GRANT {role} TO {name}")).await.map_err(|fault| {
            fault.during(&format!("granting {role}, which the rotator needs WITH ADMIN OPTION"))
        })?;
        if default_role == self.account.role {
            return Ok(());
        }
        let mut own = self.target.as_consumer((handle.as_str(), secret, None), link.touched()).await?;
        own.bind(self.target.timeouts).await?;
        own.change(&format!("SET DEFAULT ROLE {role}")).await?;
        let connection = own.connection();
        own.close().await;
        // The server says goodbye before it takes the session off its list; nobody is to take it for a consumer's.
        let gone = format!("SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = {connection}");
        for _ in 0..LOOKS {
            if link.rows(&gone).await?.is_empty() {
                break;
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(())
    }
}

/// Whether a login is no more than a login, and can be told from others.
fn adoptable(handle: &Handle, shown: &Shown) -> Result<(), Fault> {
    let why = if shown.is_role || privileges::powerful(shown.access) {
        "it is a role, or may do more to the whole server than an application should"
    } else if shown.locked {
        "it is locked"
    } else if shown.twin {
        "another login has the same name and another host, and sessions do not tell which of them they are"
    } else {
        return Ok(());
    };
    Err(Fault::no(format!("{handle} cannot be adopted: {why}")))
}

/// The fault of a login that is not ours.
pub(super) fn foreign(handle: &Handle) -> Fault {
    Fault::no(format!("the login {handle} carries no mark of this credential: it is not ours to change"))
}
