//! What the rotator needs at a cluster: the objects that give it, and whether it has it.

use futures_util::future::try_join_all;
use hyper::Method;
use serde_json::{Value, json};

use super::Kubernetes;
use super::settings::Account;
use crate::Lack;
use crate::answer::Failed;

/// Where one asks what one may do.
pub(super) const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// A right: what may be done to which resource.
struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    /// Whether it is for the one service account alone.
    named: bool,
    /// Whether it is for the namespace alone.
    namespaced: bool,
}

const fn of_secrets(verb: &'static str) -> Right {
    Right { verb, group: "", resource: "secrets", subresource: "", named: false, namespaced: true }
}

const RIGHTS: [Right; 6] = [
    Right {
        verb: "create",
        group: "",
        resource: "serviceaccounts",
        subresource: "token",
        named: true,
        namespaced: true,
    },
    of_secrets("create"),
    of_secrets("get"),
    of_secrets("list"),
    of_secrets("delete"),
    Right {
        verb: "create",
        group: "authentication.k8s.io",
        resource: "tokenreviews",
        subresource: "",
        named: false,
        namespaced: false,
    },
];

/// The objects that give the rotator `rotator` (a service account `namespace/name`) its rights over `account`: what
/// docs/drivers.md shows.
pub fn manifest(account: &Account, (namespace, name): (&str, &str)) -> String {
    let Account { namespace: of, service_account, .. } = account;
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: rekey-{service_account}, namespace: {of} }}
rules:
- {{ apiGroups: [\"\"], resources: [serviceaccounts/token], resourceNames: [{service_account}], verbs: [create] }}
- {{ apiGroups: [\"\"], resources: [secrets], verbs: [create, get, list, delete] }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: rekey-{service_account}, namespace: {of} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: rekey-{service_account} }}
subjects: [{{ kind: ServiceAccount, name: {name}, namespace: {namespace} }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{ name: rekey-token-review }}
rules:
- {{ apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create] }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{ name: rekey-token-review }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: rekey-token-review }}
subjects: [{{ kind: ServiceAccount, name: {name}, namespace: {namespace} }}]
"
    )
}

impl Kubernetes {
    /// The rights that the rotator has not, all of them.
    pub(super) async fn lacks(&self) -> Result<Vec<Lack>, Failed> {
        let lacks = try_join_all(RIGHTS.iter().map(|right| self.lacks_one(right))).await?;
        Ok(lacks.into_iter().flatten().collect())
    }

    async fn lacks_one(&self, right: &Right) -> Result<Option<Lack>, Failed> {
        let Right { verb, group, resource, subresource, named, namespaced } = right;
        let mut attributes =
            json!({ "verb": verb, "group": group, "resource": resource, "subresource": subresource });
        let mut set = |key: &str, value: &str| {
            if let Some(attributes) = attributes.as_object_mut() {
                attributes.insert(key.to_owned(), value.into());
            }
        };
        let mut words = format!("{verb} {resource}");
        if !subresource.is_empty() {
            words = format!("{words}/{subresource}");
        }
        if *named {
            set("name", &self.account.service_account);
            words = format!("{words} of {}", self.account.service_account);
        }
        if *namespaced {
            set("namespace", &self.account.namespace);
            words = format!("{words} in {}", self.account.namespace);
        }
        let said = self.ask(Method::POST, REVIEWS, Some(&review(&attributes))).await?;
        let lack = || {
            let kind = if *namespaced { "Role" } else { "ClusterRole" };
            let whole = if subresource.is_empty() {
                (*resource).to_owned()
            } else {
                format!("{resource}/{subresource}")
            };
            let names = if *named {
                format!(", resourceNames: [{}]", self.account.service_account)
            } else {
                String::new()
            };
            Lack::new(
                format!("the rotator may not {words}"),
                format!(
                    "a {kind} with {{ apiGroups: [\"{group}\"], resources: [{whole}]{names}, verbs: [{verb}] }}"
                ),
            )
        };
        Ok((!said.is_true("/status/allowed")).then(lack))
    }
}

/// Asks whether the asker may do this.
pub(super) fn review(attributes: &Value) -> Value {
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": attributes },
    })
}
