//! An event has its effect once, however often and however simultaneously it is delivered.

use std::collections::HashSet;
use std::sync::Arc;

use convene_application::kernel::clock::{Clock as _, SystemClock};
use convene_application::kernel::jobs::NewJob;
use convene_application::kernel::operate::replay::InboxReads as _;
use convene_application::kernel::random::Random;
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::{Begin, CONSUMED_BEFORE};
use convene_application::rsvp::ports::RsvpTx;
use convene_domain::ids::{EventId, TypedId as _};
use convene_infrastructure::postgres::PgStore;
use convene_testkit::fake::SeededRandom;
use uuid::Uuid;

use super::{count, database, session, store_of};

const CONSUMER: &str = "test";

/// The id of an event of now.
fn new_event() -> Uuid {
    let random: &dyn Random = &SeededRandom::default();
    random.uuid(SystemClock.now())
}

fn effect() -> NewJob {
    NewJob {
        kind: "test.effect",
        queue: "default",
        group: None,
        payload: serde_json::Value::Null,
        unique_key: None,
        run_at: None,
        priority: 100,
        max_attempts: 1,
        keep: true,
        traceparent: None,
        correlation_id: None,
    }
}

/// A consumer that reads before it writes: it may save itself the work.
async fn consume_reading(
    store: &PgStore,
    consumer: &'static str,
    event: Uuid,
) -> Result<bool, StoreError> {
    let mut tx: Box<dyn RsvpTx> = store.begin(Vec::new()).await?;
    tx.consume(consumer, event, 0);
    tx.open(EventId::from_uuid(event), &[], 0).await?;
    let before = tx.consumed_before();
    tx.staged().jobs.push(effect());
    tx.commit().await?;
    Ok(before)
}

/// A consumer that writes alone: one flight.
async fn consume_blindly(store: &PgStore, event: Uuid) -> Result<(), StoreError> {
    let mut tx: Box<dyn RsvpTx> = store.begin(Vec::new()).await?;
    tx.consume(CONSUMER, event, 0);
    tx.staged().jobs.push(effect());
    tx.commit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_known_after_the_first_read_and_has_no_effect() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store_of(&database, 2));
    let event = new_event();
    assert!(!consume_reading(&store, CONSUMER, event).await.unwrap());
    assert!(consume_reading(&store, CONSUMER, event).await.unwrap());
    consume_blindly(&store, event).await.unwrap();
    assert_eq!(count(&admin, "jobs").await, 1);
    assert!(!consume_reading(&store, "another", event).await.unwrap(), "each consumer for itself");
    assert_eq!(count(&admin, "jobs").await, 2);
    assert_eq!(count(&admin, "inbox").await, 2);
    assert_eq!(count(&admin, "inbox_default").await, 0, "this week has its partition");
}

/// Claims events together, with a read first or without.
async fn consume_all(store: &PgStore, events: &[Uuid], reads: bool) -> Result<(), StoreError> {
    let mut tx: Box<dyn RsvpTx> = store.begin(Vec::new()).await?;
    tx.consume_all(CONSUMER, events.iter().map(|event| (*event, 0)).collect());
    if reads {
        tx.open(EventId::from_uuid(events[0]), &[], 0).await?;
    }
    tx.staged().jobs.extend(events.iter().map(|_| effect()));
    tx.commit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_claimed_together_or_not_at_all() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store_of(&database, 2));
    for (round, reads) in [(1, true), (2, false)] {
        let random: &dyn Random = &SeededRandom::default();
        let now = SystemClock.now();
        let events: Vec<Uuid> = (0..5).map(|_| random.uuid(now)).collect();
        consume_blindly(&store, events[3]).await.unwrap();
        let refused = consume_all(&store, &events, reads).await.unwrap_err();
        assert!(refused.violates(CONSUMED_BEFORE), "{refused:?}");
        consume_all(&store, &events[..3], reads).await.unwrap();
        assert_eq!(count(&admin, "jobs").await, round * 4);
        let again = consume_all(&store, &events[..3], reads).await.unwrap_err();
        assert!(again.violates(CONSUMED_BEFORE), "{again:?}");
        assert_eq!(count(&admin, "jobs").await, round * 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_deliveries_have_one_effect() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, Arc::new(store_of(&database, 8)));
    // An id of no foreseen time is taken all the same.
    let events = [new_event(), Uuid::from_u128(7)];
    let deliveries = (0..8).flat_map(|_| events).map(|event| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            if event.as_u128() % 2 == 0 {
                consume_reading(&store, CONSUMER, event).await.map(drop)
            } else {
                consume_blindly(&store, event).await
            }
        })
    });
    for delivery in futures::future::join_all(deliveries).await {
        delivery.unwrap().unwrap();
    }
    assert_eq!(count(&admin, "jobs").await, 2);
    assert_eq!(count(&admin, "inbox").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_fails_leaves_the_event_unclaimed() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store_of(&database, 2));
    let event = new_event();
    let mut tx: Box<dyn RsvpTx> = store.begin(Vec::new()).await.unwrap();
    tx.consume(CONSUMER, event, 0);
    tx.open(EventId::from_uuid(event), &[], 0).await.unwrap();
    drop(tx);
    assert!(!consume_reading(&store, CONSUMER, event).await.unwrap());
    assert_eq!(count(&admin, "jobs").await, 1);
}

/// Each replay is a consumption of its own, and is itself had once.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_consumed_once_beside_what_was_consumed_before() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store_of(&database, 2));
    let event = new_event();
    for (replay, jobs) in [(0, 1), (0, 1), (1, 2), (1, 2), (2, 3)] {
        let mut tx: Box<dyn RsvpTx> = store.begin(Vec::new()).await.unwrap();
        tx.consume(CONSUMER, event, replay);
        tx.staged().jobs.push(effect());
        tx.commit().await.unwrap();
        assert_eq!(count(&admin, "jobs").await, jobs, "replay {replay}");
    }
    let consumed = async |consumer: &str, replay| {
        store.consumed(consumer, replay, &[event, new_event()]).await.unwrap()
    };
    for replay in 0..3 {
        assert_eq!(consumed(CONSUMER, replay).await, HashSet::from([event]));
    }
    assert!(consumed(CONSUMER, 3).await.is_empty());
    assert!(consumed("another", 0).await.is_empty());
}
