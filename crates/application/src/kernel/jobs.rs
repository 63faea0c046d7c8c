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
}

/// A job to be stored with the transaction that stages it.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The stable name of its type.
    pub kind: &'static str,
    /// The queue that limits how many run at once.
    pub queue: &'static str,
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
            payload: serde_json::to_value(job).expect("job payloads are plain data"),
            unique_key: None,
            run_at: None,
            priority: J::PRIORITY,
            max_attempts: J::MAX_ATTEMPTS,
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
    /// Leases due jobs, within each queue by priority, time and id. A kind that is not asked for is left alone.
    ///
    /// # Errors
    /// The store's.
    async fn claim(&self, claim: &Claim) -> Result<Vec<LeasedJob>, StoreError>;

    /// How long it is until the next job of these queues and kinds is due: zero if one is due now, `None` without any.
    ///
    /// # Errors
    /// The store's.
    async fn next_due(&self, claim: &Claim) -> Result<Option<Duration>, StoreError>;

    /// Prolongs leases; returns the jobs whose lease is lost.
    ///
    /// # Errors
    /// The store's.
    async fn heartbeat(&self, leases: &[Fence], lease: Duration) -> Result<Vec<i64>, StoreError>;

    /// Ends runs. Those whose epoch is no longer current are left alone and not counted.
    ///
    /// # Errors
    /// The store's.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<usize, StoreError>;

    /// Ends leases that have run out: their jobs are due again, or dead if that was the last attempt. Returns how many.
    ///
    /// # Errors
    /// The store's.
    async fn rescue(&self) -> Result<usize, StoreError>;

    /// Hands leased jobs back without spending an attempt.
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

/// A duty that comes back at fixed times. Its row is unique by (name, tick), so any worker may fire it and none twice.
#[async_trait]
pub trait CronStore: Send + Sync {
    /// Stores the job of each duty whose next tick has come, once; returns how many were stored.
    ///
    /// # Errors
    /// The store's.
    async fn fire(&self, duties: &[Duty], now: Timestamp) -> Result<usize, StoreError>;
}

/// A duty of the scheduler.
#[derive(Clone, Debug)]
pub struct Duty {
    /// Its stable name.
    pub name: &'static str,
    /// The time between two ticks; ticks are multiples of it since 1970. Missed ticks run once, not each.
    pub every: Duration,
    /// The job that a tick stores.
    pub job: NewJob,
}

impl Duty {
    /// The last tick that has come.
    #[must_use]
    pub fn tick(&self, now: Timestamp) -> Timestamp {
        let every = self.every_micros();
        Timestamp::from_microsecond(now.as_microsecond().div_euclid(every) * every).unwrap_or(now)
    }

    /// How long it is until the next tick.
    #[must_use]
    pub fn until_next(&self, now: Timestamp) -> Duration {
        let every = self.every_micros();
        let left = every - now.as_microsecond().rem_euclid(every);
        Duration::from_micros(left.unsigned_abs())
    }

    fn every_micros(&self) -> i64 {
        i64::try_from(self.every.as_micros()).unwrap_or(i64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_multiples_of_the_period() {
        let duty = Duty {
            name: "test",
            every: Duration::from_secs(600),
            job: NewJob {
                kind: "test",
                queue: "default",
                payload: serde_json::Value::Null,
                unique_key: None,
                run_at: None,
                priority: 100,
                max_attempts: 1,
                traceparent: None,
                correlation_id: None,
            },
        };
        let now: Timestamp = "2027-04-01T10:07:30Z".parse().unwrap();
        assert_eq!(duty.tick(now), "2027-04-01T10:00:00Z".parse().unwrap());
        assert_eq!(duty.until_next(now), Duration::from_secs(150));
        let on_time: Timestamp = "2027-04-01T10:10:00Z".parse().unwrap();
        assert_eq!(duty.tick(on_time), on_time);
        assert_eq!(duty.until_next(on_time), Duration::from_secs(600));
    }
}
