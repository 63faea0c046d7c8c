//! A sink's engine: in order, without gaps, one leader at a time, and on again after whatever happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convene_application::kernel::events::{EventLog as _, LoggedEvent, NewEvent, Sink, SinkError};
use convene_testkit::fake::FakePlatform;
use convene_testkit::poll::poll_until;
use convene_worker::{SinkEngine, SinkOptions};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{A_WHILE, Running, SOON};

/// Keeps what is published, as far as the test lets it.
struct FakeSink {
    published: Mutex<Vec<i64>>,
    /// Confirms only up to here in one call.
    gap: Mutex<Option<i64>>,
    down: Mutex<bool>,
    /// A permit for each call.
    calls: Semaphore,
    closed: AtomicBool,
}

impl FakeSink {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            published: Mutex::default(),
            gap: Mutex::default(),
            down: Mutex::default(),
            calls: Semaphore::new(Semaphore::MAX_PERMITS),
            closed: AtomicBool::new(false),
        })
    }

    fn published(&self) -> Vec<i64> {
        self.published.lock().unwrap().clone()
    }

    async fn reaches(&self, position: i64) {
        poll_until(SOON, "the event is published", async || {
            self.published().contains(&position).then_some(())
        })
        .await;
    }

    fn set_down(&self, down: bool) {
        *self.down.lock().unwrap() = down;
    }
}

#[async_trait]
impl Sink for FakeSink {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn in_flight(&self) -> u32 {
        4
    }

    async fn publish(&self, events: &[LoggedEvent]) -> Result<Option<i64>, SinkError> {
        self.calls.acquire().await.expect("the semaphore stays open").forget();
        if *self.down.lock().unwrap() {
            return Err(SinkError { what: "the sink is down", source: "the test wants it".into() });
        }
        let gap = self.gap.lock().unwrap().take();
        let positions = events.iter().map(|event| event.position);
        let confirmed: Vec<i64> =
            positions.filter(|position| gap.is_none_or(|gap| *position <= gap)).collect();
        self.published.lock().unwrap().extend(&confirmed);
        Ok(confirmed.last().copied())
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

fn events(count: u128) -> Vec<NewEvent> {
    (0..count)
        .map(|number| NewEvent {
            id: Uuid::from_u128(number),
            event_type: "rsvp.confirmed",
            version: 1,
            community: None,
            envelope: Bytes::from_static(b"{}"),
        })
        .collect()
}

fn options() -> SinkOptions {
    SinkOptions {
        lease: Duration::from_millis(300),
        renew: Duration::from_millis(50),
        standby: Duration::from_millis(20),
        poll: Duration::from_millis(20),
        landing: Duration::from_millis(200),
    }
}

fn start(platform: &FakePlatform, sink: &Arc<FakeSink>, holder: u128) -> Running {
    let engine = SinkEngine::new(
        Arc::new(platform.clone()),
        Arc::clone(sink) as Arc<dyn Sink>,
        platform.wake(),
        Uuid::from_u128(holder),
        options(),
    );
    Running::start(|shutdown| async move { engine.run(shutdown).await })
}

async fn cursor(platform: &FakePlatform, position: i64) {
    poll_until(SOON, "the cursor moves", async || {
        (platform.cursor("fake") == Some(position)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_published_in_order_and_the_cursor_follows() {
    let (platform, sink) = (FakePlatform::default(), FakeSink::new());
    platform.log(events(10));
    let running = start(&platform, &sink, 1);
    sink.reaches(10).await;
    platform.log(events(3));
    cursor(&platform, 13).await;
    assert_eq!(sink.published(), (1..=13).collect::<Vec<_>>());
    assert!(!sink.closed.load(Ordering::SeqCst));
    running.stop().await;
    assert!(sink.closed.load(Ordering::SeqCst), "the end of the engine is the end of the sink");
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_goes_on_at_the_first_gap() {
    let (platform, sink) = (FakePlatform::default(), FakeSink::new());
    *sink.gap.lock().unwrap() = Some(2);
    platform.log(events(5));
    let running = start(&platform, &sink, 1);
    cursor(&platform, 5).await;
    assert_eq!(sink.published(), [1, 2, 3, 4, 5]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_holds_the_cursor_until_it_works_again() {
    let (platform, sink) = (FakePlatform::default(), FakeSink::new());
    sink.set_down(true);
    platform.log(events(2));
    let running = start(&platform, &sink, 1);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(platform.cursor("fake"), Some(0));
    sink.set_down(false);
    cursor(&platform, 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_replaced_and_its_late_confirms_move_nothing() {
    let platform = FakePlatform::default();
    let (first, second) = (FakeSink::new(), FakeSink::new());
    let doomed = start(&platform, &first, 1);
    platform.log(events(2));
    cursor(&platform, 2).await;
    let waiting = start(&platform, &second, 2);
    platform.log(events(2));
    cursor(&platform, 4).await;
    assert!(second.published().is_empty(), "one leads");
    assert!(second.closed.load(Ordering::SeqCst), "and the other holds nothing open");

    doomed.kill().await;
    platform.log(events(2));
    cursor(&platform, 6).await;
    assert_eq!(second.published(), [5, 6]);
    waiting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stands_still_keeps_its_lead() {
    let platform = FakePlatform::default();
    let (slow, second) = (FakeSink::new(), FakeSink::new());
    slow.calls.forget_permits(Semaphore::MAX_PERMITS);
    let leader = start(&platform, &slow, 1);
    platform.log(events(1));
    poll_until(SOON, "somebody leads", async || platform.cursor("fake")).await;
    let waiting = start(&platform, &second, 2);
    // Longer than a lease: it is renewed while the broker keeps the leader waiting.
    tokio::time::sleep(options().lease * 2).await;
    assert!(second.published().is_empty());
    slow.calls.add_permits(10);
    cursor(&platform, 1).await;
    assert_eq!(slow.published(), [1]);
    leader.stop().await;
    waiting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_end_makes_room_at_once() {
    let (platform, sink) = (FakePlatform::default(), FakeSink::new());
    let running = start(&platform, &sink, 1);
    platform.log(events(1));
    cursor(&platform, 1).await;
    running.stop().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let lead = platform.lead("fake", Uuid::from_u128(2), SOON).await.unwrap();
    assert_eq!(lead.map(|lead| lead.position), Some(1));
}
