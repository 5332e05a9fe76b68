//! The process without its `main`: a real socket, real TLS to the scripted controller, an edited config, a restart.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use rekey_proto::local::credentials_client::CredentialsClient;
use rekey_runtime::accept::Accept;
use rekey_runtime::tls::{ClientAuth, Identity, Roots, connect_unix};
use rekey_runtime::{CancellationToken, Clock, Connections, Limits, Listener, ServerTls, Tasks};
use rekey_sidecar::app::build;
use rekey_sidecar::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::controller::{Controller, change};
use crate::whole::{Client, Signed, get};

const DB: &str = "orders/db";

/// A CA that signs whatever is asked.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["ca".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        Self { pem: ca.pem(), der: ca.der().to_vec(), issuer: Issuer::new(params, key) }
    }

    fn server(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_der(vec![leaf.der().to_vec()], &key.serialize_der().into()).unwrap()
    }

    fn sign(&self, csr: &[u8]) -> Vec<Vec<u8>> {
        let request = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        vec![request.signed_by(&self.issuer).unwrap().der().to_vec(), self.der.clone()]
    }
}

/// A controller on a port of its own; the port.
fn listen(tasks: &Tasks) -> (Controller, u16, String) {
    let (authority, clients) = (Authority::new(), Authority::new());
    let roots = Roots::from_pem(clients.pem.as_bytes()).unwrap();
    let clock = Clock::system();
    let tls = ServerTls::new(&authority.server(), &ClientAuth::Optional(roots), clock.clone()).unwrap();
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Connections::new(Limits::controller());
    let accept = Accept { connections, clock, spawner: tasks.spawner() };
    let (controller, server) = Controller::serving(accept.incoming(listener, Some(Arc::new(tls))));
    *controller.state.sign.lock().unwrap() = Some(Box::new(move |csr| clients.sign(csr)));
    tasks.spawner().start("controller", server);
    (controller, port, authority.pem)
}

fn write(dir: &Path, port: u16, rest: &str) {
    let text = format!(
        "controller: {{ address: \"127.0.0.1:{port}\", server_name: localhost, ca_file: {dir}/ca.pem }}
identity: {{ state_dir: {dir}/state, join_token_file: {dir}/token }}
socket: {{ path: {dir}/run/rekey.sock }}
metrics: 127.0.0.1:0
{rest}",
        dir = dir.display()
    );
    fs::write(dir.join("sidecar.yaml"), text).unwrap();
}

async fn client(dir: &Path) -> Client {
    let uid = fs::metadata(dir).map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).unwrap();
    let channel = connect_unix(&dir.join("run/rekey.sock"), Some(uid)).await.unwrap();
    CredentialsClient::with_interceptor(channel, Signed)
}

/// What a collector gets for `path`.
async fn page(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

#[tokio::test]
async fn it_joins_serves_reloads_ends_and_comes_back_as_the_same_instance() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let tasks = Tasks::new();
    let (mut controller, port, ca) = listen(&tasks);
    fs::write(dir.join("ca.pem"), ca).unwrap();
    fs::write(dir.join("token"), "the-token\n").unwrap();
    fs::set_permissions(dir.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    write(dir, port, "");
    let path = dir.join("sidecar.yaml");
    for (round, calls) in [(1, vec!["join"]), (2, vec!["join"])] {
        write(dir, port, "");
        let app = build(Config::load(&path).unwrap(), path.clone()).await.unwrap();
        let pages = app.metrics_address().unwrap();
        let end = CancellationToken::new();
        let ended = end.clone();
        let local = async {
            assert!(page(pages, "/readyz").await.contains("waiting for: the first snapshot"));
            let session = controller.level(vec![change(DB, 1, 1)]).await;
            let mut client = client(dir).await;
            assert_eq!(get(&mut client, DB).await.unwrap().fields["username"], b"user-1");
            let figures = page(pages, "/metrics").await;
            for line in ["credential_version{credential=\"orders/db\"} 1", "answers_total{method=\"get\"} 1"]
            {
                assert!(figures.contains(&format!("\nrekey_sidecar_{line}\n")), "{line}: {figures}");
            }
            assert!(page(pages, "/readyz").await.starts_with("HTTP/1.1 200 "));
            write(dir, port, "callers: [ { uid: 4242, may_read: [\"*\"] } ]\n");
            while get(&mut client, DB).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            assert_eq!(get(&mut client, DB).await.unwrap_err().code(), Code::NotFound);
            end.cancel();
            let said = session.rest().await;
            assert!(matches!(said.last(), Some(rekey_proto::fleet::up::Message::Goodbye(_))), "{said:?}");
        };
        let (report, ()) = tokio::join!(app.run(async move { ended.cancelled().await }), local);
        assert!(report.is_clean(), "{report}");
        assert_eq!(controller.calls(), calls, "round {round}");
        assert!(!dir.join("run/rekey.sock").exists());
    }
}
