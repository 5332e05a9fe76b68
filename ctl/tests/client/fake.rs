//! A controller's admin service as the tests want it, on a Unix socket of its own.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use rekey_proto::admin::admin_server::{Admin, AdminServer};
use rekey_proto::admin::*;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// What the fake says, and what it heard.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Answers to `Apply`.
    pub(crate) applied: ApplyResponse,
    /// The answer to `Status`.
    pub(crate) status: StatusResponse,
    /// Streams of `WatchRotation`, one a call.
    pub(crate) watched: VecDeque<Vec<RotationProgress>>,
    /// Streams of `Revoke`, one a call.
    pub(crate) revoked: VecDeque<Vec<RevokeProgress>>,
    /// How `Rotate` is refused, if it is.
    pub(crate) refusal: Option<Status>,
    /// What was asked, as `Debug` shows it.
    pub(crate) heard: Vec<String>,
    /// The passwords that were handed in.
    pub(crate) passwords: Vec<Vec<u8>>,
}

/// The fake and the folder it lives in.
pub(crate) struct Fake {
    pub(crate) script: Arc<Mutex<Script>>,
    folder: TempDir,
    /// Serves as long as this lives.
    _runtime: Runtime,
}

impl Fake {
    pub(crate) fn start(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Arc::new(Mutex::new(script));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = {
            let _inside = runtime.enter();
            UnixListener::bind(folder.path().join("admin.sock")).unwrap()
        };
        let service = AdminServer::new(Service(Arc::clone(&script)));
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(UnixListenerStream::new(socket));
        drop(runtime.handle().spawn(server));
        Self { script, folder, _runtime: runtime }
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Runs `rekeyctl` with `args` against the fake, with `input` piped in.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Output {
        let address = format!("unix:{}", self.folder.path().join("admin.sock").display());
        let mut child = Command::new(env!("CARGO_BIN_EXE_rekeyctl"))
            .args(args)
            .env_clear()
            .env("REKEY_CONTROLLER", address)
            .env("HOME", self.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, "")
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.script.lock().unwrap().heard.clone()
    }
}

struct Service(Arc<Mutex<Script>>);

impl Service {
    fn hear(&self, what: &impl std::fmt::Debug) -> std::sync::MutexGuard<'_, Script> {
        let mut script = self.0.lock().unwrap();
        script.heard.push(format!("{what:?}"));
        script
    }
}

type Stream<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

fn stream<T>(messages: Option<Vec<T>>) -> Result<Response<Stream<T>>, Status> {
    let messages = messages.ok_or_else(|| Status::internal("the script has no more"))?;
    Ok(Response::new(tokio_stream::iter(messages.into_iter().map(Ok).collect::<Vec<_>>())))
}

/// Calls whose answer does not matter here.
macro_rules! plain {
    ($($call:ident: $request:ty => $answer:ty),* $(,)?) => {
        #[tonic::async_trait]
        impl Admin for Service {
            type WatchRotationStream = Stream<RotationProgress>;
            type RevokeStream = Stream<RevokeProgress>;

            async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
                Ok(Response::new(self.hear(request.get_ref()).applied.clone()))
            }
            async fn adopt(&self, request: Request<AdoptRequest>) -> Result<Response<AdoptResponse>, Status> {
                let request = request.into_inner();
                self.hear(&request).passwords.push(request.password);
                Ok(Response::new(AdoptResponse { version: 1 }))
            }
            async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
                Ok(Response::new(self.hear(request.get_ref()).status.clone()))
            }
            async fn rotate(&self, request: Request<RotateRequest>) -> Result<Response<RotateResponse>, Status> {
                let refusal = self.hear(request.get_ref()).refusal.clone();
                let rotation = RotationStatus { id: "00ff".to_owned(), phase: "Planned".to_owned(), ..Default::default() };
                refusal.map_or_else(|| Ok(Response::new(RotateResponse { rotation: Some(rotation) })), Err)
            }
            async fn watch_rotation(
                &self,
                request: Request<WatchRotationRequest>,
            ) -> Result<Response<Self::WatchRotationStream>, Status> {
                stream(self.hear(request.get_ref()).watched.pop_front())
            }
            async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<Self::RevokeStream>, Status> {
                stream(self.hear(request.get_ref()).revoked.pop_front())
            }
            async fn create_token(
                &self,
                request: Request<CreateTokenRequest>,
            ) -> Result<Response<CreateTokenResponse>, Status> {
                drop(self.hear(request.get_ref()));
                let token = CreateTokenResponse { token: "rkj_abc".to_owned(), id: "5f".to_owned(), expires_ms: 1 };
                Ok(Response::new(token))
            }
            async fn add_admin(&self, request: Request<AddAdminRequest>) -> Result<Response<AddAdminResponse>, Status> {
                drop(self.hear(request.get_ref()));
                let answer = AddAdminResponse {
                    chain_pem: "chain".to_owned(),
                    ca_pem: "ca".to_owned(),
                    address: "localhost:8444".to_owned(),
                    expires_ms: 1,
                };
                Ok(Response::new(answer))
            }
            $(
                async fn $call(&self, request: Request<$request>) -> Result<Response<$answer>, Status> {
                    drop(self.hear(request.get_ref()));
                    Ok(Response::new(<$answer>::default()))
                }
            )*
        }
    };
}

plain!(
    hand_in: HandInRequest => HandInResponse,
    plan_rotate: PlanRotateRequest => PlanRotateResponse,
    verify: VerifyRequest => VerifyResponse,
    record: RecordRequest => RecordResponse,
    rollback: RollbackRequest => RollbackResponse,
    hold: HoldRequest => HoldResponse,
    release: ReleaseRequest => ReleaseResponse,
    retry: RetryRequest => RetryResponse,
    who: WhoRequest => WhoResponse,
    delete: DeleteRequest => DeleteResponse,
    reconcile: ReconcileRequest => ReconcileResponse,
    list_sidecars: ListSidecarsRequest => ListSidecarsResponse,
    remove_sidecar: RemoveSidecarRequest => RemoveSidecarResponse,
    list_tokens: ListTokensRequest => ListTokensResponse,
    revoke_token: RevokeTokenRequest => RevokeTokenResponse,
    list_admins: ListAdminsRequest => ListAdminsResponse,
    remove_admin: RemoveAdminRequest => RemoveAdminResponse,
    query_audit: QueryAuditRequest => QueryAuditResponse,
    refresh: RefreshRequest => RefreshResponse,
    list_webhooks: ListWebhooksRequest => ListWebhooksResponse,
    test_webhook: TestWebhookRequest => TestWebhookResponse,
    who_am_i: WhoAmIRequest => WhoAmIResponse,
);
