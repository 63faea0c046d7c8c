//! The worker dies between an act and its record, so that the act is done again.

use std::time::{Duration, Instant};

use convene_testkit::embedded::RabbitMq;
use convene_testkit::poll::poll_until;
use convene_tests::client::{PATIENCE, text};
use convene_tests::receiver::Receiver;
use serde_json::Value;

use crate::process::Process;
use crate::stage::{Stage, private};
use convene_tests::foreign_queue::ForeignQueue;

/// A dead worker's leases are rescued, and its claims run out.
const RESCUED_WITHIN: Duration = Duration::from_secs(45);

/// Whoever moves a cursor forward waits for the gate, which whoever only renews the lead does not.
const GATE: &str = "
    CREATE FUNCTION pass_the_gate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(1);
        RETURN NEW;
    END $$;
    CREATE TRIGGER gate BEFORE UPDATE ON sink_cursors FOR EACH ROW
        WHEN (NEW.position > OLD.position) EXECUTE FUNCTION pass_the_gate()";
const AT_THE_GATE: &str = "
    FROM pg_stat_activity WHERE wait_event = 'advisory' AND application_name = 'convene'";

/// Between publishing an event and moving the cursor. The event is published again, so no foreign service may miss it, and
/// our own consumer takes it once.
#[tokio::test(flavor = "multi_thread")]
async fn between_the_publication_and_the_cursor() {
    let (stage, broker) = tokio::join!(Stage::set(3, 4), private());
    let broker: RabbitMq = broker;
    let url = broker.url();
    let settings = stage.settings(&[("CONVENE__BROKER__URL", &url)]);
    let serve = Process::start("serve", settings.clone()).await;
    let mut worker = Process::start("worker", settings).await;
    let foreign = ForeignQueue::bind(&url).await;
    let receiver = Receiver::start();
    stage.webhook(&serve, &receiver).await;
    let sql = stage.sql().await;
    sql.batch_execute(GATE).await.unwrap();
    let [first, second, third] = &stage.guests[..] else { panic!("three guests were invited") };
    serve.rsvp(first, &stage.event).await.expect(201);
    receiver.wait_for(1).await;

    sql.execute("SELECT pg_advisory_lock(1)", &[]).await.unwrap();
    serve.rsvp(second, &stage.event).await.expect(201);
    let webhooks = receiver.wait_for(2).await;
    let event = text(&webhooks[1].json()["id"]);
    let waiting = format!("SELECT count(*) {AT_THE_GATE}");
    poll_until(PATIENCE, "the event is published and the cursor waits", async || {
        let waiting: i64 = sql.query_one(&waiting, &[]).await.unwrap().get(0);
        (waiting > 0 && foreign.count(&event) > 0).then_some(())
    })
    .await;
    worker.kill();
    // Postgres would carry out what the dead process asked for.
    let forget = format!("SELECT pg_terminate_backend(pid) {AT_THE_GATE}");
    poll_until(PATIENCE, "nobody waits any more", async || {
        sql.query(&forget, &[]).await.unwrap().is_empty().then_some(())
    })
    .await;
    let published = foreign.count(&event);
    sql.execute("SELECT pg_advisory_unlock(1)", &[]).await.unwrap();

    worker.restart().await;
    poll_until(PATIENCE, "the event is published again", async || {
        (foreign.count(&event) > published).then_some(())
    })
    .await;
    serve.rsvp(third, &stage.event).await.expect(201);
    let webhooks = receiver.wait_for(3).await;
    let log = serve.event_log(&stage.owner, &stage.community, "rsvp.*").await;
    foreign.has(&log, PATIENCE).await;
    foreign.is_in_order();
    let sent: Vec<Value> = webhooks.iter().map(|webhook| webhook.json()["id"].clone()).collect();
    let logged: Vec<Value> = log.iter().map(|event| event["id"].clone()).collect();
    assert_eq!(sent, logged, "one webhook for each event, none left out");
    let taken = "SELECT count(*) FROM inbox WHERE event_id = $1::text::uuid";
    let taken: i64 = sql.query_one(taken, &[&event]).await.unwrap().get(0);
    assert_eq!(taken, 1);
}

/// Between sending a webhook and recording the answer. It is sent again under the same id, and that is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn between_the_webhook_and_its_record() {
    let stage = Stage::set(1, 1).await;
    let serve = Process::start("serve", stage.settings(&[])).await;
    let mut worker = Process::start("worker", stage.settings(&[])).await;
    let receiver = Receiver::start();
    let endpoint = stage.webhook(&serve, &receiver).await;
    receiver.keep_silent(true);
    serve.rsvp(&stage.guests[0], &stage.event).await.expect(201);
    receiver.wait_for(1).await;

    worker.kill();
    let killed = Instant::now();
    receiver.keep_silent(false);
    worker.restart().await;

    let webhooks = poll_until(RESCUED_WITHIN, "the webhook is sent again", async || {
        Some(receiver.received()).filter(|received| received.len() > 1)
    })
    .await;
    println!("sent again {:?} after the kill", killed.elapsed());
    assert!(killed.elapsed() < RESCUED_WITHIN, "{:?}", killed.elapsed());
    assert_eq!(webhooks[0].id, webhooks[1].id, "a receiver can tell that it is the same");
    assert_eq!(webhooks[0].body, webhooks[1].body);
    let path = format!("/v1/communities/{}/webhooks/{endpoint}/deliveries", stage.community);
    let delivery = poll_until(PATIENCE, "the delivery has succeeded", async || {
        let page = serve.get(&path).by(&stage.owner).await.expect(200).json();
        let deliveries = page["data"].as_array()?.clone();
        assert_eq!(deliveries.len(), 1, "{page}");
        Some(deliveries[0].clone()).filter(|delivery| delivery["status"] == "succeeded")
    })
    .await;
    assert_eq!(delivery["id"], webhooks[0].id.as_str());
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(2), "{delivery}");
    assert_eq!(receiver.received().len(), 2, "and then no more");
}
