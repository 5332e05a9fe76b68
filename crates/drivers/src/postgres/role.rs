//! The role of a version: made, found, set again, given an expiry. And the marker that tells ours from others'.

use std::sync::atomic::AtomicBool;

use rekey_model::{Handle, SecretBytes, Version};

use super::fault::Fault;
use super::link::{Link, column};
use super::{Marked, Postgres, quote};
use crate::scram;
use crate::{Expiry, Found, Installed, Intent, Listed, ListedVersion, Owner, Sighting, Survey};

pub(super) const LOOK: &str = "SELECT r.oid, r.rolcanlogin, pg_has_role(current_user, r.oid, 'USAGE'), \
    shobj_description(r.oid, 'pg_authid'), r.rolsuper OR r.rolreplication OR r.rolbypassrls OR r.rolcreaterole \
    FROM pg_roles r WHERE r.rolname = $1::text::name";

/// A moment in the near future by the server's clock, as a literal.
const SOON: &str = "SELECT to_char((now() + make_interval(secs => $1)) AT TIME ZONE 'UTC', \
    'YYYY-MM-DD HH24:MI:SS.US') || '+00'";

const ENDLESS: &str =
    "SELECT coalesce(rolvaliduntil = 'infinity', true) FROM pg_roles WHERE rolname = $1::text::name";

const ENDS_SOON: &str = "SELECT coalesce(rolvaliduntil > now() AND rolvaliduntil <= now() + make_interval(secs => $2), \
    false) FROM pg_roles WHERE rolname = $1::text::name";

/// A role as the server shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role {
    pub(super) oid: u32,
    pub(super) can_log_in: bool,
    /// Whether the rotator is a member, and so may end its sessions.
    pub(super) member: bool,
    powerful: bool,
}

/// What is found under a handle.
#[derive(Debug)]
pub(super) enum Standing {
    Absent,
    /// Made by us for this credential.
    Ours(Role, Version),
    /// The login that the account declares as adopted.
    Adopted(Role),
    /// Anything else: never touched.
    Foreign,
}

/// The words that every marker of this owner begins with.
fn marker_of(owner: &Owner) -> String {
    format!("rekey/1 installation={} credential={} version=", owner.installation, owner.credential)
}

impl Postgres {
    /// Looks at the role called `handle`, and whose it is.
    pub(super) async fn standing(&self, link: &mut Link<'_>, handle: &Handle) -> Result<Standing, Fault> {
        quote::identifier(handle.as_str()).map_err(|error| Fault::no(error.to_string()))?;
        let Some(row) = link.row(LOOK, &[&handle.as_str()]).await? else { return Ok(Standing::Absent) };
        let role = Role {
            oid: column(&row, 0)?,
            can_log_in: column(&row, 1)?,
            member: column(&row, 2)?,
            powerful: column(&row, 4)?,
        };
        let comment: Option<String> = column(&row, 3)?;
        let ours = comment.as_deref().and_then(|comment| comment.strip_prefix(&marker_of(&self.owner)));
        Ok(match ours.and_then(|version| version.parse().ok()) {
            _ if self.adopts(handle) => Standing::Adopted(role),
            Some(version) => Standing::Ours(role, version),
            None => Standing::Foreign,
        })
    }

    /// Whether `handle` is the adopted login.
    pub(super) fn adopts(&self, handle: &Handle) -> bool {
        self.account.adopt.as_ref().is_some_and(|adopt| adopt.login == handle.as_str())
    }

    pub(super) async fn make(&self, intent: &Intent, touched: &AtomicBool) -> Result<Installed, Fault> {
        let secret = intent.secret.as_ref().ok_or_else(|| Fault::no("this driver needs a secret"))?;
        let fields = self.target.given(intent.handle.as_str(), secret, &self.account.database)?;
        let mut link = self.rotator(&self.target.admin_database, touched).await?;
        if let Standing::Adopted(role) = self.standing(&mut link, &intent.handle).await? {
            // Nothing is given to a login before whoever hands it in has shown that the password is right.
            adoptable(&intent.handle, role)?;
            self.log_in(&fields, &intent.handle, touched).await?.close().await;
        }
        link.begin().await?;
        match self.standing(&mut link, &intent.handle).await? {
            Standing::Absent => self.create(&mut link, intent, secret).await?,
            Standing::Ours(role, version) if version == intent.version => {
                self.set_again(&mut link, intent, secret, role).await?;
            }
            Standing::Adopted(role) => self.take_over(&mut link, &intent.handle, role).await?,
            Standing::Ours(..) | Standing::Foreign => {
                return Err(Fault::no(format!("a role {} that we did not make exists", intent.handle)));
            }
        }
        link.commit().await?;
        link.close().await;
        Ok(Installed { fields, handle: intent.handle.clone() })
    }

    pub(super) async fn look(&self, intent: &Intent, touched: &AtomicBool) -> Result<Found, Fault> {
        let mut link = self.rotator(&self.target.admin_database, touched).await?;
        let standing = self.standing(&mut link, &intent.handle).await?;
        link.close().await;
        Ok(match standing {
            Standing::Absent => Found::Absent,
            Standing::Ours(_, version) if version == intent.version => Found::Present,
            Standing::Adopted(_) => Found::Present,
            Standing::Ours(..) | Standing::Foreign => Found::Foreign,
        })
    }

    pub(super) async fn expire(
        &self,
        handle: &Handle,
        expiry: Expiry,
        touched: &AtomicBool,
    ) -> Result<(), Fault> {
        let mut link = self.rotator(&self.target.admin_database, touched).await?;
        link.begin().await?;
        match self.standing(&mut link, handle).await? {
            Standing::Ours(..) | Standing::Adopted(_) => {}
            Standing::Absent => return Err(Fault::no(format!("there is no role {handle}"))),
            Standing::Foreign => return Err(foreign(handle)),
        }
        let until = match expiry {
            Expiry::Never => "infinity".to_owned(),
            Expiry::Soon => self.soon(&mut link).await?,
        };
        let name = name(handle)?;
        link.run(&format!("ALTER ROLE {name} VALID UNTIL {}", quote::literal(&until))).await?;
        link.commit().await?;
        let life = self.target.timeouts.pending_life.as_secs_f64();
        let read = match expiry {
            Expiry::Never => link.row(ENDLESS, &[&handle.as_str()]).await?,
            Expiry::Soon => link.row(ENDS_SOON, &[&handle.as_str(), &life]).await?,
        };
        link.close().await;
        let kept = read.map(|row| column::<bool>(&row, 0)).transpose()?;
        if kept == Some(true) {
            Ok(())
        } else {
            Err(Fault::NotYet(format!("the expiry of {handle} reads back otherwise")))
        }
    }

    pub(super) async fn marked(&self, prefix: &str, touched: &AtomicBool) -> Result<Vec<Marked>, Fault> {
        let mut link = self.rotator(&self.target.admin_database, touched).await?;
        let marker = format!("rekey/1 installation={} credential=", self.owner.installation);
        let sql = "SELECT * FROM (SELECT rolname::text, shobj_description(oid, 'pg_authid') AS comment, rolcanlogin \
            FROM pg_roles) r WHERE starts_with(comment, $1) AND starts_with(rolname, $2) ORDER BY 1";
        let rows = link.rows(sql, &[&marker, &prefix]).await?;
        link.close().await;
        let mut listed = Vec::new();
        for row in rows {
            let comment: String = column(&row, 1)?;
            let rest = comment.strip_prefix(&marker).and_then(|rest| rest.split_once(" version="));
            let Some((credential, version)) = rest else { continue };
            listed.push(Marked {
                handle: column(&row, 0)?,
                credential: credential.to_owned(),
                version: version.parse().ok(),
                can_log_in: column(&row, 2)?,
            });
        }
        Ok(listed)
    }

    /// Every version of this credential, and the adopted login.
    pub(super) async fn versions(&self, touched: &AtomicBool) -> Result<Vec<ListedVersion>, Fault> {
        let mut versions = Vec::new();
        for marked in self.marked("", touched).await? {
            let ours = marked.credential == self.owner.credential.as_str();
            let (Some(version), Ok(handle), true) = (marked.version, marked.handle.parse(), ours) else {
                continue;
            };
            let accepted = marked.can_log_in;
            versions.push(ListedVersion { version: Some(version), handle, accepted, adopted: false });
        }
        if let Some(handle) = self.account.adopt.as_ref().and_then(|adopt| adopt.login.parse().ok()) {
            let mut link = self.rotator(&self.target.admin_database, touched).await?;
            if let Standing::Adopted(role) = self.standing(&mut link, &handle).await? {
                let version = Version::FIRST;
                versions.push(ListedVersion {
                    version: Some(version),
                    handle,
                    accepted: role.can_log_in,
                    adopted: true,
                });
            }
            link.close().await;
        }
        Ok(versions)
    }

    /// Every version, and every other login that is called like one.
    pub(super) async fn logins(&self, touched: &AtomicBool) -> Result<Survey, Fault> {
        let Survey::Seen(mut seen) = Survey::from(Listed::Versions(self.versions(touched).await?)) else {
            return Ok(Survey::CannotTell);
        };
        let mut link = self.rotator(&self.target.admin_database, touched).await?;
        let called =
            "SELECT rolname::text FROM pg_roles WHERE rolcanlogin AND starts_with(rolname, $1) ORDER BY 1";
        let rows = link.rows(called, &[&format!("{}_v", self.account.prefix)]).await?;
        link.close().await;
        for row in rows {
            let name: String = column(&row, 0)?;
            if seen.iter().all(|sighting| sighting.name != name) {
                seen.push(Sighting { name, shut: None });
            }
        }
        Ok(Survey::Seen(seen))
    }

    async fn create(&self, link: &mut Link<'_>, intent: &Intent, secret: &SecretBytes) -> Result<(), Fault> {
        let handle = intent.handle.as_str();
        if self.adopts(&intent.handle) {
            return Err(Fault::no(format!("there is no login {handle} to adopt")));
        }
        if !handle.starts_with(&format!("{}_v", self.account.prefix)) {
            return Err(Fault::no(format!("{handle} does not begin with {}_v", self.account.prefix)));
        }
        let name = name(&intent.handle)?;
        let until = quote::literal(&self.soon(link).await?);
        let verifier = quote::literal(&scram::verifier(intent.handle.as_str(), secret));
        let marker = quote::literal(&format!("{}{}", marker_of(&self.owner), intent.version.get()));
        link.run(&format!("CREATE ROLE {name} LOGIN PASSWORD {verifier} VALID UNTIL {until}")).await?;
        link.run(&format!("COMMENT ON ROLE {name} IS {marker}")).await?;
        self.shape(link, &name).await
    }

    /// A version that was revoked stays so: a late call must not bring it back.
    async fn set_again(
        &self,
        link: &mut Link<'_>,
        intent: &Intent,
        secret: &SecretBytes,
        role: Role,
    ) -> Result<(), Fault> {
        if !role.can_log_in {
            return Err(Fault::no(format!("{} was revoked already", intent.handle)));
        }
        let name = name(&intent.handle)?;
        let verifier = quote::literal(&scram::verifier(intent.handle.as_str(), secret));
        // One that is in use by now keeps what it has: nothing shortens the life of a version that is served.
        let endless = link.row(ENDLESS, &[&intent.handle.as_str()]).await?;
        let endless = endless.map(|row| column::<bool>(&row, 0)).transpose()? == Some(true);
        let until = if endless { "infinity".to_owned() } else { self.soon(link).await? };
        let until = quote::literal(&until);
        link.run(&format!("ALTER ROLE {name} PASSWORD {verifier} VALID UNTIL {until}")).await?;
        self.shape(link, &name).await
    }

    /// What a version's role is a member of, and what holds for its sessions.
    async fn shape(&self, link: &mut Link<'_>, name: &str) -> Result<(), Fault> {
        let owner_role = identifier(&self.account.owner_role)?;
        let database = identifier(&self.account.database)?;
        link.run(&format!("GRANT {owner_role} TO {name}")).await?;
        link.run(&format!("GRANT {name} TO CURRENT_USER")).await?;
        let role = quote::literal(&self.account.owner_role);
        link.run(&format!("ALTER ROLE {name} IN DATABASE {database} SET role = {role}")).await?;
        if !self.account.search_path.is_empty() {
            let path: Result<Vec<String>, Fault> =
                self.account.search_path.iter().map(|schema| identifier(schema)).collect();
            let path = path?.join(", ");
            link.run(&format!("ALTER ROLE {name} IN DATABASE {database} SET search_path = {path}")).await?;
        }
        Ok(())
    }

    /// An adopted login keeps its password; we only make sure that we can watch and end it.
    async fn take_over(&self, link: &mut Link<'_>, handle: &Handle, role: Role) -> Result<(), Fault> {
        adoptable(handle, role)?;
        let name = name(handle)?;
        if !role.member {
            link.run(&format!("GRANT {name} TO CURRENT_USER")).await?;
        }
        if self.account.adopt.as_ref().is_some_and(|adopt| adopt.member) {
            let owner_role = identifier(&self.account.owner_role)?;
            link.run(&format!("GRANT {owner_role} TO {name}")).await?;
        }
        Ok(())
    }

    async fn soon(&self, link: &mut Link<'_>) -> Result<String, Fault> {
        let life = self.target.timeouts.pending_life.as_secs_f64();
        let row = link.row(SOON, &[&life]).await?;
        let row = row.ok_or_else(|| Fault::no("the server does not tell its time"))?;
        column(&row, 0)
    }
}

/// Why a login is left alone that may do more than log in.
pub(super) const POWERFUL: &str = "it is a superuser or may make roles, replicate or bypass row security";

/// Whether a login is no more than a login.
fn adoptable(handle: &Handle, role: Role) -> Result<(), Fault> {
    if role.powerful {
        return Err(Fault::no(format!("{handle} cannot be adopted: {POWERFUL}")));
    }
    if !role.can_log_in {
        return Err(Fault::no(format!("{handle} cannot be adopted: it may not log in")));
    }
    Ok(())
}

/// The fault of a role that is not ours.
pub(super) fn foreign(handle: &Handle) -> Fault {
    Fault::no(format!("the role {handle} carries no marker of this credential: it is not ours to change"))
}

/// The quoted name of a role.
pub(super) fn name(handle: &Handle) -> Result<String, Fault> {
    identifier(handle.as_str())
}

/// A quoted name.
pub(super) fn identifier(name: &str) -> Result<String, Fault> {
    quote::identifier(name).map_err(|error| Fault::no(error.to_string()))
}
