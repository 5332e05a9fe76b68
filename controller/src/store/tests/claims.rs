//! What sidecars say of lost lives of the store, and the life that the store is in.

use std::collections::BTreeSet;
use std::time::Duration;

use rekey_model::{Generation, Incarnation, InstanceId, Order, SessionId, Version};
use rekey_rotation::Claim;

use super::stage::{credential, name};
use crate::store::{Granted, Hello, Leaf, Mode, Store};

const WHO: u128 = 7;

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn claim(order: u64, version: Option<u64>, fenced: &[u64]) -> Claim {
    Claim {
        incarnation: Incarnation(1),
        order: Order(order),
        serves: version.map(|number| (v(number), format!("orders_app_v{number}_x").parse().unwrap())),
        fenced: fenced.iter().map(|number| v(*number)).collect(),
    }
}

async fn joined(store: &Store) -> InstanceId {
    let (who, session) = (InstanceId::from_bits(WHO), SessionId::from_bits(WHO));
    let mut tx = store.begin().await.unwrap();
    let spiffe = "spiffe://rekey.local/sidecar/orders/a".parse().unwrap();
    tx.join(who, &spiffe, &Leaf::default()).await.unwrap();
    let granted = [Granted { credential: name("orders/db"), held: None }];
    let hello = Hello {
        instance: who,
        session,
        software: "",
        host: "",
        generation: Generation(0),
        lease: Duration::from_secs(5),
        granted: &granted,
    };
    tx.hello(&hello).await.unwrap();
    tx.commit().await.unwrap();
    who
}

both! {
    async fn what_a_sidecar_said_is_kept_until_it_is_taken_in_and_never_made_less(stage) {
        let store = stage.store().await;
        let row = credential(&store, "orders/db").await;
        let who = joined(&store).await;
        for said in [claim(9, Some(3), &[1]), claim(0, None, &[]), claim(10, None, &[2])] {
            let mut tx = store.begin().await.unwrap();
            tx.put_claim(who, &row.name, &said).await.unwrap();
            tx.put_claim(who, &name("unknown"), &said).await.unwrap();
            tx.commit().await.unwrap();
        }
        let store = stage.open().await;
        let kept = store.claims_of(&row.name).await.unwrap();
        assert_eq!(kept, [claim(10, Some(3), &[1, 2])], "a restarted sidecar does not take back what it told");
        assert_eq!(store.claims_of(&name("unknown")).await.unwrap(), []);
        let mut tx = store.begin().await.unwrap();
        tx.drop_claims(&row.name).await.unwrap();
        assert_eq!(tx.claims_of(&row.name).await.unwrap(), []);
        tx.commit().await.unwrap();
        assert_eq!(store.claims_of(&row.name).await.unwrap(), []);
    }

    async fn no_sidecar_fills_the_store_with_fences(stage) {
        let store = stage.store().await;
        let row = credential(&store, "orders/db").await;
        let who = joined(&store).await;
        let mut tx = store.begin().await.unwrap();
        for first in [1, 2_000] {
            let fenced: BTreeSet<Version> = (first..first + 1_000).map(v).collect();
            tx.put_claim(who, &row.name, &Claim { fenced, ..claim(1, None, &[]) }).await.unwrap();
        }
        assert_eq!(tx.claims_of(&row.name).await.unwrap()[0].fenced.len(), 1024);
    }

    async fn a_life_remembers_in_which_one_its_ledgers_were_written_and_why_it_began(stage) {
        let store = stage.store().await;
        credential(&store, "orders/db").await;
        let who = joined(&store).await;
        assert_eq!(store.instance(who).await.unwrap().unwrap().heard_in, Incarnation(0));
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.former(), Incarnation(1));
        tx.begin_life(Incarnation(4), "somebody said so").await.unwrap();
        tx.begin_life(Incarnation(4), "and again").await.unwrap();
        tx.heard(who).await.unwrap();
        tx.commit().await.unwrap();
        let meta = stage.open().await.meta().await.unwrap();
        assert_eq!((meta.incarnation, meta.former), (Incarnation(6), Some(Incarnation(1))));
        assert_eq!(meta.because.as_deref(), Some("and again"));
        let store = stage.open().await;
        assert_eq!(store.instance(who).await.unwrap().unwrap().heard_in, Incarnation(6));
        let mut tx = store.begin().await.unwrap();
        tx.leave_reconciling().await.unwrap();
        tx.commit().await.unwrap();
        let meta = store.meta().await.unwrap();
        assert_eq!((meta.mode, meta.former, meta.because), (Mode::Normal, None, None));
    }

    async fn in_a_new_life_nobody_is_silent_since_the_backup(stage) {
        let store = stage.store().await;
        credential(&store, "orders/db").await;
        let who = joined(&store).await;
        stage.clock.advance(Duration::from_hours(48));
        let mut tx = store.begin().await.unwrap();
        tx.begin_life(Incarnation(1), "test").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.instance(who).await.unwrap().unwrap().last_contact, Some(stage.now()));
        stage.clock.advance(Duration::from_hours(1));
        let store = stage.open().await;
        assert_eq!(store.instance(who).await.unwrap().unwrap().last_contact, Some(stage.now()));
        let mut tx = store.begin().await.unwrap();
        tx.leave_reconciling().await.unwrap();
        tx.commit().await.unwrap();
        let then = stage.now();
        stage.clock.advance(Duration::from_hours(1));
        let kept = stage.open().await.instance(who).await.unwrap().unwrap().last_contact;
        assert_eq!(kept, Some(then), "in normal life what is written counts");
    }
}
