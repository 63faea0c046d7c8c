//! Sequencer and scheduler: woken in time, and each thing once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convene_application::kernel::clock::SystemClock;
use convene_application::kernel::events::{EventLog as _, NewEvent};
use convene_application::kernel::jobs::{Duty, NewJob};
use convene_testkit::fake::FakePlatform;
use convene_testkit::poll::poll_until;
use convene_worker::{Canary, Scheduler, SequencerEngine, SequencerOptions};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Running, SOON};

fn event(number: u128) -> NewEvent {
    NewEvent {
        id: Uuid::from_u128(number),
        event_type: "rsvp.confirmed",
        version: 1,
        community: None,
        envelope: Bytes::from_static(b"{}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_wakes_the_sequencer_and_the_sequencer_the_sinks() {
    let platform = FakePlatform::default();
    let mut log = platform.wake().log.listen();
    // It would not look by itself as long as this test runs.
    let options = SequencerOptions { poll: SOON, ..SequencerOptions::default() };
    let engine = SequencerEngine::new(Arc::new(platform.clone()), platform.wake(), options);
    let running = Running::start(|shutdown| async move { engine.run(shutdown).await });
    for number in 1..=3 {
        platform.record(vec![event(number)]);
        timeout(SOON, log.rung()).await.unwrap();
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequencer_that_nobody_wakes_looks_by_itself_once_the_database_is_back() {
    let platform = FakePlatform::default();
    platform.set_down(true);
    platform.record(vec![event(1)]);
    let options =
        SequencerOptions { poll: Duration::from_millis(20), ..SequencerOptions::default() };
    // These bells are not the platform's.
    let engine = SequencerEngine::new(Arc::new(platform.clone()), Arc::default(), options);
    let running = Running::start(|shutdown| async move { engine.run(shutdown).await });
    platform.set_down(false);
    poll_until(SOON, "the event gets its position", async || {
        (platform.head().await.unwrap() == 1).then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schedulers_fire_each_tick_once() {
    let platform = FakePlatform::default();
    let every = Duration::from_millis(300);
    let job = NewJob { kind: "test.often", unique_key: None, ..Canary::duty().job };
    let duties = vec![Duty::every("often", every, job), Canary::duty()];
    let schedulers: Vec<_> = (0..3)
        .map(|_| {
            let clock = Arc::new(SystemClock);
            let scheduler = Scheduler::new(Arc::new(platform.clone()), clock, duties.clone());
            Running::start(|shutdown| async move { scheduler.run(shutdown).await })
        })
        .collect();
    let begun = std::time::Instant::now();
    let often = || platform.live_jobs().iter().filter(|job| job.kind == "test.often").count();
    poll_until(SOON, "some ticks come", async || (often() >= 4).then_some(())).await;
    for scheduler in schedulers {
        scheduler.stop().await;
    }
    let most = begun.elapsed().as_millis() / every.as_millis() + 2;
    assert!(often() as u128 <= most, "{} ticks, at most {most}", often());
    assert_eq!(platform.live_jobs().len() - often(), 1, "the canary waits once");
}
