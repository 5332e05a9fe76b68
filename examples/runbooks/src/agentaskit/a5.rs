//! A5: tokens of a service account by `TokenRequest`: pushed, renewed before they end, and on no disk.

use anyhow::{Context, Result, ensure};
use rekey_testkit::http::Http;
use rekey_testkit::marker::found_in;

use crate::cluster::{cluster, object, version};
use crate::consumer::How;
use crate::consumers::http::{get, gets};
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../agentaskit/a5-service-account.yaml");

pub(crate) const ROW: Row = Row {
    id: "A5",
    system: "agentaskit",
    title: "service account token by TokenRequest, on no disk",
    needs: &[Part::Kube],
    files: &["a5-service-account.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let kube = cluster(stage, "agentaskit")?;
    stage.sidecar("agentaskit")?;
    let name = stage.declare(FILE)?;
    stage.first_version(&name)?;
    let mut measured = Measured::at("Kubernetes", version(&kube));
    let object = object("agentaskit");
    let server = Http::tls(kube.port(), kube.ca_pem())?;
    let consumer = stage.consumer(&name, How::Watch, gets(server.clone(), "token", &object))?;
    consumer.let_work(5)?;
    let mut tokens = Vec::new();
    for _ in 0..size.rotations() {
        let before = stage.read(&name)?;
        ensure!(before.not_after().is_some(), "a token ends by itself, and its reader is not told when");
        let old = before.text("token")?.to_owned();
        stage.rotate(&name, &mut measured)?;
        consumer.let_work(5)?;
        let refused = || get(&server, &old, &object) == Ok(401);
        ensure!(comes(refused), "the old token: {:?}", get(&server, &old, &object));
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
