//! Secret-ids: made in a wrapping, found by their metadata, destroyed by their accessors.

use futures_util::TryFutureExt as _;
use futures_util::future::try_join_all;
use rekey_model::{Fields, Handle};
use rustify::enums::RequestMethod;
use serde::de::IgnoredAny;
use vaultrs::auth::approle::role;

use super::AppRole;
use super::calls::{Call, SecretId, Wrapped};
use super::link::{Link, failed};
use super::name::{Mark, Name};
use super::rights::WRAPPED_FOR;
use super::settings::Tokens;
use crate::answer::{Failed, Touched};
use crate::driver::given;
use crate::{Cut, Found, Installed, Intent, ListedVersion, Sessions, Sighting};

/// The most secret-ids of a role that are looked through.
const MOST: usize = 1000;
/// How many are looked at at a time.
pub(super) const AT_A_TIME: usize = 8;

/// What is at the target under a name.
enum Standing {
    /// These are ours, by their accessors; none is there if it is empty.
    Ours(Vec<String>),
    /// Somebody else's.
    Foreign,
}

impl AppRole {
    /// Every repetition would make one more: the machine calls it once for an intent.
    pub(super) async fn make(&self, intent: &Intent, touched: &Touched) -> Result<Installed, Failed> {
        if intent.secret.is_some() || Name::of(&intent.handle).accessor.is_some() {
            return Err(Failed::no("OpenBao makes secret-ids itself: none can be set"));
        }
        let rotator = self.rotator().await?;
        let made = self.make_by(rotator.link(), intent, touched).await;
        rotator.close().await;
        made
    }

    async fn make_by(&self, link: &Link, intent: &Intent, touched: &Touched) -> Result<Installed, Failed> {
        let lacks = self.lacks_by(link).await?;
        if !lacks.is_empty() {
            let lacks: Vec<String> =
                lacks.iter().map(|lack| format!("{}: {}", lack.what, lack.remedy)).collect();
            return Err(Failed::no(lacks.join("; ")));
        }
        let (mount, name) = (&self.target.mount, &self.account.role);
        let role_id = role::read_id(&link.vault, mount, name).await.map_err(failed)?.role_id;
        let body = self.asked_for(intent);
        let call: Call<IgnoredAny> = Call::new(RequestMethod::POST, &self.path("secret-id"), Some(body));
        let wrapped: Wrapped = touched.by(link.wrapped(call, WRAPPED_FOR)).await?;
        let wrapping = wrapped.wrap_info;
        let opener = self.link(&wrapping.token)?;
        let inside: Result<SecretId, _> = vaultrs::sys::wrapping::unwrap(&opener.vault, None).await;
        let inside = match inside.map_err(failed) {
            Ok(inside) => inside,
            Err(Failed::No { .. }) => {
                self.destroy(link, &wrapping.wrapped_accessor, touched).await?;
                touched.undone();
                return Err(Failed::no(format!(
                    "the wrapping of the new secret-id {} was opened by somebody else, or ran out after {WRAPPED_FOR}; \
                     that secret-id was destroyed: see OpenBao's audit log for sys/wrapping/unwrap",
                    wrapping.wrapped_accessor
                )));
            }
            Err(other) => return Err(other),
        };
        let mark = Mark { version: intent.version, marker: intent.handle.as_str().to_owned() };
        let handle = mark.handle(&inside.secret_id_accessor);
        let handle = handle.ok_or_else(|| Failed::Lost("its accessor can be in no name".to_owned()))?;
        Ok(Installed { fields: self.fields(role_id, inside.secret_id)?, handle })
    }

    /// What the secret-id is to be like.
    fn asked_for(&self, intent: &Intent) -> serde_json::Value {
        let metadata = Mark::written(&self.owner, intent.version, intent.handle.as_str());
        let mut body = serde_json::json!({ "metadata": metadata.to_string() });
        let mut set = |key: &str, value: serde_json::Value| {
            if let Some(body) = body.as_object_mut() {
                body.insert(key.to_owned(), value);
            }
        };
        if let Some(ttl) = self.account.ttl {
            set("ttl", format!("{}s", ttl.get().as_secs()).into());
        }
        if let Some(uses) = self.account.num_uses {
            // One for our own login.
            set("num_uses", (uses + 1).into());
        }
        if !self.account.cidrs.is_empty() {
            set("cidr_list", self.account.cidrs.clone().into());
        }
        body
    }

    fn fields(&self, role_id: String, secret_id: String) -> Result<Fields, Failed> {
        let values = [
            ("role_id", role_id),
            ("secret_id", secret_id),
            ("address", self.target.consumer.clone()),
            ("mount", self.target.mount.clone()),
        ];
        given(values).map_err(Failed::no)
    }

    /// Below the role.
    fn path(&self, end: &str) -> String {
        format!("auth/{}/role/{}/{end}", self.target.mount, self.account.role)
    }

    /// What a call for `intent` made without anybody having its secret.
    pub(super) async fn strangers(&self, intent: &Intent) -> Result<Found, Failed> {
        let name = Name::of(&intent.handle);
        let rotator = self.rotator().await?;
        let standing = self.standing(rotator.link(), name).await;
        rotator.close().await;
        let accessors = match standing? {
            Standing::Foreign => return Ok(Found::Foreign),
            Standing::Ours(accessors) if accessors.is_empty() => return Ok(Found::Absent),
            Standing::Ours(_) if name.accessor.is_some() => return Ok(Found::Present),
            Standing::Ours(accessors) => accessors,
        };
        let mark = Mark { version: intent.version, marker: name.marker.to_owned() };
        let handles = accessors.iter().filter_map(|accessor| mark.handle(accessor));
        let strangers: Vec<Handle> = handles.filter(|handle| intent.may_have_made(handle)).collect();
        Ok(if strangers.is_empty() { Found::Absent } else { Found::Strangers(strangers) })
    }

    /// Every secret-id of this credential.
    pub(super) async fn versions(&self) -> Result<Vec<ListedVersion>, Failed> {
        let rotator = self.rotator().await?;
        let ours = self.ours(rotator.link()).await;
        rotator.close().await;
        let listed = ours?.into_iter().filter_map(|(mark, accessor)| {
            let handle = mark.handle(&accessor)?;
            Some(ListedVersion { version: Some(mark.version), handle, accepted: true, adopted: false })
        });
        Ok(listed.collect())
    }

    /// Makes sure that it is there.
    pub(super) async fn keep(&self, handle: &Handle) -> Result<(), Failed> {
        match self.found(handle).await? {
            Standing::Ours(accessors) if !accessors.is_empty() => Ok(()),
            Standing::Ours(_) => Err(Failed::no(format!("there is no secret-id {handle}"))),
            Standing::Foreign => Err(not_ours(handle)),
        }
    }

    /// Makes sure that it is not.
    pub(super) async fn gone(&self, handle: &Handle) -> Result<(), Failed> {
        match self.found(handle).await? {
            Standing::Ours(accessors) if accessors.is_empty() => Ok(()),
            Standing::Ours(_) => Err(Failed::no(format!("the secret-id {handle} was not revoked"))),
            Standing::Foreign => Err(not_ours(handle)),
        }
    }

    async fn found(&self, handle: &Handle) -> Result<Standing, Failed> {
        let rotator = self.rotator().await?;
        let standing = self.standing(rotator.link(), Name::of(handle)).await;
        rotator.close().await;
        standing
    }

    pub(super) async fn cut(
        &self,
        handle: &Handle,
        sessions: Sessions,
        touched: &Touched,
    ) -> Result<Cut, Failed> {
        let rotator = self.rotator().await?;
        let cut = self.cut_by(rotator.link(), handle, sessions, touched).await;
        rotator.close().await;
        cut
    }

    async fn cut_by(
        &self,
        link: &Link,
        handle: &Handle,
        sessions: Sessions,
        touched: &Touched,
    ) -> Result<Cut, Failed> {
        let name = Name::of(handle);
        let Standing::Ours(accessors) = self.standing(link, name).await? else {
            return Err(not_ours(handle));
        };
        for accessor in accessors {
            self.destroy(link, &accessor, touched).await?;
        }
        match (self.account.tokens, sessions) {
            (Tokens::Leave, _) => Ok(Cut::default()),
            (Tokens::Watch, Sessions::Leave) => {
                let left = self.tokens_of(link, name).await?.len();
                Ok(Cut { sessions_ended: 0, sessions_left: u32::try_from(left).unwrap_or(u32::MAX) })
            }
            (Tokens::Watch, Sessions::End) => {
                let sessions_ended = self.end_tokens_of(link, name, touched).await?;
                Ok(Cut { sessions_ended, sessions_left: 0 })
            }
        }
    }

    /// Destroys a secret-id that was seen to be ours. Absent is success, which OpenBao calls an internal error.
    async fn destroy(&self, link: &Link, accessor: &str, touched: &Touched) -> Result<(), Failed> {
        let (mount, role) = (&self.target.mount, &self.account.role);
        let destroy = role::secret::delete_accessor(&link.vault, mount, role, accessor)
            .map_err(|error| failed(error).during(&format!("destroy {accessor}")));
        match touched.by(destroy).await {
            Err(Failed::Lost(said)) if said.contains("failed to find") => Ok(()),
            done => done,
        }
    }

    async fn standing(&self, link: &Link, name: Name<'_>) -> Result<Standing, Failed> {
        let Some(accessor) = name.accessor else {
            let ours = self.ours(link).await?.into_iter();
            let meant = ours.filter(|(mark, accessor)| name.means(mark, accessor));
            return Ok(Standing::Ours(meant.map(|(_, accessor)| accessor).collect()));
        };
        Ok(match self.looked_up(link, accessor).await? {
            None => Standing::Ours(Vec::new()),
            Some(Some(mark)) if name.means(&mark, accessor) => Standing::Ours(vec![accessor.to_owned()]),
            Some(_) => Standing::Foreign,
        })
    }

    /// Every secret-id of the role, whoever made it.
    pub(super) async fn survey_all(&self) -> Result<Vec<Sighting>, Failed> {
        let rotator = self.rotator().await?;
        let all = self.all(rotator.link()).await;
        rotator.close().await;
        let name = |(mark, accessor): (Option<Mark>, String)| {
            let ours = mark.and_then(|mark| mark.handle(&accessor));
            ours.map_or_else(|| format!("secret-id with accessor {accessor}"), |handle| handle.to_string())
        };
        Ok(all?.into_iter().map(|one| Sighting { name: name(one), shut: None }).collect())
    }

    /// All secret-ids of the role that are this credential's.
    async fn ours(&self, link: &Link) -> Result<Vec<(Mark, String)>, Failed> {
        let all = self.all(link).await?.into_iter();
        Ok(all.filter_map(|(mark, accessor)| Some((mark?, accessor))).collect())
    }

    /// All secret-ids of the role, with what marks those of this credential.
    async fn all(&self, link: &Link) -> Result<Vec<(Option<Mark>, String)>, Failed> {
        let listed = role::secret::list(&link.vault, &self.target.mount, &self.account.role).await;
        let accessors = match listed.map_err(|error| failed(error).during("list the secret-ids")) {
            Ok(listed) => listed.keys,
            // None at all.
            Err(none) if none.is(404) => return Ok(Vec::new()),
            Err(other) => return Err(other),
        };
        if accessors.len() > MOST {
            let text = format!(
                "the role has {} secret-ids: more than {MOST} are not looked through",
                accessors.len()
            );
            return Err(Failed::no(text));
        }
        let mut all = Vec::new();
        for some in accessors.chunks(AT_A_TIME) {
            let looks = some.iter().map(|accessor| self.looked_up(link, accessor));
            for (accessor, mark) in some.iter().zip(try_join_all(looks).await?) {
                all.extend(mark.map(|mark| (mark, accessor.clone())));
            }
        }
        Ok(all)
    }

    /// What a secret-id says of itself: none where there is none, and no mark where it is not this credential's.
    async fn looked_up(&self, link: &Link, accessor: &str) -> Result<Option<Option<Mark>>, Failed> {
        let (mount, role) = (&self.target.mount, &self.account.role);
        let read = role::secret::read_accessor(&link.vault, mount, role, accessor).await;
        match read.map_err(|error| failed(error).during("look up a secret-id")) {
            Ok(read) => Ok(Some(Mark::read(&self.owner, read.metadata.as_ref()))),
            Err(none) if none.is(404) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

fn not_ours(handle: &Handle) -> Failed {
    Failed::no(format!("the metadata of {handle} name another owner than this credential"))
}
