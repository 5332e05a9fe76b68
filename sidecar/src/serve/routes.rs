//! Which service answers a path. Three services need no router: one comparison each.
//!
//! Reflection is for people who look around: its descriptors are read when somebody asks first, not in every sidecar.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use prost::Message;
use prost_types::FileDescriptorSet;
use rekey_proto::encoded::credentials_server::{self, CredentialsServer};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::HealthService;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use super::{Credentials, Health};

const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

/// Why the services cannot be described.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReflectionError {
    /// The descriptors built in do not decode.
    #[error("read the descriptors of the services")]
    Decode(#[from] prost::DecodeError),
    /// The descriptors do not fit together.
    #[error("link the descriptors of the services")]
    Link(#[from] tonic_reflection::server::Error),
}

/// The services of the local socket.
#[derive(Debug)]
pub(super) struct Routes<R> {
    credentials: CredentialsServer<Credentials>,
    health: HealthServer<HealthService>,
    reflection: Arc<Reflection<R>>,
}

/// Reflection, once somebody has asked for it.
#[derive(Debug)]
struct Reflection<R> {
    made: OnceLock<Option<ServerReflectionServer<R>>>,
    make: fn() -> Result<ServerReflectionServer<R>, ReflectionError>,
}

impl<R> Clone for Routes<R> {
    fn clone(&self) -> Self {
        let Self { credentials, health, reflection } = self;
        Self { credentials: credentials.clone(), health: health.clone(), reflection: Arc::clone(reflection) }
    }
}

/// `credentials` with health and reflection beside it.
pub(super) fn routes(
    credentials: CredentialsServer<Credentials>,
    health: Health,
) -> Routes<impl ServerReflection> {
    let health = HealthServer::new(HealthService::from_health_reporter(health.reporter))
        .max_decoding_message_size(super::MOST_RECEIVED);
    let reflection = Arc::new(Reflection { made: OnceLock::new(), make: reflection });
    Routes { credentials, health, reflection }
}

fn reflection() -> Result<ServerReflectionServer<impl ServerReflection>, ReflectionError> {
    let server = tonic_reflection::server::Builder::configure()
        .register_file_descriptor_set(described()?)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    Ok(server.max_decoding_message_size(super::MOST_RECEIVED))
}

impl<R> Reflection<R> {
    /// The service; `None` if its descriptors cannot be read, which a test rules out.
    fn service(&self) -> Option<ServerReflectionServer<R>> {
        let made = self.made.get_or_init(|| {
            let made = (self.make)();
            if let Err(problem) = &made {
                tracing::error!(error = problem as &dyn std::error::Error, "there is no reflection");
            }
            made.ok()
        });
        made.clone()
    }
}

/// What is served here, and nothing of the other packages.
fn described() -> Result<FileDescriptorSet, prost::DecodeError> {
    let mut all = FileDescriptorSet::decode(rekey_proto::DESCRIPTORS)?;
    all.file.retain(|file| !matches!(file.package(), "rekey.fleet.v1" | "rekey.admin.v1"));
    Ok(all)
}

impl<R: ServerReflection> Service<http::Request<Body>> for Routes<R> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        match service {
            credentials_server::SERVICE_NAME => self.credentials.call(request),
            health_server::SERVICE_NAME => self.health.call(request),
            REFLECTION => match self.reflection.service() {
                Some(mut reflection) => reflection.call(request),
                None => nothing(),
            },
            _ => nothing(),
        }
    }
}

fn nothing() -> BoxFuture<http::Response<Body>, Infallible> {
    Box::pin(async { Ok(Status::unimplemented("no such service here").into_http()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_is_made_when_it_is_asked_for_and_then_kept() {
        let lazy = Reflection { made: OnceLock::new(), make: reflection };
        assert!(lazy.made.get().is_none());
        assert!(lazy.service().is_some() && lazy.made.get().is_some());
    }

    #[test]
    fn reflection_shows_the_local_package_and_no_other() {
        let packages: Vec<String> =
            described().unwrap().file.iter().map(|file| file.package().to_owned()).collect();
        assert!(packages.contains(&"rekey.v1".to_owned()), "{packages:?}");
        assert!(!packages.iter().any(|p| p.contains("fleet") || p.contains("admin")), "{packages:?}");
    }
}
