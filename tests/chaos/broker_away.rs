//! The broker goes away and comes back.

use std::time::{Duration, Instant};

use convene_testkit::embedded::RabbitMq;
use convene_tests::client::PATIENCE;
use tokio::time::sleep_until;

use crate::RECOVERS_WITHIN;
use crate::guests::Guests;
use crate::process::Process;
use crate::stage::{Stage, blocking, private};
use crate::vigil::Vigil;
use convene_tests::foreign_queue::ForeignQueue;

const AWAY: Duration = Duration::from_secs(20);
/// RabbitMQ 3.10 writes down up to three seconds later that a quorum queue exists. Killed before, it comes back with a queue
/// that never answers again, and nothing tells from outside when that has happened.
const QUEUES_LAST_AFTER: Duration = Duration::from_secs(6);

/// For 20 seconds under load. The API does not care, and every event arrives when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load() {
    let (stage, mut broker) = tokio::join!(Stage::set(4, 2), private());
    let broker: &mut RabbitMq = &mut broker;
    let url = broker.url();
    let settings = stage.settings(&[("CONVENE__BROKER__URL", &url)]);
    let serve = Process::start("serve", settings.clone()).await;
    let worker = Process::start("worker", settings).await;
    let alive = [Vigil::over(&serve), Vigil::over(&worker)];
    let foreign = ForeignQueue::bind(&url).await;
    let declared = tokio::time::Instant::now();
    let mut guests = Guests::of(&stage, &serve);
    guests.go_on(2, PATIENCE).await;
    sleep_until(declared + QUEUES_LAST_AFTER).await;

    blocking(|| broker.kill());
    let back = tokio::time::Instant::now() + AWAY;
    serve.becomes(200, "degraded").await;
    worker.becomes(200, "degraded").await;
    guests.go_on(5, AWAY).await;
    sleep_until(back).await;
    let meanwhile = serve.event_log(&stage.owner, &stage.community, "rsvp.*").await;

    blocking(|| broker.restart());
    let returned = Instant::now();
    foreign.has(&meanwhile, RECOVERS_WITHIN).await;
    println!("{} events were there {:?} after the return", meanwhile.len(), returned.elapsed());
    serve.becomes(200, "ready").await;
    worker.becomes(200, "ready").await;
    assert_eq!((guests.refused().len(), guests.unanswered()), (0, 0), "the API needs no broker");

    let ledger = guests.leave(&stage, &serve).await;
    foreign.has(&ledger.events, RECOVERS_WITHIN).await;
    foreign.is_in_order();
    for alive in alive {
        alive.end().await;
    }
}
