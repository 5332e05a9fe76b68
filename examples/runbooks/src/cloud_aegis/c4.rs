//! C4: the AUTH password of Redis, at every node, and after a restart of one.

use anyhow::{Result, ensure};
use rekey_testkit::redis::{Client, Redis};

use crate::cache::{node, passwords, target, version};
use crate::consumer::How;
use crate::consumers::redis::commands;
use crate::measured::Measured;
use crate::part::Part;
use crate::patience::comes;
use crate::row::{Row, Size};
use crate::stage::Stage;

const FILE: &str = include_str!("../../cloud-aegis/c4-redis-auth.yaml");

pub(crate) const ROW: Row = Row {
    id: "C4",
    system: "cloud-aegis",
    title: "Redis AUTH: two passwords at every node, kept across a restart",
    needs: &[Part::Redis],
    files: &["c4-redis-auth.yaml"],
    play,
};

fn play(stage: &mut Stage, size: Size) -> Result<Measured> {
    let mut nodes = [node("aegis")?, node("aegis")?];
    target(stage, "aegis-redis", &nodes.each_ref())?;
    let name = stage.declare(FILE)?;
    stage.first_version(&name)?;
    let mut measured = Measured::at("Redis", version(&nodes[0]));
    let work = commands(nodes.iter().map(Redis::port).collect(), "GET aegis:1");
    let consumer = stage.consumer(&name, How::Get, work)?;
    consumer.let_work(5)?;
    let mut old = String::new();
    for _ in 0..size.rotations() {
        let before = stage.read(&name)?;
        before.text("password")?.clone_into(&mut old);
        stage.rotate(&name, &mut measured)?;
        consumer.let_work(5)?;
        for node in &nodes {
            let one = comes(|| passwords(node, "aegis") == 1);
            ensure!(one, "{} has {} passwords", node.address(), passwords(node, "aegis"));
            ensure!(Client::log_in(node.port(), "aegis", &old).is_err(), "the old password works still");
        }
    }
    measured.used(consumer.end()?);
    let [_, second] = &mut nodes;
    second.restart()?;
    ensure!(passwords(second, "aegis") == 1, "a restarted node has {} passwords", passwords(second, "aegis"));
    let now = stage.read(&name)?;
    Client::log_in(second.port(), "aegis", now.text("password")?)?.run(&["GET", "aegis:1"])?;
    ensure!(Client::log_in(second.port(), "aegis", &old).is_err(), "the old password works after a restart");
    measured.ended("its SHA-256 is gone at 2 nodes, WRONGPASS, also after a restart");
    Ok(measured)
}
