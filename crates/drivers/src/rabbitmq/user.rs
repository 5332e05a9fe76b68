//! Users: whose they are, how one is made, and what there is of them.

use rekey_model::{Handle, SecretBytes, Version};
use serde_json::{Value, json};

use super::Rabbitmq;
use super::api::{entries, piece, text};
use super::hash;
use crate::answer::{Failed, Touched};
use crate::driver::given;
use crate::{Found, Installed, Intent, ListedVersion, Sighting};

/// A user as the broker shows it. It has no `Debug`: the hash of an adopted user may be one of a weak password.
pub(super) struct Shown {
    pub(super) name: String,
    hash: String,
    pub(super) tags: Vec<String>,
}

/// What there is under a name.
pub(super) enum Standing {
    Absent,
    /// A version of this credential.
    Ours(Shown, Version),
    /// The user that the account adopts.
    Adopted(Shown),
    /// Anything else.
    Foreign,
}

impl Shown {
    fn of(user: &Value) -> Option<Self> {
        let tags =
            user.get("tags")?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let (name, hash) = (text(user, "name")?.to_owned(), text(user, "password_hash")?.to_owned());
        Some(Self { name, hash, tags })
    }

    /// Whether any password logs in.
    pub(super) fn open(&self) -> bool {
        !self.hash.is_empty()
    }

    fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|other| other == tag)
    }
}

impl Rabbitmq {
    /// The tag that says whose a user is. Which version it is says its name.
    fn mark(&self) -> String {
        format!("rekey:{}:{}", self.owner.installation, self.owner.credential)
    }

    /// The tags of each version.
    fn tags(&self) -> Vec<String> {
        self.account.tags.iter().cloned().chain([self.mark()]).collect()
    }

    /// The version that a name of ours says.
    fn version(&self, name: &str) -> Option<Version> {
        let rest = name.strip_prefix(&self.account.prefix)?.strip_prefix("_v")?;
        rest.split_once('_')?.0.parse::<u64>().ok().and_then(Version::new)
    }

    pub(super) fn adopts(&self, name: &str) -> bool {
        self.account.adopt.as_ref().is_some_and(|adopt| adopt.login == name)
    }

    /// The user with this name.
    pub(super) async fn user(&self, name: &str) -> Result<Option<Shown>, Failed> {
        let Some(user) = self.get_if_there(&path(name)).await? else { return Ok(None) };
        let noise = || Failed::Lost(format!("{name}: the answer shows no user"));
        Shown::of(&user).map(Some).ok_or_else(noise)
    }

    /// Whose the user with this name is.
    pub(super) async fn standing(&self, handle: &Handle) -> Result<Standing, Failed> {
        Ok(self.user(handle.as_str()).await?.map_or(Standing::Absent, |shown| self.whose(shown)))
    }

    fn whose(&self, shown: Shown) -> Standing {
        match self.version(&shown.name) {
            _ if self.adopts(&shown.name) => Standing::Adopted(shown),
            Some(version) if shown.has(&self.mark()) => Standing::Ours(shown, version),
            Some(_) | None => Standing::Foreign,
        }
    }

    pub(super) async fn make(&self, intent: &Intent, touched: &Touched) -> Result<Installed, Failed> {
        let handle = &intent.handle;
        let secret = intent.secret.as_ref().ok_or_else(|| Failed::no("this driver needs a secret"))?;
        let consumer = &self.target.consumer;
        let values = [
            ("username", handle.as_str().as_bytes().to_vec()),
            ("password", secret.expose().to_vec()),
            ("host", consumer.host.clone().into_bytes()),
            ("port", consumer.port.to_string().into_bytes()),
        ];
        let fields = given(values).map_err(Failed::no)?;
        let is_new = match self.standing(handle).await? {
            Standing::Adopted(shown) => {
                self.adoptable(&shown).await?;
                self.log_in(handle.as_str(), secret).await?;
                return Ok(Installed { fields, handle: handle.clone() });
            }
            Standing::Absent => self.may_make(intent).map(|()| true)?,
            Standing::Ours(shown, version) if version == intent.version => {
                // A version that was revoked stays so: a late call must not bring it back.
                if !shown.open() {
                    return Err(Failed::no(format!("{handle} was revoked already")));
                }
                false
            }
            Standing::Ours(..) | Standing::Foreign => {
                return Err(Failed::no(format!("a user {handle} that we did not make exists")));
            }
        };
        if let Some(vhost) = self.missing_vhosts().await?.first() {
            return Err(Failed::no(format!("there is no virtual host {vhost}")));
        }
        self.shape(handle, secret, is_new, touched).await?;
        Ok(Installed { fields, handle: handle.clone() })
    }

    /// Whether a user works, and is no more than its versions will be.
    async fn adoptable(&self, shown: &Shown) -> Result<(), Failed> {
        let topics = format!("{}/topic-permissions", path(&shown.name));
        let why = if shown.has("administrator") {
            "it is an administrator"
        } else if !shown.open() {
            "it has no password"
        } else if !entries(&self.get(&topics).await?)?.is_empty() {
            "it has topic permissions, which no version is given: versions would be free of them"
        } else {
            return Ok(());
        };
        Err(Failed::no(format!("{} cannot be adopted: {why}", shown.name)))
    }

    /// Whether the intent's name is one that may be made.
    fn may_make(&self, intent: &Intent) -> Result<(), Failed> {
        let (handle, prefix, version) = (&intent.handle, &self.account.prefix, intent.version);
        if self.adopts(handle.as_str()) {
            return Err(Failed::no(format!("there is no user {handle} to adopt")));
        }
        if self.version(handle.as_str()) != Some(version) {
            return Err(Failed::no(format!("{handle} does not begin with {prefix}_{version}_")));
        }
        Ok(())
    }

    /// Makes the user, or sets all of it again, and reads it back.
    async fn shape(
        &self,
        handle: &Handle,
        secret: &SecretBytes,
        is_new: bool,
        touched: &Touched,
    ) -> Result<(), Failed> {
        let hash = hash::of(handle.as_str(), secret);
        touched.by(self.set(handle.as_str(), &hash, &self.tags())).await?;
        let given = self.give_rights(handle, touched).await;
        if is_new && matches!(given, Err(Failed::No { .. })) {
            // Nothing is to have happened when somebody says no.
            touched.by(self.delete(&path(handle.as_str()))).await?;
            touched.undone();
        }
        given?;
        let reads_back = self.user(handle.as_str()).await?.is_some_and(|shown| shown.hash == hash);
        if !reads_back || !self.lost_of(handle).await?.is_empty() {
            return Err(Failed::Away(format!("{handle} does not read back")));
        }
        Ok(())
    }

    async fn set(&self, name: &str, hash: &str, tags: &[String]) -> Result<(), Failed> {
        let body = json!({ "password_hash": hash, "hashing_algorithm": hash::ALGORITHM, "tags": tags });
        self.put(&path(name), &body).await
    }

    /// Refuses new logins: no password has an empty hash. All else stays, the mark too.
    pub(super) async fn shut(&self, shown: &Shown, touched: &Touched) -> Result<(), Failed> {
        if !shown.open() {
            return Ok(());
        }
        touched.by(self.set(&shown.name, "", &shown.tags)).await?;
        if self.user(&shown.name).await?.is_some_and(|shown| shown.open()) {
            return Err(Failed::Away(format!("{} still has a password", shown.name)));
        }
        Ok(())
    }

    pub(super) async fn look(&self, intent: &Intent) -> Result<Found, Failed> {
        Ok(match self.standing(&intent.handle).await? {
            Standing::Absent => Found::Absent,
            Standing::Ours(_, version) if version == intent.version => Found::Present,
            Standing::Adopted(_) => Found::Present,
            Standing::Ours(..) | Standing::Foreign => Found::Foreign,
        })
    }

    /// There is no expiry to set: whether there is something that is ours and works.
    pub(super) async fn keep(&self, handle: &Handle) -> Result<(), Failed> {
        let (shown, ours) = match self.standing(handle).await? {
            Standing::Ours(shown, _) => (shown, true),
            Standing::Adopted(shown) => (shown, false),
            Standing::Absent => return Err(Failed::no(format!("there is no user {handle}"))),
            Standing::Foreign => return Err(foreign(handle)),
        };
        if !shown.open() {
            return Err(Failed::no(format!("{handle} has no password: it was revoked")));
        }
        let lost = if ours { self.lost_of(handle).await? } else { Vec::new() };
        if lost.is_empty() { Ok(()) } else { Err(Failed::no(format!("{handle} lacks {}", lost.join(", ")))) }
    }

    /// Every version of this credential, and the adopted user.
    pub(super) async fn versions(&self) -> Result<Vec<ListedVersion>, Failed> {
        let mut versions = Vec::new();
        for shown in self.users().await? {
            let (handle, accepted) = (shown.name.parse::<Handle>(), shown.open());
            let (version, adopted) = match self.whose(shown) {
                Standing::Ours(_, version) => (version, false),
                Standing::Adopted(_) => (Version::FIRST, true),
                Standing::Absent | Standing::Foreign => continue,
            };
            let Ok(handle) = handle else { continue };
            versions.push(ListedVersion { version: Some(version), handle, accepted, adopted });
        }
        Ok(versions)
    }

    /// Every user that may be taken for one of this account, whoever made it.
    pub(super) async fn sightings(&self) -> Result<Vec<Sighting>, Failed> {
        let (mark, stem) = (self.mark(), format!("{}_v", self.account.prefix));
        let of_account =
            |shown: &Shown| shown.has(&mark) || shown.name.starts_with(&stem) || self.adopts(&shown.name);
        let seen = |shown: Shown| Sighting {
            shut: (!shown.open()).then(|| "it has no password".to_owned()),
            name: shown.name,
        };
        Ok(self.users().await?.into_iter().filter(of_account).map(seen).collect())
    }

    async fn users(&self) -> Result<Vec<Shown>, Failed> {
        let users = self.get("users?columns=name,password_hash,tags").await?;
        let noise = || Failed::Lost("the list of users shows something else".to_owned());
        entries(&users)?.iter().map(|user| Shown::of(user).ok_or_else(noise)).collect()
    }
}

/// The failure of a user that is not ours.
pub(super) fn foreign(handle: &Handle) -> Failed {
    Failed::no(format!("the user {handle} carries no mark of this credential: it is not ours to change"))
}

/// Where a user is.
pub(super) fn path(name: &str) -> String {
    format!("users/{}", piece(name))
}
