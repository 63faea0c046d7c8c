//! The event log, the job queue and the scheduler's ticks.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convene_application::kernel::clock::{Clock as _, SystemClock};
use convene_application::kernel::cron::{CronStore, Duty, Missed, Schedule};
use convene_application::kernel::events::{EventLog, NewEvent, Sequenced, Sequencer};
use convene_application::kernel::jobs::{
    Beat, Claim, JobQueue, LeasedJob, NewJob, Progress, Pulse, SettledAs, Settlement,
};
use convene_application::kernel::operate::queues::{GroupLimits, QueueLimits, Rate};
use convene_application::kernel::store::StoreError;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::poll::poll_until;

/// Commits events.
pub type Record =
    Box<dyn Fn(Vec<NewEvent>) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync>;

/// What operators do to the store under test.
#[async_trait]
pub trait Operating: Send + Sync {
    /// Has the ticks of a duty pass unfired, or fires them again; tells whether there is one.
    async fn pause_duty(&self, name: &str, paused: bool) -> Result<bool, StoreError>;

    /// Sets limits of a queue.
    async fn limit_queue(&self, queue: &str, limits: QueueLimits) -> Result<(), StoreError>;

    /// Sets limits of a group.
    async fn limit_group(
        &self,
        queue: &str,
        group: &str,
        limits: GroupLimits,
    ) -> Result<(), StoreError>;

    /// Asks the run of a job to end.
    async fn cancel(&self, job: i64) -> Result<(), StoreError>;

    /// How far the run of a job has got.
    async fn progress(&self, job: i64) -> Result<Option<Progress>, StoreError>;
}

/// The ports under test, over one empty store.
pub struct Ports {
    /// Gives events their positions.
    pub sequencer: Arc<dyn Sequencer>,
    /// Reads them.
    pub log: Arc<dyn EventLog>,
    /// Live jobs.
    pub queue: Arc<dyn JobQueue>,
    /// Duties.
    pub crons: Arc<dyn CronStore>,
    /// What operators do.
    pub operator: Arc<dyn Operating>,
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
            a_sink_is_as_far_behind_as_its_cursor
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
            a_paused_queue_gives_nothing
            a_queue_runs_no_more_than_its_limit_over_all_workers
            a_queue_starts_no_more_than_its_rate
            groups_take_turns
            groups_and_jobs_without_one_share_the_room
            a_full_group_leaves_the_room_to_others
            a_group_has_its_own_limit_and_can_be_paused
            a_job_of_a_group_comes_back
            a_run_that_is_cancelled_is_told_and_leaves
            a_cancelled_job_whose_worker_is_lost_leaves
            a_cancelled_job_that_is_asked_for_again_runs_again
            what_a_run_tells_is_stored_with_its_heartbeat
            a_tick_is_fired_once
            missed_ticks_are_fired_as_their_duty_says
            a_paused_duty_lets_its_ticks_pass
            a_duty_with_other_times_begins_anew
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
        group: None,
        payload: serde_json::json!({ "number": number }),
        unique_key: None,
        run_at: None,
        priority: 100,
        max_attempts: 3,
        keep: true,
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

    async fn beat(&self, job: &LeasedJob) -> Pulse {
        let beat = Beat { fence: job.fence(), progress: job.control.told() };
        self.queue.heartbeat(&[beat], LEASE).await.unwrap()
    }

    /// Claims until so many have come: groups are looked at again a moment after they had nothing.
    async fn claim_soon(&self, jobs: usize) -> Vec<u64> {
        let mut claimed = Vec::new();
        poll_until(SOON, "the jobs are claimed", async || {
            claimed.extend(self.claim(1).await.iter().map(number));
            (claimed.len() >= jobs).then_some(())
        })
        .await;
        claimed
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
    assert_eq!(ports.log.lag("sink").await.unwrap(), None);
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

/// A sink's lag is what lies behind its cursor, and nothing once it has got there.
pub async fn a_sink_is_as_far_behind_as_its_cursor(ports: &Ports) {
    (ports.record)((1..=5).map(event).collect()).await.unwrap();
    ports.sequencer.sequence(5).await.unwrap();
    let lead = ports.log.lead("sink", Uuid::from_u128(1), LEASE).await.unwrap().expect("free");
    let behind = async || ports.log.lag("sink").await.unwrap().expect("it has led");
    assert_eq!(behind().await.events, 5);
    assert!(ports.log.advance("sink", lead, 2, LEASE).await.unwrap());
    assert_eq!(behind().await.events, 3);
    assert!(ports.log.advance("sink", lead, 5, LEASE).await.unwrap());
    assert_eq!((behind().await.events, behind().await.age), (0, Duration::ZERO));
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
    assert_eq!(ports.beat(&leased).await, Pulse::default());
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(ports.queue.rescue().await.unwrap(), 0, "the lease was prolonged");
    ports.settle(&leased, SettledAs::Done).await;
    assert_eq!(ports.beat(&leased).await.lost, [leased.id]);
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
    assert_eq!(ports.beat(&late).await.lost, [late.id]);
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

/// At the next claim of any worker; and nobody waits for its jobs meanwhile.
pub async fn a_paused_queue_gives_nothing(ports: &Ports) {
    ports.enqueue([job(1), job(2).group("one"), NewJob { queue: "mail", ..job(3) }]).await;
    let paused = QueueLimits { paused: true, at_once: Some(5), ..QueueLimits::default() };
    ports.operator.limit_queue("default", paused).await.unwrap();
    assert!(ports.claim(9).await.is_empty());
    assert_eq!(ports.queue.next_due(&room(9)).await.unwrap(), None);
    let both = Claim { free: vec![("default", 5), ("mail", 5)], ..room(0) };
    assert_eq!(sorted(&ports.queue.claim(&both).await.unwrap()), [3]);
    ports.operator.limit_queue("default", QueueLimits::default()).await.unwrap();
    assert_eq!(sorted(&ports.claim(9).await), [1, 2]);
}

/// Whichever workers run them; a run that ends makes room.
pub async fn a_queue_runs_no_more_than_its_limit_over_all_workers(ports: &Ports) {
    let limits = QueueLimits { at_once: Some(2), ..QueueLimits::default() };
    ports.operator.limit_queue("default", limits).await.unwrap();
    ports.enqueue((1..=5).map(job)).await;
    let first = ports.claim(9).await;
    assert_eq!(sorted(&first), [1, 2]);
    let other = Claim { worker: Uuid::from_u128(2), ..room(9) };
    assert!(ports.queue.claim(&other).await.unwrap().is_empty());
    ports.settle(&first[0], SettledAs::Done).await;
    assert_eq!(sorted(&ports.queue.claim(&other).await.unwrap()), [3]);
}

/// Its burst at once, and then as they are allowed.
pub async fn a_queue_starts_no_more_than_its_rate(ports: &Ports) {
    let rate = Some(Rate { per_second: 0.001, burst: 3 });
    let limits = QueueLimits { rate, ..QueueLimits::default() };
    ports.operator.limit_queue("default", limits).await.unwrap();
    ports.enqueue((1..=9).map(job)).await;
    let first = ports.claim(2).await;
    assert_eq!(sorted(&first), [1, 2]);
    for job in &first {
        ports.settle(job, SettledAs::Done).await;
    }
    assert_eq!(sorted(&ports.claim(9).await), [3], "ending one gives no token back");
    assert!(ports.claim(9).await.is_empty());
}

/// However much one of them has waiting.
pub async fn groups_take_turns(ports: &Ports) {
    ports.enqueue((1..=6).map(|number| job(number).group("large"))).await;
    ports.enqueue((7..=8).map(|number| job(number).group("small"))).await;
    assert_eq!(sorted(&ports.claim(2).await), [1, 7]);
    assert_eq!(ports.claim(1).await[0].group.as_deref(), Some("large"));
    assert_eq!(sorted(&ports.claim(1).await), [8]);
    assert_eq!(ports.claim_soon(4).await, [3, 4, 5, 6]);
}

/// Neither is claimed alone for as long as the other lasts.
pub async fn groups_and_jobs_without_one_share_the_room(ports: &Ports) {
    ports.enqueue((1..=3).map(|number| job(number).group("one"))).await;
    ports.enqueue((4..=6).map(job)).await;
    assert_eq!(sorted(&ports.claim(9).await), [1, 2, 3, 4, 5, 6]);
}

/// It is not even waited for.
pub async fn a_full_group_leaves_the_room_to_others(ports: &Ports) {
    let limits = QueueLimits { group_at_once: Some(1), ..QueueLimits::default() };
    ports.operator.limit_queue("default", limits).await.unwrap();
    ports.enqueue((1..=5).map(|number| job(number).group("full"))).await;
    ports.enqueue((6..=7).map(|number| job(number).group("other"))).await;
    ports.enqueue([job(8)]).await;
    let claimed = ports.claim(9).await;
    assert_eq!(sorted(&claimed), [1, 6, 8]);
    let full = claimed.iter().find(|job| number(job) == 1).unwrap();
    ports.settle(full, SettledAs::Done).await;
    ports.queue.ready(&[("default".to_owned(), "full".to_owned())]).await.unwrap();
    assert_eq!(sorted(&ports.claim(9).await), [2]);
}

/// Which counts instead of its queue's.
pub async fn a_group_has_its_own_limit_and_can_be_paused(ports: &Ports) {
    let one = QueueLimits { group_at_once: Some(1), ..QueueLimits::default() };
    ports.operator.limit_queue("default", one).await.unwrap();
    let limit = async |group: &'static str, limits| {
        ports.operator.limit_group("default", group, limits).await.unwrap();
    };
    limit("wide", GroupLimits { at_once: Some(2), ..GroupLimits::default() }).await;
    limit("paused", GroupLimits { paused: true, at_once: None }).await;
    ports.enqueue((1..=3).map(|number| job(number).group("wide"))).await;
    ports.enqueue([job(4).group("paused"), job(5).group("usual"), job(6).group("usual")]).await;
    assert_eq!(sorted(&ports.claim(9).await), [1, 2, 5]);
    limit("paused", GroupLimits::default()).await;
    assert_eq!(sorted(&ports.claim(9).await), [4]);
}

/// After a failure, a loss or a hand-back, whether or not anybody says so.
pub async fn a_job_of_a_group_comes_back(ports: &Ports) {
    ports.enqueue([job(1).group("one")]).await;
    let failed = ports.claim_one().await;
    assert!(ports.claim(9).await.is_empty());
    ports.settle(&failed, retry(AT_ONCE)).await;
    let lease = poll_until(SOON, "it is claimed again", async || {
        let claim = Claim { lease: SHORT_LEASE, ..room(1) };
        ports.queue.claim(&claim).await.unwrap().pop()
    });
    assert_eq!(lease.await.attempt, 2);
    ports.rescued().await;
    assert_eq!(ports.claim_soon(1).await, [1]);
    let later = SystemClock.now() + SignedDuration::from_secs(3_600);
    ports.enqueue([NewJob { run_at: Some(later), ..job(2) }.group("later")]).await;
    assert!(ports.claim(9).await.is_empty());
    ports.enqueue([job(3).group("later")]).await;
    assert_eq!(sorted(&ports.claim(9).await), [3]);
}

/// With its next heartbeat; and it has ended then, whatever its run comes to.
pub async fn a_run_that_is_cancelled_is_told_and_leaves(ports: &Ports) {
    for verdict in [SettledAs::Done, SettledAs::Cancelled, retry(AT_ONCE), dead()] {
        ports.enqueue([job(1)]).await;
        let leased = ports.claim_one().await;
        assert_eq!(ports.beat(&leased).await, Pulse::default());
        ports.operator.cancel(leased.id).await.unwrap();
        let told = Pulse { lost: vec![], cancelled: vec![leased.id] };
        assert_eq!(ports.beat(&leased).await, told);
        assert_eq!(ports.settle(&leased, verdict).await, 1);
        assert!(ports.claim(9).await.is_empty());
    }
    assert_eq!(ports.dead().await, 0);
}

/// Nobody else begins what was to end.
pub async fn a_cancelled_job_whose_worker_is_lost_leaves(ports: &Ports) {
    ports.enqueue([job(1), job(2)]).await;
    let mut claimed = ports.queue.claim(&Claim { lease: SHORT_LEASE, ..room(9) }).await.unwrap();
    claimed.sort_by_key(number);
    for job in &claimed {
        ports.operator.cancel(job.id).await.unwrap();
    }
    ports.queue.hand_back(&[claimed[0].fence()]).await.unwrap();
    ports.rescued().await;
    assert!(ports.claim(9).await.is_empty());
    assert_eq!(ports.dead().await, 0);
}

/// What is asked for behind the cancelling was not cancelled.
pub async fn a_cancelled_job_that_is_asked_for_again_runs_again(ports: &Ports) {
    let unique = job(1).unique("key");
    ports.enqueue([unique.clone()]).await;
    let leased = ports.claim_one().await;
    ports.enqueue([unique.clone()]).await;
    ports.operator.cancel(leased.id).await.unwrap();
    ports.enqueue([unique]).await;
    ports.settle(&leased, SettledAs::Cancelled).await;
    let again = ports.claim_one().await;
    assert_eq!((again.id, again.attempt), (leased.id, 1));
    assert_eq!(ports.beat(&again).await, Pulse::default(), "this run is not cancelled");
}

/// The last that it told; the next run begins without.
pub async fn what_a_run_tells_is_stored_with_its_heartbeat(ports: &Ports) {
    ports.enqueue([job(1)]).await;
    let leased = ports.claim_one().await;
    let stored = async || ports.operator.progress(leased.id).await.unwrap();
    ports.beat(&leased).await;
    assert_eq!(stored().await, None);
    leased.control.progress(1, None);
    leased.control.progress(3, Some(10));
    ports.beat(&leased).await;
    assert_eq!(stored().await, Some(Progress { done: 3, total: Some(10) }));
    ports.settle(&leased, retry(AT_ONCE)).await;
    assert_eq!(stored().await, None);
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("the test's times are times")
}

fn ten_minutes(name: &'static str, missed: Missed) -> Duty {
    Duty { missed, ..Duty::every(name, Duration::from_secs(600), job(1)) }
}

/// Whoever comes first stores the job; the next tick stores another.
pub async fn a_tick_is_fired_once(ports: &Ports) {
    let duties = [ten_minutes("one", Missed::Once), ten_minutes("two", Missed::Once)];
    let fire = async |time| ports.crons.fire(&duties, at(time)).await.unwrap();
    assert_eq!(fire("2027-04-01T10:01:00Z").await, 2);
    assert_eq!(fire("2027-04-01T10:02:00Z").await, 0);
    let together = futures::future::join_all(
        ["2027-04-01T10:11:00Z", "2027-04-01T10:12:00Z", "2027-04-01T10:13:00Z"].map(fire),
    );
    assert_eq!(together.await.iter().sum::<usize>(), 2);
    assert_eq!(fire("2027-04-01T10:19:59Z").await, 0);
    assert_eq!(fire("2027-04-01T10:09:59Z").await, 0, "a slow clock");
    assert_eq!(fire("2027-04-01T10:20:00Z").await, 2, "which has changed nothing");
    assert_eq!(ports.claim(9).await.len(), 6);
}

/// Left out, as one, or each; and each of them no more than once.
pub async fn missed_ticks_are_fired_as_their_duty_says(ports: &Ports) {
    let duties = [
        ten_minutes("skip", Missed::Skip),
        ten_minutes("once", Missed::Once),
        ten_minutes("each", Missed::Each { at_most: 2 }),
    ];
    let fire =
        async |duty: usize, time| ports.crons.fire(&duties[duty..=duty], at(time)).await.unwrap();
    for duty in 0..3 {
        assert_eq!(fire(duty, "2027-04-01T10:00:00Z").await, 1);
    }
    let late = "2027-04-01T10:35:00Z";
    assert_eq!((fire(0, late).await, fire(1, late).await, fire(2, late).await), (0, 1, 2));
    let on_time = "2027-04-01T10:40:02Z";
    assert_eq!((fire(0, on_time).await, fire(1, on_time).await, fire(2, on_time).await), (1, 1, 1));
}

/// What passed while it was paused was not missed.
pub async fn a_paused_duty_lets_its_ticks_pass(ports: &Ports) {
    let duties = [ten_minutes("one", Missed::Each { at_most: 9 })];
    let fire = async |time| ports.crons.fire(&duties, at(time)).await.unwrap();
    let pause = async |paused| ports.operator.pause_duty("one", paused).await.unwrap();
    assert!(!pause(true).await, "nobody has made it known");
    assert_eq!(fire("2027-04-01T10:00:00Z").await, 1);
    assert!(pause(true).await);
    assert_eq!(fire("2027-04-01T10:35:00Z").await, 0);
    assert!(pause(false).await);
    assert_eq!(fire("2027-04-01T10:36:00Z").await, 0);
    assert_eq!(fire("2027-04-01T10:40:00Z").await, 1);
}

/// As after an update of the program. What comes at certain times waits for them, and a tick that was fired is not fired
/// again under the new times.
pub async fn a_duty_with_other_times_begins_anew(ports: &Ports) {
    let fire = async |duty: Duty, time| ports.crons.fire(&[duty], at(time)).await.unwrap();
    let nightly = || Duty {
        schedule: Schedule::cron("30 3 * * * Europe/Berlin").expect("it is an expression"),
        ..ten_minutes("one", Missed::Once)
    };
    assert_eq!(fire(nightly(), "2027-04-01T00:00:00Z").await, 0);
    assert_eq!(fire(nightly(), "2027-04-01T01:29:00Z").await, 0);
    assert_eq!(fire(nightly(), "2027-04-01T01:30:00Z").await, 1);
    let often = || ten_minutes("one", Missed::Once);
    assert_eq!(fire(often(), "2027-04-01T01:35:00Z").await, 0, "the tick of 01:30 was fired");
    assert_eq!(fire(often(), "2027-04-01T01:40:00Z").await, 1);
}
