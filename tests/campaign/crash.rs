//! The controller is killed at moments drawn at random, rotation after rotation, while services work.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rekey_controller::store::{Store, StoreConfig};
use rekey_runtime::Clock;
use rekey_testkit::process::poll;
use rekey_testkit::system::{CREDENTIAL, Pace, Programs, System, folder};
use serde_json::Value;

use super::Limit;
use super::chance::Chance;
use super::record::Record;

/// How long a rotation may take on a busy machine, kills included.
const PATIENCE: Duration = Duration::from_mins(2);
/// A kill comes within this time after the rotation was asked for: about as long as one takes.
const SPREAD: usize = 2_500;
const SERVICES: [&str; 2] = ["orders-1", "orders-2"];

pub(crate) fn play(record: &mut Record, limit: &Limit) -> Result<String> {
    let seed = record.get("rotations");
    let mut chance = Chance::new(seed);
    let home = folder(&std::env::temp_dir(), &format!("rekey-campaign-{}", std::process::id()))?;
    let mut system = System::start(Programs::built()?, &home, Pace::default())?;
    for (sidecar, service) in ["sidecar-1", "sidecar-2"].into_iter().zip(SERVICES) {
        system.start_sidecar(sidecar)?;
        system.start_service(service, sidecar)?;
    }
    while !limit.is_over() {
        round(&mut system, &mut chance)
            .with_context(|| format!("seed {seed}; its files are in {}", home.display()))?;
        record.add(&[("rotations", 1), ("kills", 1)])?;
    }
    system.kill_controller();
    let records = audited(&home.join("rekey.db"))?;
    record.add(&[("audit_records", records)])?;
    drop(system);
    std::fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))?;
    let [rotations, kills, audited] = ["rotations", "kills", "audit_records"].map(|name| record.get(name));
    Ok(format!(
        "crash: {kills} kills in {rotations} rotations (this run from seed {seed}): no failed login or query, no orphan \
         role, {audited} records of audit in one chain"
    ))
}

/// One rotation with one kill in it.
fn round(system: &mut System, chance: &mut Chance) -> Result<()> {
    let before = current(&system.status()?);
    system.ctl(&["rotate", CREDENTIAL, "--reason", "campaign"])?;
    let wait = u64::try_from(chance.below(SPREAD)).unwrap_or(0);
    thread::sleep(Duration::from_millis(wait));
    system.kill_controller();
    system.start_controller()?;
    let mut last = Value::Null;
    let settled = poll(PATIENCE, || {
        last = system.status().unwrap_or(Value::Null);
        current(&last) == before + 1 && last.get("rotation").is_none_or(Value::is_null)
    });
    ensure!(settled, "killed after {wait} ms, v{} is not reached: {last:#}", before + 1);
    for service in SERVICES {
        let stats: Value = serde_json::from_slice(&std::fs::read(system.stats(service))?)?;
        let failed = ["failed_logins", "failed_queries"].map(|key| stats.get(key).and_then(Value::as_u64));
        ensure!(failed == [Some(0), Some(0)], "killed after {wait} ms, {service} failed: {stats:#}");
        ensure!(system.part(service)?.ended().is_none(), "{service} has ended");
    }
    let is_current = |role: &String| role.starts_with(&format!("orders_app_v{}_", before + 1));
    let clean = poll(PATIENCE, || system.database.made_roles().iter().all(is_current));
    ensure!(clean, "killed after {wait} ms, roles are left: {:?}", system.database.made_roles());
    Ok(())
}

fn current(status: &Value) -> u64 {
    status.get("current").and_then(Value::as_u64).unwrap_or_default()
}

/// How many records the audit has, if each follows the one before.
fn audited(store: &Path) -> Result<u64> {
    let config = StoreConfig::Sqlite(store.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::look(&config, Clock::system()).await?;
        let length = store.verify_audit().await?.map_err(|broken| anyhow!("{broken}"))?;
        store.close().await;
        Ok(length)
    })
}
