//! The starters of parts that are built from source: run by `make interop`.

use std::path::{Path, PathBuf};

use rekey_testkit::kube::Kube;
use rekey_testkit::openbao::OpenBao;
use serde_json::{Value, json};

fn nothing_is_left(ids: &[u32], folder: &Path) {
    for id in ids {
        assert!(!Path::new(&format!("/proc/{id}/cwd")).exists(), "{id} still runs");
    }
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
fn an_openbao_answers_and_ends_with_its_handle() {
    let bao = OpenBao::start();
    bao.ask("POST", "secret/data/a", json!({ "data": { "b": "c" } }));
    assert_eq!(bao.ask("GET", "secret/data/a", Value::Null)["data"]["data"]["b"], "c");
    let version = bao.ask("GET", "sys/seal-status", Value::Null);
    assert_eq!(version["version"], "2.4.0", "{version}");
    bao.seal();
    assert_eq!(bao.ask_as(bao.root(), "GET", "secret/data/a", &Value::Null).unwrap().status, 503);
    bao.unseal().unwrap();
    let (ids, folder): (_, PathBuf) = (bao.ids(), bao.folder().to_owned());
    drop(bao);
    nothing_is_left(&ids, &folder);
}

#[test]
fn an_openbao_ends_when_its_test_is_killed() {
    let mut bao = OpenBao::start();
    let (ids, folder) = (bao.ids(), bao.folder().to_owned());
    bao.as_if_killed();
    drop(bao);
    nothing_is_left(&ids, &folder);
}

#[test]
fn a_kubernetes_answers_and_ends_with_its_handle() {
    let mut kube = Kube::start();
    let version = kube.ask("GET", "/version", Value::Null);
    assert_eq!(version["gitVersion"], "v1.36.3", "{version}");
    let account = json!({ "metadata": { "name": "orders" } });
    kube.ask("POST", "/api/v1/namespaces/default/serviceaccounts", account);
    assert_eq!(kube.ask_as("wrong", "GET", "/version", &Value::Null).unwrap().status, 401);
    kube.pause();
    kube.resume();
    let (ids, folder) = (kube.ids(), kube.folder().to_owned());
    assert_eq!(ids.len(), 2);
    drop(kube);
    nothing_is_left(&ids, &folder);
}

#[test]
fn a_kubernetes_ends_when_its_test_is_killed() {
    let mut kube = Kube::start();
    let (ids, folder) = (kube.ids(), kube.folder().to_owned());
    kube.as_if_killed();
    drop(kube);
    nothing_is_left(&ids, &folder);
}
