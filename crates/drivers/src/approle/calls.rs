//! The calls that `vaultrs` lacks.

use std::collections::HashMap;

use rustify::endpoint::{Endpoint, Wrapper};
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// A call with a JSON body, or none.
pub(super) struct Call<T> {
    path: String,
    method: RequestMethod,
    body: Option<serde_json::Value>,
    answer: std::marker::PhantomData<fn() -> T>,
}

impl<T> Call<T> {
    pub(super) fn new(method: RequestMethod, path: &str, body: Option<serde_json::Value>) -> Self {
        Self { path: path.to_owned(), method, body, answer: std::marker::PhantomData }
    }
}

impl<T: DeserializeOwned + Send + Sync> Endpoint for Call<T> {
    type Response = T;
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.path.clone()
    }

    fn method(&self) -> RequestMethod {
        self.method.clone()
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        Ok(self.body.as_ref().map(|body| body.to_string().into_bytes()))
    }
}

/// An answer that is wrapped: what `vaultrs` reads of it leaves out the accessor of what is inside.
#[derive(Deserialize)]
pub(super) struct Wrapped {
    pub(super) wrap_info: Wrapping,
}

#[derive(Deserialize)]
pub(super) struct Wrapping {
    pub(super) token: String,
    /// The accessor of the secret-id.
    pub(super) wrapped_accessor: String,
}

impl Wrapper for Wrapped {
    type Value = IgnoredAny;
}

/// What is inside.
#[derive(Deserialize)]
pub(super) struct SecretId {
    pub(super) secret_id: String,
    pub(super) secret_id_accessor: String,
}

/// What the rotator may do, by path.
pub(super) type Capabilities = HashMap<String, serde_json::Value>;

/// The accessors of all tokens.
#[derive(Deserialize)]
pub(super) struct Accessors {
    pub(super) keys: Vec<String>,
}
