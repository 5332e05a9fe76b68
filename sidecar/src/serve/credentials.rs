//! The calls of `rekey.v1.Credentials`.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream;
use rekey_model::CredentialName;
use rekey_proto::encoded::credentials_server;
use rekey_proto::encoded::fetch_response::Answer;
use rekey_proto::encoded::{
    FetchRequest, FetchResponse, GetRequest, GetResponse, ListRequest, ListResponse, ListedCredential,
    ReportRequest, ReportResponse, WatchRequest, WatchResponse,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::counts::Method;
use super::unreadable::Refused;
use super::{REPLACEMENT, Shared, reports, watch};
use crate::live::{Content, Entry, Reading, Unreadable};
use crate::usage::Consumer;

/// Answers what local processes ask.
#[derive(Debug)]
pub struct Credentials {
    shared: Shared,
}

/// What a stream of this service yields.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Credentials {
    /// A service over `shared`.
    pub fn new(shared: Shared) -> Self {
        Self { shared }
    }
}

impl Shared {
    /// Whether `consumer` may read `name` at all.
    pub(super) fn may_read(&self, consumer: &Consumer, name: &str) -> bool {
        self.callers.may_read(consumer.process(), name)
    }

    /// What `consumer` gets for `name` now. Unknown and forbidden look the same.
    pub(super) fn read(&self, consumer: &Consumer, name: &str) -> Result<Reading, Refused> {
        let found =
            if self.may_read(consumer, name) { self.live.read(name) } else { Err(self.as_if_unknown()) };
        match found {
            Ok(reading) => {
                consumer.note_read(name);
                Ok(reading)
            }
            Err(why @ (Unreadable::NotFound | Unreadable::Waiting)) => {
                name.parse::<CredentialName>().map_err(Refused::Invalid)?;
                Err(Refused::Live(why))
            }
            Err(why) => Err(Refused::Live(why)),
        }
    }

    /// The same, after a wait for the change of a target that takes one value, and for a replacement that is owed.
    async fn read_or_wait(&self, consumer: &Consumer, name: &str) -> Result<Reading, Refused> {
        let now = match self.read(consumer, name) {
            Err(Refused::Live(Unreadable::Settling { until_ms })) => {
                self.live.wait_for_the_cut(name, until_ms).await;
                self.read(consumer, name)
            }
            now => now,
        };
        match now {
            Err(Refused::Live(Unreadable::Revoked { owed: true })) => {
                self.live.wait_for_replacement(name, REPLACEMENT).await;
                self.read(consumer, name)
            }
            now => now,
        }
    }

    fn as_if_unknown(&self) -> Unreadable {
        if self.live.snapshot().is_complete() { Unreadable::NotFound } else { Unreadable::Waiting }
    }
}

/// The connection that a request came on, if it says what client it comes from.
fn admit<T>(request: &Request<T>) -> Result<Arc<Consumer>, Status> {
    let client = request.metadata().get(rekey_proto::CLIENT_METADATA).and_then(|value| value.to_str().ok());
    let named = client.filter(|text| text.len() <= 128).and_then(|text| text.split_once('/'));
    if named.is_none_or(|(name, version)| name.is_empty() || version.is_empty()) {
        let missing = "every call carries the metadata `rekey-client: <name>/<version>`";
        return Err(Status::invalid_argument(missing));
    }
    let consumer = request.extensions().get::<Arc<Consumer>>();
    let known = consumer.filter(|consumer| consumer.process().is_some());
    known.map(Arc::clone).ok_or_else(|| Status::permission_denied("the kernel cannot say who calls"))
}

#[tonic::async_trait]
impl credentials_server::Credentials for Credentials {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let consumer = admit(&request)?;
        let name = &request.get_ref().name;
        let found = self.shared.read_or_wait(&consumer, name).await;
        self.shared.counts.answered(Method::Get, found.as_ref().err());
        let reading = found.map_err(|why| why.status())?;
        let freshness = Some(reading.freshness.into());
        Ok(Response::new(GetResponse { credential: reading.answer, freshness }))
    }

    type FetchStream = Answers<FetchResponse>;

    async fn fetch(
        &self,
        request: Request<Streaming<FetchRequest>>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let consumer = admit(&request)?;
        let state = (self.shared.clone(), consumer, request.into_inner());
        let answers = stream::unfold(state, |(shared, consumer, mut requests)| async move {
            let next = tokio::select! {
                biased;
                next = requests.message() => next,
                () = shared.ended.cancelled() => Err(Status::unavailable("this sidecar is shutting down")),
            };
            let answer = match next {
                Ok(Some(request)) => {
                    let found = shared.read_or_wait(&consumer, &request.name).await;
                    shared.counts.answered(Method::Fetch, found.as_ref().err());
                    Ok(fetched(found))
                }
                Ok(None) => return None,
                Err(status) => Err(status),
            };
            Some((answer, (shared, consumer, requests)))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let consumer = admit(&request)?;
        let snapshot = Arc::clone(&self.shared.live.snapshot());
        let readable = snapshot.sorted().into_iter();
        let readable = readable.filter(|entry| self.shared.may_read(&consumer, entry.name.as_str()));
        let credentials = readable.map(|entry| self.line(entry)).collect();
        self.shared.counts.answered(Method::List, None);
        Ok(Response::new(ListResponse { credentials }))
    }

    type WatchStream = Answers<WatchResponse>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let consumer = admit(&request)?;
        let name = request.into_inner().name;
        watch::open(self.shared.clone(), consumer, name).map(Response::new)
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let consumer = admit(&request)?;
        let report = reports::check(&self.shared, &consumer, request.into_inner())?;
        consumer.report(report);
        self.shared.counts.answered(Method::Report, None);
        Ok(Response::new(ReportResponse {}))
    }
}

impl Credentials {
    fn line(&self, entry: &Entry) -> ListedCredential {
        let name = entry.name.to_string();
        let reading = self.shared.live.read(&name);
        let (version, generation) = match &entry.content {
            Content::Served(served) => (served.version.get(), served.generation.0),
            Content::Waiting | Content::Revoked { .. } => (0, 0),
        };
        ListedCredential {
            name,
            version,
            generation,
            freshness: reading.as_ref().ok().map(|reading| reading.freshness.into()),
            error: reading.err().map(|why| Refused::Live(why).answer()),
        }
    }
}

fn fetched(found: Result<Reading, Refused>) -> FetchResponse {
    match found {
        Ok(reading) => FetchResponse {
            freshness: Some(reading.freshness.into()),
            answer: Some(Answer::Credential(reading.answer)),
        },
        Err(why) => FetchResponse { freshness: None, answer: Some(Answer::Error(why.answer())) },
    }
}
