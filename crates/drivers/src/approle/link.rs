//! Requests to OpenBao: as whom, and what their answers mean.

use std::sync::Arc;

use rekey_model::SecretBytes;
use reqwest::redirect;
use rustify::clients::reqwest::Client as Http;
use rustify::endpoint::{Endpoint, Wrapper};
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{VaultClient, VaultClientSettings};
use vaultrs::error::ClientError;

use super::AppRole;
use super::settings::{Login, Timeouts};
use crate::answer::Failed;
use crate::target::{Tls, trusting_nobody};

/// How requests get to a server: this authority alone, no redirect, no proxy of the environment, no repetition.
pub(super) fn http(tls: Option<&Tls>, timeouts: Timeouts) -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        .connect_timeout(timeouts.connect)
        .timeout(timeouts.request);
    // Without any, reqwest looks for the system's, and for a provider that it does not find.
    let config = tls.map_or_else(trusting_nobody, |tls| Ok(Arc::clone(&tls.config)))?;
    let builder = builder.tls_backend_preconfigured((*config).clone());
    builder.build().map_err(|error| format!("no client can be made: {error}"))
}

/// Requests with one token, or none.
pub(super) struct Link {
    pub(super) vault: VaultClient,
}

/// The rotator's requests.
pub(super) struct Rotator {
    link: Link,
    /// Whether the token was issued for this call alone.
    own: bool,
}

impl Rotator {
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Ends a token that was issued for this call alone. One that cannot be ended ends by itself.
    pub(super) async fn close(self) {
        if self.own {
            drop(vaultrs::token::revoke_self(&self.link.vault).await);
        }
    }
}

impl AppRole {
    /// Requests at the address of the controller.
    pub(super) fn link(&self, token: &str) -> Result<Link, Failed> {
        Link::new(&self.target.http, &self.target.address, token)
    }

    /// Requests over the route of consumers.
    pub(super) fn consumer(&self, token: &str) -> Result<Link, Failed> {
        Link::new(&self.target.http, &self.target.consumer, token)
    }

    /// Requests as the rotator.
    pub(super) async fn rotator(&self) -> Result<Rotator, Failed> {
        match &self.target.login {
            Login::Token => {
                let token = text(&self.target.secret, "token_file")?;
                Ok(Rotator { link: self.link(token)?, own: false })
            }
            Login::AppRole { mount, role_id, .. } => {
                let secret = text(&self.target.secret, "login.secret_id_file")?;
                let link = self.link("")?;
                let auth = vaultrs::auth::approle::login(&link.vault, mount, role_id, secret).await;
                let auth = auth.map_err(|error| failed(error).during("the rotator's login"))?;
                Ok(Rotator { link: self.link(&auth.client_token)?, own: true })
            }
        }
    }
}

impl Link {
    fn new(http: &reqwest::Client, address: &str, token: &str) -> Result<Self, Failed> {
        // It would not be sent, but end the process.
        if !token.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(Failed::no("the token cannot be sent: it is not printable ASCII without spaces"));
        }
        let parsed = address.parse();
        let settings = VaultClientSettings {
            address: parsed.map_err(|error| Failed::no(format!("{address} is no address: {error}")))?,
            ca_certs: Vec::new(),
            identity: None,
            timeout: None,
            // Its `Debug` shows it; requests take it from the middleware.
            token: String::new(),
            verify: true,
            version: 1,
            wrapping: false,
            namespace: None,
            proxy: None,
        };
        let middle = EndpointMiddleware {
            token: token.to_owned(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: None,
        };
        Ok(Self { vault: VaultClient { http: Http::new(address, http.clone()), middle, settings } })
    }

    /// Asks for an answer in a wrapping that lives so long.
    pub(super) async fn wrapped<E, W>(&self, endpoint: E, life: &str) -> Result<W, Failed>
    where
        E: Endpoint,
        W: Wrapper<Value = E::Response>,
    {
        let mut middle = self.vault.middle.clone();
        middle.wrap = Some(life.to_owned());
        let answer = endpoint.with_middleware(&middle).exec(&self.vault.http).await;
        let read = answer.and_then(|answer| answer.wrap::<W>());
        read.map_err(|error| failed(ClientError::from(error)))
    }
}

/// The text of a secret in a file that `field` names.
fn text<'a>(secret: &'a SecretBytes, field: &str) -> Result<&'a str, Failed> {
    std::str::from_utf8(secret.expose()).map_err(|_error| Failed::no(format!("{field} holds no text")))
}

/// What went wrong, without what must not be shown: of an error of `vaultrs`, only what is picked here.
#[expect(clippy::wildcard_enum_match_arm, reason = "of another crate's errors, the rest says one thing")]
pub(super) fn failed(error: ClientError) -> Failed {
    use rustify::errors::ClientError as Rest;
    match error {
        ClientError::APIError { code, errors } => told(code, &errors.join("; ")),
        ClientError::RestClientError { source: Rest::ServerResponseError { code, content } } => {
            told(code, &errors_in(content.as_deref().unwrap_or_default()))
        }
        ClientError::RestClientError { source: Rest::RequestError { source, .. } } => unsent(source.as_ref()),
        ClientError::RestClientError { source: Rest::ResponseError { .. } } => {
            Failed::Lost("the answer broke off".to_owned())
        }
        // Built of checked names.
        ClientError::RestClientError {
            source: Rest::RequestBuildError { .. } | Rest::UrlBuildError { .. } | Rest::UrlParseError { .. },
        } => {
            Failed::no("no request can be made to this address with these names: look at `mount` and `role`")
        }
        _ => Failed::Lost("the answer is none that OpenBao gives".to_owned()),
    }
}

/// The errors that a body tells of, and nothing else of it.
fn errors_in(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let errors = body.get("errors").and_then(serde_json::Value::as_array);
    let errors = errors.into_iter().flatten().filter_map(serde_json::Value::as_str);
    errors.collect::<Vec<_>>().join("; ")
}

/// What OpenBao said: its errors, several lines of them.
fn told(code: u16, said: &str) -> Failed {
    let said = said.replace("1 error occurred:", "").replace('*', "");
    let failed = Failed::answered(code, &said.split_whitespace().collect::<Vec<_>>().join(" "));
    if code == 503 { failed.during("OpenBao is sealed or has no active node") } else { failed }
}

/// Why a request has no answer: a server that is not trusted was sent nothing.
fn unsent(source: &(dyn std::error::Error + 'static)) -> Failed {
    let mut connecting = false;
    let mut cause = Some(source);
    let mut words = String::new();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            connecting |= error.is_connect();
        } else {
            words = error.to_string();
        }
        if let Some(rustls) = of_tls(error) {
            let said = format!("TLS: {rustls}");
            return if connecting { Failed::no(said) } else { Failed::Lost(said) };
        }
        cause = error.source();
    }
    if connecting { Failed::Away(words) } else { Failed::Lost(words) }
}

/// What TLS says, from below errors of I/O.
fn of_tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = || error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.downcast_ref().or_else(|| inner().and_then(|inner| of_tls(inner)))
}
