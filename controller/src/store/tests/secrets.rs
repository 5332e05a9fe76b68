//! Sealed secrets: never changed, never with anything else, gone when dropped.

use rekey_model::Version;

use super::stage::{Stage, credential, name};
use crate::seal::{Column, Kek, Place, Seal, SealError, Subject};
use crate::store::{CredentialRow, Store, StoreError};

const MARKER: &[u8] = b"marker-5eec-the-secret-that-nobody-may-see";

fn seal(stage: &Stage) -> Seal {
    let file = stage.folder.path().join("kek");
    if file.exists() { Seal::open(&file).unwrap() } else { Seal::new(Kek::create(&file).unwrap()) }
}

fn place(store: &Store, row: &CredentialRow, version: Version) -> Place<'static> {
    Place {
        installation: store.installation(),
        subject: Subject::Version(row.id, version),
        column: Column::Secret,
    }
}

async fn with_secret(stage: &Stage, store: &Store, text: &str) -> CredentialRow {
    let row = credential(store, text).await;
    let sealed = seal(stage).seal(&place(store, &row, Version::FIRST), MARKER).unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.put_secret(row.id, Version::FIRST, &sealed).await.unwrap();
    tx.commit().await.unwrap();
    row
}

both! {
    async fn what_was_sealed_opens_again(stage) {
        let store = stage.store().await;
        let row = with_secret(stage, &store, "orders/db").await;
        let sealed = store.secret(row.id, Version::FIRST).await.unwrap().unwrap();
        let opened = seal(stage).unseal(&place(&store, &row, Version::FIRST), &sealed).unwrap();
        assert_eq!(opened.expose(), MARKER);
        assert!(store.secret(row.id, Version::FIRST.next()).await.unwrap().is_none());
    }

    async fn a_secret_is_written_once(stage) {
        let store = stage.store().await;
        let row = with_secret(stage, &store, "orders/db").await;
        let other = seal(stage).seal(&place(&store, &row, Version::FIRST), b"another").unwrap();
        let mut tx = store.begin().await.unwrap();
        let again = tx.put_secret(row.id, Version::FIRST, &other).await;
        assert!(matches!(again, Err(StoreError::Exists("secret"))), "{again:?}");
        drop(tx);
        for change in ["ciphertext = dek", "version = 2"] {
            let refused = stage.try_tamper(&format!("UPDATE version_secret SET {change}")).await.unwrap_err();
            assert!(refused.contains("written once"), "{refused}");
        }
    }

    async fn a_save_leaves_the_secrets_alone(stage) {
        let store = stage.store().await;
        let mut row = with_secret(stage, &store, "orders/db").await;
        let before = store.secret(row.id, Version::FIRST).await.unwrap();
        row.spec = serde_json::json!({"password": "***"});
        let mut tx = store.begin().await.unwrap();
        tx.save(&mut row).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.secret(row.id, Version::FIRST).await.unwrap(), before);
    }

    async fn an_empty_ciphertext_is_refused_by_the_database(stage) {
        let store = stage.store().await;
        let row = with_secret(stage, &store, "orders/db").await;
        let mut sealed = store.secret(row.id, Version::FIRST).await.unwrap().unwrap();
        sealed.ciphertext.truncate(28);
        let mut tx = store.begin().await.unwrap();
        let short = tx.put_secret(row.id, Version::FIRST.next(), &sealed).await;
        assert!(matches!(short, Err(StoreError::Unavailable(_))), "{short:?}");
    }

    async fn a_ciphertext_in_another_row_does_not_open(stage) {
        let store = stage.store().await;
        let (one, two) = (with_secret(stage, &store, "a").await, with_secret(stage, &store, "b").await);
        let sealed = store.secret(one.id, Version::FIRST).await.unwrap().unwrap();
        let moved = seal(stage).unseal(&place(&store, &two, Version::FIRST), &sealed);
        assert!(matches!(moved, Err(SealError::Refused)), "{moved:?}");
    }

    async fn a_secret_goes_with_its_credential_or_when_it_is_dropped(stage) {
        let store = stage.store().await;
        let (one, two) = (with_secret(stage, &store, "a").await, with_secret(stage, &store, "b").await);
        let mut tx = store.begin().await.unwrap();
        tx.drop_secret(one.id, Version::FIRST).await.unwrap();
        tx.drop_secret(one.id, Version::FIRST).await.unwrap();
        tx.delete(&two).await.unwrap();
        tx.commit().await.unwrap();
        assert!(store.secret(one.id, Version::FIRST).await.unwrap().is_none());
        assert_eq!(stage.peek("SELECT CAST(COUNT(*) AS TEXT) FROM version_secret").await, "0");
    }

    async fn the_controllers_own_keys_are_sealed_and_written_once(stage) {
        let store = stage.store().await;
        let place = Place {
            installation: store.installation(),
            subject: Subject::Key("ca/server"),
            column: Column::PrivateKey,
        };
        let sealed = seal(stage).seal(&place, MARKER).unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.put_key("ca/server", &sealed).await.unwrap();
        tx.put_certificate("ca/server", b"\x30\x00").await.unwrap();
        tx.commit().await.unwrap();
        let read = store.key("ca/server").await.unwrap().unwrap();
        assert_eq!(seal(stage).unseal(&place, &read).unwrap().expose(), MARKER);
        assert_eq!(store.certificate("ca/server").await.unwrap().unwrap(), b"\x30\x00");
        assert!(store.key("ca/admin").await.unwrap().is_none());
        let mut tx = store.begin().await.unwrap();
        assert!(matches!(tx.put_key("ca/server", &sealed).await, Err(StoreError::Exists("key"))));
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        assert!(matches!(tx.put_certificate("ca/server", b"x").await, Err(StoreError::Exists(_))));
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn files(stage: &Stage) -> Vec<u8> {
    let entries = std::fs::read_dir(stage.folder.path()).unwrap();
    let mut all = Vec::new();
    for path in entries.map(|e| e.unwrap().path()).filter(|p| p.is_file() && !p.ends_with("kek")) {
        all.extend(std::fs::read(path).unwrap());
    }
    all
}

#[tokio::test]
async fn no_file_holds_a_secret_and_a_dropped_one_is_overwritten() {
    let stage = Stage::sqlite();
    let store = stage.store().await;
    let row = with_secret(&stage, &store, "orders/db").await;
    let sealed = store.secret(row.id, Version::FIRST).await.unwrap().unwrap();
    assert!(contains(&files(&stage), &sealed.ciphertext), "the test looks into the right files");
    assert!(!contains(&files(&stage), MARKER));
    let mut tx = store.begin().await.unwrap();
    tx.drop_secret(row.id, Version::FIRST).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    assert!(!contains(&files(&stage), &sealed.ciphertext), "what was dropped is still in the file");
    assert!(stage.open().await.credential(&name("orders/db")).await.unwrap().is_some());
}

#[test]
fn no_statement_changes_a_sealed_secret() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let statement = ["UPDATE version", "_secret"].concat();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("tests/secrets.rs") {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                assert!(!text.contains(&statement), "{} writes over sealed secrets", path.display());
            }
        }
    }
}
