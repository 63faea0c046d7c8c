//! Positions are dense and in order whatever writers and sequencers do, and audit entries are chained.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convene_application::kernel::events::{EventLog as _, Sequenced, Sequencer as _};
use convene_application::kernel::log::{CommunityLog as _, TypeFilter};
use convene_application::kernel::page::{PageKey, PageQuery, Travel};
use convene_domain::ids::{CommunityId, TypedId as _};
use convene_infrastructure::postgres::PgStore;
use convene_testkit::poll::poll_until;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{count, database, session, store, store_of};

const WRITERS: i32 = 6;
const EACH: i32 = 40;
const SOON: Duration = Duration::from_secs(20);

fn insert(event: Uuid, aggregate: i32) -> String {
    format!(
        "INSERT INTO outbox (event_id, event_type, version, community_id, envelope)
         VALUES ('{event}', 'rsvp.confirmed', 1, '{}', 'x')",
        Uuid::from_u128(aggregate as u128)
    )
}

/// Aggregates whose events are written under a lock, as rows are, each with a number that grows by one.
async fn write(client: &Client, writer: i32) {
    for round in 0..EACH {
        let aggregate = (writer + round) % 3;
        let number = writer * EACH + round;
        let ends = if number % 7 == 3 { "ROLLBACK" } else { "COMMIT" };
        // The position in the aggregate is the number of its events so far.
        let statements = format!(
            "BEGIN; SELECT pg_advisory_xact_lock({aggregate});
             INSERT INTO outbox (event_id, event_type, version, community_id, envelope)
             VALUES (gen_random_uuid(), 'rsvp.confirmed', 1, '{aggregate_id}',
                     (SELECT (count(*) + 1)::text::bytea FROM aggregate_events WHERE aggregate = {aggregate}));
             INSERT INTO aggregate_events VALUES ({aggregate}); {ends}",
            aggregate_id = Uuid::from_u128(aggregate as u128),
        );
        client.batch_execute(&statements).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_dense_and_in_each_aggregates_order_under_concurrent_writers() {
    let database = database().await;
    let admin = session(&database.admin_url()).await;
    admin.batch_execute("CREATE TABLE aggregate_events (aggregate integer)").await.unwrap();
    let writing = Arc::new(AtomicBool::new(true));
    let sequencers: Vec<_> = (0..2)
        .map(|_| {
            let (store, writing) = (store(&database), Arc::clone(&writing));
            tokio::spawn(async move {
                let mut moved = 0;
                loop {
                    let last = !writing.load(Ordering::SeqCst);
                    match store.sequence(7).await.unwrap() {
                        Sequenced::Moved { events: 0, .. } if last => return moved,
                        Sequenced::Moved { events, .. } => moved += events,
                        Sequenced::Busy => tokio::task::yield_now().await,
                    }
                }
            })
        })
        .collect();
    let writers = (0..WRITERS).map(async |writer| {
        let client = session(&database.admin_url()).await;
        write(&client, writer).await;
    });
    futures::future::join_all(writers).await;
    writing.store(false, Ordering::SeqCst);
    let mut moved = Vec::new();
    for sequencer in sequencers {
        moved.push(sequencer.await.unwrap());
    }

    let events = store(&database).read_after(0, 1_000).await.unwrap();
    let committed = count(&admin, "aggregate_events").await;
    assert_eq!(events.len() as i64, committed);
    assert!(committed < i64::from(WRITERS * EACH), "some were rolled back");
    assert_eq!(i64::from(moved.iter().sum::<u32>()), committed, "each event was moved once");
    let mut last: HashMap<Option<CommunityId>, u32> = HashMap::new();
    for (event, position) in events.iter().zip(1..) {
        assert_eq!(event.position, position);
        let number: u32 = std::str::from_utf8(&event.envelope).unwrap().parse().unwrap();
        let before = last.insert(event.community, number).unwrap_or(0);
        assert_eq!(number, before + 1, "in the order of its aggregate");
    }
}

/// The later transaction committed first: nothing that reads on from a position may miss the earlier one.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_commits_late_gets_a_later_position() {
    let database = database().await;
    let (slow, fast) = (session(&database.admin_url()).await, session(&database.admin_url()).await);
    let (late, early) = (Uuid::from_u128(1), Uuid::from_u128(2));
    slow.batch_execute(&format!("BEGIN; {}", insert(late, 1))).await.unwrap();
    fast.batch_execute(&insert(early, 1)).await.unwrap();
    let store = store(&database);
    store.sequence(10).await.unwrap();
    let first = store.read_after(0, 10).await.unwrap();
    assert_eq!(first.iter().map(|event| event.id).collect::<Vec<_>>(), [early]);
    slow.batch_execute("COMMIT").await.unwrap();
    store.sequence(10).await.unwrap();
    let next = store.read_after(first[0].position, 10).await.unwrap();
    assert_eq!(
        next.iter().map(|event| (event.position, event.id)).collect::<Vec<_>>(),
        [(2, late)]
    );
}

/// Whoever holds the lock works; when it dies in the middle, nothing of its move is there and the next one works.
#[tokio::test(flavor = "multi_thread")]
async fn a_sequencer_that_is_killed_is_replaced_at_once() {
    let database = database().await;
    let admin = session(&database.admin_url()).await;
    admin.batch_execute(&insert(Uuid::from_u128(1), 1)).await.unwrap();
    let doomed = session(&database.app_url()).await;
    doomed.batch_execute("BEGIN; SELECT convene_sequence(10)").await.unwrap();
    let store = store(&database);
    assert_eq!(store.sequence(10).await.unwrap(), Sequenced::Busy);
    assert_eq!(store.head().await.unwrap(), 0);

    let killed = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND state = 'idle in transaction'";
    admin.batch_execute(killed).await.unwrap();
    let moved = poll_until(SOON, "the next sequencer works", async || {
        Some(store.sequence(10).await.unwrap()).filter(|moved| *moved != Sequenced::Busy)
    })
    .await;
    assert_eq!(moved, Sequenced::Moved { events: 1, audit: 0 });
    assert_eq!(store.head().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_made_ahead_of_the_positions() {
    let database = database().await;
    let admin = session(&database.admin_url()).await;
    admin.batch_execute("UPDATE log_head SET position = 999998").await.unwrap();
    for number in 1..=5 {
        admin.batch_execute(&insert(Uuid::from_u128(number), 1)).await.unwrap();
    }
    let store = store(&database);
    // Half a million rows earlier, the next partition would have been there long before.
    admin.batch_execute("SELECT convene_extend_log()").await.unwrap();
    assert_eq!(store.sequence(10).await.unwrap(), Sequenced::Moved { events: 5, audit: 0 });
    let positions: Vec<_> =
        store.read_after(0, 10).await.unwrap().iter().map(|event| event.position).collect();
    assert_eq!(positions, [999_999, 1_000_000, 1_000_001, 1_000_002, 1_000_003]);
    assert_eq!(count(&admin, "domain_events_p0").await, 2);
    assert_eq!(count(&admin, "domain_events_p1").await, 3);
}

async fn audit(client: &Client, community: Option<u128>, action: &str) {
    let community = community.map(|community| Uuid::from_u128(community).to_string());
    client
        .execute(
            "INSERT INTO audit_pending (community_id, actor, action, object, changed, request_id, client_ip)
             VALUES ($1::text::uuid, 'system', $2, 'object', '{\"b\": 1, \"a\": null}', 'req', '192.0.2.1')",
            &[&community, &action],
        )
        .await
        .unwrap();
}

/// How many entries of the log do not follow from those before them.
const BROKEN: &str = "(SELECT hash IS DISTINCT FROM convene_audit_chain('', convene_audit_bytes(chain_id, number, at,
        actor, session_id, action, object, changed, request_id, personal_digest, outcome))
        OVER (PARTITION BY chain_id ORDER BY number) AS broken FROM audit_log) AS entry WHERE broken";

#[tokio::test(flavor = "multi_thread")]
async fn audit_entries_are_numbered_and_chained_by_community() {
    let database = database().await;
    let admin = session(&database.admin_url()).await;
    let store = store(&database);
    for (round, community) in
        [Some(1), None, Some(2), Some(1), None, Some(1)].into_iter().enumerate()
    {
        audit(&admin, community, &format!("action.{round}")).await;
        if round == 3 {
            assert_eq!(store.sequence(10).await.unwrap(), Sequenced::Moved { events: 0, audit: 4 });
        }
    }
    assert_eq!(store.sequence(10).await.unwrap(), Sequenced::Moved { events: 0, audit: 2 });

    let rows = admin.query(
        "SELECT chain_id::text, number, action FROM audit_log ORDER BY chain_id, number",
        &[],
    );
    let entries: Vec<(u128, i64, String)> = rows
        .await
        .unwrap()
        .iter()
        .map(|row| {
            (row.get::<_, &str>(0).parse::<Uuid>().unwrap().as_u128(), row.get(1), row.get(2))
        })
        .collect();
    let expected = [(0, 1, 1), (0, 2, 4), (1, 1, 0), (1, 2, 3), (1, 3, 5), (2, 1, 2)];
    assert_eq!(
        entries,
        expected.map(|(chain, number, round)| (chain, number, format!("action.{round}")))
    );
    assert_eq!(count(&admin, BROKEN).await, 0);
    assert_eq!(count(&admin, "audit_log WHERE outcome = 'done'").await, 6);
    assert_eq!(count(&admin, "audit_personal WHERE client_ip = '192.0.2.1'").await, 6);

    admin.batch_execute("DELETE FROM audit_personal").await.unwrap();
    assert_eq!(count(&admin, BROKEN).await, 0, "what is personal can be erased");

    admin
        .batch_execute("UPDATE audit_log SET actor = 'mallory' WHERE action = 'action.3'")
        .await
        .unwrap();
    assert_eq!(count(&admin, BROKEN).await, 2, "a change breaks its entry and all behind it");
    admin.batch_execute("DELETE FROM audit_log WHERE action = 'action.3'").await.unwrap();
    assert_eq!(count(&admin, BROKEN).await, 1, "an omission breaks what follows");
}

/// A refusal may have no actor, and its outcome is part of what the chain protects.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_chained_too() {
    let database = database().await;
    let admin = session(&database.admin_url()).await;
    let store = store(&database);
    admin
        .batch_execute(
            "INSERT INTO audit_pending (action, object, changed, request_id, outcome)
             VALUES ('auth.login', 'account:00', '{}', 'req', 'refused')",
        )
        .await
        .unwrap();
    audit(&admin, None, "auth.logout").await;
    assert_eq!(store.sequence(10).await.unwrap(), Sequenced::Moved { events: 0, audit: 2 });
    assert_eq!(count(&admin, "audit_log WHERE outcome = 'refused' AND actor IS NULL").await, 1);
    assert_eq!(count(&admin, BROKEN).await, 0);
    admin.batch_execute("UPDATE audit_log SET outcome = 'done'").await.unwrap();
    assert_eq!(count(&admin, BROKEN).await, 2, "a refusal cannot be turned into its opposite");
}

fn page(limit: u16, travel: Travel) -> PageQuery {
    PageQuery { limit, travel }
}

async fn record(admin: &Client, store: &PgStore, types: &[&str]) {
    for (number, event_type) in (1_u128..).zip(types) {
        admin
            .execute(
                "INSERT INTO outbox (event_id, event_type, version, community_id, envelope) VALUES ($1::text::uuid, $2, 1, $3::text::uuid, 'x')",
                &[&Uuid::from_u128(number).to_string(), event_type, &Uuid::from_u128(1).to_string()],
            )
            .await
            .unwrap();
    }
    admin.batch_execute(&insert(Uuid::from_u128(99), 2)).await.unwrap();
    store.sequence(100).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_communitys_log_is_read_by_position_and_type() {
    let database = database().await;
    let admin = session(&database.admin_url()).await;
    let store = store_of(&database, 1);
    record(
        &admin,
        &store,
        &["event.created", "rsvp.confirmed", "rsvp.cancelled", "rsvps.other", "event.updated"],
    )
    .await;
    let community = CommunityId::from_uuid(Uuid::from_u128(1));
    let read = async |filter: TypeFilter, query: PageQuery| {
        let page = store.page(community, &filter, query).await.unwrap();
        (page.items.iter().map(|event| event.position).collect::<Vec<_>>(), page.has_more)
    };
    let key = |position: i64| PageKey { sort: position, id: Uuid::from_u128(position as u128) };
    assert_eq!(read(TypeFilter::Any, page(3, Travel::First)).await, (vec![1, 2, 3], true));
    assert_eq!(read(TypeFilter::Any, page(3, Travel::After(key(3)))).await, (vec![4, 5], false));
    assert_eq!(read(TypeFilter::Any, page(2, Travel::Before(key(4)))).await, (vec![2, 3], true));
    let module = TypeFilter::Module("rsvp".to_owned());
    assert_eq!(read(module, page(9, Travel::First)).await, (vec![2, 3], false));
    let exact = TypeFilter::Exact("event.updated".to_owned());
    assert_eq!(read(exact, page(9, Travel::First)).await, (vec![5], false));
}
