//! Making a controller, once: KEK, store, and three certificate authorities whose keys are sealed in it.
//!
//! Nothing that exists is overwritten. An `init` that was interrupted is finished by the next.

use std::path::{Path, PathBuf};

use rekey_model::SecretBytes;
use rekey_runtime::Clock;

use crate::audit::{Actor, Entry, Outcome, Verb};
use crate::ca::{Admin, Authority, CaError, Role, Server, Sidecar};
use crate::config::Config;
use crate::seal::{Column, Kek, KekError, Place, Seal, SealError, Subject};
use crate::store::{OpenError, Store, StoreError};

/// Why a controller could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The KEK file.
    #[error(transparent)]
    Kek(#[from] KekError),
    /// The store.
    #[error("the store cannot be opened")]
    Open(#[from] OpenError),
    /// Reading or writing in the store.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    /// Sealing or opening an authority's key.
    #[error("the key of the {1} authority does not open")]
    Seal(#[source] SealError, &'static str),
    /// Making or reading an authority.
    #[error("the {1} authority is unusable")]
    Authority(#[source] CaError, &'static str),
    /// The store has no such authority.
    #[error("the store has no {0} authority: `rekey-controller init` was not finished; run it again")]
    Unfinished(&'static str),
    /// The file with the authority's certificate.
    #[error("the file {file} cannot be written")]
    File {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The three authorities: one for the controller's own leaf, one for sidecars, one for operators.
#[derive(Debug)]
pub struct Authorities {
    /// Signs the controller's leaf; everybody else trusts it.
    pub server: Authority<Server>,
    /// Signs sidecars' leaves.
    pub sidecar: Authority<Sidecar>,
    /// Signs operators' leaves.
    pub admin: Authority<Admin>,
}

/// Makes KEK, store and authorities, and writes the server authority's certificate for everybody to trust.
/// A store that is finished is refused.
pub async fn init(config: &Config, clock: &Clock) -> Result<(), InitError> {
    let store = match Store::create(&config.store, clock.clone()).await {
        Ok(store) => store,
        Err(OpenError::Present(shown)) => finish_or_refuse(config, clock, shown).await?,
        Err(error) => return Err(error.into()),
    };
    if !config.kek_file.exists() {
        Kek::create(&config.kek_file)?;
    }
    let seal = Seal::open(&config.kek_file)?;
    let pem = make::<Server>(config, clock, &store, &seal).await?;
    make::<Sidecar>(config, clock, &store, &seal).await?;
    make::<Admin>(config, clock, &store, &seal).await?;
    publish(&config.ca_file, &pem)?;
    record(&store, Verb::Init).await?;
    store.close().await;
    Ok(())
}

/// Whether `init` has finished here before.
pub async fn is_made(config: &Config, clock: &Clock) -> Result<bool, InitError> {
    if !config.kek_file.exists() || !config.ca_file.exists() {
        return Ok(false);
    }
    let store = match Store::look(&config.store, clock.clone()).await {
        Ok(store) => store,
        Err(OpenError::Missing(_)) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let made = finished(&store).await?;
    store.close().await;
    Ok(made)
}

/// Opens what `init` made.
pub async fn open(config: &Config, clock: &Clock) -> Result<(Store, Seal, Authorities), InitError> {
    let seal = Seal::open(&config.kek_file)?;
    let store = Store::open(&config.store, clock.clone()).await?;
    let authorities = Authorities {
        server: load(&store, &seal).await?,
        sidecar: load(&store, &seal).await?,
        admin: load(&store, &seal).await?,
    };
    record(&store, Verb::Start).await?;
    Ok((store, seal, authorities))
}

async fn record(store: &Store, verb: Verb) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let entry = Entry::new(Actor::controller(), verb, Outcome::Done);
    tx.audit(&entry.because(crate::app::software())).await?;
    tx.commit().await
}

async fn finished(store: &Store) -> Result<bool, StoreError> {
    for name in [Server::NAME, Sidecar::NAME, Admin::NAME] {
        if store.certificate(&key_name(name)).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An unfinished store is taken up again; a finished one is refused.
async fn finish_or_refuse(config: &Config, clock: &Clock, shown: String) -> Result<Store, InitError> {
    // Looked at first: opening would take the store away from a controller that runs.
    let store = Store::look(&config.store, clock.clone()).await?;
    let finished = finished(&store).await?;
    store.close().await;
    if finished {
        return Err(OpenError::Present(shown).into());
    }
    Ok(Store::open(&config.store, clock.clone()).await?)
}

fn key_name(role: &str) -> String {
    format!("ca/{role}")
}

fn place<'a>(store: &Store, name: &'a str) -> Place<'a> {
    Place { installation: store.installation(), subject: Subject::Key(name), column: Column::PrivateKey }
}

/// Makes one authority unless the store has it; its certificate in PEM.
async fn make<R: Role>(
    config: &Config,
    clock: &Clock,
    store: &Store,
    seal: &Seal,
) -> Result<String, InitError> {
    let name = key_name(R::NAME);
    if store.certificate(&name).await?.is_some() {
        return Ok(load::<R>(store, seal).await?.certificate_pem());
    }
    let (authority, key) = Authority::<R>::create(&config.trust_domain, clock.now())
        .map_err(|source| InitError::Authority(source, R::NAME))?;
    let sealed =
        seal.seal(&place(store, &name), key.expose()).map_err(|source| InitError::Seal(source, R::NAME))?;
    let mut tx = store.begin().await?;
    tx.put_key(&name, &sealed).await?;
    tx.put_certificate(&name, authority.certificate()).await?;
    tx.commit().await?;
    Ok(authority.certificate_pem())
}

async fn load<R: Role>(store: &Store, seal: &Seal) -> Result<Authority<R>, InitError> {
    let name = key_name(R::NAME);
    let missing = || InitError::Unfinished(R::NAME);
    let certificate = store.certificate(&name).await?.ok_or_else(missing)?;
    let sealed = store.key(&name).await?.ok_or_else(missing)?;
    let key: SecretBytes =
        seal.unseal(&place(store, &name), &sealed).map_err(|source| InitError::Seal(source, R::NAME))?;
    Authority::open(certificate, &key).map_err(|source| InitError::Authority(source, R::NAME))
}

/// Writes a file for everybody to read, which may be there already with the same text.
fn publish(file: &Path, text: &str) -> Result<(), InitError> {
    if std::fs::read_to_string(file).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
    opened
        .and_then(|mut opened| {
            std::io::Write::write_all(&mut opened, text.as_bytes())?;
            // A certificate is no secret, and sidecars run as other users than the controller.
            opened.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        })
        .map_err(|source| InitError::File { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> Config {
        let text = "installation: { trust_domain: rekey.local }\nstore: { sqlite: rekey.db }\nkek_file: kek\n\
                    ca_file: ca.pem\nfleet: { listen: '127.0.0.1:0', names: [localhost] }\n\
                    admin: { listen: '127.0.0.1:0', socket: admin.sock }\n";
        let file = folder.join("controller.yaml");
        std::fs::write(&file, text).unwrap();
        Config::read(&file).unwrap()
    }

    #[tokio::test]
    async fn what_was_made_opens_again_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (config, clock) = (config(folder.path()), Clock::system());
        assert!(!is_made(&config, &clock).await.unwrap());
        init(&config, &clock).await.unwrap();
        assert!(is_made(&config, &clock).await.unwrap());
        let kek = std::fs::read(&config.kek_file).unwrap();
        let refused = init(&config, &clock).await.unwrap_err();
        assert!(matches!(refused, InitError::Open(OpenError::Present(_))), "{refused:?}");
        assert_eq!(std::fs::read(&config.kek_file).unwrap(), kek);
        let (store, _seal, authorities) = open(&config, &clock).await.unwrap();
        assert_eq!(std::fs::read_to_string(&config.ca_file).unwrap(), authorities.server.certificate_pem());
        let audit = store.audit(None, None, 10).await.unwrap();
        let verbs: Vec<&str> = audit.iter().map(|record| record.verb.as_str()).collect();
        assert_eq!(verbs, ["start", "init"], "newest first");
        store.close().await;
    }

    #[tokio::test]
    async fn an_init_that_was_interrupted_is_finished_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let (config, clock) = (config(folder.path()), Clock::system());
        Store::create(&config.store, clock.clone()).await.unwrap().close().await;
        init(&config, &clock).await.unwrap();
        assert!(is_made(&config, &clock).await.unwrap());
    }

    #[tokio::test]
    async fn without_its_kek_a_controller_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let (config, clock) = (config(folder.path()), Clock::system());
        init(&config, &clock).await.unwrap();
        std::fs::remove_file(&config.kek_file).unwrap();
        Kek::create(&config.kek_file).unwrap();
        assert!(matches!(open(&config, &clock).await, Err(InitError::Seal(SealError::OtherKek { .. }, _))));
    }
}
