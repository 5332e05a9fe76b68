//! An OpenBao as its owner has it before Rekey: an application's role, and a rotator with the manual's policy.

use anyhow::{Context, Result};
use rekey_testkit::openbao::OpenBao;
use serde_json::json;

use crate::stage::Stage;

/// A server with the role `role`, known to the controller as `target`.
pub(crate) fn approle(stage: &mut Stage, target: &str, role: &str) -> Result<OpenBao> {
    let bao = OpenBao::try_start()?;
    let manual = include_str!("../../../docs/drivers.md").split_once("\n## vault-approle\n");
    let policy = manual.and_then(|(_, text)| text.split_once("```hcl\n")?.1.split_once("```"));
    let (policy, _) = policy.context("docs/drivers.md has no policy for OpenBao")?;
    bao.ask("POST", &format!("auth/approle/role/{role}"), json!({ "token_ttl": "10m" }));
    bao.policy("rekey", &policy.replace("role/orders", &format!("role/{role}")));
    let token = bao.token(&["rekey"]);
    let yaml = format!(
        "  {target}:\n    vault-approle: {{ address: \"https://localhost:{}\", token_file: {target}-token, \
         max_request_duration: 5s, tls: {{ ca_file: {target}-ca.pem }} }}\n",
        bao.tls_port()
    );
    let (token_file, ca_file) = (format!("{target}-token"), format!("{target}-ca.pem"));
    stage.target(target, &yaml, &[(&token_file, &token), (&ca_file, bao.ca_pem())])?;
    Ok(bao)
}
