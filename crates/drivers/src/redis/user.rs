//! The user and its passwords: looked at, one added, one taken away, kept for the next start of a node.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use rekey_model::{Fields, Handle, SecretBytes};

use super::Redis;
use super::fault::worst;
use super::link::Link;
use super::resp::Reply;
use super::settings::Persist;
use crate::answer::{Failed, Touched};
use crate::driver::given;
use crate::target::Route;
use crate::{Cut, Found, Installed, Intent, Sessions, Sighting};

/// What is changed in one call at one node.
type Held<'a> = (Link<'a>, User);

/// A user as a node shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) on: bool,
    /// Whether any password logs in.
    pub(super) open: bool,
    passwords: Vec<String>,
}

impl User {
    fn has(&self, hash: &str) -> bool {
        self.passwords.iter().any(|password| password == hash)
    }

    /// Reads the answer to `ACL GETUSER`.
    fn of(reply: &Reply) -> Option<Self> {
        let entries = reply.list()?;
        let of = |name: &str| {
            let at = entries.chunks_exact(2).find(|pair| pair.first().and_then(Reply::text) == Some(name))?;
            let list = at.last()?.list()?;
            Some(list.iter().filter_map(Reply::text).map(str::to_owned).collect::<Vec<_>>())
        };
        let flags = of("flags")?;
        let has = |flag: &str| flags.iter().any(|other| other == flag);
        Some(Self { on: has("on"), open: has("nopass"), passwords: of("passwords")? })
    }
}

/// What may come in as `name`, by what each node shows of it.
fn sightings(name: &str, at: &[(String, Option<User>)]) -> Vec<Sighting> {
    let users = || at.iter().filter_map(|(node, user)| Some((node, user.as_ref()?)));
    let hashes: BTreeSet<&String> = users().flat_map(|(_, user)| &user.passwords).collect();
    let shut = |hash: &str| {
        let without = at.iter().filter(|(_, user)| !user.as_ref().is_some_and(|it| it.on && it.has(hash)));
        let without: Vec<&str> = without.map(|(node, _)| node.as_str()).collect();
        (!without.is_empty()).then(|| format!("it is missing, or its user is off, at {}", without.join(", ")))
    };
    let seen = |hash: &String| Sighting { name: format!("{name}#{hash}"), shut: shut(hash) };
    let open = users().filter(|(_, user)| user.open);
    let open =
        open.map(|(node, _)| Sighting { name: format!("any password (nopass) at {node}"), shut: None });
    hashes.into_iter().map(seen).chain(open).collect()
}

/// The SHA-256 of a password, as Redis shows it.
pub(super) fn hash_of(secret: &SecretBytes) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.expose()))
}

impl Redis {
    pub(super) async fn make(&self, intent: &Intent, touched: &Touched) -> Result<Installed, Failed> {
        let secret = intent.secret.as_ref().ok_or_else(|| Failed::no("this driver needs a secret"))?;
        let hash = self.hash_in(&intent.handle)?;
        if hash_of(secret) != hash {
            return Err(Failed::no(format!("this is not the password that {} stands for", intent.handle)));
        }
        let fields = self.given(secret)?;
        // Every node is asked all that can be refused before the first one is changed.
        let held = self.everywhere(|node| self.take_hold(node, touched)).await?;
        let adopts = self.account.adopt.as_ref().is_some_and(|adopt| adopt.sha256 == hash);
        let done = join_all(held.into_iter().map(|held| self.add(held, hash, adopts))).await;
        worst(done)?;
        Ok(Installed { fields, handle: intent.handle.clone() })
    }

    /// Present only where every node has it: a part is completed by the same install.
    pub(super) async fn look(&self, handle: &Handle, touched: &Touched) -> Result<Found, Failed> {
        let Ok(hash) = self.hash_in(handle) else { return Ok(Found::Foreign) };
        let users = self.everywhere(|node| self.fenced(node, touched)).await?;
        let all = users.iter().all(|user| user.as_ref().is_some_and(|user| user.has(hash)));
        Ok(if all { Found::Present } else { Found::Absent })
    }

    /// Every node has it, and has written it down.
    pub(super) async fn keep(&self, handle: &Handle, touched: &Touched) -> Result<(), Failed> {
        let hash = self.hash_in(handle)?;
        let kept = |node| async move {
            let mut link = self.rotator(node, touched).await?;
            match self.user(&mut link).await? {
                Some(user) if user.has(hash) => self.persist(&mut link).await?,
                Some(_) | None => return Err(Failed::no(format!("there is no password {handle}"))),
            }
            link.close().await;
            Ok(())
        };
        self.everywhere(kept).await.map(drop)
    }

    /// Each node on its own: one that is away keeps no other from being cut.
    pub(super) async fn cut(
        &self,
        handle: &Handle,
        sessions: Sessions,
        touched: &Touched,
    ) -> Result<Cut, Failed> {
        let hash = self.hash_in(handle)?;
        let ended = self.everywhere(|node| self.take_away(node, hash, sessions, touched)).await?;
        Ok(Cut {
            sessions_ended: ended.iter().fold(0, |sum, &more| sum.saturating_add(more)),
            sessions_left: 0,
        })
    }

    pub(super) async fn gone(&self, handle: &Handle, touched: &Touched) -> Result<(), Failed> {
        let hash = self.hash_in(handle)?;
        let users = self.everywhere(|node| self.fenced(node, touched)).await?;
        if users.iter().flatten().any(|user| user.has(hash)) {
            return Err(Failed::no(format!("{handle} can log in: revoking it comes first")));
        }
        Ok(())
    }

    /// The hash in a handle of this account's user; anything else is not ours.
    pub(super) fn hash_in<'h>(&self, handle: &'h Handle) -> Result<&'h str, Failed> {
        let hash = handle.as_str().split_once('#').filter(|(user, _)| *user == self.account.user);
        let hash = hash.map(|(_, hash)| hash).filter(|hash| hash.len() == 64);
        hash.ok_or_else(|| Failed::no(format!("{handle} is no password of {}", self.account.user)))
    }

    /// A connection to change something on, with nothing of an earlier call behind it, and the user that may be changed.
    async fn take_hold<'a>(&'a self, node: &'a Route, touched: &'a Touched) -> Result<Held<'a>, Failed> {
        let mut link = self.rotator(node, touched).await?;
        self.check_rights(&mut link).await?;
        self.fence(&mut link).await?;
        let name = &self.account.user;
        let user = self.user(&mut link).await?;
        let user = user.ok_or_else(|| Failed::no(format!("there is no user {name}")))?;
        if user.open {
            return Err(Failed::no(format!("any password logs in as {name} (nopass): give it one first")));
        }
        if !user.on {
            return Err(Failed::no(format!("the user {name} is off")));
        }
        self.persist(&mut link).await?;
        Ok((link, user))
    }

    async fn add(&self, (mut link, user): Held<'_>, hash: &str, adopts: bool) -> Result<(), Failed> {
        let node = link.route().to_string();
        let work = async {
            if adopts && !user.has(hash) {
                return Err(Failed::no(format!("{} has no such password to adopt", self.account.user)));
            }
            let (name, one) = (self.account.user.as_str(), self.account.one_password && !adopts);
            if one && user.passwords != [hash] {
                link.change(&["ACL", "SETUSER", name, "resetpass", &format!("#{hash}")]).await?;
            } else if !user.has(hash) {
                link.change(&["ACL", "SETUSER", name, &format!("#{hash}")]).await?;
            }
            self.persist(&mut link).await?;
            match self.user(&mut link).await? {
                Some(user) if user.has(hash) && (!one || user.passwords.len() == 1) => {}
                Some(_) | None => return Err(Failed::Away("the password does not read back".to_owned())),
            }
            link.close().await;
            Ok(())
        };
        work.await.map_err(|failed| failed.during(&node))
    }

    async fn take_away(
        &self,
        node: &Route,
        hash: &str,
        sessions: Sessions,
        touched: &Touched,
    ) -> Result<u32, Failed> {
        let mut link = self.rotator(node, touched).await?;
        self.fence(&mut link).await?;
        let name = &self.account.user;
        let user = self.user(&mut link).await?;
        if user.as_ref().is_some_and(|user| user.open) {
            return Err(Failed::no(format!("any password logs in as {name} (nopass), this one too")));
        }
        if user.is_some_and(|user| user.has(hash)) {
            link.change(&["ACL", "SETUSER", name, &format!("!{hash}")]).await?;
        }
        // Nobody can come in with it any more, so whoever is there now is all there is to end.
        let ended = match sessions {
            Sessions::End => self.end_sessions(&mut link).await?,
            Sessions::Leave => 0,
        };
        if self.user(&mut link).await?.is_some_and(|user| user.has(hash)) {
            return Err(Failed::Away("the password is still there".to_owned()));
        }
        self.persist(&mut link).await?;
        link.close().await;
        Ok(ended)
    }

    /// The user at a node where no earlier call can change anything any more.
    async fn fenced(&self, node: &Route, touched: &Touched) -> Result<Option<User>, Failed> {
        let mut link = self.rotator(node, touched).await?;
        self.fence(&mut link).await?;
        let user = self.user(&mut link).await?;
        link.close().await;
        Ok(user)
    }

    pub(super) async fn user(&self, link: &mut Link<'_>) -> Result<Option<User>, Failed> {
        let answer = link.ask(&["ACL", "GETUSER", &self.account.user]).await?;
        if answer == Reply::Nil {
            return Ok(None);
        }
        let user = User::of(&answer);
        user.map(Some)
            .ok_or_else(|| Failed::no("the answer to ACL GETUSER is none of Redis: is this its port?"))
    }

    /// Every password of the user, and at which nodes it is missing. None is tried, and nothing is ended for it.
    pub(super) async fn passwords(&self, touched: &Touched) -> Result<Vec<Sighting>, Failed> {
        let at = |node| async move {
            let mut link = self.rotator(node, touched).await?;
            let user = self.user(&mut link).await?;
            link.close().await;
            Ok((node.to_string(), user))
        };
        Ok(sightings(&self.account.user, &self.everywhere(at).await?))
    }

    async fn persist(&self, link: &mut Link<'_>) -> Result<(), Failed> {
        let (words, what) = match self.target.persist {
            Persist::AclFile => (["ACL", "SAVE"], "ACL SAVE"),
            Persist::ConfigRewrite => (["CONFIG", "REWRITE"], "CONFIG REWRITE"),
            Persist::None => return Ok(()),
        };
        link.ask(&words).await.map(drop).map_err(|failed| failed.during(what))
    }

    /// Whether the rotator may do all that it will have to.
    async fn check_rights(&self, link: &mut Link<'_>) -> Result<(), Failed> {
        match self.missing_rights(link).await?.first() {
            Some(right) => Err(Failed::no(format!("the rotator {} may not {right}", self.target.user))),
            None => Ok(()),
        }
    }

    /// What consumers get.
    pub(super) fn given(&self, secret: &SecretBytes) -> Result<Fields, Failed> {
        let route = &self.target.consumer;
        let values = [
            ("username", self.account.user.clone().into_bytes()),
            ("password", secret.expose().to_vec()),
            ("host", route.host.clone().into_bytes()),
            ("port", route.port.to_string().into_bytes()),
        ];
        given(values).map_err(Failed::no)
    }
}
