//! `rekey-controller dev`: a controller on loopback in one folder, for trying things out.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rekey_runtime::Clock;

use crate::config::Config;
use crate::init;

/// The config of a trial; the user adds targets to it.
const CONFIG: &str = "\
# A controller for trying things out: on loopback, with the KEK beside the store it protects.
# Add your databases under `targets`, then start `rekey-controller dev` again.
installation:
  trust_domain: rekey.local
store:
  sqlite: rekey.db
kek_file: kek
ca_file: ca.pem
fleet:
  listen: 127.0.0.1:8443
  names: [localhost, 127.0.0.1]
admin:
  listen: 127.0.0.1:8444
  socket: admin.sock
http:
  listen: 127.0.0.1:8445
#targets:
#  orders-pg:
#    postgres:
#      host: 127.0.0.1
#      port: 5432
#      user: rekey
#      password_file: rotator-password
#      tls: { mode: disable }
";

/// Makes what is missing in `folder` and says where things are; gives the config file.
pub async fn prepare(folder: &Path, clock: &Clock) -> Result<PathBuf> {
    let shown = folder.display();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("make {shown}"))?;
    let file = folder.join("controller.yaml");
    if !file.exists() {
        fs::write(&file, CONFIG).with_context(|| format!("write {}", file.display()))?;
    }
    let config = Config::read(&file)?;
    if !init::is_made(&config, clock).await? {
        init::init(&config, clock).await?;
        tracing::info!("made KEK, store and certificate authorities in {shown}");
    }
    tracing::warn!("a trial: KEK and store share the folder {shown}; whoever copies it has every secret");
    tracing::info!(
        "for rekeyctl: export REKEY_CONTROLLER=unix:{}; targets are declared in {}",
        config.admin.socket.display(),
        file.display()
    );
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trial_is_made_once_and_then_taken_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let (place, clock) = (folder.path().join("trial"), Clock::system());
        let file = prepare(&place, &clock).await.unwrap();
        let kek = fs::read(place.join("kek")).unwrap();
        assert_eq!(prepare(&place, &clock).await.unwrap(), file);
        assert_eq!(fs::read(place.join("kek")).unwrap(), kek);
    }
}
