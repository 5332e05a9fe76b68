//! An AWS account as its owner has it before Rekey: an application's user, and a rotator with the manual's policy.

use anyhow::{Context, Result};
use rekey_testkit::moto::Moto;

use crate::stage::Stage;

/// What the application may do.
const RIGHTS: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;

/// Makes the application's user and the rotator's, and tells the controller of them as `target`; IAM is at `port`.
pub(crate) fn account(stage: &mut Stage, target: &str, user: &str, moto: &Moto, port: u16) -> Result<()> {
    let manual = include_str!("../../../docs/drivers.md").split_once("\n## aws-iam");
    let policy = manual.and_then(|(_, text)| text.split_once("```json\n")?.1.split_once("\n```"));
    let (policy, _) = policy.context("docs/drivers.md has no policy for AWS")?;
    moto.user(user, Some(RIGHTS));
    moto.user("rekey", Some(&policy.replace("user/orders", &format!("user/{user}"))));
    let key = moto.create_key("rekey");
    let yaml = format!(
        "  {target}:\n    aws-iam: {{ endpoint: \"http://127.0.0.1:{port}\", sts_endpoint: \"http://127.0.0.1:{}\", \
         access_key_id_file: {target}-id, secret_access_key_file: {target}-secret, settle: 1s }}\n",
        moto.port()
    );
    stage.target(
        target,
        &yaml,
        &[(&format!("{target}-id"), &key.id), (&format!("{target}-secret"), &key.secret)],
    )
}
