//! Connections that are established and carry nothing any more.

use std::time::{Duration, Instant};

use convene_testkit::embedded::{RabbitMq, Redis};
use convene_testkit::poll::poll_until;
use convene_testkit::proxy::{Fault, FaultProxy};
use convene_tests::client::PATIENCE;
use convene_tests::smtp::MailServer;
use serde_json::json;

use crate::guests::{Guests, is_unavailable};
use crate::process::Process;
use crate::redis_away::{login, quotas};
use crate::stage::{Stage, private};
use crate::vigil::Vigil;
use crate::{ANSWERS_WITHIN, RECOVERS_WITHIN};
use convene_tests::foreign_queue::ForeignQueue;

#[tokio::test(flavor = "multi_thread")]
async fn the_database() {
    let stage = Stage::set(8, 4).await;
    let proxy = FaultProxy::start(stage.postgres.address()).unwrap();
    let through = Stage::settings_at(&proxy.addr(), &[]);
    let serve = Process::start("serve", through.clone()).await;
    let worker = Process::start("worker", through).await;
    let alive = [Vigil::over(&serve), Vigil::over(&worker)];
    let mut guests = Guests::of(&stage, &serve);
    guests.go_on(3, PATIENCE).await;

    proxy.set(Fault::HalfOpen);
    let asked = Instant::now();
    is_unavailable(serve.get(format!("/v1/events/{}", stage.event)).await);
    assert!(asked.elapsed() < ANSWERS_WITHIN, "{:?}", asked.elapsed());
    serve.becomes(503, "unavailable").await;
    worker.becomes(503, "unavailable").await;
    // Once on connections that were there before, then on new ones.
    guests.are_refused(3, Duration::from_secs(60)).await;

    proxy.set(Fault::Pass);
    let returned = Instant::now();
    guests.go_on(1, RECOVERS_WITHIN).await;
    serve.becomes(200, "ready").await;
    worker.becomes(200, "ready").await;
    assert!(returned.elapsed() < RECOVERS_WITHIN, "{:?}", returned.elapsed());
    let slowest = guests.refused().into_iter().max().expect("guests were refused");
    assert!(slowest < ANSWERS_WITHIN, "a guest was refused after {slowest:?} only");
    assert_eq!(guests.unanswered(), 0, "each guest was answered each time");

    guests.leave(&stage, &serve).await;
    for alive in alive {
        alive.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    let (stage, redis) = tokio::join!(Stage::set(5, 4), private());
    let redis: Redis = redis;
    let proxy = FaultProxy::start(redis.address()).unwrap();
    let url = format!("redis://{}", proxy.addr());
    let added = [("CONVENE__REDIS__URL", url.as_str()), ("CONVENE__LIMITS__ENABLED", "true")];
    let serve = Process::start("serve", stage.settings(&added)).await;
    let alive = Vigil::over(&serve);
    let [first, others @ .., last] = &stage.guests[..] else { panic!("five guests were invited") };
    login(&serve, first).await.expect(200);
    let known = quotas(&redis).expect("Redis answers");
    assert!(known > 0, "limits are kept in Redis");

    proxy.set(Fault::HalfOpen);
    for guest in others {
        let asked = Instant::now();
        login(&serve, guest).await.expect(200);
        assert!(asked.elapsed() < ANSWERS_WITHIN, "{:?}", asked.elapsed());
    }

    proxy.set(Fault::Pass);
    poll_until(RECOVERS_WITHIN, "limits are kept in Redis again", async || {
        let status = login(&serve, last).await.status;
        assert!(status < 500, "{status}");
        quotas(&redis).filter(|quotas| *quotas > known)
    })
    .await;
    alive.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker() {
    let (stage, broker) = tokio::join!(Stage::set(6, 4), private());
    let broker: RabbitMq = broker;
    let proxy = FaultProxy::start(broker.address()).unwrap();
    let url = format!("amqp://guest:guest@{}/%2f", proxy.addr());
    let settings = stage.settings(&[("CONVENE__BROKER__URL", &url)]);
    let serve = Process::start("serve", settings.clone()).await;
    let worker = Process::start("worker", settings).await;
    let alive = [Vigil::over(&serve), Vigil::over(&worker)];
    let foreign = ForeignQueue::bind(&broker.url()).await;
    let mut guests = Guests::of(&stage, &serve);
    guests.go_on(2, PATIENCE).await;

    proxy.set(Fault::HalfOpen);
    // The worker gives up a confirm after ten seconds, and the new connection that it then tries after five.
    let failures = "convene_sink_failures_total{sink=\"rabbitmq\"}";
    poll_until(PATIENCE * 2, "the worker has noticed twice", async || {
        let metrics = worker.get("/metrics").await.expect(200);
        let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
        let count = metrics.lines().find_map(|line| line.strip_prefix(failures))?;
        (count.trim().parse::<f64>().unwrap() >= 2.0).then_some(())
    })
    .await;
    let meanwhile = serve.event_log(&stage.owner, &stage.community, "rsvp.*").await;
    assert!(foreign.received().len() < meanwhile.len(), "nothing gets through");

    proxy.set(Fault::Pass);
    foreign.has(&meanwhile, RECOVERS_WITHIN).await;
    assert_eq!((guests.refused().len(), guests.unanswered()), (0, 0), "the API needs no broker");
    let ledger = guests.leave(&stage, &serve).await;
    foreign.has(&ledger.events, RECOVERS_WITHIN).await;
    foreign.is_in_order();
    for alive in alive {
        alive.end().await;
    }
}

/// Mail waits in its job and goes out once; nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_mail_server() {
    let stage = Stage::set(1, 4).await;
    let mail = MailServer::start().await;
    let proxy = FaultProxy::start(mail.address()).unwrap();
    let url = format!("smtp://{}", proxy.addr());
    let settings = stage.settings(&[("CONVENE__MAIL__SMTP_URL", &url)]);
    let serve = Process::start("serve", settings.clone()).await;
    let worker = Process::start("worker", settings).await;
    let alive = [Vigil::over(&serve), Vigil::over(&worker)];
    let sql = stage.sql().await;

    proxy.set(Fault::HalfOpen);
    let asked = Instant::now();
    let address = "late@example.org";
    let account =
        json!({"email": address, "password": "a long passphrase", "display_name": "Late"});
    serve.post("/v1/auth/register").json(account).await.expect(202);
    assert!(asked.elapsed() < ANSWERS_WITHIN, "{:?}", asked.elapsed());
    poll_until(PATIENCE * 2, "the mail was tried in vain", async || {
        let tried = "SELECT count(*) FROM jobs WHERE last_error IS NOT NULL AND leased_by IS NULL";
        let tried: i64 = sql.query_one(tried, &[]).await.unwrap().get(0);
        (tried > 0).then_some(())
    })
    .await;
    assert_eq!(mail.count(address), 0);

    // The next attempt is a second away.
    proxy.set(Fault::Pass);
    mail.wait_for(address, "token: ").await;
    poll_until(PATIENCE, "the job is done", async || {
        let left: i64 = sql.query_one("SELECT count(*) FROM jobs", &[]).await.unwrap().get(0);
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(mail.count(address), 1);
    for alive in alive {
        alive.end().await;
    }
}
