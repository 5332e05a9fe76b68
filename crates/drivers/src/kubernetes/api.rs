//! Requests to the API server, and what its answers mean.

use hyper::Method;
use rekey_model::SecretBytes;
use serde_json::Value;
use zeroize::Zeroize;

use super::Kubernetes;
use crate::answer::Failed;
use crate::http::{Answer, Http, Login};

impl Kubernetes {
    /// A request as the rotator.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Body, Failed> {
        let what = format!("{method} {path}");
        let login = Login::Bearer(&self.target.token);
        let answer = Box::pin(self.target.http.ask(method, path, login, body)).await;
        answer.and_then(|answer| read(&answer)).map_err(|failed| failed.during(&what))
    }

    /// A request as the consumer, over its route.
    pub(super) async fn ask_as(&self, token: &SecretBytes, path: &str, body: &Value) -> Result<Body, Failed> {
        let route: &Http = &self.target.consumer;
        let answer = Box::pin(route.ask(Method::POST, path, Login::Bearer(token), Some(body))).await;
        answer.and_then(|answer| read(&answer))
    }

    /// Where the credential's namespace is.
    pub(super) fn namespace(&self) -> String {
        format!("/api/v1/namespaces/{}", self.account.namespace)
    }
}

/// What was answered. Texts in it are wiped when it goes.
pub(super) struct Body(pub(super) Value);

impl Body {
    /// The text at a JSON pointer.
    pub(super) fn text(&self, at: &str) -> Option<&str> {
        self.0.pointer(at)?.as_str()
    }

    /// Takes the text at a JSON pointer out.
    pub(super) fn take(&mut self, at: &str) -> Option<String> {
        match self.0.pointer_mut(at)?.take() {
            Value::String(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    pub(super) fn is_true(&self, at: &str) -> bool {
        self.0.pointer(at).and_then(Value::as_bool) == Some(true)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(list) => list.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn read(answer: &Answer) -> Result<Body, Failed> {
    let body: Result<Value, _> = serde_json::from_slice(&answer.body);
    if (200..300).contains(&answer.status) {
        let body =
            body.map_err(|_not| Failed::Lost("the answer is none that an API server gives".to_owned()));
        return body.map(Body);
    }
    // A `Status` object says in words what is wrong, by names.
    let said = body.unwrap_or_default();
    let said = said.get("message").and_then(Value::as_str).unwrap_or_default();
    Err(Failed::answered(answer.status, said).asked_to_wait(answer.retry_after))
}
