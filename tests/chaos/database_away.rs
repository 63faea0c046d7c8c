//! The database goes away and comes back.

use std::time::{Duration, Instant};

use convene_testkit::embedded::Postgres;
use convene_testkit::poll::poll_until;
use convene_tests::client::PATIENCE;

use crate::guests::{Guests, is_unavailable};
use crate::process::Process;
use crate::stage::{Stage, blocking};
use crate::vigil::Vigil;
use crate::{ANSWERS_WITHIN, RECOVERS_WITHIN};

/// Orderly first, then by SIGKILL.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_killed_under_load() {
    let mut stage = Stage::set(8, 4).await;
    let serve = Process::start("serve", stage.settings(&[])).await;
    let worker = Process::start("worker", stage.settings(&[])).await;
    let alive = [Vigil::over(&serve), Vigil::over(&worker)];
    let mut guests = Guests::of(&stage, &serve);
    for end in [Postgres::stop, Postgres::kill] {
        guests.go_on(3, PATIENCE).await;

        blocking(|| end(&mut stage.postgres));
        serve.becomes(503, "unavailable").await;
        worker.becomes(503, "unavailable").await;
        let asked = Instant::now();
        let path = format!("/v1/events/{}", stage.event);
        is_unavailable(serve.get(&path).await);
        assert!(asked.elapsed() < ANSWERS_WITHIN, "{:?}", asked.elapsed());
        // Long enough for the pauses of all who try to have grown.
        guests.are_refused(20, Duration::from_secs(60)).await;

        blocking(|| stage.postgres.restart());
        let returned = Instant::now();
        guests.go_on(1, RECOVERS_WITHIN).await;
        serve.becomes(200, "ready").await;
        worker.becomes(200, "ready").await;
        let sql = stage.sql().await;
        let head = async || {
            let head = sql.query_one("SELECT position FROM log_head", &[]).await;
            head.expect("the database is back").get::<_, i64>(0)
        };
        let before = head().await;
        poll_until(RECOVERS_WITHIN, "the worker gives events their positions", async || {
            (head().await > before).then_some(())
        })
        .await;
        assert!(returned.elapsed() < RECOVERS_WITHIN, "{:?}", returned.elapsed());
    }
    let slowest = guests.refused().into_iter().max().expect("guests were refused");
    assert!(slowest < ANSWERS_WITHIN, "a guest was refused after {slowest:?} only");
    assert_eq!(guests.unanswered(), 0, "each guest was answered each time");

    guests.leave(&stage, &serve).await;
    for alive in alive {
        alive.end().await;
    }
}
