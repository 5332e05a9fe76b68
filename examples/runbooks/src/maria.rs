//! A MariaDB as its owner has it before Rekey: a database, a role with its rights, and a rotator with what the manual gives it.

use anyhow::{Context, Result};
use rekey_testkit::mariadb::Mariadb;

use crate::stage::Stage;

/// The rotator's password.
const ROTATOR: &str = "rotator-password-e7f3";

/// A server with the database `name` and the role `NAME_app`, known to the controller as `target`.
pub(crate) fn database(stage: &mut Stage, target: &str, name: &str) -> Result<Mariadb> {
    let server = Mariadb::try_start()?;
    server.try_sql(&format!(
        "CREATE DATABASE {name}; CREATE ROLE {name}_app; GRANT ALL PRIVILEGES ON {name}.* TO {name}_app; {} \
         GRANT {name}_app TO rekey WITH ADMIN OPTION; SET PASSWORD FOR rekey = PASSWORD('{ROTATOR}')",
        rights()?
    ))?;
    let yaml = format!(
        "  {target}:\n    mysql: {{ host: 127.0.0.1, port: {}, user: rekey, password_file: {target}-password, \
         tls: {{ mode: disable }} }}\n",
        server.port()
    );
    stage.target(target, &yaml, &[(&format!("{target}-password"), ROTATOR)])?;
    Ok(server)
}

/// The rights that the manual gives the rotator once for each server.
fn rights() -> Result<&'static str> {
    let manual = include_str!("../../../docs/drivers.md").split_once("```sql\nCREATE USER rekey;\n");
    let rights = manual.and_then(|(before, _)| {
        let block = include_str!("../../../docs/drivers.md").get(before.len() + "```sql\n".len()..)?;
        Some(block.split_once("```")?.0)
    });
    rights.context("docs/drivers.md has no rights for MariaDB")
}
