//! The one place where calls are let through: who calls is found out, the table is asked, all else is refused.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use rekey_proto::admin::admin_server::{AdminServer, SERVICE_NAME};
use rekey_runtime::Peer;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;

use super::Admin;
use super::caller::Caller;
use super::refusal::Refusal;
use super::roles::{self, Row};
use crate::audit::{Entry, Outcome, Verb};

/// The largest request: a folder of declarations.
const LARGEST_REQUEST: usize = 8 << 20;
/// The largest answer: the sidecars of a large fleet.
const LARGEST_ANSWER: usize = 64 << 20;

/// The admin API as a service that lets through only what the table of roles allows. Clones are the same.
#[derive(Debug, Clone)]
pub struct AdminService {
    admin: Admin,
    inner: AdminServer<Admin>,
}

impl AdminService {
    pub(super) fn new(admin: &Admin) -> Self {
        let inner = AdminServer::new(admin.clone())
            .max_decoding_message_size(LARGEST_REQUEST)
            .max_encoding_message_size(LARGEST_ANSWER);
        Self { admin: admin.clone(), inner }
    }
}

impl NamedService for AdminService {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for AdminService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (admin, mut inner) = (self.admin.clone(), self.inner.clone());
        Box::pin(async move {
            let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let peer = request.extensions().get::<Peer>().cloned();
            match admin.admit(peer.as_ref(), &call).await {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(refusal) => {
                    tracing::warn!(call = %super::refusal::shown(&call), why = %refusal, "a call was refused");
                    Ok(refusal.to_status().into_http())
                }
            }
        })
    }
}

impl Admin {
    /// Lets a call through, or refuses it and, where it would change something, has the audit say so.
    async fn admit(&self, peer: Option<&Peer>, call: &str) -> Result<Caller, Refusal> {
        let caller = self.caller(peer).await?;
        let Some(Row { role, verb, .. }) = roles::row(call) else {
            return Err(Refusal::RoleMissing {
                call: super::refusal::shown(call),
                needed: roles::Role::Admin,
            });
        };
        if caller.may(*role) {
            return Ok(caller);
        }
        if let Some(verb) = verb {
            self.record_denied(&caller, *verb, role.as_str()).await?;
        }
        Err(Refusal::RoleMissing { call: call.to_owned(), needed: *role })
    }

    async fn record_denied(&self, caller: &Caller, verb: Verb, needed: &str) -> Result<(), Refusal> {
        let entry =
            Entry::new(caller.actor(), verb, Outcome::Refused).because(format!("lacks the role {needed}"));
        let mut tx = self.0.store.begin().await?;
        tx.audit(&entry).await?;
        Ok(tx.commit().await?)
    }
}
