//! A class that must have rotated well in one environment before it does in another.

use std::time::Duration;

use rekey_model::CredentialName;
use rekey_rotation::{EmergencyId, Event, OutOfOrder, Phase, Why};
use rekey_runtime::random;
use serde_json::json;

use super::stage::Stage;
use crate::audit::Actor;
use crate::executor::CommitError;

/// What begins each refusal.
const RULE: &str = "class databases has not rotated well in test within 1h: ";

/// Two credentials of one class, settled: one in `test`, and the second, which rotates after it.
async fn staged() -> (Stage, CredentialName) {
    let mut stage = Stage::settled().await;
    let second = stage.second().await;
    for name in [stage.name.clone(), second.clone()] {
        stage.declare(&name, "class", json!("databases")).await;
    }
    stage.declare(&second, "environment", json!("production")).await;
    stage.declare(&second, "after", json!({ "environment": "test", "within": "1h" })).await;
    while stage.ledger_of(&second).await.open_rotation().is_some() {
        stage.step().await;
    }
    (stage, second)
}

/// Asks for a rotation of the second; gives why it may not begin.
async fn refused(stage: &Stage, second: &CredentialName) -> Option<String> {
    let why = Why::Asked { reason: String::new(), by: "test".to_owned(), request: String::new() };
    let event = Event::Begin { rotation: random::id(), why };
    match stage.executor().commit(second, event, Actor::controller()).await {
        Ok(_begun) => None,
        Err(CommitError::OutOfOrder(OutOfOrder::Gated { why })) => {
            Some(why.strip_prefix(RULE).expect(&why).to_owned())
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn production_waits_until_its_class_has_rotated_well_in_staging() {
    let (mut stage, second) = staged().await;
    assert_eq!(refused(&stage, &second).await.unwrap(), "orders/db has not rotated yet");
    let report = stage.executor().report(&second).await.unwrap().unwrap();
    assert!(report.obstacle.unwrap().to_string().starts_with(RULE), "a plan says so beforehand");
    stage.rotate().await;
    assert_eq!(refused(&stage, &second).await.unwrap(), "orders/db rotates now");
    stage.until_settled(2).await;
    assert_eq!(refused(&stage, &second).await, None);
}

#[tokio::test]
async fn what_rotated_well_too_long_ago_or_failed_since_says_nothing() {
    let (mut stage, second) = staged().await;
    stage.rotate().await;
    stage.until_settled(2).await;
    stage.leap(Duration::from_hours(2)).await;
    assert_eq!(refused(&stage, &second).await.unwrap(), "orders/db did 2h ago");
    stage.rotate().await;
    stage.until("Grace", |l| l.open_rotation().is_some_and(|open| open.phase == Phase::Grace)).await;
    stage.commit(Event::Rollback { reason: "slow".to_owned() }).await.unwrap();
    assert_eq!(refused(&stage, &second).await.unwrap(), "orders/db failed just now");
    stage.until_settled(2).await;
    assert_eq!(refused(&stage, &second).await.unwrap(), "orders/db failed just now");
    stage.rotate().await;
    stage.until_settled(4).await;
    assert_eq!(refused(&stage, &second).await, None);
}

#[tokio::test]
async fn what_is_due_begins_by_itself_once_staging_has_rotated_and_an_emergency_does_not_wait() {
    let (mut stage, second) = staged().await;
    stage.declare(&second, "schedule", json!({ "every": "1200ms" })).await;
    for _ in 0..200 {
        stage.step().await;
    }
    assert_eq!(stage.ledger_of(&second).await.current.unwrap().get(), 1, "it is overdue, and waits");
    let report = stage.executor().report(&second).await.unwrap().unwrap();
    assert!(report.waiting_for[0].starts_with(RULE), "{:?}", report.waiting_for);
    stage.target.lock().emergency = true;
    let id: EmergencyId = random::id();
    let revoke =
        Event::Revoke { id, version: None, reason: "leak".to_owned(), by: "t".to_owned(), replace: true };
    stage.executor().commit(&second, revoke, Actor::controller()).await.unwrap();
    while stage.ledger_of(&second).await.current.is_none_or(|current| current.get() < 2) {
        stage.step().await;
    }
    stage.rotate().await;
    stage.until_settled(2).await;
    // It is looked at once a minute, at the least.
    stage.leap(Duration::from_mins(1)).await;
    while stage.ledger_of(&second).await.current.unwrap().get() < 3 {
        stage.step().await;
    }
}
