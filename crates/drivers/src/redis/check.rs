//! Whether the rotator may do all that rotations need, at every node: asked by `ACL DRYRUN`, nothing is tried.

use super::Redis;
use super::link::Link;
use super::resp::Reply;
use super::settings::Persist;
use crate::Lack;
use crate::answer::{Failed, Touched};
use crate::target::Route;

/// A right, and a command that only whoever has it may run.
type Needed = (&'static str, &'static [&'static str]);

const ALWAYS: [Needed; 6] = [
    ("+acl|setuser", &["acl", "setuser", "name"]),
    ("+acl|getuser", &["acl", "getuser", "name"]),
    ("+client|list", &["client", "list"]),
    ("+client|kill", &["client", "kill", "user", "name"]),
    ("+client|setname", &["client", "setname", "name"]),
    ("+time", &["time"]),
];
const DRYRUN: &str = "+acl|dryrun";

impl Persist {
    /// What is needed to keep a change.
    fn keeps(self) -> &'static [Needed] {
        match self {
            Self::AclFile => &[("+acl|save", &["acl", "save"])],
            Self::ConfigRewrite => &[("+config|rewrite", &["config", "rewrite"])],
            Self::None => &[],
        }
    }

    /// What is needed to see beforehand that it will be kept.
    fn sees(self) -> &'static [Needed] {
        match self {
            Self::AclFile => &[("+config|get", &["config", "get", "aclfile"])],
            Self::ConfigRewrite => &[("+info", &["info", "server"])],
            Self::None => &[],
        }
    }
}

impl Redis {
    /// Everything that is missing, at every node.
    pub(super) async fn lacks(&self, touched: &Touched) -> Result<Vec<Lack>, Failed> {
        let at = self.everywhere(|node| self.lacks_at(node, touched)).await?;
        Ok(at.into_iter().flatten().collect())
    }

    /// What a change takes at a node that the rotator may not do there.
    pub(super) async fn missing_rights(&self, link: &mut Link<'_>) -> Result<Vec<&'static str>, Failed> {
        self.missing_of(link, self.target.persist.keeps().iter().chain(&ALWAYS)).await
    }

    async fn missing_of(
        &self,
        link: &mut Link<'_>,
        needed: impl Iterator<Item = &'static Needed> + Send,
    ) -> Result<Vec<&'static str>, Failed> {
        let rotator = self.target.user.as_str();
        let mut missing = Vec::new();
        for &(right, command) in needed {
            let answer = match link.ask(&[&["ACL", "DRYRUN", rotator], command].concat()).await {
                // Without this one nothing can be said of the others.
                Err(Failed::No { text, .. }) if text.starts_with("NOPERM") => return Ok(vec![DRYRUN]),
                answer => answer?,
            };
            if answer.text() != Some("OK") {
                missing.push(right);
            }
        }
        Ok(missing)
    }

    async fn lacks_at(&self, node: &Route, touched: &Touched) -> Result<Vec<Lack>, Failed> {
        let (rotator, user) = (&self.target.user, &self.account.user);
        let lack = |what: String, remedy: String| Lack::new(format!("{node}: {what}"), remedy);
        let mut link = match self.rotator(node, touched).await {
            Ok(link) => link,
            Err(Failed::No { text: why, .. }) if why.contains("WRONGPASS") => {
                let remedy =
                    format!("ACL SETUSER {rotator} on >… with the password in the target's password_file");
                return Ok(vec![lack(why, remedy)]);
            }
            Err(failed) => return Err(failed),
        };
        let persist = self.target.persist;
        let needed = || persist.keeps().iter().chain(persist.sees()).chain(&ALWAYS);
        let missing = self.missing_of(&mut link, needed()).await?;
        let mut lacks = Vec::new();
        if missing == [DRYRUN] {
            let all: Vec<&str> = needed().map(|(right, _)| *right).collect();
            let what =
                format!("the rotator {rotator} may not {DRYRUN}, so that its other rights cannot be seen");
            lacks.push(lack(what, format!("ACL SETUSER {rotator} {DRYRUN} {}", all.join(" "))));
        } else if !missing.is_empty() {
            let rights = missing.join(" ");
            let what = format!("the rotator {rotator} may not {rights}");
            lacks.push(lack(what, format!("ACL SETUSER {rotator} {rights}")));
        }
        let may = |right: &str| !missing.contains(&right) && !missing.contains(&DRYRUN);
        if may("+acl|getuser") {
            let found = self.user(&mut link).await?;
            let wrong = match found {
                None => Some(("there is no user", "ACL SETUSER NAME on >… and the rules of the application")),
                Some(user) if user.open => {
                    Some(("any password logs in (nopass) as the user", "ACL SETUSER NAME resetpass >…"))
                }
                Some(user) if !user.on => Some(("off is the user", "ACL SETUSER NAME on")),
                Some(_) => None,
            };
            let named =
                |(what, remedy): (&str, &str)| lack(format!("{what} {user}"), remedy.replace("NAME", user));
            lacks.extend(wrong.map(named));
        }
        if persist.sees().iter().all(|(right, _)| may(right))
            && let Some((what, remedy)) = self.forgets(&mut link).await?
        {
            lacks.push(lack(what.to_owned(), remedy.to_owned()));
        }
        link.close().await;
        Ok(lacks)
    }

    /// Why a change would not outlive a restart of the node, if it would not.
    async fn forgets(&self, link: &mut Link<'_>) -> Result<Option<(&'static str, &'static str)>, Failed> {
        Ok(match self.target.persist {
            Persist::AclFile => {
                let answer = link.ask(&["CONFIG", "GET", "aclfile"]).await?;
                let file = answer.list().and_then(|pair| pair.get(1)).and_then(Reply::text);
                file.is_none_or(str::is_empty).then_some((
                    "the node has no aclfile, so that ACL SAVE keeps nothing",
                    "set aclfile in redis.conf and restart the node; or persist: config-rewrite at the target",
                ))
            }
            Persist::ConfigRewrite => {
                let answer = link.ask(&["INFO", "server"]).await?;
                let mut lines = answer.text().unwrap_or_default().lines();
                let file = lines.find_map(|line| line.strip_prefix("config_file:"));
                file.is_none_or(str::is_empty).then_some((
                    "the node runs without a config file, so that CONFIG REWRITE keeps nothing",
                    "start the node with a redis.conf; or persist: none at the target, and keep its users yourself",
                ))
            }
            Persist::None => None,
        })
    }
}
