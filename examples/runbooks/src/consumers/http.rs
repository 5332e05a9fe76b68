//! An application that asks a server for one thing each time, with what it read as its bearer token.

use rekey_testkit::http::Http;
use rekey_testkit::kube::ask_at;
use serde_json::Value;

use crate::consumer::Turn;

/// What it does each time: a GET of `path`, with the credential's `field`.
pub(crate) fn gets(
    server: Http,
    field: &'static str,
    path: &str,
) -> impl FnMut(&Turn<'_>) -> Result<(), String> + Send + 'static {
    let path = path.to_owned();
    move |turn| match get(&server, turn.text(field)?, &path)? {
        200 => Ok(()),
        status => Err(format!("status {status}")),
    }
}

/// The status of an answer to this token.
pub(crate) fn get(server: &Http, token: &str, path: &str) -> Result<u16, String> {
    let answer = ask_at(server, token, "GET", path, &Value::Null);
    answer.map(|answer| answer.status).map_err(|error| format!("{error:#}"))
}
