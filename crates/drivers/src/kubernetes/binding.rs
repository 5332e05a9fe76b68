//! What tokens are bound to: a Secret object for each version, made before the token and deleted to end it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Method;
use rekey_model::{Fields, Handle, SecretBytes, Version};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::api::Body;
use super::{CACHED, Kubernetes};
use crate::answer::{Failed, Touched};
use crate::driver::given;
use crate::{Found, Installed, Intent, ListedVersion};

/// The most objects of a credential that are looked through.
const MOST: usize = 500;

const OWNER: &str = "rekey/owner";
const INSTALLATION: &str = "rekey/installation";
const CREDENTIAL: &str = "rekey/credential";
const VERSION: &str = "rekey/version";
const NAME_OF: &str = "rekey/name";

/// A binding that is ours.
struct Bound {
    version: Version,
    handle: Handle,
    uid: String,
}

/// What is at the target under a name.
enum Standing {
    Absent,
    Ours(Bound),
    Foreign,
}

impl Kubernetes {
    pub(super) async fn make(&self, intent: &Intent, touched: &Touched) -> Result<Installed, Failed> {
        if intent.secret.is_some() {
            return Err(Failed::no("the API server makes tokens itself: none can be set"));
        }
        let lacks = self.lacks().await?;
        if !lacks.is_empty() {
            let lacks: Vec<String> =
                lacks.iter().map(|lack| format!("{}: {}", lack.what, lack.remedy)).collect();
            return Err(Failed::no(lacks.join("; ")));
        }
        let uid = self.bind(intent, touched).await?;
        match touched.by(self.token_for(intent, &uid)).await {
            Ok(token) => Ok(Installed { fields: self.fields(token)?, handle: intent.handle.clone() }),
            Err(no @ Failed::No { .. }) => {
                self.delete(&intent.handle, &uid, touched).await?;
                touched.undone();
                Err(no)
            }
            Err(other) => Err(other),
        }
    }

    /// Makes the object, or takes the one that an earlier call of the same intent made. Its uid.
    async fn bind(&self, intent: &Intent, touched: &Touched) -> Result<String, Failed> {
        let body = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": object(&intent.handle),
                "labels": { "app.kubernetes.io/managed-by": "rekey", OWNER: self.owner_label() },
                "annotations": {
                    INSTALLATION: self.owner.installation,
                    CREDENTIAL: self.owner.credential.as_str(),
                    VERSION: intent.version.get().to_string(),
                    NAME_OF: intent.handle.as_str(),
                },
            },
            "type": "rekey/token-binding",
            "immutable": true,
        });
        let secrets = format!("{}/secrets", self.namespace());
        match touched.by(self.ask(Method::POST, &secrets, Some(&body))).await {
            Ok(made) => {
                let uid = made.text("/metadata/uid").map(str::to_owned);
                uid.ok_or_else(|| Failed::Lost("the new Secret has no uid".to_owned()))
            }
            Err(taken) if taken.is(409) => match self.standing(&intent.handle).await? {
                Standing::Ours(bound) if bound.version == intent.version => Ok(bound.uid),
                Standing::Absent => Err(Failed::Away("a Secret of this name went a moment ago".to_owned())),
                Standing::Ours(_) | Standing::Foreign => Err(not_ours(&intent.handle)),
            },
            Err(other) => Err(other),
        }
    }

    async fn token_for(&self, intent: &Intent, uid: &str) -> Result<SecretBytes, Failed> {
        let life = self.account.life.get().as_secs();
        let mut spec = json!({
            "expirationSeconds": life,
            "boundObjectRef": { "apiVersion": "v1", "kind": "Secret", "name": object(&intent.handle), "uid": uid },
        });
        if let (Some(spec), false) = (spec.as_object_mut(), self.account.audiences.is_empty()) {
            spec.insert("audiences".to_owned(), self.account.audiences.clone().into());
        }
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
        let path = format!("{}/serviceaccounts/{}/token", self.namespace(), self.account.service_account);
        let mut answer = self.ask(Method::POST, &path, Some(&body)).await?;
        let token = answer.take("/status/token").map(SecretBytes::from);
        let token = token.ok_or_else(|| Failed::Lost("the answer holds no token".to_owned()))?;
        let granted = granted(&token)
            .ok_or_else(|| Failed::Lost("the token does not say how long it lives".to_owned()))?;
        if granted < life {
            return Err(Failed::no(format!(
                "the API server grants {granted} s instead of {life} s: declare a shorter `life`, or raise its \
                 --service-account-max-token-expiration"
            )));
        }
        Ok(token)
    }

    fn fields(&self, token: SecretBytes) -> Result<Fields, Failed> {
        let text = |text: &str| SecretBytes::from(text.to_owned());
        let values = [
            ("token", token),
            ("server", text(&self.target.consumer_server)),
            ("namespace", text(&self.account.namespace)),
            ("service_account", text(&self.account.service_account)),
        ];
        given(values).map_err(Failed::no)
    }

    /// What a call for `intent` made without anybody having its token.
    pub(super) async fn strangers(&self, intent: &Intent) -> Result<Found, Failed> {
        Ok(match self.standing(&intent.handle).await? {
            Standing::Absent => Found::Absent,
            Standing::Ours(bound) if bound.version != intent.version => Found::Foreign,
            Standing::Ours(bound) if intent.may_have_made(&bound.handle) => {
                Found::Strangers(vec![bound.handle])
            }
            Standing::Ours(_) => Found::Present,
            Standing::Foreign => Found::Foreign,
        })
    }

    /// Makes sure that it is there.
    pub(super) async fn keep(&self, handle: &Handle) -> Result<(), Failed> {
        match self.standing(handle).await? {
            Standing::Ours(_) => Ok(()),
            Standing::Absent => Err(Failed::no(format!("there is no Secret {}", object(handle)))),
            Standing::Foreign => Err(not_ours(handle)),
        }
    }

    /// Makes sure that it is not.
    pub(super) async fn gone(&self, handle: &Handle) -> Result<(), Failed> {
        match self.standing(handle).await? {
            Standing::Absent => Ok(()),
            Standing::Ours(_) => Err(Failed::no(format!("the Secret {} was not deleted", object(handle)))),
            Standing::Foreign => Err(not_ours(handle)),
        }
    }

    pub(super) async fn cut(&self, handle: &Handle, touched: &Touched) -> Result<crate::Cut, Failed> {
        match self.standing(handle).await? {
            Standing::Absent => {}
            Standing::Foreign => return Err(not_ours(handle)),
            Standing::Ours(bound) => self.delete(handle, &bound.uid, touched).await?,
        }
        // One that is gone already may have gone a moment ago, by a call whose answer was lost.
        tokio::time::sleep(CACHED).await;
        Ok(crate::Cut::default())
    }

    /// Deletes what was seen to be ours, and nothing that came in its place. Absent is success.
    async fn delete(&self, handle: &Handle, uid: &str, touched: &Touched) -> Result<(), Failed> {
        let path = format!("{}/secrets/{}", self.namespace(), object(handle));
        let body = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid } });
        match touched.by(self.ask(Method::DELETE, &path, Some(&body))).await {
            Ok(_) => Ok(()),
            Err(gone) if gone.is(404) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Every binding of this credential.
    pub(super) async fn versions(&self) -> Result<Vec<ListedVersion>, Failed> {
        let path = format!(
            "{}/secrets?limit={MOST}&labelSelector=rekey%2Fowner%3D{}",
            self.namespace(),
            self.owner_label()
        );
        let listed = self.ask(Method::GET, &path, None).await?;
        if listed.text("/metadata/continue").is_some_and(|more| !more.is_empty()) {
            return Err(Failed::no(format!("there are more than {MOST} Secrets of this credential")));
        }
        let items = listed.0.pointer("/items").and_then(Value::as_array).cloned().unwrap_or_default();
        let bound = items.into_iter().filter_map(|item| self.bound(&Body(item)));
        Ok(bound
            .map(|bound| ListedVersion {
                version: Some(bound.version),
                handle: bound.handle,
                accepted: true,
                adopted: false,
            })
            .collect())
    }

    async fn standing(&self, handle: &Handle) -> Result<Standing, Failed> {
        let path = format!("{}/secrets/{}", self.namespace(), object(handle));
        match self.ask(Method::GET, &path, None).await {
            Ok(found) => Ok(match self.bound(&found) {
                Some(bound) if bound.handle == *handle => Standing::Ours(bound),
                Some(_) | None => Standing::Foreign,
            }),
            Err(none) if none.is(404) => Ok(Standing::Absent),
            Err(other) => Err(other),
        }
    }

    /// A Secret as a binding of this credential; none where it is something else.
    fn bound(&self, secret: &Body) -> Option<Bound> {
        let says = |key: &str| secret.0.pointer("/metadata/annotations")?.get(key)?.as_str();
        let ours = says(INSTALLATION)? == self.owner.installation
            && says(CREDENTIAL)? == self.owner.credential.as_str();
        let version = says(VERSION)?.parse().ok().and_then(Version::new)?;
        let uid = secret.text("/metadata/uid")?.to_owned();
        ours.then_some(Bound { version, handle: says(NAME_OF)?.parse().ok()?, uid })
    }

    /// Whose a binding is, as a label can say it: labels are short.
    fn owner_label(&self) -> String {
        let whose = format!("{}\n{}", self.owner.installation, self.owner.credential);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, whose.as_bytes());
        hex::encode(hash).chars().take(40).collect()
    }
}

/// What a version's object is called: names of objects have no underscores.
fn object(handle: &Handle) -> String {
    handle.as_str().replace('_', "-")
}

/// How long a token lives, in seconds, as it says itself.
fn granted(token: &SecretBytes) -> Option<u64> {
    let claims = token.expose().split(|byte| *byte == b'.').nth(1)?;
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims.get("exp")?.as_u64()?.checked_sub(claims.get("iat")?.as_u64()?)
}

fn not_ours(handle: &Handle) -> Failed {
    Failed::no(format!("the Secret {} names another owner than this credential", object(handle)))
}
