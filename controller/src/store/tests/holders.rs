//! Holders: only what is said in the current session is evidence.

use std::time::Duration;

use rekey_model::{Generation, InstanceId, Order, SessionId, Version};

use super::stage::{Stage, credential, name};
use crate::store::{Ack, Applied, Changed, Granted, Hello, HolderRow, Leaf, Nacked, Store};

const LEASE: Duration = Duration::from_secs(30);

fn instance(bits: u128) -> InstanceId {
    InstanceId::from_bits(bits)
}

fn session(bits: u128) -> SessionId {
    SessionId::from_bits(bits)
}

async fn join(store: &Store, bits: u128) {
    let mut tx = store.begin().await.unwrap();
    let spiffe = "spiffe://rekey.local/sidecar/orders/a".parse().unwrap();
    tx.join(instance(bits), &spiffe, &Leaf::default()).await.unwrap();
    tx.commit().await.unwrap();
}

/// Says hello in the session with the number of the instance times ten plus `nth`.
async fn hello(store: &Store, bits: u128, nth: u128, granted: &[(&str, Option<u64>)]) -> Applied {
    let granted: Vec<Granted> = granted
        .iter()
        .map(|(text, held)| Granted { credential: name(text), held: held.map(Order) })
        .collect();
    let mut tx = store.begin().await.unwrap();
    let said = Hello {
        instance: instance(bits),
        session: session(bits * 10 + nth),
        software: "rekey-sidecar/0.1.0",
        host: "node-1",
        generation: Generation(4),
        lease: LEASE,
        granted: &granted,
    };
    let applied = tx.hello(&said).await.unwrap();
    tx.commit().await.unwrap();
    applied
}

async fn ack(store: &Store, bits: u128, nth: u128, acks: &[(&str, u64, u64)]) -> Applied {
    let acks: Vec<Ack> = acks
        .iter()
        .map(|&(text, order, version)| Ack {
            credential: name(text),
            order: Order(order),
            version: Version::new(version),
        })
        .collect();
    let mut tx = store.begin().await.unwrap();
    let applied = tx.acks(instance(bits), session(bits * 10 + nth), &acks).await.unwrap();
    tx.commit().await.unwrap();
    applied
}

async fn holder(store: &Store) -> HolderRow {
    let mut rows = store.holders_of(&name("orders/db")).await.unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

async fn with_holder(stage: &Stage) -> Store {
    let store = stage.store().await;
    credential(&store, "orders/db").await;
    join(&store, 1).await;
    assert_eq!(hello(&store, 1, 1, &[("orders/db", None)]).await, Applied::Taken);
    store
}

both! {
    async fn a_hello_counts_and_acknowledges_nothing(stage) {
        let store = with_holder(stage).await;
        let row = holder(&store).await;
        assert_eq!((row.instance, row.session, row.lease), (instance(1), Some(session(11)), LEASE));
        assert_eq!((row.last_contact, row.since), (Some(stage.now()), stage.now()));
        assert_eq!((row.acked, row.gone, row.withdrawn, row.came_empty), (None, None, false, true));
        assert_eq!((row.generation, row.host.as_str()), (Generation(4), "node-1"));
        assert_eq!(store.instance(instance(1)).await.unwrap().unwrap().session_seq, 1);
    }

    async fn the_highest_order_wins(stage) {
        let store = with_holder(stage).await;
        for order in [3, 5, 4, 5] {
            stage.clock.advance(Duration::from_secs(1));
            assert_eq!(ack(&store, 1, 1, &[("orders/db", order, order)]).await, Applied::Taken);
        }
        let acked = holder(&store).await.acked.unwrap();
        assert_eq!((acked.order, acked.version), (Order(5), Version::new(5)));
        assert_eq!(stage.now().at_least_since(acked.at), Duration::from_secs(2), "the first of its order stays");
    }

    async fn an_ack_of_an_order_not_a_version_is_kept(stage) {
        let store = with_holder(stage).await;
        // Back to an earlier version: the order rises all the same.
        ack(&store, 1, 1, &[("orders/db", 1, 2)]).await;
        ack(&store, 1, 1, &[("orders/db", 2, 1)]).await;
        let acked = holder(&store).await.acked.unwrap();
        assert_eq!((acked.order, acked.version), (Order(2), Version::new(1)));
    }

    async fn an_earlier_session_changes_nothing_any_more(stage) {
        let store = with_holder(stage).await;
        hello(&store, 1, 2, &[("orders/db", None)]).await;
        stage.clock.advance(Duration::from_secs(5));
        assert_eq!(ack(&store, 1, 1, &[("orders/db", 9, 9)]).await, Applied::Void);
        let (old, mut tx) = (session(11), store.begin().await.unwrap());
        assert_eq!(tx.renew(instance(1), old, LEASE).await.unwrap(), Applied::Void);
        assert_eq!(tx.goodbye(instance(1), old).await.unwrap(), Applied::Void);
        let report = serde_json::json!([]);
        let told = tx.usage(instance(1), old, &name("orders/db"), (Order(9), &report)).await.unwrap();
        assert_eq!(told, Applied::Void);
        let nacked = Nacked { order: Order(9), reason: "no".into() };
        assert_eq!(tx.nack(instance(1), old, &name("orders/db"), &nacked).await.unwrap(), Applied::Void);
        tx.generation(instance(1), old, Generation(99)).await.unwrap();
        tx.commit().await.unwrap();
        let row = holder(&store).await;
        assert_eq!((row.session, row.acked, row.nacked, row.reported), (Some(session(12)), None, None, None));
        assert_eq!((row.generation, row.gone), (Generation(4), None));
        assert_eq!(stage.now().at_least_since(row.last_contact.unwrap()), Duration::from_secs(5));
    }

    async fn a_new_session_that_still_holds_it_keeps_since_when(stage) {
        let store = with_holder(stage).await;
        let first = stage.now();
        ack(&store, 1, 1, &[("orders/db", 7, 1)]).await;
        stage.clock.advance(Duration::from_mins(1));
        hello(&store, 1, 2, &[("orders/db", Some(7))]).await;
        assert_eq!(holder(&store).await.acked, None, "a hello acknowledges nothing");
        stage.clock.advance(Duration::from_secs(1));
        ack(&store, 1, 2, &[("orders/db", 7, 1)]).await;
        let row = holder(&store).await;
        assert_eq!((row.since, row.acked.unwrap().at, row.came_empty), (first, first, true));
        // A restart without a cache: everything begins anew.
        hello(&store, 1, 3, &[("orders/db", None)]).await;
        ack(&store, 1, 3, &[("orders/db", 7, 1)]).await;
        let row = holder(&store).await;
        assert_eq!((row.since, row.acked.unwrap().at, row.came_empty), (stage.now(), stage.now(), true));
    }

    async fn a_new_session_that_holds_something_older_acknowledges_anew(stage) {
        let store = with_holder(stage).await;
        let first = stage.now();
        ack(&store, 1, 1, &[("orders/db", 7, 1)]).await;
        stage.clock.advance(Duration::from_mins(1));
        hello(&store, 1, 2, &[("orders/db", Some(6))]).await;
        ack(&store, 1, 2, &[("orders/db", 7, 1)]).await;
        let row = holder(&store).await;
        assert_eq!((row.since, row.acked.unwrap().at), (first, stage.now()));
    }

    async fn a_grant_that_was_taken_away_counts_until_it_is_dropped(stage) {
        let store = with_holder(stage).await;
        ack(&store, 1, 1, &[("orders/db", 1, 1)]).await;
        let mut tx = store.begin().await.unwrap();
        tx.withdraw(instance(1), &name("orders/db")).await.unwrap();
        tx.commit().await.unwrap();
        let row = holder(&store).await;
        assert_eq!((row.withdrawn, row.gone), (true, None));
        stage.clock.advance(Duration::from_secs(1));
        let dropped = stage.now();
        for _twice in 0..2 {
            let mut tx = store.begin().await.unwrap();
            tx.let_go(instance(1), &name("orders/db")).await.unwrap();
            tx.commit().await.unwrap();
            stage.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(holder(&store).await.gone, Some(dropped));
        let mut tx = store.begin().await.unwrap();
        tx.grant(instance(1), &name("orders/db")).await.unwrap();
        tx.commit().await.unwrap();
        let row = holder(&store).await;
        assert_eq!((row.withdrawn, row.gone, row.since), (false, None, stage.now()));
    }

    async fn a_hello_without_the_grant_leaves_it_withdrawn(stage) {
        let store = with_holder(stage).await;
        hello(&store, 1, 2, &[]).await;
        assert!(holder(&store).await.withdrawn);
    }

    async fn a_goodbye_ends_the_lease_and_the_session_at_once(stage) {
        let store = with_holder(stage).await;
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.goodbye(instance(1), session(11)).await.unwrap(), Applied::Taken);
        tx.commit().await.unwrap();
        let row = holder(&store).await;
        assert_eq!((row.session, row.lease, row.gone), (None, Duration::ZERO, Some(stage.now())));
        assert_eq!(ack(&store, 1, 1, &[("orders/db", 9, 9)]).await, Applied::Void);
        hello(&store, 1, 2, &[("orders/db", None)]).await;
        assert_eq!(holder(&store).await.gone, None);
    }

    async fn renewals_reports_and_refusals_of_the_session_are_taken(stage) {
        let store = with_holder(stage).await;
        stage.clock.advance(Duration::from_secs(9));
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.renew(instance(1), session(11), LEASE * 2).await.unwrap(), Applied::Taken);
        tx.generation(instance(1), session(11), Generation(6)).await.unwrap();
        tx.generation(instance(1), session(11), Generation(5)).await.unwrap();
        let report = serde_json::json!([{"version": 1, "processes": 2}]);
        tx.usage(instance(1), session(11), &name("orders/db"), (Order(3), &report)).await.unwrap();
        let nacked = Nacked { order: Order(4), reason: "the password is empty".into() };
        tx.nack(instance(1), session(11), &name("orders/db"), &nacked).await.unwrap();
        tx.commit().await.unwrap();
        let row = holder(&store).await;
        assert_eq!((row.last_contact, row.lease), (Some(stage.now()), LEASE * 2));
        assert_eq!(row.generation, Generation(6));
        let told = row.reported.unwrap();
        assert_eq!((told.order, told.report, told.at), (Order(3), report, stage.now()));
        assert_eq!(row.nacked, Some(nacked));
        ack(&store, 1, 1, &[("orders/db", 4, 1)]).await;
        assert_eq!(holder(&store).await.nacked, None, "it took it after all");
    }

    async fn a_locked_or_removed_instance_is_heard_no_more(stage) {
        let store = with_holder(stage).await;
        let mut tx = store.begin().await.unwrap();
        tx.lock_instance(instance(1), "a second user of one identity").await.unwrap();
        tx.lock_instance(instance(1), "later").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(ack(&store, 1, 1, &[("orders/db", 9, 9)]).await, Applied::Void);
        assert_eq!(hello(&store, 1, 2, &[("orders/db", None)]).await, Applied::Void);
        let row = store.instance(instance(1)).await.unwrap().unwrap();
        assert_eq!(row.locked.as_deref(), Some("a second user of one identity"));
        assert_eq!(holder(&store).await.gone, None, "what it holds, it may still serve");
        let mut tx = store.begin().await.unwrap();
        tx.remove_instance(instance(1)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(holder(&store).await.gone, Some(stage.now()));
        assert_eq!(hello(&store, 1, 3, &[("orders/db", None)]).await, Applied::Void);
        assert_eq!(hello(&store, 2, 1, &[("orders/db", None)]).await, Applied::Void, "it never joined");
    }

    async fn many_acks_are_one_commit(stage) {
        let store = stage.store().await;
        for number in 0..5 {
            credential(&store, &format!("c{number}")).await;
        }
        let names: Vec<String> = (0..5).map(|number| format!("c{number}")).collect();
        let granted: Vec<(&str, Option<u64>)> = names.iter().map(|n| (n.as_str(), None)).collect();
        for bits in 1..=10 {
            join(&store, bits).await;
            hello(&store, bits, 1, &granted).await;
        }
        let before = store.meta().await.unwrap().commits;
        let mut told = store.changes();
        let mut tx = store.begin().await.unwrap();
        for bits in 1..=10_u128 {
            let all: Vec<Ack> = names
                .iter()
                .map(|n| Ack { credential: name(n), order: Order(2), version: None })
                .collect();
            assert_eq!(tx.acks(instance(bits), session(bits * 10 + 1), &all).await.unwrap(), Applied::Taken);
        }
        tx.commit().await.unwrap();
        assert_eq!(store.meta().await.unwrap().commits, before + 1);
        for n in &names {
            assert_eq!(told.recv().await.unwrap(), Changed::Holders(name(n)));
            let rows = store.holders_of(&name(n)).await.unwrap();
            assert!(rows.len() == 10 && rows.iter().all(|row| row.acked.unwrap().order == Order(2)));
        }
        assert!(told.try_recv().is_err(), "each credential is told once");
        assert_eq!(store.holdings_of(instance(3)).await.unwrap().len(), 5);
    }

    async fn acks_of_a_forgotten_credential_do_not_count_for_its_namesake(stage) {
        let store = with_holder(stage).await;
        ack(&store, 1, 1, &[("orders/db", 9, 9)]).await;
        let row = store.credential(&name("orders/db")).await.unwrap().unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.delete(&row).await.unwrap();
        tx.commit().await.unwrap();
        credential(&store, "orders/db").await;
        assert!(store.holders_of(&name("orders/db")).await.unwrap().is_empty());
    }
}
