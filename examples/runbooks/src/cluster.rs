//! A Kubernetes cluster as its owner has it before Rekey: an application's service account, and a rotator with what the
//! manual gives it.

use anyhow::{Context, Result};
use rekey_testkit::kube::{Kube, application};
use serde_json::Value;

use crate::stage::Stage;

/// A cluster with the service account `worker` in `namespace`, known to the controller as `NAMESPACE-cluster`.
pub(crate) fn cluster(stage: &mut Stage, namespace: &str) -> Result<Kube> {
    let kube = Kube::try_start()?;
    kube.apply(&application(namespace, "worker"));
    kube.apply(&rights(namespace)?);
    let name = format!("{namespace}-cluster");
    let yaml = format!(
        "  {name}:\n    kubernetes-token: {{ server: \"https://localhost:{}\", token_file: {name}-token, \
         tls: {{ ca_file: {name}-ca.pem }} }}\n",
        kube.port()
    );
    let token = kube.token_of("rekey", "rotator");
    let files = [(format!("{name}-token"), token), (format!("{name}-ca.pem"), kube.ca_pem().to_owned())];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    stage.target(&name, &yaml, &files)?;
    Ok(kube)
}

/// Where the object is that the service account may read.
pub(crate) fn object(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/settings")
}

/// Which version of Kubernetes this is.
pub(crate) fn version(kube: &Kube) -> String {
    let version = kube.ask("GET", "/version", Value::Null);
    version.get("gitVersion").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The rights that the manual gives the rotator, for this namespace and its service account.
fn rights(namespace: &str) -> Result<String> {
    let manual = include_str!("../../../docs/drivers.md").split_once("\n## kubernetes-token\n");
    let rights = manual.and_then(|(_, text)| text.split_once("```yaml\n")?.1.split_once("```"));
    let (rights, _) = rights.context("docs/drivers.md has no rights for Kubernetes")?;
    let ours = rights.replace("namespace: orders", &format!("namespace: {namespace}"));
    Ok(ours.replace("resourceNames: [orders]", "resourceNames: [worker]"))
}
