//! A fake sidecar: the real service on a real socket, with a script instead of a controller.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rekey_client::{Builder, Client};
use rekey_proto::local as wire;
use rekey_proto::local::credentials_server::{Credentials, CredentialsServer};
use rekey_proto::refusal::Refusal;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

type Updates = watch::Sender<wire::WatchResponse>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What was reported about one credential: versions in use, and (version, accepted, refused).
pub(crate) type Told = (Vec<u64>, Vec<(u64, u64, u64)>);

/// What the script and the service share.
#[derive(Default)]
pub(crate) struct Script {
    credentials: Mutex<BTreeMap<String, Updates>>,
    pub(crate) reports: Mutex<Vec<(Instant, wire::ReportRequest)>>,
    pub(crate) callers: Mutex<Vec<Option<String>>>,
    pub(crate) watching: AtomicUsize,
}

/// A sidecar that can be told what to serve, and killed.
pub(crate) struct Fake {
    pub(crate) script: Arc<Script>,
    folder: tempfile::TempDir,
    runtime: Option<Runtime>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let mut fake = Self::not_started();
        fake.start_again();
        fake
    }

    pub(crate) fn not_started() -> Self {
        Self { script: Arc::default(), folder: tempfile::tempdir().unwrap(), runtime: None }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("rekey.sock")
    }

    pub(crate) fn settings(&self) -> Builder {
        Builder::new(self.path())
            .report_every(Duration::from_millis(50))
            .ready_timeout(Duration::from_secs(5))
    }

    pub(crate) async fn client(&self) -> Client {
        self.settings().connect().await.unwrap()
    }

    /// Binds the socket anew. What was served before is forgotten by nobody but the connections.
    pub(crate) fn start_again(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            bind(&self.path())
        };
        let service = CredentialsServer::new(Service(Arc::clone(&self.script)));
        runtime.spawn(
            // The limits of a real sidecar.
            tonic::transport::Server::builder()
                .max_concurrent_streams(32)
                .concurrency_limit_per_connection(16)
                .load_shed(true)
                .add_service(service)
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        self.runtime = Some(runtime);
    }

    /// Ends at once, as a killed process does: every connection breaks.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.script.watching.store(0, Ordering::SeqCst);
    }

    /// Serves `version` of `name`; the values carry the version, so that a mixture would be seen.
    pub(crate) fn serve(&self, name: &str, version: u64) {
        self.serve_this(name, credential(name, version));
    }

    /// As [`Fake::serve`], while `previous` are accepted for another hour.
    pub(crate) fn serve_after(&self, name: &str, version: u64, previous: &[u64]) {
        let until = SystemTime::now() + Duration::from_hours(1);
        let entry =
            |version: &u64| wire::PreviousVersion { version: *version, accept_until: Some(until.into()) };
        let previous = previous.iter().map(entry).collect();
        self.serve_this(name, wire::Credential { previous, ..credential(name, version) });
    }

    pub(crate) fn serve_this(&self, name: &str, credential: wire::Credential) {
        let freshness = Some(wire::Freshness { age_ms: 20, stale: false });
        let update = Some(wire::watch_response::Update::Credential(credential));
        self.update(name, wire::WatchResponse { freshness, update });
    }

    pub(crate) fn refuse(&self, name: &str, reason: wire::read_error::Reason) {
        let error =
            wire::ReadError { reason: reason.into(), message: "by the script".to_owned(), retry_after_ms: 7 };
        let update = Some(wire::watch_response::Update::Unavailable(error));
        self.update(name, wire::WatchResponse { freshness: None, update });
    }

    pub(crate) fn update(&self, name: &str, response: wire::WatchResponse) {
        self.script.credentials.lock().unwrap().entry(name.to_owned()).or_default().send_replace(response);
    }

    /// The latest report about `name`.
    pub(crate) fn reported(&self, name: &str) -> Option<Told> {
        let reports = self.script.reports.lock().unwrap();
        let uses = reports.last()?.1.uses.iter().find(|uses| uses.name == name)?;
        let outcomes = uses.outcomes.iter().map(|o| (o.version, o.accepted, o.refused)).collect();
        Some((uses.versions_in_use.clone(), outcomes))
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Binds as a sidecar does: beside, then into place.
fn bind(path: &Path) -> UnixListener {
    let beside = path.with_extension("new");
    let listener = UnixListener::bind(&beside).unwrap();
    std::fs::rename(&beside, path).unwrap();
    listener
}

pub(crate) fn credential(name: &str, version: u64) -> wire::Credential {
    let fields = [("username", format!("user-{version}")), ("password", format!("marker-{version}"))];
    wire::Credential {
        name: name.to_owned(),
        version,
        stage: wire::Stage::Current.into(),
        fields: fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_bytes()))
            .collect::<HashMap<_, _>>(),
        generation: version * 10,
        ..wire::Credential::default()
    }
}

/// `version` while nobody can say whether the target takes it or the one after it.
pub(crate) fn unsettled(name: &str, version: u64) -> wire::Credential {
    let next = wire::Credential { stage: wire::Stage::Next.into(), ..credential(name, version + 1) };
    let (unsettled, one_at_a_time, next) = (true, true, Some(Box::new(next)));
    wire::Credential { unsettled, one_at_a_time, next, ..credential(name, version) }
}

/// Waits until `holds`, looking often; stops the test with `what` when it takes too long.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Service(Arc<Script>);

impl Service {
    /// Refuses a call without a name, and notes who called.
    fn caller<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let named = request.metadata().get("rekey-client").map(|value| value.to_str().unwrap().to_owned());
        self.0.callers.lock().unwrap().push(named.clone());
        named.map(drop).ok_or_else(|| Status::unauthenticated("no rekey-client"))
    }

    fn updates(&self, name: &str) -> Option<Updates> {
        self.0.credentials.lock().unwrap().get(name).cloned()
    }

    fn read(&self, name: &str) -> wire::FetchResponse {
        use wire::fetch_response::Answer;
        use wire::watch_response::Update;
        let error = |reason: wire::read_error::Reason| {
            Answer::Error(wire::ReadError { reason: reason.into(), ..Default::default() })
        };
        let answer = match self.updates(name).map(|updates| updates.borrow().clone().update) {
            None => error(wire::read_error::Reason::NotFound),
            Some(None) => error(wire::read_error::Reason::Waiting),
            Some(Some(Update::Credential(credential))) => Answer::Credential(credential),
            Some(Some(Update::Unavailable(why))) => Answer::Error(why),
        };
        wire::FetchResponse { freshness: Some(wire::Freshness::default()), answer: Some(answer) }
    }
}

/// Counts the open streams.
struct Watching(Arc<Script>);

impl Drop for Watching {
    fn drop(&mut self) {
        // A killed fake has already set it to nothing.
        self.0
            .watching
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| Some(n.saturating_sub(1)))
            .unwrap();
    }
}

#[tonic::async_trait]
impl Credentials for Service {
    type FetchStream = BoxStream<wire::FetchResponse>;
    type WatchStream = BoxStream<wire::WatchResponse>;

    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::GetResponse>, Status> {
        use wire::read_error::Reason as R;
        self.caller(&request)?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let answer = self.read(&request.get_ref().name);
        match answer.answer.unwrap() {
            wire::fetch_response::Answer::Credential(credential) => Ok(Response::new(wire::GetResponse {
                credential: Some(credential),
                freshness: answer.freshness,
            })),
            wire::fetch_response::Answer::Error(error) => Err(match error.reason() {
                R::Revoked => Refusal::new("REVOKED").into_status(Code::Unavailable, "cut"),
                R::Settling => Refusal::new("SETTLING").into_status(Code::Unavailable, "in a moment"),
                R::Stale => Refusal::new("STALE").into_status(Code::Unavailable, "old"),
                R::Waiting => Refusal::new("WAITING")
                    .retry_after(Duration::from_millis(9))
                    .into_status(Code::Unavailable, "nothing yet"),
                R::Invalid => Status::invalid_argument("no name"),
                R::NotFound | R::Unspecified => Status::not_found("no such credential"),
            }),
        }
    }

    async fn fetch(
        &self,
        request: Request<Streaming<wire::FetchRequest>>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        self.caller(&request)?;
        let service = Self(Arc::clone(&self.0));
        let answers = request.into_inner().map(move |asked| Ok(service.read(&asked?.name)));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        self.caller(&request)?;
        let names: Vec<_> = self.0.credentials.lock().unwrap().keys().cloned().collect();
        let line = |name: String| match self.read(&name).answer.unwrap() {
            wire::fetch_response::Answer::Credential(c) => wire::ListedCredential {
                name,
                version: c.version,
                generation: c.generation,
                ..Default::default()
            },
            wire::fetch_response::Answer::Error(error) => {
                wire::ListedCredential { name, error: Some(error), ..Default::default() }
            }
        };
        Ok(Response::new(wire::ListResponse { credentials: names.into_iter().map(line).collect() }))
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.caller(&request)?;
        let updates =
            self.updates(&request.get_ref().name).ok_or_else(|| Status::not_found("no such credential"))?;
        self.0.watching.fetch_add(1, Ordering::SeqCst);
        let watching = Watching(Arc::clone(&self.0));
        let stream = tokio_stream::wrappers::WatchStream::new(updates.subscribe()).map(move |response| {
            let _open = &watching;
            Ok(response)
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn report(
        &self,
        request: Request<wire::ReportRequest>,
    ) -> Result<Response<wire::ReportResponse>, Status> {
        self.caller(&request)?;
        self.0.reports.lock().unwrap().push((Instant::now(), request.into_inner()));
        Ok(Response::new(wire::ReportResponse {}))
    }
}
