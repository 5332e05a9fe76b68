//! The anchor of all calls: an equal service that always gives the same ready-made bytes, on tonic's server as it comes.

use std::path::Path;
use std::pin::Pin;

use anyhow::Result;
use bytes::Bytes;
use prost::Message;
use rekey_proto::encoded::credentials_server::{Credentials, CredentialsServer};
use rekey_proto::encoded::fetch_response::Answer;
use rekey_proto::encoded::{
    FetchRequest, FetchResponse, Freshness, GetRequest, GetResponse, ListRequest, ListResponse,
    ReportRequest, ReportResponse, WatchRequest, WatchResponse,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::material;

struct Echo {
    credential: Bytes,
}

/// Serves until the process is ended.
pub(crate) async fn serve(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    let echo = Echo { credential: material::answer().encode_to_vec().into() };
    let server = tonic::transport::Server::builder().add_service(CredentialsServer::new(echo));
    Ok(server.serve_with_incoming(UnixListenerStream::new(listener)).await?)
}

/// As fresh as a sidecar's answers are.
const FRESH: Freshness = Freshness { age_ms: 1, stale: false };

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("an echo"))
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Credentials for Echo {
    type FetchStream = BoxStream<FetchResponse>;
    type WatchStream = BoxStream<WatchResponse>;

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Ok(Response::new(GetResponse { credential: self.credential.clone(), freshness: Some(FRESH) }))
    }

    async fn fetch(
        &self,
        request: Request<Streaming<FetchRequest>>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let credential = self.credential.clone();
        let answers = request.into_inner().map(move |asked| {
            asked.map(|_| FetchResponse {
                freshness: Some(FRESH),
                answer: Some(Answer::Credential(credential.clone())),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        not_here()
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        not_here()
    }

    async fn report(&self, _: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        not_here()
    }
}
