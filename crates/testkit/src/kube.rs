//! A private Kubernetes API server with an etcd of its own; no controller manager, no kubelet.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::guarded::Guarded;
use crate::http::{Answer, Http};
use crate::process::{Launch, Process, free_port, poll};
use crate::unprivileged;

/// Names the program, all of them in one: what `tests/parts/kube.sh` prints.
const PROGRAM: &str = "REKEY_KUBE";
/// How long it may take to start, on a machine that is busy.
const START: Duration = Duration::from_mins(1);

/// A private API server that runs as long as this handle lives.
#[derive(Debug)]
pub struct Kube {
    // Ends before the folder goes, the API server before etcd: it would wait for it.
    servers: Guarded,
    folder: TempDir,
    port: u16,
    authority: Authority,
}

impl Kube {
    /// The token of a member of `system:masters`.
    pub const ADMIN_TOKEN: &'static str = "admin-token-9d3f";

    /// Starts a server. Panics with the reason, and with the line that builds it where there is none.
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|error| panic!("no Kubernetes for this test: {error:#}"))
    }

    /// Starts a server.
    pub fn try_start() -> Result<Self> {
        let program = program()?;
        let folder = tempfile::Builder::new().prefix("rekey-kube-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        chown(folder.path(), unprivileged(), unprivileged())?;
        let authority = Authority::new("Kubernetes test authority")?;
        let leaf = authority.leaf(&["localhost", "127.0.0.1", "kubernetes.default.svc"])?;
        let accounts = authority.leaf(&["service-accounts"])?;
        let tokens = format!("{},admin,u1,\"system:masters\"\n", Self::ADMIN_TOKEN);
        for (name, text) in [
            ("ca.crt", authority.pem()),
            ("api.crt", &leaf.certificate),
            ("api.key", &leaf.key),
            ("sa.key", &accounts.key),
            ("sa.crt", &accounts.certificate),
            ("tokens.csv", &tokens),
        ] {
            write(folder.path(), name, text)?;
        }
        // A port that was free may be taken meanwhile; then another does as well.
        let mut tries = 3;
        let (servers, port) = loop {
            tries -= 1;
            match launch(&program, folder.path(), authority.pem()) {
                Ok(up) => break up,
                Err(error) if tries == 0 => return Err(error),
                Err(_) => drop(fs::remove_dir_all(folder.path().join("etcd"))),
            }
        };
        Ok(Self { servers, folder, port, authority })
    }

    /// The port, which speaks TLS for `localhost` and 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The authority that signed the server's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process ids: etcd and the API server.
    pub fn ids(&self) -> Vec<u32> {
        self.servers.ids()
    }

    /// A request as administrator; what was answered without an error. Panics at an error.
    #[expect(clippy::needless_pass_by_value, reason = "reads best at the many places that call it")]
    pub fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.ask_as(Self::ADMIN_TOKEN, method, path, &body);
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error:#}"));
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
        answer.body
    }

    /// A request with this token.
    pub fn ask_as(&self, token: &str, method: &str, path: &str, body: &Value) -> Result<Answer> {
        ask_at(&Http::tls(self.port, self.ca_pem())?, token, method, path, body)
    }

    /// Applies objects, written in YAML, as administrator does with kubectl. Panics at an error.
    pub fn apply(&self, objects: &str) {
        self.try_apply(objects).unwrap_or_else(|error| panic!("{objects}: {error:#}"));
    }

    fn try_apply(&self, objects: &str) -> Result<()> {
        let mut command = Command::new(program()?);
        command.args(["kubectl", "apply", "--filename=-"]).env_clear().env("HOME", self.folder.path());
        command.arg(format!("--server=https://127.0.0.1:{}", self.port));
        command.arg(format!("--certificate-authority={}", self.folder.path().join("ca.crt").display()));
        command.arg(format!("--token={}", Self::ADMIN_TOKEN));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut kubectl = command.spawn()?;
        kubectl.stdin.take().context("no input")?.write_all(objects.as_bytes())?;
        let output = kubectl.wait_with_output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// A token of a service account for an hour.
    pub fn token_of(&self, namespace: &str, account: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let made = self.ask("POST", &path, json!({ "spec": { "expirationSeconds": 3600 } }));
        let token = made.pointer("/status/token").and_then(Value::as_str);
        token.unwrap_or_else(|| panic!("no token: {made}")).to_owned()
    }

    /// Stops the API server where it stands: connections stay open and nobody answers.
    pub fn pause(&mut self) {
        if let Some(server) = self.servers.last() {
            server.pause();
        }
    }

    /// Lets a paused server go on.
    pub fn resume(&mut self) {
        if let Some(server) = self.servers.last() {
            server.resume();
        }
    }

    /// Ends the servers as they end when the test process is killed.
    pub fn as_if_killed(&mut self) {
        self.servers.as_if_killed();
    }
}

/// A request with a bearer token, as an API server takes it.
pub fn ask_at(server: &Http, token: &str, method: &str, path: &str, body: &Value) -> Result<Answer> {
    server.ask(method, path, &[("Authorization", &format!("Bearer {token}"))], body)
}

/// What to type where it is missing on this machine; none where it is there.
pub fn lacking() -> Option<String> {
    program().err().map(|error| error.to_string())
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os(PROGRAM).map(PathBuf::from).filter(|path| path.is_file());
    path.context("there is no Kubernetes: export REKEY_KUBE=$(tests/parts/kube.sh)")
}

fn launch(program: &Path, folder: &Path, ca_pem: &str) -> Result<(Guarded, u16)> {
    let [clients, peers, port] = [free_port()?, free_port()?, free_port()?];
    let start = |log: &str, args: &[String]| {
        Launch::new(program, folder.join(log))
            .folder(folder)
            .owner(unprivileged())
            .env("HOME", folder)
            .args(args.iter().cloned())
            .start()
    };
    let (clients, peers) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
    let etcd = [
        "etcd".to_owned(),
        "--data-dir=etcd".to_owned(),
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
    ];
    let server = [
        "kube-apiserver".to_owned(),
        format!("--etcd-servers={clients}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        "--tls-cert-file=api.crt".to_owned(),
        "--tls-private-key-file=api.key".to_owned(),
        "--client-ca-file=ca.crt".to_owned(),
        "--token-auth-file=tokens.csv".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-account-key-file=sa.crt".to_owned(),
        "--service-account-signing-key-file=sa.key".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
        "--cert-dir=certs".to_owned(),
    ];
    let processes: Vec<Process> = vec![start("etcd.log", &etcd)?, start("apiserver.log", &server)?];
    let mut guarded = Guarded::new(processes, folder)?;
    let http = Http::tls(port, ca_pem)?;
    let ready = || {
        ask_at(&http, Kube::ADMIN_TOKEN, "GET", "/readyz", &Value::Null)
            .is_ok_and(|answer| answer.status == 200)
    };
    let up = poll(START, || ready() || guarded.has_ended());
    ensure!(up && !guarded.has_ended(), "the API server did not start; its log ends:\n{}", guarded.log_end());
    Ok((guarded, port))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(chown(&path, unprivileged(), unprivileged())?)
}
/// What an application is and may do, as YAML: the service account `account` in `namespace`, which may read config maps
/// there, and one to read, `settings`; and the account of a rotator without any right, `rotator` in `rekey`.
pub fn application(namespace: &str, account: &str) -> String {
    APPLICATION.replace("NAMESPACE", namespace).replace("ACCOUNT", account)
}

const APPLICATION: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: NAMESPACE }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: ACCOUNT, namespace: NAMESPACE }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings, namespace: NAMESPACE }
data: { price: '12' }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: ACCOUNT, namespace: NAMESPACE }
rules:
- { apiGroups: [''], resources: [configmaps], verbs: [get] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: ACCOUNT, namespace: NAMESPACE }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: ACCOUNT }
subjects: [{ kind: ServiceAccount, name: ACCOUNT, namespace: NAMESPACE }]
---
apiVersion: v1
kind: Namespace
metadata: { name: rekey }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: rotator, namespace: rekey }
";
