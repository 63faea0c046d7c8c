//! Rings travel between processes, once, and the relay survives the loss of its connection.

use std::sync::Arc;
use std::time::Duration;

use convene_application::kernel::wake::{Bell, Wake};
use convene_infrastructure::postgres::listen::Relay;
use convene_infrastructure::postgres::pool::PoolOptions;
use convene_testkit::database::TestDatabase;
use convene_testkit::poll::poll_until;
use tokio::time::timeout;

use super::{database, session};

const SOON: Duration = Duration::from_secs(10);
/// Long enough for an echo to come back, if there were one.
const ECHO: Duration = Duration::from_millis(200);

/// The bells of a process with a relay.
fn process(database: &TestDatabase) -> Arc<Wake> {
    let wake = Arc::new(Wake::default());
    let relay =
        Relay::new(&PoolOptions::new(database.app_url().into(), 1), Arc::clone(&wake)).unwrap();
    tokio::spawn(async move { relay.run().await });
    wake
}

/// Rings one bell until it is heard through the other.
async fn heard(ring: &Bell, through: &Bell) {
    let mut listener = through.listen();
    poll_until(SOON, "the ring arrives", async || {
        ring.ring();
        timeout(Duration::from_millis(50), listener.rung()).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_is_heard_in_other_processes_and_does_not_come_back() {
    let database = database().await;
    let (one, other) = (process(&database), process(&database));
    heard(&one.jobs, &other.jobs).await;
    heard(&other.outbox, &one.outbox).await;
    tokio::time::sleep(ECHO).await;

    let (mut here, mut there, mut unrelated) =
        (one.jobs.listen(), other.jobs.listen(), other.outbox.listen());
    one.jobs.ring();
    timeout(SOON, there.rung()).await.unwrap();
    here.rung().await;
    assert!(timeout(ECHO, here.rung()).await.is_err(), "no echo");
    assert!(timeout(ECHO, there.rung()).await.is_err(), "once");
    assert!(timeout(Duration::ZERO, unrelated.rung()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_connects_again_by_itself() {
    let database = database().await;
    let (one, other) = (process(&database), process(&database));
    heard(&one.revocations, &other.revocations).await;
    let admin = session(&database.admin_url()).await;
    admin
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'convene relay'",
        )
        .await
        .unwrap();
    heard(&one.revocations, &other.revocations).await;
}
