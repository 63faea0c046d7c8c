//! The job runner: each way in which a run can end, and what becomes of the job.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::error::Failure;
use convene_application::kernel::jobs::{Claim, Handler, JobQueue, LeasedJob, NewJob, Outcome};
use convene_testkit::fake::{FakePlatform, SeededRandom};
use convene_testkit::poll::poll_until;
use convene_worker::{Heartbeats, JobRunner, JobRunnerOptions, TwoHandlers};
use futures::future::BoxFuture;
use tokio::time::sleep;
use uuid::Uuid;

use super::{A_WHILE, Running, SOON};

type Act = Box<dyn Fn(LeasedJob) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// Does what the test wants, and remembers its runs.
struct Actor {
    kind: &'static str,
    queue: &'static str,
    timeout: Option<Duration>,
    act: Act,
    runs: Mutex<Vec<LeasedJob>>,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Actor {
    fn new<R>(kind: &'static str, act: impl Fn(LeasedJob) -> R + Send + Sync + 'static) -> Arc<Self>
    where
        R: Future<Output = Outcome> + Send + 'static,
    {
        Arc::new(Self {
            kind,
            queue: "default",
            timeout: None,
            act: Box::new(move |job| Box::pin(act(job))),
            runs: Mutex::default(),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }

    fn runs(&self) -> Vec<LeasedJob> {
        self.runs.lock().unwrap().clone()
    }

    async fn has_run(&self, times: usize) {
        poll_until(SOON, "the job runs", async || (self.runs().len() >= times).then_some(())).await;
    }
}

#[async_trait]
impl Handler for Actor {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn queue(&self) -> &'static str {
        self.queue
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    async fn run(&self, job: &LeasedJob) -> Outcome {
        self.runs.lock().unwrap().push(job.clone());
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let outcome = (self.act)(job.clone()).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        outcome
    }
}

fn job(kind: &'static str) -> NewJob {
    NewJob {
        kind,
        queue: "default",
        group: None,
        payload: serde_json::json!({}),
        unique_key: None,
        run_at: None,
        priority: 100,
        max_attempts: 3,
        keep: true,
        traceparent: None,
        correlation_id: None,
    }
}

/// Everything in a hundredth of the usual time.
fn options() -> JobRunnerOptions {
    JobRunnerOptions {
        lease: Duration::from_millis(300),
        timeout: SOON * 2,
        poll: Duration::from_millis(20),
        rescue: Duration::from_millis(20),
        drain: Duration::from_millis(200),
        stuck: Duration::from_millis(100),
        ..JobRunnerOptions::default()
    }
}

fn start_with(
    platform: &FakePlatform,
    actors: &[&Arc<Actor>],
    options: JobRunnerOptions,
) -> Running {
    let queue: Arc<dyn JobQueue> = Arc::new(platform.clone());
    let beating = Arc::clone(&queue);
    let heartbeats =
        Heartbeats::start(options.lease, options.lease / 3, move |_| Ok(beating)).unwrap();
    let handlers = actors.iter().map(|actor| Arc::clone(actor) as Arc<dyn Handler>).collect();
    let runner = JobRunner::new(
        queue,
        handlers,
        Arc::new(heartbeats),
        platform.wake(),
        Arc::new(SeededRandom::default()),
        Uuid::from_u128(1),
        options,
    )
    .unwrap();
    Running::start(|shutdown| async move { runner.run(shutdown).await })
}

fn start(platform: &FakePlatform, actors: &[&Arc<Actor>]) -> Running {
    start_with(platform, actors, options())
}

async fn live(platform: &FakePlatform, jobs: usize) {
    poll_until(SOON, "the jobs are settled", async || {
        (platform.live_jobs().len() == jobs).then_some(())
    })
    .await;
}

async fn dead(platform: &FakePlatform) -> (i16, String) {
    poll_until(SOON, "the job dies", async || {
        platform.dead_jobs().first().map(|dead| (dead.attempt, dead.error.clone()))
    })
    .await
}

fn failure() -> Failure {
    Failure::internal("the test wants it")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_done_leaves_and_an_unknown_kind_stays() {
    let platform = FakePlatform::default();
    let actor = Actor::new("test.known", async |_| Outcome::Done);
    let runner = start(&platform, &[&actor]);
    platform
        .enqueue((0..50).map(|_| job("test.known")).chain([job("test.unknown")]).collect())
        .await
        .unwrap();
    live(&platform, 1).await;
    assert_eq!(platform.live_jobs()[0].kind, "test.unknown");
    assert_eq!(actor.runs().len(), 50);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_runs_no_more_than_its_limit_at_once() {
    let platform = FakePlatform::default();
    let actor = Actor::new("test.job", async |_| {
        sleep(Duration::from_millis(5)).await;
        Outcome::Done
    });
    let concurrency = [("default".to_owned(), 3)].into();
    let runner = start_with(&platform, &[&actor], JobRunnerOptions { concurrency, ..options() });
    platform.enqueue((0..30).map(|_| job("test.job")).collect()).await.unwrap();
    live(&platform, 0).await;
    assert_eq!(actor.most.load(Ordering::SeqCst), 3);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_panics_and_time_outs_spend_attempts_until_the_job_is_dead() {
    let actors: [(Arc<Actor>, &str); 2] = [
        (Actor::new("test.fails", async |_| Outcome::Retry(failure())), "the test wants it"),
        (Actor::new("test.panics", async |_| panic!("the test panics")), "the test panics"),
    ];
    for (actor, said) in actors {
        let platform = FakePlatform::default();
        let runner = start(&platform, &[&actor]);
        platform.enqueue(vec![NewJob { max_attempts: 2, ..job(actor.kind) }]).await.unwrap();
        // The second attempt comes a second after the first.
        let (attempt, error) = dead(&platform).await;
        assert_eq!(attempt, 2, "{}", actor.kind);
        assert!(error.contains(said), "{error}");
        assert_eq!(actor.runs().iter().map(|job| job.attempt).collect::<Vec<_>>(), [1, 2]);
        assert!(platform.live_jobs().is_empty());
        runner.stop().await;
    }
}

/// Tells when it is dropped.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_is_dropped_and_tried_again() {
    let platform = FakePlatform::default();
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dropped);
    let actor = Actor::new("test.hangs", move |_| {
        // What the run holds, a transaction for example.
        let guard = Guard(Arc::clone(&counted));
        async move {
            std::future::pending::<()>().await;
            drop(guard);
            Outcome::Done
        }
    });
    let timeout = Duration::from_millis(20);
    let runner = start_with(&platform, &[&actor], JobRunnerOptions { timeout, ..options() });
    platform.enqueue(vec![NewJob { max_attempts: 2, ..job("test.hangs") }]).await.unwrap();
    actor.has_run(1).await;
    poll_until(SOON, "the run is cut off", async || {
        (dropped.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    assert_eq!(actor.runs().len(), 1, "there is a pause before the second attempt");
    let (attempt, error) = dead(&platform).await;
    assert_eq!((attempt, dropped.load(Ordering::SeqCst)), (2, 2));
    assert!(error.contains("timed out after 20ms"), "{error}");
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_job_is_dead_at_once() {
    let platform = FakePlatform::default();
    let actor = Actor::new("test.job", async |_| Outcome::Discard(failure()));
    let runner = start(&platform, &[&actor]);
    platform.enqueue(vec![job("test.job")]).await.unwrap();
    assert_eq!(dead(&platform).await.0, 1);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snoozed_job_comes_back_without_spending_attempts() {
    let platform = FakePlatform::default();
    let snoozed = AtomicUsize::new(0);
    let actor = Actor::new("test.job", move |_| {
        let times = snoozed.fetch_add(1, Ordering::SeqCst);
        async move { if times < 5 { Outcome::Snooze(Duration::from_millis(1)) } else { Outcome::Done } }
    });
    let runner = start(&platform, &[&actor]);
    platform.enqueue(vec![job("test.job")]).await.unwrap();
    live(&platform, 0).await;
    assert_eq!(actor.runs().iter().map(|job| job.attempt).collect::<Vec<_>>(), [1; 6]);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_longer_than_its_lease_runs_once() {
    let platform = FakePlatform::default();
    let actor = Actor::new("test.job", async |_| {
        // Blocks a thread of the runtime: heartbeats have their own.
        std::thread::sleep(Duration::from_millis(900));
        Outcome::Done
    });
    let runner = start(&platform, &[&actor]);
    platform.enqueue(vec![job("test.job")]).await.unwrap();
    live(&platform, 0).await;
    assert_eq!(actor.runs().len(), 1);
    runner.stop().await;
}

/// As after a long pause of the process: the job is somebody else's by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_lease_is_lost_is_cut_off() {
    let platform = FakePlatform::default();
    let cut = Arc::new(AtomicUsize::new(0));
    let dropped = Arc::clone(&cut);
    let actor = Actor::new("test.job", move |_| {
        let guard = CountsDrop(Arc::clone(&dropped));
        async move {
            std::future::pending::<()>().await;
            drop(guard);
            Outcome::Done
        }
    });
    let runner = start(&platform, &[&actor]);
    platform.enqueue(vec![job("test.job")]).await.unwrap();
    actor.has_run(1).await;
    platform.hand_back(&[actor.runs()[0].fence()]).await.unwrap();
    poll_until(SOON, "the run is cut off", async || (cut.load(Ordering::SeqCst) > 0).then_some(()))
        .await;
    // The runner has claimed it anew: the old run ended without touching the new one's lease.
    actor.has_run(2).await;
    assert_eq!(platform.live_jobs().len(), 1);
    assert!(platform.dead_jobs().is_empty());
    runner.stop().await;
}

struct CountsDrop(Arc<AtomicUsize>);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_does_not_end_when_cancelled_loses_its_slot() {
    let platform = FakePlatform::default();
    let stuck = Actor::new("test.stuck", async |_| {
        // Not to be cancelled either, and leaves the runtime its timers.
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_secs(2)));
        Outcome::Done
    });
    let other = Actor::new("test.other", async |_| Outcome::Done);
    let concurrency = [("default".to_owned(), 1)].into();
    let timeout = Duration::from_millis(20);
    let options = JobRunnerOptions { concurrency, timeout, ..options() };
    let runner = start_with(&platform, &[&stuck, &other], options);
    platform.enqueue(vec![job("test.stuck")]).await.unwrap();
    stuck.has_run(1).await;
    platform.enqueue(vec![NewJob { priority: 1, ..job("test.other") }]).await.unwrap();
    other.has_run(1).await;
    assert_eq!(stuck.running.load(Ordering::SeqCst), 1, "it still runs");
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shutdown_waits_for_runs_and_hands_back_those_that_last() {
    let platform = FakePlatform::default();
    let quick = Actor::new("test.quick", async |_| {
        sleep(Duration::from_millis(100)).await;
        Outcome::Done
    });
    let endless = Actor::new("test.endless", async |_| std::future::pending().await);
    let runner = start(&platform, &[&quick, &endless]);
    platform.enqueue(vec![job("test.quick"), job("test.endless")]).await.unwrap();
    quick.has_run(1).await;
    endless.has_run(1).await;
    runner.stop().await;
    assert_eq!(
        platform.live_jobs().iter().map(|job| job.kind).collect::<Vec<_>>(),
        ["test.endless"]
    );
    let claim = Claim {
        worker: Uuid::from_u128(2),
        kinds: vec!["test.endless"],
        free: vec![("default", 1)],
        lease: SOON,
    };
    let again = platform.claim(&claim).await.unwrap();
    assert_eq!(again.len(), 1, "it is due at once");
    assert_eq!(again[0].attempt, 1, "and the attempt was not spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_is_waited_for() {
    let platform = FakePlatform::default();
    let actor = Actor::new("test.job", async |_| Outcome::Done);
    let runner = start(&platform, &[&actor]);
    platform.enqueue(vec![job("test.job")]).await.unwrap();
    live(&platform, 0).await;
    platform.set_down(true);
    sleep(A_WHILE).await;
    platform.set_down(false);
    platform.enqueue(vec![job("test.job")]).await.unwrap();
    live(&platform, 0).await;
    runner.stop().await;
}

#[test]
fn a_kind_has_one_handler() {
    let platform = FakePlatform::default();
    let queue: Arc<dyn JobQueue> = Arc::new(platform.clone());
    let beating = Arc::clone(&queue);
    let heartbeats = Heartbeats::start(SOON, SOON / 3, move |_| Ok(beating)).unwrap();
    let handler = || Actor::new("test.job", async |_| Outcome::Done) as Arc<dyn Handler>;
    let runner = JobRunner::new(
        queue,
        vec![handler(), handler()],
        Arc::new(heartbeats),
        platform.wake(),
        Arc::new(SeededRandom::default()),
        Uuid::nil(),
        options(),
    );
    assert_eq!(runner.err(), Some(TwoHandlers { kind: "test.job" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_is_told_and_may_put_things_right() {
    let platform = FakePlatform::default();
    let put_right = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&put_right);
    let actor = Actor::new("test.job", move |job| {
        let counted = Arc::clone(&counted);
        async move {
            job.control.cancelled().await;
            counted.fetch_add(1, Ordering::SeqCst);
            // Whatever it says: nobody wants it tried again.
            Outcome::Retry(failure())
        }
    });
    let runner = start(&platform, &[&actor]);
    platform.enqueue(vec![job("test.job")]).await.unwrap();
    actor.has_run(1).await;
    assert!(platform.cancel(actor.runs()[0].id));
    live(&platform, 0).await;
    assert_eq!(put_right.load(Ordering::SeqCst), 1);
    assert!(platform.dead_jobs().is_empty());
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_does_not_listen_is_dropped_when_it_is_cancelled() {
    let platform = FakePlatform::default();
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dropped);
    let actor = Actor::new("test.deaf", move |_| {
        let guard = CountsDrop(Arc::clone(&counted));
        async move {
            std::future::pending::<()>().await;
            drop(guard);
            Outcome::Done
        }
    });
    let runner = start(&platform, &[&actor]);
    platform.enqueue(vec![job("test.deaf")]).await.unwrap();
    actor.has_run(1).await;
    assert!(platform.cancel(actor.runs()[0].id));
    live(&platform, 0).await;
    assert_eq!((dropped.load(Ordering::SeqCst), actor.runs().len()), (1, 1));
    assert!(platform.dead_jobs().is_empty());
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_may_have_a_time_out_of_its_own() {
    let platform = FakePlatform::default();
    let mut hasty = Actor::new("test.hasty", async |_| std::future::pending().await);
    Arc::get_mut(&mut hasty).unwrap().timeout = Some(Duration::from_millis(20));
    let patient = Actor::new("test.patient", async |_| std::future::pending().await);
    let runner = start(&platform, &[&hasty, &patient]);
    let once = |kind| NewJob { max_attempts: 1, ..job(kind) };
    platform.enqueue(vec![once("test.hasty"), once("test.patient")]).await.unwrap();
    assert!(dead(&platform).await.1.contains("timed out after 20ms"));
    let waits: Vec<_> = platform.live_jobs().iter().map(|job| job.kind).collect();
    assert_eq!(waits, ["test.patient"]);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_tells_is_stored_while_it_runs() {
    let platform = FakePlatform::default();
    let actor = Actor::new("test.job", async |job: LeasedJob| {
        job.control.progress(7, Some(9));
        std::future::pending().await
    });
    let runner = start(&platform, &[&actor]);
    platform.enqueue(vec![job("test.job")]).await.unwrap();
    actor.has_run(1).await;
    let id = actor.runs()[0].id;
    let told = poll_until(SOON, "the progress is stored", async || platform.progress(id)).await;
    assert_eq!((told.done, told.total), (7, Some(9)));
    runner.stop().await;
}
