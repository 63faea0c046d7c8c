//! The event log, the job queue and the scheduler's ticks.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convene_application::kernel::clock::{Clock as _, SystemClock};
use convene_application::kernel::events::{EventLog, NewEvent, Sequenced, Sequencer};
use convene_application::kernel::jobs::{
    Claim, CronStore, Duty, JobQueue, LeasedJob, NewJob, SettledAs, Settlement,
};
use convene_application::kernel::store::StoreError;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::poll::poll_until;

/// Commits events.
pub type Record =
    Box<dyn Fn(Vec<NewEvent>) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync>;

/// The ports under test, over one empty store.
pub struct Ports {
    /// Gives events their positions.
    pub sequencer: Arc<dyn Sequencer>,
    /// Reads them.
    pub log: Arc<dyn EventLog>,
    /// Live jobs.
    pub queue: Arc<dyn JobQueue>,
    /// Ticks.
    pub crons: Arc<dyn CronStore>,
    /// Commits events to the outbox.
    pub record: Record,
}

/// Makes a test of each part of the contract. The argument is an expression that makes a future of [`Ports`] and of
/// something that is kept until the test ends.
#[macro_export]
macro_rules! platform_contract {
    ($ports:expr) => {
        $crate::platform_contract! { $ports;
            events_get_dense_positions_in_their_order
            a_lead_is_one_holders_until_its_lease_ends
            a_lead_that_was_replaced_moves_nothing
            a_new_cursor_begins_at_the_furthest_other
            due_jobs_are_claimed_by_priority_time_and_order
            what_has_no_room_or_no_handler_is_left_alone
            a_job_of_later_waits
            a_finished_job_leaves
            a_failed_job_comes_back_with_its_attempts
            a_snoozed_job_spends_no_attempt
            a_job_that_is_handed_back_spends_no_attempt
            a_dead_job_leaves_and_frees_its_key
            a_heartbeat_keeps_the_lease
            a_lost_job_is_rescued_and_its_late_finisher_rejected
            the_last_attempt_of_a_lost_job_was_the_last
            a_unique_job_is_there_once
            a_unique_job_that_is_asked_for_while_it_runs_runs_once_more
            a_unique_job_that_fails_while_it_is_asked_for_stays_one
            a_tick_is_fired_once
        }
    };
    ($ports:expr; $($part:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $part() {
            let (ports, _kept) = $ports.await;
            $crate::contract::platform::$part(&ports).await;
        }
    )+};
}

const LEASE: Duration = Duration::from_secs(30);
/// Runs out while the test waits for it.
const SHORT_LEASE: Duration = Duration::from_millis(60);
const SOON: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::ZERO;

fn event(number: u128) -> NewEvent {
    NewEvent {
        id: Uuid::from_u128(number),
        event_type: "rsvp.confirmed",
        version: 1,
        community: None,
        envelope: Bytes::from(format!("{{\"number\":{number}}}")),
    }
}

fn job(number: u32) -> NewJob {
    NewJob {
        kind: "test.job",
        queue: "default",
        payload: serde_json::json!({ "number": number }),
        unique_key: None,
        run_at: None,
        priority: 100,
        max_attempts: 3,
        traceparent: Some("00-trace".to_owned()),
        correlation_id: Some("req-1".to_owned()),
    }
}

fn room(free: i32) -> Claim {
    Claim {
        worker: Uuid::from_u128(1),
        kinds: vec!["test.job"],
        free: vec![("default", free)],
        lease: LEASE,
    }
}

fn number(job: &LeasedJob) -> u64 {
    job.payload["number"].as_u64().expect("every job of these tests has a number")
}

impl Ports {
    async fn claim(&self, free: i32) -> Vec<LeasedJob> {
        self.queue.claim(&room(free)).await.unwrap()
    }

    async fn claim_one(&self) -> LeasedJob {
        let mut claimed = self.claim(10).await;
        assert_eq!(claimed.len(), 1, "one job is due");
        claimed.remove(0)
    }

    async fn claim_for(&self, lease: Duration) -> LeasedJob {
        let claim = Claim { lease, ..room(10) };
        self.queue.claim(&claim).await.unwrap().remove(0)
    }

    async fn enqueue(&self, jobs: impl IntoIterator<Item = NewJob>) {
        self.queue.enqueue(jobs.into_iter().collect()).await.unwrap();
    }

    async fn settle(&self, job: &LeasedJob, verdict: SettledAs) -> usize {
        self.queue.settle(vec![Settlement { fence: job.fence(), verdict }]).await.unwrap()
    }

    async fn rescued(&self) {
        poll_until(SOON, "the lease runs out", async || {
            (self.queue.rescue().await.unwrap() > 0).then_some(())
        })
        .await;
    }

    async fn dead(&self) -> u64 {
        self.queue.backlog().await.unwrap().iter().map(|queue| queue.dead).sum()
    }
}

fn retry(after: Duration) -> SettledAs {
    SettledAs::Retry { after, error: "it failed".to_owned() }
}

fn dead() -> SettledAs {
    SettledAs::Dead { error: "it failed for good".to_owned() }
}

/// Positions are dense from 1, in the order of recording, whatever the limit of a move.
pub async fn events_get_dense_positions_in_their_order(ports: &Ports) {
    assert_eq!(ports.log.head().await.unwrap(), 0);
    (ports.record)((1..=5).map(event).collect()).await.unwrap();
    assert_eq!(ports.sequencer.backlog().await.unwrap().rows, 5);
    let moved = |events| Sequenced::Moved { events, audit: 0 };
    assert_eq!(ports.sequencer.sequence(3).await.unwrap(), moved(3));
    assert_eq!(ports.sequencer.sequence(3).await.unwrap(), moved(2));
    assert_eq!(ports.sequencer.sequence(3).await.unwrap(), moved(0));
    assert_eq!(ports.sequencer.backlog().await.unwrap().rows, 0);

    let logged = ports.log.read_after(0, 10).await.unwrap();
    let positions: Vec<_> =
        logged.iter().map(|event| (event.position, event.id.as_u128())).collect();
    assert_eq!(positions, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
    assert_eq!(logged[0].event_type, "rsvp.confirmed");
    assert_eq!((logged[0].version, logged[0].envelope.as_ref()), (1, &b"{\"number\":1}"[..]));
    assert_eq!(ports.log.read_after(2, 2).await.unwrap(), logged[2..4]);
    assert_eq!(ports.log.head().await.unwrap(), 5);
}

/// Nobody else leads until the lease ends or the lead is given up.
pub async fn a_lead_is_one_holders_until_its_lease_ends(ports: &Ports) {
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let lead = ports.log.lead("sink", one, LEASE).await.unwrap().expect("nobody leads");
    assert_eq!(lead.position, 0);
    assert_eq!(ports.log.lead("sink", other, LEASE).await.unwrap(), None);
    assert!(ports.log.advance("sink", lead, 3, SHORT_LEASE).await.unwrap());
    let taken = poll_until(SOON, "the lease ends", async || {
        ports.log.lead("sink", other, LEASE).await.unwrap()
    })
    .await;
    assert_eq!(taken.position, 3);
    assert!(taken.epoch > lead.epoch);

    ports.log.resign("sink", taken).await.unwrap();
    poll_until(SOON, "the lead is free", async || {
        ports.log.lead("sink", one, LEASE).await.unwrap()
    })
    .await;
}

/// An old lead neither moves the cursor nor resigns for its successor, and the cursor never goes back.
pub async fn a_lead_that_was_replaced_moves_nothing(ports: &Ports) {
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let old = ports.log.lead("sink", one, SHORT_LEASE).await.unwrap().expect("nobody leads");
    let new = poll_until(SOON, "the lease ends", async || {
        ports.log.lead("sink", other, LEASE).await.unwrap()
    })
    .await;
    assert!(!ports.log.advance("sink", old, 7, LEASE).await.unwrap());
    ports.log.resign("sink", old).await.unwrap();
    assert_eq!(ports.log.lead("sink", one, LEASE).await.unwrap(), None);
    assert!(ports.log.advance("sink", new, 5, LEASE).await.unwrap());
    assert!(ports.log.advance("sink", new, 4, LEASE).await.unwrap());
    let again = ports.log.lead("sink", other, LEASE).await.unwrap().expect("its own lead");
    assert_eq!(again.position, 5);
}

/// A sink that is added later goes on where the others are.
pub async fn a_new_cursor_begins_at_the_furthest_other(ports: &Ports) {
    let holder = Uuid::from_u128(1);
    for (sink, position) in [("near", 3), ("far", 8)] {
        let lead = ports.log.lead(sink, holder, LEASE).await.unwrap().expect("nobody leads");
        assert!(ports.log.advance(sink, lead, position, LEASE).await.unwrap());
    }
    let lead = ports.log.lead("new", holder, LEASE).await.unwrap().expect("nobody leads");
    assert_eq!(lead.position, 8);
}

/// Smaller priorities first, then earlier times, then the order of storing.
pub async fn due_jobs_are_claimed_by_priority_time_and_order(ports: &Ports) {
    let earlier = Timestamp::UNIX_EPOCH;
    ports
        .enqueue([
            job(4),
            NewJob { priority: 200, ..job(5) },
            NewJob { run_at: Some(earlier), ..job(3) },
            NewJob { priority: 1, ..job(1) },
            NewJob { priority: 1, ..job(2) },
        ])
        .await;
    let first: Vec<_> = sorted(&ports.claim(2).await);
    assert_eq!(first, [1, 2]);
    assert_eq!(sorted(&ports.claim(1).await), [3]);
    assert_eq!(sorted(&ports.claim(9).await), [4, 5]);
    assert!(ports.claim(9).await.is_empty(), "a job is claimed once");
}

fn sorted(jobs: &[LeasedJob]) -> Vec<u64> {
    let mut numbers: Vec<_> = jobs.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// A claim takes no more of a queue than there is room for, and no kinds that it does not name.
pub async fn what_has_no_room_or_no_handler_is_left_alone(ports: &Ports) {
    ports
        .enqueue([
            job(1),
            NewJob { queue: "mail", ..job(2) },
            NewJob { queue: "mail", ..job(3) },
            NewJob { kind: "test.unknown", priority: 1, ..job(4) },
        ])
        .await;
    let claim = Claim { free: vec![("mail", 1)], ..room(0) };
    assert_eq!(sorted(&ports.queue.claim(&claim).await.unwrap()), [2]);
    let claim = Claim { free: vec![("default", 5), ("mail", 5)], ..room(0) };
    assert_eq!(sorted(&ports.queue.claim(&claim).await.unwrap()), [1, 3]);
    assert_eq!(ports.queue.next_due(&claim).await.unwrap(), None, "the unknown kind does not wake");
}

/// It is not claimed before its time, and the queue tells when that is.
pub async fn a_job_of_later_waits(ports: &Ports) {
    assert_eq!(ports.queue.next_due(&room(1)).await.unwrap(), None);
    let later = SystemClock.now() + SignedDuration::from_secs(3_600);
    ports.enqueue([NewJob { run_at: Some(later), ..job(1) }]).await;
    assert!(ports.claim(1).await.is_empty());
    let wait = ports.queue.next_due(&room(1)).await.unwrap().expect("a job waits");
    assert!(wait > Duration::from_secs(3_500) && wait <= Duration::from_secs(3_600), "{wait:?}");
    ports.enqueue([job(2)]).await;
    assert_eq!(ports.queue.next_due(&room(1)).await.unwrap(), Some(AT_ONCE));
    assert_eq!(number(&ports.claim_one().await), 2);
}

/// With everything that was stored with it until then.
pub async fn a_finished_job_leaves(ports: &Ports) {
    ports.enqueue([job(1)]).await;
    let leased = ports.claim_one().await;
    assert_eq!((leased.kind.as_str(), leased.queue.as_str()), ("test.job", "default"));
    assert_eq!((leased.attempt, leased.max_attempts), (1, 3));
    assert_eq!(leased.traceparent.as_deref(), Some("00-trace"));
    assert_eq!(leased.correlation_id.as_deref(), Some("req-1"));
    assert_eq!(ports.settle(&leased, SettledAs::Done).await, 1);
    assert_eq!(ports.settle(&leased, SettledAs::Done).await, 0, "it is settled once");
    assert!(ports.claim(1).await.is_empty());
}

/// Not before its time, and each claim counts.
pub async fn a_failed_job_comes_back_with_its_attempts(ports: &Ports) {
    ports.enqueue([job(1)]).await;
    let first = ports.claim_one().await;
    ports.settle(&first, retry(AT_ONCE)).await;
    let second = ports.claim_one().await;
    assert_eq!(second.attempt, 2);
    assert!(second.epoch > first.epoch);
    ports.settle(&second, retry(Duration::from_secs(60))).await;
    assert!(ports.claim(1).await.is_empty());
    let wait = ports.queue.next_due(&room(1)).await.unwrap().expect("it waits");
    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
}

/// However often it is put off.
pub async fn a_snoozed_job_spends_no_attempt(ports: &Ports) {
    ports.enqueue([job(1)]).await;
    for _ in 0..5 {
        let leased = ports.claim_one().await;
        assert_eq!(leased.attempt, 1);
        ports.settle(&leased, SettledAs::Snoozed { after: AT_ONCE }).await;
    }
}

/// It is due at once, for whoever claims next.
pub async fn a_job_that_is_handed_back_spends_no_attempt(ports: &Ports) {
    ports.enqueue([job(1)]).await;
    let first = ports.claim_one().await;
    ports.queue.hand_back(&[first.fence()]).await.unwrap();
    let second = ports.claim_one().await;
    assert_eq!(second.attempt, 1);
    ports.queue.hand_back(&[first.fence()]).await.unwrap();
    assert!(ports.claim(1).await.is_empty(), "an old lease hands nothing back");
}

/// It is counted among the dead, and the next of its key is a new job.
pub async fn a_dead_job_leaves_and_frees_its_key(ports: &Ports) {
    let unique = job(1).unique("key");
    ports.enqueue([unique.clone()]).await;
    let leased = ports.claim_one().await;
    ports.settle(&leased, dead()).await;
    assert!(ports.claim(1).await.is_empty());
    assert_eq!(ports.dead().await, 1);
    ports.enqueue([unique]).await;
    assert_eq!(ports.claim_one().await.attempt, 1);
}

/// A lease that is prolonged does not run out; one that is not held is told to be lost.
pub async fn a_heartbeat_keeps_the_lease(ports: &Ports) {
    ports.enqueue([job(1)]).await;
    let leased = ports.claim_for(Duration::from_millis(300)).await;
    assert!(ports.queue.heartbeat(&[leased.fence()], LEASE).await.unwrap().is_empty());
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(ports.queue.rescue().await.unwrap(), 0, "the lease was prolonged");
    ports.settle(&leased, SettledAs::Done).await;
    let lost = ports.queue.heartbeat(&[leased.fence()], LEASE).await.unwrap();
    assert_eq!(lost, [leased.id]);
}

/// The attempt counts, somebody else gets the job, and the first one can no longer end it.
pub async fn a_lost_job_is_rescued_and_its_late_finisher_rejected(ports: &Ports) {
    ports.enqueue([job(1)]).await;
    let late = ports.claim_for(SHORT_LEASE).await;
    ports.rescued().await;
    assert_eq!(ports.settle(&late, SettledAs::Done).await, 0, "rescued, not yet claimed again");
    let current = ports.claim_one().await;
    assert_eq!((current.id, current.attempt), (late.id, 2));
    assert_eq!(ports.settle(&late, SettledAs::Done).await, 0);
    assert_eq!(ports.queue.heartbeat(&[late.fence()], LEASE).await.unwrap(), [late.id]);
    assert_eq!(ports.settle(&current, SettledAs::Done).await, 1);
}

/// A job that takes its worker down with it each time does not do so for ever.
pub async fn the_last_attempt_of_a_lost_job_was_the_last(ports: &Ports) {
    ports.enqueue([NewJob { max_attempts: 2, ..job(1) }]).await;
    for attempt in 1..=2 {
        assert_eq!(ports.claim_for(SHORT_LEASE).await.attempt, attempt);
        ports.rescued().await;
    }
    assert!(ports.claim(1).await.is_empty());
    assert_eq!(ports.dead().await, 1);
}

/// The earliest time it was asked for counts; another kind may have the same key.
pub async fn a_unique_job_is_there_once(ports: &Ports) {
    let later = SystemClock.now() + SignedDuration::from_secs(3_600);
    ports.enqueue([NewJob { run_at: Some(later), ..job(1) }.unique("key")]).await;
    ports.enqueue([job(2).unique("other"), job(3).unique("key"), job(4).unique("key")]).await;
    ports.enqueue([NewJob { kind: "test.unknown", ..job(5) }.unique("key")]).await;
    assert_eq!(sorted(&ports.claim(9).await), [1, 2]);
}

/// Whatever was asked for while it ran, it sees in a run that begins after that.
pub async fn a_unique_job_that_is_asked_for_while_it_runs_runs_once_more(ports: &Ports) {
    let unique = job(1).unique("key");
    ports.enqueue([unique.clone()]).await;
    for verdict in [SettledAs::Done, SettledAs::Snoozed { after: LEASE }, dead()] {
        let running = ports.claim_one().await;
        ports.enqueue([unique.clone()]).await;
        ports.enqueue([unique.clone()]).await;
        assert!(ports.claim(9).await.is_empty(), "it runs once at a time");
        assert_eq!(ports.settle(&running, verdict).await, 1);
    }
    let last = ports.claim_one().await;
    assert_eq!((last.id, last.attempt), (last.id, 1));
    ports.settle(&last, SettledAs::Done).await;
    assert!(ports.claim(9).await.is_empty(), "once more, not for each asking");
}

/// The failed run keeps its back-off, and serves the asking too.
pub async fn a_unique_job_that_fails_while_it_is_asked_for_stays_one(ports: &Ports) {
    let unique = job(1).unique("key");
    ports.enqueue([unique.clone()]).await;
    let running = ports.claim_one().await;
    ports.enqueue([unique.clone()]).await;
    ports.settle(&running, retry(Duration::from_secs(60))).await;
    assert!(ports.claim(9).await.is_empty());
    ports.enqueue([unique]).await;
    let again = ports.claim_one().await;
    assert_eq!((again.id, again.attempt), (running.id, 2));
    ports.settle(&again, SettledAs::Done).await;
    assert!(ports.claim(9).await.is_empty());
}

/// Whoever comes first stores the job; the next tick stores another.
pub async fn a_tick_is_fired_once(ports: &Ports) {
    let duty = |name| Duty {
        name,
        every: Duration::from_secs(600),
        job: NewJob { payload: serde_json::json!({ "number": 1 }), ..job(1) },
    };
    let duties = [duty("one"), duty("two")];
    let at = |text: &str| text.parse::<Timestamp>().expect("the test's times are times");
    assert_eq!(ports.crons.fire(&duties, at("2027-04-01T10:01:00Z")).await.unwrap(), 2);
    let (one, other) = futures::join!(
        ports.crons.fire(&duties, at("2027-04-01T10:11:00Z")),
        ports.crons.fire(&duties, at("2027-04-01T10:12:00Z")),
    );
    assert_eq!(one.unwrap() + other.unwrap(), 2);
    assert_eq!(ports.crons.fire(&duties, at("2027-04-01T10:19:59Z")).await.unwrap(), 0);
    assert_eq!(
        ports.crons.fire(&duties, at("2027-04-01T10:09:59Z")).await.unwrap(),
        0,
        "a slow clock"
    );
    assert_eq!(ports.claim(9).await.len(), 4);
    // Two ticks were missed: they run once.
    assert_eq!(ports.crons.fire(&duties[..1], at("2027-04-01T10:41:00Z")).await.unwrap(), 1);
    assert_eq!(ports.claim(9).await.len(), 1);
}
