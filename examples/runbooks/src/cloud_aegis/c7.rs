//! C7: access keys of an IAM user: never a third, the old one deactivated before it is deleted, none forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use rekey_testkit::moto::{Moto, Sdk};

use crate::cloud::account;
use crate::consumer::How;
use crate::lost::Way;
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../cloud-aegis/c7-access-keys.yaml");

pub(crate) const ROW: Row = Row {
    id: "C7",
    system: "cloud-aegis",
    title: "AWS access keys: two at the most, a lost answer leaves none",
    needs: &[Part::Moto],
    files: &["c7-access-keys.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let moto = Arc::new(Moto::try_start()?);
    let way = Way::to(moto.port())?;
    account(stage, "aegis-aws", "aegis", &moto, way.port())?;
    stage.sidecar("cloud-aegis")?;
    let name = stage.declare(FILE)?;
    stage.first_version(&name)?;
    let mut measured = Measured::at("moto (AWS IAM)", "5.2.5");
    let (most, mut sdk) = (Arc::new(AtomicUsize::new(0)), Sdk::start(moto.port())?);
    let (seen, looked_at) = (Arc::clone(&most), Arc::clone(&moto));
    let consumer = stage.consumer(&name, How::Get, move |turn| {
        seen.fetch_max(looked_at.keys("aegis").len(), Ordering::SeqCst);
        sdk.try_key(turn.text("access_key_id")?, turn.text("secret_access_key")?)
    })?;
    consumer.let_work(3)?;
    let (mut old, mut ended) = (moto.keys("aegis").pop().context("there is no key")?, Vec::new());
    for number in 1..=size.rotations() {
        old = moto.keys("aegis").pop().context("there is no key")?;
        ended.push(old.id.clone());
        let last = number == size.rotations();
        if last {
            way.lose("Action=CreateAccessKey");
        }
        stage.rotate(&name, &mut measured)?;
        ensure!(!last || way.has_lost(), "no answer was lost");
        consumer.let_work(3)?;
        let current = stage.handle(&name)?;
        let only = comes(|| moto.keys("aegis").iter().map(|key| key.id.as_str()).eq([current.as_str()]));
        ensure!(only, "current is {current}, and there are {:?}", moto.keys("aegis").len());
    }
    measured.used(consumer.end()?);
    let most = most.load(Ordering::SeqCst);
    ensure!(most <= 2, "there were {most} keys");
    let refused = Sdk::start(moto.port())?.try_key(&old.id, &old.secret);
    let why = refused.err().context("the old key still works")?;
    ensure!(why.contains("InvalidClientTokenId"), "{why}");
    order(&way.asked(), &ended)?;
    measured.note(format!("at most {most} keys; the key of a lost answer was found and deleted"));
    measured.ended(format!("{}: deactivated, then deleted: InvalidClientTokenId", old.id));
    Ok(measured)
}

/// Each key that was in use was deactivated before it was deleted.
fn order(asked: &str, ended: &[String]) -> Result<()> {
    let actions = asked.split("Action=").skip(1).map(|rest| {
        let (action, rest) = rest.split_once('&').unwrap_or((rest, ""));
        let id = rest.split("AccessKeyId=").nth(1).unwrap_or_default();
        (action, id.chars().take_while(char::is_ascii_alphanumeric).collect::<String>())
    });
    let actions: Vec<(&str, String)> = actions.collect();
    let at = |action: &str, id: &str| actions.iter().position(|(what, whose)| *what == action && whose == id);
    for id in ended {
        let deleted = at("DeleteAccessKey", id).with_context(|| format!("{id} was not deleted"))?;
        let deactivated = at("UpdateAccessKey", id).is_some_and(|deactivated| deactivated < deleted);
        ensure!(deactivated, "{id} was deleted while it was active");
    }
    Ok(())
}
