//! Durable jobs: staged in a transaction, run at least once, with their effect fenced.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::error::Failure;
use super::store::StoreError;

pub use super::cron::{CronStore, Duty};
pub use super::running::{Progress, RunControl};

/// A job type, defined beside the module that owns it.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The stable name, such as `rsvp.promote_waitlist`.
    const KIND: &'static str;
    /// The queue that limits how many run at once.
    const QUEUE: &'static str = "default";
    /// Smaller runs earlier.
    const PRIORITY: i16 = 100;
    /// How often it is tried before it is dead.
    const MAX_ATTEMPTS: i16 = 20;
    /// How long one run may take; none means what the worker is configured with.
    const TIMEOUT: Option<Duration> = None;
    /// Whether a job that has ended is remembered for a day. Hot kinds of which nobody asks save a write.
    const KEEP: bool = true;
}

/// A job to be stored with the transaction that stages it.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The stable name of its type.
    pub kind: &'static str,
    /// The queue that limits how many run at once.
    pub queue: &'static str,
    /// The group that it takes turns in; see [`NewJob::group`].
    pub group: Option<String>,
    /// Its arguments.
    pub payload: serde_json::Value,
    /// At most one live job of this kind has the key. Staging it again makes a waiting one due no later than this one;
    /// a running one runs once more when it ends, so nothing that was staged before the end of a run is overlooked.
    pub unique_key: Option<String>,
    /// Not before this time; none means at once.
    pub run_at: Option<Timestamp>,
    /// Smaller runs earlier.
    pub priority: i16,
    /// How often it is tried before it is dead.
    pub max_attempts: i16,
    /// Whether it is remembered once it has ended.
    pub keep: bool,
    /// The trace to continue.
    pub traceparent: Option<String>,
    /// The request that caused it.
    pub correlation_id: Option<String>,
}

impl NewJob {
    /// A job to run at once.
    ///
    /// # Panics
    /// Never for payloads that are plain data; a payload that cannot become JSON is a defect of its type.
    #[must_use]
    pub fn new<J: Job>(job: &J) -> Self {
        Self {
            kind: J::KIND,
            queue: J::QUEUE,
            group: None,
            payload: serde_json::to_value(job).expect("job payloads are plain data"),
            unique_key: None,
            run_at: None,
            priority: J::PRIORITY,
            max_attempts: J::MAX_ATTEMPTS,
            keep: J::KEEP,
            traceparent: None,
            correlation_id: None,
        }
    }

    /// At most one live job of this kind has this key; see [`NewJob::unique_key`].
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "ids and text are passed as the caller has them"
    )]
    pub fn unique(self, key: impl ToString) -> Self {
        Self { unique_key: Some(key.to_string()), ..self }
    }

    /// One of the jobs of this group, such as `community:01…`. Groups of a queue take turns, however much each of them has
    /// waiting, and operators may limit how many jobs of one run at once. Transactions that store jobs of one group commit
    /// one after the other, so a group is nothing for a path on which everybody meets.
    #[must_use]
    pub fn group(self, key: impl Into<String>) -> Self {
        Self { group: Some(key.into()), ..self }
    }

    /// Not before this time.
    #[must_use]
    pub fn at(self, run_at: Timestamp) -> Self {
        Self { run_at: Some(run_at), ..self }
    }

    /// Caused by this request.
    #[must_use]
    pub fn caused_by(self, context: &super::context::RequestContext) -> Self {
        Self {
            traceparent: context.traceparent.clone(),
            correlation_id: Some(context.request_id.clone()),
            ..self
        }
    }
}

/// A job that a worker holds a lease on.
#[derive(Clone, Debug)]
pub struct LeasedJob {
    /// Its id.
    pub id: i64,
    /// The stable name of its type.
    pub kind: String,
    /// The queue that it came from.
    pub queue: String,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// Its arguments.
    pub payload: serde_json::Value,
    /// This attempt, from 1.
    pub attempt: i16,
    /// How often it is tried before it is dead.
    pub max_attempts: i16,
    /// Fences out whoever held an older lease: every completion names it.
    pub epoch: i64,
    /// The trace to continue.
    pub traceparent: Option<String>,
    /// The request that caused it.
    pub correlation_id: Option<String>,
    /// The line to its worker: cancelling, and how far it has got.
    pub control: RunControl,
}

/// The fence of a leased job: a transaction that carries it commits only while the lease is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The job.
    pub job: i64,
    /// The epoch of the lease.
    pub epoch: i64,
}

impl LeasedJob {
    /// The fence of this lease.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence { job: self.id, epoch: self.epoch }
    }
}

/// How a run of a job ended.
#[derive(Debug)]
pub enum Outcome {
    /// Done; the runner records it.
    Done,
    /// Done, and recorded by a unit of work that carried the job's fence.
    Settled,
    /// Not now: run again after this time without spending an attempt.
    Snooze(Duration),
    /// Failed: run again with back-off, unless the attempts are spent.
    Retry(Failure),
    /// Failed for good: to the dead letters at once.
    Discard(Failure),
}

/// Runs the jobs of one kind.
#[async_trait]
pub trait Handler: Send + Sync {
    /// The kind of its jobs.
    fn kind(&self) -> &'static str;

    /// The queue of its jobs.
    fn queue(&self) -> &'static str {
        "default"
    }

    /// How long one run may take; none means what the worker is configured with.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Runs one job. The same job may run again after a crash: effects outside the database carry (job, attempt).
    async fn run(&self, job: &LeasedJob) -> Outcome;
}

/// Runs jobs of a typed payload; [`handler`] makes it a [`Handler`].
#[async_trait]
pub trait RunJob<J: Job>: Send + Sync {
    /// Runs one job.
    async fn run(&self, payload: J, job: &LeasedJob) -> Outcome;
}

/// Turns a service that runs jobs of type `J` into a handler. A payload that does not fit spends attempts like any other
/// failure: the next release may read it.
pub fn handler<J: Job, R: RunJob<J> + 'static>(runner: Arc<R>) -> Arc<dyn Handler> {
    Arc::new(Typed::<J, R> { runner, payload: std::marker::PhantomData })
}

struct Typed<J, R> {
    runner: Arc<R>,
    payload: std::marker::PhantomData<fn(J)>,
}

#[async_trait]
impl<J: Job, R: RunJob<J>> Handler for Typed<J, R> {
    fn kind(&self) -> &'static str {
        J::KIND
    }

    fn queue(&self) -> &'static str {
        J::QUEUE
    }

    fn timeout(&self) -> Option<Duration> {
        J::TIMEOUT
    }

    async fn run(&self, job: &LeasedJob) -> Outcome {
        match serde_json::from_value(job.payload.clone()) {
            Ok(payload) => self.runner.run(payload, job).await,
            Err(error) => Outcome::Retry(Failure::internal(error)),
        }
    }
}

/// The queue of live jobs.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Leases due jobs, within each queue by priority, time and id. A kind that is not asked for is left alone. What
    /// operators have set about a queue or a group is kept to over all workers. Groups take turns, those that were looked
    /// at longest ago first; within a group jobs come by time, and priorities count among the fifty that are due longest.
    ///
    /// # Errors
    /// The store's.
    async fn claim(&self, claim: &Claim) -> Result<Vec<LeasedJob>, StoreError>;

    /// How long it is until the next job of these queues and kinds is due: zero if one is due now, `None` without any.
    ///
    /// # Errors
    /// The store's.
    async fn next_due(&self, claim: &Claim) -> Result<Option<Duration>, StoreError>;

    /// Prolongs leases and stores how far their runs have got.
    ///
    /// # Errors
    /// The store's.
    async fn heartbeat(&self, beats: &[Beat], lease: Duration) -> Result<Pulse, StoreError>;

    /// Ends runs. Those whose epoch is no longer current are left alone and not counted.
    ///
    /// # Errors
    /// The store's.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<usize, StoreError>;

    /// Says that groups, each by its queue and its key, may have something to claim: a run of theirs has ended. What is
    /// not said is noticed a moment later.
    ///
    /// # Errors
    /// The store's.
    async fn ready(&self, groups: &[(String, String)]) -> Result<(), StoreError>;

    /// Ends leases that have run out: their jobs are due again, or dead if that was the last attempt. Returns how many.
    ///
    /// # Errors
    /// The store's.
    async fn rescue(&self) -> Result<usize, StoreError>;

    /// Hands leased jobs back without spending an attempt; those that were cancelled leave.
    ///
    /// # Errors
    /// The store's.
    async fn hand_back(&self, leases: &[Fence]) -> Result<(), StoreError>;

    /// Stores jobs outside a unit of work; for the scheduler and operators.
    ///
    /// # Errors
    /// The store's.
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<(), StoreError>;

    /// How much waits, for the metrics.
    ///
    /// # Errors
    /// The store's.
    async fn backlog(&self) -> Result<Vec<QueueBacklog>, StoreError>;
}

/// What a worker has room for.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who claims.
    pub worker: Uuid,
    /// The kinds that it can run.
    pub kinds: Vec<&'static str>,
    /// How many more it can run of each queue.
    pub free: Vec<(&'static str, i32)>,
    /// How long the leases run unless they are prolonged.
    pub lease: Duration,
}

/// What a worker tells of a run.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// Its lease.
    pub fence: Fence,
    /// How far it has got; none if it has told nothing.
    pub progress: Option<Progress>,
}

/// What a worker hears about its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Jobs whose lease is lost.
    pub lost: Vec<i64>,
    /// Jobs that an operator wants to end.
    pub cancelled: Vec<i64>,
}

/// A queue as the metrics show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueBacklog {
    /// The queue's name.
    pub queue: String,
    /// Jobs that are due and not leased.
    pub due: u64,
    /// How long the oldest of them has been due.
    pub age: Duration,
    /// Jobs that are leased.
    pub running: u64,
    /// Dead letters.
    pub dead: u64,
}

impl QueueBacklog {
    /// Counting ends here, so that asking stays cheap when there is most to count.
    pub const COUNTED: u64 = 10_000;
}

/// How a run is to be recorded.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Whose run.
    pub fence: Fence,
    /// What becomes of the job.
    pub verdict: SettledAs,
}

/// What becomes of a job after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettledAs {
    /// Done: it leaves the queue.
    Done,
    /// An operator cancelled it: it leaves the queue.
    Cancelled,
    /// It runs again after this time; the attempt was spent.
    Retry {
        /// How long to wait.
        after: Duration,
        /// What failed, for operators.
        error: String,
    },
    /// It runs again after this time; no attempt was spent.
    Snoozed {
        /// How long to wait.
        after: Duration,
    },
    /// It is dead until an operator redrives it.
    Dead {
        /// What failed, for operators.
        error: String,
    },
}
