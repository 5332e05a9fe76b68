//! A pooler that asks the server for each login (`auth_query`), set up exactly as the manual says.

use std::sync::Arc;

use rekey_drivers::{Driver, Sessions, Usage};

use super::world::{World, at, cluster};
use crate::conformance::refused;

const MANUAL: &str = include_str!("../../../../../docs/drivers.md");

/// The first block of this language in the manual's section about `auth_query`.
fn manual(language: &str) -> &'static str {
    let section = MANUAL.split_once("### With `auth_query`").unwrap().1;
    let block = section.split_once(&format!("```{language}\n")).unwrap().1;
    block.split_once("```").unwrap().0
}

#[tokio::test]
async fn versions_come_and_go_without_a_word_to_the_pooler() {
    let lines = manual("ini").lines().filter(|line| !line.starts_with("auth_file"));
    let mut settings: Vec<String> = lines.map(str::to_owned).collect();
    settings.push("pool_mode = transaction".into());
    let world = World::with(settings, None, |places| places.userlist = String::new());
    world.database.sql(manual("sql"));
    world.database.sql("ALTER ROLE pool_auth PASSWORD 'asks-for-others'");
    let list = format!("\"pool_auth\" \"asks-for-others\"\n{}", world.userlist());
    std::fs::write(world.pooler.userlist(), &list).unwrap();
    world.pooler.console("RELOAD");

    let port = world.pooler.port();
    let alone: Arc<dyn Driver> =
        Arc::new(world.database.driver_with(|target, _| target.consumer_port = Some(port)));
    for (driver, first) in [(alone, 1), (Arc::clone(&world.driver), 4)] {
        assert_eq!(driver.check().await.unwrap(), []);
        let (mut old, mut old_fields) = (None, None);
        for version in first..first + 3 {
            let intent = world.database.intent(version);
            let fields = driver.install(&intent).await.unwrap().fields;
            driver.probe(&fields, old.as_ref()).await.unwrap();
            for consumer in [world.consumer(&fields), at(cluster().port(), &fields).unwrap()] {
                consumer.sql("SELECT count(*) FROM orders").unwrap();
            }
            let before = old.replace(intent.handle).zip(old_fields.replace(fields));
            if let Some((handle, fields)) = before {
                driver.revoke(&handle, Sessions::End).await.unwrap();
                refused(driver.probe(&fields, None).await, "a login that has ended");
                driver.clean_up(&handle).await.unwrap();
            }
        }
    }
    // With a target of its own the pooler's clients are seen, and nobody of them sees an error in peace.
    let intent = world.database.intent(9);
    let fields = world.driver.install(&intent).await.unwrap().fields;
    let (busy, other) = (world.consumer(&fields), world.consumer(&fields));
    busy.sql("BEGIN; SELECT 1").unwrap();
    assert_eq!(world.driver.revoke(&intent.handle, Sessions::Leave).await.unwrap().sessions_left, 2);
    other.sql("SELECT count(*) FROM orders").unwrap();
    drop((busy, other));
    for _ in 0..50 {
        if world.driver.revoke(&intent.handle, Sessions::Leave).await.unwrap().sessions_left == 0 {
            break;
        }
    }
    assert!(!world.logins().contains(&intent.handle.to_string()));
    assert_eq!(world.driver.usage(&intent.handle).await.unwrap(), Usage::Sessions(Vec::new()));
    assert_eq!(world.userlist(), list, "the file is nobody's but its owner's");
}
