//! A5: tokens of a service account by `TokenRequest`: pushed, renewed before they end, and on no disk.

use anyhow::{Context, Result, ensure};
use rekey_testkit::http::Http;
use rekey_testkit::kube::Kube;
use rekey_testkit::marker::found_in;
use rekey_testkit::process::poll;
use serde_json::Value;

use crate::consumer::{How, PATIENCE};
use crate::consumers::kube::{get, gets};
use crate::measured::Measured;
use crate::part::Part;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../agentaskit/a5-service-account.yaml");
const OBJECT: &str = "/api/v1/namespaces/agentaskit/configmaps/settings";

/// What the application is and may do, as its team has it.
const APPLICATION: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: agentaskit }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: worker, namespace: agentaskit }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings, namespace: agentaskit }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: worker, namespace: agentaskit }
rules:
- { apiGroups: [''], resources: [configmaps], verbs: [get] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: worker, namespace: agentaskit }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: worker }
subjects: [{ kind: ServiceAccount, name: worker, namespace: agentaskit }]
---
apiVersion: v1
kind: Namespace
metadata: { name: rekey }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: rotator, namespace: rekey }
";

pub(crate) const ROW: Row = Row {
    id: "A5",
    system: "agentaskit",
    title: "service account token by TokenRequest, on no disk",
    needs: &[Part::Kube],
    files: &["a5-service-account.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let kube = Kube::try_start()?;
    kube.apply(APPLICATION);
    kube.apply(&rights()?);
    target(stage, &kube)?;
    stage.sidecar("agentaskit")?;
    let name = stage.declare(FILE)?;
    stage.first_version(&name)?;
    let version = kube.ask("GET", "/version", Value::Null);
    let version = version.get("gitVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut measured = Measured::at("Kubernetes", version);
    let server = Http::tls(kube.port(), kube.ca_pem())?;
    let consumer = stage.consumer(&name, How::Watch, gets(server.clone(), OBJECT))?;
    consumer.let_work(5)?;
    let mut tokens = Vec::new();
    for _ in 0..size.rotations() {
        let before = stage.read(&name)?;
        ensure!(before.not_after().is_some(), "a token ends by itself, and its reader is not told when");
        let old = before.text("token")?.to_owned();
        stage.rotate(&name, &mut measured)?;
        consumer.let_work(5)?;
        let refused = || get(&server, &old, OBJECT) == Ok(401);
        ensure!(poll(PATIENCE, refused), "the old token: {:?}", get(&server, &old, OBJECT));
        tokens.push(old);
    }
    tokens.push(stage.read(&name)?.text("token")?.to_owned());
    for token in &tokens {
        // The signature is what nobody but its holder has.
        let signature = token.rsplit('.').next().context("this is no token")?;
        let found = found_in(stage.platform.folder(), signature.as_bytes())?;
        ensure!(found.is_empty(), "a token stands in {found:?}");
    }
    measured.used(consumer.end()?);
    measured.note(format!("{} tokens, none of them in a file or a log", tokens.len()));
    measured.ended("401: the object that it was bound to is gone");
    Ok(measured)
}

/// The rights that the manual gives the rotator, for this namespace and service account.
fn rights() -> Result<String> {
    let manual = include_str!("../../../../docs/drivers.md").split_once("\n## kubernetes-token\n");
    let rights = manual.and_then(|(_, text)| text.split_once("```yaml\n")?.1.split_once("```"));
    let (rights, _) = rights.context("docs/drivers.md has no rights for Kubernetes")?;
    let ours = rights.replace("namespace: orders", "namespace: agentaskit");
    Ok(ours.replace("resourceNames: [orders]", "resourceNames: [worker]"))
}

fn target(stage: &mut Stage, kube: &Kube) -> Result<()> {
    let yaml = format!(
        "  agentaskit-cluster:\n    kubernetes-token: {{ server: \"https://localhost:{}\", token_file: kube-token, \
         tls: {{ ca_file: kube-ca.pem }} }}\n",
        kube.port()
    );
    let token = kube.token_of("rekey", "rotator");
    stage.target("agentaskit-cluster", &yaml, &[("kube-token", &token), ("kube-ca.pem", kube.ca_pem())])
}
