//! The proof of a version: what the API server says of the token, and what it lets the token do.

use hyper::Method;
use rekey_model::{Fields, SecretBytes};
use serde_json::json;

use super::Kubernetes;
use super::settings::Probe;
use crate::Proof;
use crate::answer::Failed;

impl Kubernetes {
    pub(super) async fn prove(&self, fields: &Fields) -> Result<Proof, Failed> {
        let token = fields.get("token").ok_or_else(|| Failed::no("login: there is no token"))?;
        self.is_reviewed(token).await?;
        if self.account.audiences.is_empty() || !self.account.probes.is_empty() {
            self.logs_in(token).await.map_err(|failed| failed.during("login"))?;
        }
        for (index, probe) in self.account.probes.iter().enumerate() {
            let allowed = self.may(token, probe).await;
            allowed.map_err(|failed| failed.during(&format!("probe {} ({probe})", index + 1)))?;
        }
        Ok(Proof { probes: self.account.probes.len() })
    }

    /// Asks as any service does that is shown the token: whose it is, and for which audiences.
    async fn is_reviewed(&self, token: &SecretBytes) -> Result<(), Failed> {
        let text =
            std::str::from_utf8(token.expose()).map_err(|_not| Failed::no("login: the token is no text"))?;
        let mut spec = json!({ "token": text });
        if let (Some(spec), false) = (spec.as_object_mut(), self.account.audiences.is_empty()) {
            spec.insert("audiences".to_owned(), self.account.audiences.clone().into());
        }
        let body = super::api::Body(json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec
        }));
        let review =
            self.ask(Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews", Some(&body.0)).await?;
        if !review.is_true("/status/authenticated") {
            let why = review.text("/status/error").unwrap_or("it is not authenticated");
            return Err(Failed::no(format!("login: TokenReview says no: {}", crate::fault::one_line(why))));
        }
        if review.text("/status/user/username") != Some(&self.account.user()) {
            return Err(Failed::no(format!("login: the token is not of {}", self.account.user())));
        }
        let granted = review.0.pointer("/status/audiences").and_then(serde_json::Value::as_array);
        let granted: Vec<&str> =
            granted.into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
        match self.account.audiences.iter().find(|audience| !granted.contains(&audience.as_str())) {
            Some(missing) => Err(Failed::no(format!("login: the token is not for the audience {missing}"))),
            None => Ok(()),
        }
    }

    /// Uses it, over the consumer's route.
    async fn logs_in(&self, token: &SecretBytes) -> Result<(), Failed> {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let said = self.ask_as(token, path, &body).await?;
        if said.text("/status/userInfo/username") == Some(&self.account.user()) {
            return Ok(());
        }
        Err(Failed::no(format!("the token is not of {}", self.account.user())))
    }

    async fn may(&self, token: &SecretBytes, probe: &Probe) -> Result<(), Failed> {
        let body = probe.review(&self.account.namespace);
        let said = self.ask_as(token, super::rights::REVIEWS, &body).await?;
        if said.is_true("/status/allowed") { Ok(()) } else { Err(Failed::no("it may not")) }
    }
}
