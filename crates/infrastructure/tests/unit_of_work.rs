//! What the unit of work promises, shown on the hot path: two flights, all or nothing, and no lock left behind.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convene_application::kernel::error::{Code, Failure};
use convene_application::kernel::idempotency::{Idempotency, KeyClaim, Reply, StoredReply};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Begin;
use convene_application::rsvp::RsvpService;
use convene_application::rsvp::ports::RsvpTx;
use convene_domain::ids::{TypedId as _, UserId};
use convene_domain::rsvp::{Admission, PartySize};
use convene_testkit::poll::poll_until;
use convene_testkit::wiretap::{Count, Wiretap};
use support::{Scene, caller, service};

/// Everything that an RSVP writes.
const WRITTEN: [&str; 5] = ["rsvps", "outbox", "audit_pending", "idempotency_keys", "jobs"];

fn key(number: u8) -> Idempotency<Admission> {
    Idempotency {
        claim: Ok(KeyClaim { scope: [number; 32], fingerprint: [7; 32] }),
        render: |admission| StoredReply {
            status: 201,
            location: None,
            etag: None,
            body: Bytes::from(admission.rsvp.id.to_string()),
        },
    }
}

/// A refused request is answered before its transaction has ended; who asks again at once does not meet its lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leaves_its_key_free() {
    let scene = Scene::new(1, 1).await;
    let service = service(&scene.store(4, None));
    let stranger = UserId::from_uuid(uuid::Uuid::from_u128(1));
    for again in 0..200 {
        let refused = attend(&service, &scene, stranger, Some(key(1))).await.unwrap_err();
        assert_ne!(refused.code, Code::IdempotencyInFlight, "the {again}. time");
    }
}

async fn attend(
    service: &RsvpService,
    scene: &Scene,
    user: UserId,
    key: Option<Idempotency<Admission>>,
) -> Result<Reply<Admission>, Failure> {
    let (context, principal) = caller(user);
    service.attend(context, principal, scene.event, Ok(PartySize::ONE), key).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_costs_two_flights_and_prepares_nothing_anew() {
    let scene = Scene::new(3, 12).await;
    let server = convene_testkit::services::database_url();
    let server = url::Url::parse(server).unwrap().socket_addrs(|| Some(5432)).unwrap()[0];
    let tap = Wiretap::start(server).await;
    let service = service(&scene.store(1, Some(tap.address())));
    // Warm: one is confirmed, others wait, one leaves and another is promoted.
    for (number, user) in scene.members[..6].iter().enumerate() {
        attend(&service, &scene, *user, Some(key(number as u8))).await.unwrap();
    }
    let (context, principal) = caller(scene.members[0]);
    service.withdraw(context, principal, scene.event, None).await.unwrap();

    let _ = tap.take();
    attend(&service, &scene, scene.members[7], None).await.unwrap();
    assert_eq!(tap.take(), Count { flights: 2, prepared: 0 }, "a new RSVP");
    attend(&service, &scene, scene.members[8], Some(key(108))).await.unwrap();
    assert_eq!(tap.take(), Count { flights: 2, prepared: 0 }, "with an idempotency key");
    let (context, principal) = caller(scene.members[1]);
    service.withdraw(context, principal, scene.event, None).await.unwrap();
    assert_eq!(tap.take(), Count { flights: 2, prepared: 0 }, "a withdrawal that promotes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_connection_keeps_the_order_of_a_flight() {
    let scene = Scene::new(1, 2).await;
    for (number, user) in scene.members.iter().enumerate() {
        // A pool of its own each time: every statement has to be prepared in the flight that first sends it.
        let service = service(&scene.store(1, None));
        attend(&service, &scene, *user, Some(key(number as u8))).await.unwrap();
    }
    let mixed = scene
        .admin
        .query(
            "SELECT r.xmin::text FROM rsvps r WHERE NOT EXISTS
                 (SELECT FROM outbox o WHERE o.xmin = r.xmin) OR NOT EXISTS
                 (SELECT FROM idempotency_keys k WHERE k.xmin = r.xmin) OR NOT EXISTS
                 (SELECT FROM audit_pending a WHERE a.xmin = r.xmin)",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(scene.count("rsvps").await, 2);
    assert!(mixed.is_empty(), "rows of one command were written by different transactions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_case_that_is_cancelled_leaves_no_lock() {
    let scene = Scene::new(1, 1).await;
    let store = scene.store(1, None);
    let mut tx = Begin::<dyn RsvpTx>::begin(&store, vec![]).await.unwrap();
    tx.open(scene.event, &scene.members, 0).await.unwrap().expect("the event is there");
    let locked = "SELECT FROM event_seats FOR NO KEY UPDATE NOWAIT";
    assert!(scene.admin.query(locked, &[]).await.is_err(), "the lock is held");
    drop(tx);
    poll_until(Duration::from_secs(2), "the row is free", async || {
        scene.admin.query(locked, &[]).await.ok()
    })
    .await;
    // The one connection of the pool is usable again.
    attend(&service(&store), &scene, scene.members[0], None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_aborted_while_it_waits_for_a_lock_leaves_none() {
    let scene = Arc::new(Scene::new(1, 1).await);
    let store = scene.store(1, None);
    scene.admin.batch_execute("BEGIN; SELECT FROM event_seats FOR UPDATE").await.unwrap();
    let waiting = tokio::spawn({
        let (store, scene) = (store.clone(), Arc::clone(&scene));
        async move {
            let mut tx = Begin::<dyn RsvpTx>::begin(&store, vec![]).await.unwrap();
            tx.open(scene.event, &scene.members, 0).await.map(|_| ())
        }
    });
    let watcher = support::connect(&scene.database.admin_url()).await;
    poll_until(Duration::from_secs(2), "the task waits for the lock", async || {
        let waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        watcher.query_opt(waits, &[]).await.unwrap()
    })
    .await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    scene.admin.batch_execute("ROLLBACK").await.unwrap();
    poll_until(Duration::from_secs(3), "the row is free", async || {
        watcher.query("SELECT FROM event_seats FOR NO KEY UPDATE NOWAIT", &[]).await.ok()
    })
    .await;
    attend(&service(&store), &scene, scene.members[0], None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_any_step_leaves_nothing_of_the_change() {
    let scene = Scene::new(1, 3).await;
    let service = service(&scene.store(1, None));
    // One is confirmed, one waits; then the first leaves, which touches every table there is.
    attend(&service, &scene, scene.members[0], None).await.unwrap();
    attend(&service, &scene, scene.members[1], None).await.unwrap();
    scene
        .admin
        .batch_execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'planted'; END $$;",
        )
        .await
        .unwrap();
    let before = state(&scene).await;
    for table in WRITTEN.iter().chain(&["event_seats"]) {
        scene
            .admin
            .batch_execute(&format!(
                "CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION fail()"
            ))
            .await
            .unwrap();
        let (context, principal) = caller(scene.members[0]);
        let failed = service.withdraw(context, principal, scene.event, Some(key(1))).await;
        assert_eq!(failed.unwrap_err().code, Code::Internal, "{table}");
        scene.admin.batch_execute(&format!("DROP TRIGGER fail ON {table}")).await.unwrap();
        assert_eq!(state(&scene).await, before, "a failure in {table} left something behind");
    }
    let (context, principal) = caller(scene.members[0]);
    service.withdraw(context, principal, scene.event, Some(key(1))).await.unwrap();
    assert_ne!(state(&scene).await, before);
}

/// Everything that an RSVP can change, as text.
async fn state(scene: &Scene) -> Vec<String> {
    let mut state = Vec::new();
    for table in WRITTEN.iter().chain(&["event_seats"]) {
        let rows =
            scene.admin.query(&format!("SELECT t::text FROM {table} t ORDER BY 1"), &[]).await;
        state.extend(
            rows.expect("every table can be read").iter().map(|row| row.get::<_, String>(0)),
        );
    }
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_during_commit_is_an_unknown_outcome() {
    let scene = Arc::new(Scene::new(1, 1).await);
    scene
        .admin
        .batch_execute(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(3); RETURN NEW; END $$;
             CREATE TRIGGER linger BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION linger();",
        )
        .await
        .unwrap();
    let service = service(&scene.store(1, None));
    let attending = tokio::spawn({
        let scene = Arc::clone(&scene);
        async move { attend(&service, &scene, scene.members[0], None).await }
    });
    poll_until(Duration::from_secs(2), "the commit is under way", async || {
        let lingering = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                         WHERE wait_event = 'PgSleep' AND datname = current_database()";
        scene.admin.query_opt(lingering, &[]).await.unwrap()
    })
    .await;
    let failure = attending.await.unwrap().unwrap_err();
    assert_eq!(failure.code, Code::Unavailable);
    let source = failure.source.expect("the cause is kept");
    assert!(matches!(source.downcast_ref(), Some(StoreError::CommitUnknown(_))), "{source:?}");
    assert_eq!(scene.count("rsvps").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_sent_fifty_times_has_one_effect() {
    let scene = Arc::new(Scene::new(10, 1).await);
    // Two processes, so that not one lane alone orders the requests.
    let services = [service(&scene.store(4, None)), service(&scene.store(4, None))];
    let sent = (0..50).map(|n| {
        let (service, scene) = (services[n % 2].clone(), Arc::clone(&scene));
        tokio::spawn(async move { attend(&service, &scene, scene.members[0], Some(key(1))).await })
    });
    let (mut bodies, mut fresh) = (Vec::new(), 0);
    for answer in futures::future::join_all(sent).await {
        match answer.unwrap() {
            Ok(Reply::Fresh(admission)) => {
                fresh += 1;
                bodies.push((key(1).render)(&admission).body);
            }
            Ok(Reply::Replayed(reply)) => bodies.push(reply.body),
            Err(failure) => assert_eq!(failure.code, Code::IdempotencyInFlight),
        }
    }
    assert_eq!(fresh, 1, "whatever comes later, alone or in a batch, is a repetition");
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert_eq!(scene.count("outbox").await, 1);
    let again = attend(&services[0], &scene, scene.members[0], Some(key(1))).await.unwrap();
    assert!(matches!(again, Reply::Replayed(reply) if reply.body == bodies[0]));

    let other_body = Idempotency {
        claim: Ok(KeyClaim { scope: [1; 32], fingerprint: [8; 32] }),
        render: key(1).render,
    };
    let mismatch = attend(&services[0], &scene, scene.members[0], Some(other_body)).await;
    assert_eq!(mismatch.unwrap_err().code, Code::IdempotencyMismatch);
}
