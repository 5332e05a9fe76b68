//! What is done to the keys of one user.

use std::collections::BTreeMap;
use std::time::Duration;

use rekey_model::{Fields, Handle, SecretBytes, Version};
use zeroize::Zeroizing;

use super::AwsIam;
use super::sign::{KeyPair, seconds_of, seconds_of_header};
use super::wire::{Action, Said, Service, every, first, text_of};
use crate::answer::{Failed, Touched};
use crate::http::Answer;
use crate::{Age, Found, Installed, Intent, Lack, ListedVersion, Proof, Sessions};

/// The most keys that a user of AWS has.
pub(crate) const SLOTS: u32 = 2;
/// What consumers get.
pub(super) const ID: &str = "access_key_id";
pub(super) const SECRET: &str = "secret_access_key";

/// One key of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: Handle,
    active: bool,
    /// How long before this answer it was made, by the clock of AWS.
    age: Option<Duration>,
}

impl AwsIam {
    /// Asks IAM as the rotator.
    async fn iam(
        &self,
        name: &'static str,
        parameters: &[(&'static str, &str)],
        touched: &Touched,
    ) -> Result<Said, Failed> {
        let id = text_of(self.target.key_id.expose());
        let key = KeyPair { id: id.trim(), secret: &self.target.secret };
        let changes = !name.starts_with("List") && !name.starts_with("Get");
        let action = Action { service: Service::Iam, name, parameters, changes };
        let who = |fault: Failed| fault.during("as the rotator");
        match self.target.ask(key, action, touched).await.map_err(who)? {
            Said::Refused { code, fault } => Ok(Said::Refused { code, fault: who(fault) }),
            done @ Said::Done(_) => Ok(done),
        }
    }

    /// What the rotator lacks, as far as that can be seen without making a key.
    pub(super) async fn lacks(&self) -> Result<Vec<Lack>, Failed> {
        match self.keys(&Touched::default()).await {
            Ok(_keys) => Ok(Vec::new()),
            Err(failed @ Failed::No { .. }) => {
                let remedy =
                    "give the rotator's user the policy in docs/drivers.md, and its key to the controller";
                Ok(vec![Lack::new(failed.to_string(), remedy)])
            }
            Err(failed) => Err(failed),
        }
    }

    async fn keys(&self, touched: &Touched) -> Result<Vec<Key>, Failed> {
        let parameters = [("UserName", self.account.user.as_str()), ("MaxItems", "100")];
        let answer = self.iam("ListAccessKeys", &parameters, touched).await?.done()?;
        let text = text_of(&answer.body);
        if first(&text, "IsTruncated") == Some("true") {
            return Err(Failed::no("ListAccessKeys: more keys than any user has"));
        }
        let list = first(&text, "AccessKeyMetadata").unwrap_or_default();
        every(list, "member").into_iter().map(|member| Key::read(member, &answer)).collect()
    }

    /// Makes a key, if there is room for one.
    pub(super) async fn make(&self, intent: &Intent, touched: &Touched) -> Result<Installed, Failed> {
        if let Some(secret) = &intent.secret {
            return self.adopt(&intent.handle, secret, touched).await;
        }
        let keys = self.keys(touched).await?;
        if keys.len() >= usize::try_from(SLOTS).unwrap_or(usize::MAX) {
            return Err(Failed::no(self.no_room(&keys, intent)));
        }
        let parameters = [("UserName", self.account.user.as_str())];
        let answer = self.iam("CreateAccessKey", &parameters, touched).await?.done()?;
        let text = text_of(&answer.body);
        let made = first(&text, "AccessKeyId").zip(first(&text, "SecretAccessKey"));
        // It was made, whatever this is.
        let unread = || Failed::Lost("CreateAccessKey: the answer shows no key".to_owned());
        let (id, secret) = made.ok_or_else(unread)?;
        let handle = id.parse().map_err(|_name| unread())?;
        let fields = fields(id, SecretBytes::from(secret.to_owned())).ok_or_else(unread)?;
        Ok(Installed { fields, handle })
    }

    fn no_room(&self, keys: &[Key], intent: &Intent) -> String {
        let named = |key: &Key| {
            let whose = if intent.known.contains(&key.id) { "ours" } else { "not known here" };
            let state = if key.active { "active" } else { "inactive" };
            format!("{} ({whose}, {state})", key.id)
        };
        let named: Vec<String> = keys.iter().map(named).collect();
        format!(
            "the user {} has {SLOTS} access keys already, and AWS takes no third: {}; delete one that nobody uses \
             (aws iam delete-access-key --user-name {} --access-key-id …)",
            self.account.user,
            named.join(", "),
            self.account.user
        )
    }

    /// The adopted key keeps its secret: it is made sure that it works and is this user's.
    async fn adopt(&self, id: &Handle, secret: &SecretBytes, touched: &Touched) -> Result<Installed, Failed> {
        self.is_active(id, touched).await?;
        let copy = SecretBytes::new(secret.expose().to_vec());
        let fields = fields(id.as_str(), copy).ok_or_else(|| Failed::no("the key is too long"))?;
        self.prove(&fields, touched).await?;
        Ok(Installed { fields, handle: id.clone() })
    }

    /// What came since the baseline and is no version that is known.
    pub(super) async fn look(&self, intent: &Intent, touched: &Touched) -> Result<Found, Failed> {
        let keys = self.keys(touched).await?;
        if intent.secret.is_some() {
            let there = keys.iter().any(|key| key.id == intent.handle);
            return Ok(if there { Found::Present } else { Found::Absent });
        }
        let strangers: Vec<Handle> =
            keys.into_iter().map(|key| key.id).filter(|id| intent.may_have_made(id)).collect();
        if strangers.is_empty() {
            return Ok(Found::Absent);
        }
        if self.account.exclusive {
            return Ok(Found::Strangers(strangers));
        }
        let names: Vec<&str> = strangers.iter().map(Handle::as_str).collect();
        Err(Failed::no(format!(
            "the access key {} of the user {} may be ours, its answer lost, or somebody's: delete it if nobody uses it \
             (aws iam delete-access-key --user-name {} --access-key-id {}), or declare `exclusive: true` if all keys of \
             this user are Rekey's",
            names.join(", "),
            self.account.user,
            self.account.user,
            names.first().copied().unwrap_or_default(),
        )))
    }

    /// Signs a request with the key, as a consumer does, and sees whose it is. A key that was made a moment ago may not
    /// be known everywhere.
    pub(super) async fn prove(&self, fields: &Fields, touched: &Touched) -> Result<Proof, Failed> {
        let (id, secret) =
            fields.get(ID).zip(fields.get(SECRET)).ok_or_else(|| Failed::no("there is no key to try"))?;
        let id = text_of(id.expose());
        let action =
            Action { service: Service::Sts, name: "GetCallerIdentity", parameters: &[], changes: false };
        match self.target.ask(KeyPair { id: id.trim(), secret }, action, touched).await? {
            Said::Done(answer) => {
                let text = text_of(&answer.body);
                let whose = first(&text, "Arn").unwrap_or("nobody");
                let ours = whose
                    .rsplit_once('/')
                    .is_some_and(|(path, name)| name == self.account.user && path.contains(":user"))
                    || whose.ends_with(&format!(":user/{}", self.account.user));
                if ours {
                    return Ok(Proof { probes: 0 });
                }
                Err(Failed::no(format!("the key works, but it is {whose}'s")))
            }
            Said::Refused { code, fault } if code == "InvalidClientTokenId" => {
                Err(if self.is_fresh(&id, touched).await? {
                    Failed::Away(format!("{fault}: the key is new, and AWS does not know it everywhere yet"))
                } else {
                    fault
                })
            }
            Said::Refused { fault, .. } => Err(fault),
        }
    }

    /// Whether a key was made so short a while ago, by the clock of AWS, that it may not be known everywhere.
    async fn is_fresh(&self, id: &str, touched: &Touched) -> Result<bool, Failed> {
        let keys = self.keys(touched).await?;
        let key = keys.iter().find(|key| key.id.as_str() == id.trim() && key.active);
        Ok(key.and_then(|key| key.age).is_some_and(|age| age < self.target.visible))
    }

    /// How long ago the key was used last, by the clock of AWS; none: never, as far as AWS has noted.
    pub(super) async fn last_used(&self, id: &Handle, touched: &Touched) -> Result<Option<Age>, Failed> {
        let parameters = [("AccessKeyId", id.as_str())];
        let said = self.iam("GetAccessKeyLastUsed", &parameters, touched).await?;
        let Some(answer) = said.done_or_absent()? else { return Ok(None) };
        let text = text_of(&answer.body);
        // A key that was never used has no date, or "N/A".
        let Some(used) = first(&text, "LastUsedDate").and_then(seconds_of) else { return Ok(None) };
        let now = clock_of(&answer)?;
        Ok(Some(Age { least: Duration::from_secs(now.saturating_sub(used)), step: Duration::from_secs(1) }))
    }

    pub(super) async fn is_active(&self, id: &Handle, touched: &Touched) -> Result<(), Failed> {
        match self.keys(touched).await?.iter().find(|key| key.id == *id) {
            Some(key) if key.active => Ok(()),
            Some(_) => Err(Failed::no(format!("the access key {id} is inactive"))),
            None => Err(Failed::no(format!("the user {} has no access key {id}", self.account.user))),
        }
    }

    pub(super) async fn cut(&self, id: &Handle, sessions: Sessions, touched: &Touched) -> Result<(), Failed> {
        let user = ("UserName", self.account.user.as_str());
        let key = ("AccessKeyId", id.as_str());
        let said = self.iam("UpdateAccessKey", &[user, key, ("Status", "Inactive")], touched).await?;
        if said.done_or_absent()?.is_none() {
            return self.is_away(id, touched).await;
        }
        match sessions {
            Sessions::Leave => Ok(()),
            Sessions::End => self.delete(id, touched).await,
        }
    }

    async fn delete(&self, id: &Handle, touched: &Touched) -> Result<(), Failed> {
        let parameters = [("UserName", self.account.user.as_str()), ("AccessKeyId", id.as_str())];
        self.iam("DeleteAccessKey", &parameters, touched).await?.done_or_absent().map(drop)
    }

    /// Absent is success only where the user itself is there: a user who was renamed has keys still.
    async fn is_away(&self, id: &Handle, touched: &Touched) -> Result<(), Failed> {
        let there = self.keys(touched).await?.iter().any(|key| key.id == *id);
        let unclear = || Failed::Away(format!("AWS does not know yet whether there is a key {id}"));
        if there { Err(unclear()) } else { Ok(()) }
    }

    pub(super) async fn remove(&self, id: &Handle, touched: &Touched) -> Result<(), Failed> {
        match self.keys(touched).await?.iter().find(|key| key.id == *id) {
            None => Ok(()),
            Some(key) if key.active => Err(Failed::no(format!("the access key {id} is active"))),
            Some(_) => self.delete(id, touched).await,
        }
    }

    pub(super) async fn all(&self, touched: &Touched) -> Result<Vec<ListedVersion>, Failed> {
        let adopted = self.account.adopt.as_ref().map(|adopt| adopt.access_key_id.as_str());
        let one = |key: Key| {
            let adopted = adopted == Some(key.id.as_str());
            let version = adopted.then_some(Version::FIRST);
            ListedVersion { version, handle: key.id, accepted: key.active, adopted }
        };
        Ok(self.keys(touched).await?.into_iter().map(one).collect())
    }
}

impl Key {
    fn read(member: &str, answer: &Answer) -> Result<Self, Failed> {
        let unread = || Failed::no("ListAccessKeys: the answer shows a key that cannot be read");
        let id = first(member, "AccessKeyId").and_then(|id| id.parse().ok()).ok_or_else(unread)?;
        let made = first(member, "CreateDate").and_then(seconds_of);
        let now = clock_of(answer)?;
        let age = made.map(|made| Duration::from_secs(now.saturating_sub(made)));
        Ok(Self { id, active: first(member, "Status") == Some("Active"), age })
    }
}

/// The time by the clock of AWS, in seconds since 1970.
fn clock_of(answer: &Answer) -> Result<u64, Failed> {
    let now = answer.date.as_deref().and_then(seconds_of_header);
    now.ok_or_else(|| Failed::no("an answer without a date: this is not AWS"))
}

fn fields(id: &str, secret: SecretBytes) -> Option<Fields> {
    let id = Zeroizing::new(id.to_owned());
    let values = BTreeMap::from([
        (ID.parse().ok()?, SecretBytes::new(id.as_bytes().to_vec())),
        (SECRET.parse().ok()?, secret),
    ]);
    Fields::new(values).ok()
}
