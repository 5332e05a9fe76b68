//! Requests to the management plugin, and what its answers mean.

use hyper::Method;
use serde_json::Value;

use super::Rabbitmq;
use crate::answer::Failed;
use crate::http::{Answer, Login};

/// In the text of a refusal: what the rotator lacks.
pub(super) const NO_ADMINISTRATOR: &str = "is no administrator";

impl Rabbitmq {
    /// What is at `path`, which follows `/api/`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failed> {
        let answer = self.ask(Method::GET, path, None).await?;
        let noise = |_not| Failed::Lost(format!("GET {path}: the answer is none that RabbitMQ gives"));
        serde_json::from_slice(&answer.body).map_err(noise)
    }

    /// The same; none where there is nothing.
    pub(super) async fn get_if_there(&self, path: &str) -> Result<Option<Value>, Failed> {
        match self.get(path).await {
            Err(failed) if failed.is(404) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Changes what is at `path`. It is for the caller to say that something is touched.
    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<(), Failed> {
        self.ask(Method::PUT, path, Some(body)).await.map(drop)
    }

    /// Takes away what is at `path`; nothing there is as good.
    pub(super) async fn delete(&self, path: &str) -> Result<(), Failed> {
        match self.ask(Method::DELETE, path, None).await {
            Err(failed) if failed.is(404) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Failed> {
        let (what, path) = (format!("{method} {path}"), format!("/api/{path}"));
        let login = Login::Basic(&self.target.user, &self.target.password);
        let answer = Box::pin(self.target.http.ask(method, &path, login, body)).await;
        answer.and_then(|answer| self.read(answer)).map_err(|failed| failed.during(&what))
    }

    fn read(&self, answer: Answer) -> Result<Answer, Failed> {
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let mut said = said(&answer.body);
        if answer.status == 401 {
            // "Not administrator user"; all else is about the login.
            let why = if said.ends_with(" user") { NO_ADMINISTRATOR } else { "is not let in" };
            said = format!("the rotator {} {why}: {said}", self.target.user);
        }
        Err(Failed::answered(answer.status, &said).asked_to_wait(answer.retry_after))
    }
}

/// The reason that an answer gives, and nothing else of it.
fn said(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    match body.get("reason") {
        Some(Value::String(reason)) => reason.clone(),
        Some(reason) => reason.to_string(),
        None => String::new(),
    }
}

/// A name as one piece of a path. A dot is escaped too: `.` and `..` as a whole piece would mean something else.
pub(super) fn piece(name: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'~');
    name.bytes().map(|c| if plain(c) { char::from(c).to_string() } else { format!("%{c:02X}") }).collect()
}

/// The text of a field.
pub(super) fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field)?.as_str()
}

/// The entries of a list; anything else is no answer.
pub(super) fn entries(value: &Value) -> Result<&[Value], Failed> {
    let noise = || Failed::Lost("the answer is no list".to_owned());
    value.as_array().map(Vec::as_slice).ok_or_else(noise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_piece_of_a_path() {
        assert_eq!(piece("orders_v3-x"), "orders_v3-x");
        assert_eq!(piece("/"), "%2F");
        assert_eq!(piece(".."), "%2E%2E");
        assert_eq!(piece("a b?ü"), "a%20b%3F%C3%BC");
    }

    #[test]
    fn a_reason_is_told_and_the_rest_of_a_body_is_not() {
        assert_eq!(said(br#"{"error":"bad_request","reason":"no","password":"p"}"#), "no");
        assert_eq!(said(br#"{"reason":["x",1]}"#), r#"["x",1]"#);
        assert_eq!(said(b"<html>secret"), "");
    }
}
