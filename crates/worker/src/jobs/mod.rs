//! The job runner: claims jobs as it has room for them, runs them under a lease, and records how they ended.

mod heartbeat;
mod lanes;
mod retry;
mod run;
mod settle;
mod slots;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use convene_application::kernel::backoff::Backoff;
use convene_application::kernel::failpoint::{self, Failpoint};
use convene_application::kernel::jobs::{Claim, Fence, Handler, JobQueue, QueueBacklog};
use convene_application::kernel::random::Random;
use convene_application::kernel::store::StoreError;
use convene_application::kernel::wake::Wake;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use heartbeat::{Heartbeats, HeartbeatsError};
use lanes::Lanes;
use slots::Slots;

use crate::pace::Pace;

/// How the job runner works.
#[derive(Clone, Debug)]
pub struct JobRunnerOptions {
    /// How many jobs of a queue run at once in this process.
    pub concurrency: HashMap<String, usize>,
    /// How many of a queue that is not named there.
    pub default_concurrency: usize,
    /// How long a job is leased; [`Heartbeats`] prolong it.
    pub lease: Duration,
    /// How long one run may take, unless its kind says otherwise: its future is dropped then, which rolls its transaction back, and the attempt has
    /// failed.
    pub timeout: Duration,
    /// The longest time between two looks at the queue.
    pub poll: Duration,
    /// How long a busy runner waits for more when something became due or a slot free: one claim for many.
    pub gather: Duration,
    /// How often to look for leases that ran out.
    pub rescue: Duration,
    /// How long running jobs may take at the shutdown before they are handed back.
    pub drain: Duration,
    /// How long a run that was cancelled may take to end before it is given up as stuck.
    pub stuck: Duration,
}

impl Default for JobRunnerOptions {
    fn default() -> Self {
        Self {
            concurrency: HashMap::new(),
            default_concurrency: 8,
            lease: Duration::from_secs(30),
            timeout: Duration::from_secs(25),
            poll: Duration::from_millis(500),
            gather: Duration::from_millis(2),
            rescue: Duration::from_secs(5),
            drain: Duration::from_secs(20),
            stuck: Duration::from_secs(10),
        }
    }
}

/// A kind of job that two handlers want.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two handlers run jobs of the kind {kind}")]
pub struct TwoHandlers {
    /// The kind.
    pub kind: &'static str,
}

/// Runs jobs. Any number of processes may.
pub struct JobRunner {
    queue: Arc<dyn JobQueue>,
    handlers: Arc<HashMap<&'static str, Arc<dyn Handler>>>,
    heartbeats: Arc<Heartbeats>,
    wake: Arc<Wake>,
    random: Arc<dyn Random>,
    worker: Uuid,
    options: JobRunnerOptions,
}

/// What a claim came to.
enum Claimed {
    /// Some were due, there may be more.
    Some,
    /// None is due before this time.
    NoneFor(Duration),
    /// Every slot is taken, and enough waits for one.
    Full,
}

impl JobRunner {
    /// A runner of these handlers' jobs; jobs of other kinds are left alone. `worker` tells the processes apart. It is
    /// woken by `wake.jobs`.
    ///
    /// # Errors
    /// [`TwoHandlers`] of one kind.
    pub fn new(
        queue: Arc<dyn JobQueue>,
        handlers: Vec<Arc<dyn Handler>>,
        heartbeats: Arc<Heartbeats>,
        wake: Arc<Wake>,
        random: Arc<dyn Random>,
        worker: Uuid,
        options: JobRunnerOptions,
    ) -> Result<Self, TwoHandlers> {
        let mut by_kind = HashMap::new();
        for handler in handlers {
            let kind = handler.kind();
            if by_kind.insert(kind, handler).is_some() {
                return Err(TwoHandlers { kind });
            }
        }
        Ok(Self { queue, handlers: Arc::new(by_kind), heartbeats, wake, random, worker, options })
    }

    /// Runs until the shutdown. Then claims no more, lets running jobs end, and hands back those that do not in time
    /// without spending their attempt.
    pub async fn run(&self, shutdown: CancellationToken) {
        let lanes = Lanes::new(self.slots(), self);
        futures::join!(self.claim_until(&shutdown, &lanes), self.maintain_until(&shutdown));
        // Nobody has begun with what waits: others may.
        self.hand_back(lanes.slots.waiting().iter().map(|held| held.job.fence()).collect()).await;
        self.hand_back(lanes.end(self.options.drain).await).await;
    }

    async fn claim_until(&self, shutdown: &CancellationToken, lanes: &Lanes) {
        let mut bell = self.wake.jobs.listen();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut pace = Pace::new(self.options.gather);
        while !shutdown.is_cancelled() {
            let overdue = lanes.slots.overdue();
            self.hand_back(overdue.iter().map(|held| held.job.fence()).collect()).await;
            let wait = match self.claim(lanes).await {
                Ok(Claimed::Some) => {
                    backoff.reset();
                    pace.worked();
                    continue;
                }
                Ok(Claimed::NoneFor(pause)) => {
                    backoff.reset();
                    pause
                }
                Ok(Claimed::Full) => self.options.poll,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "claiming jobs failed"
                    );
                    // The bell would ring on: each ring is a commit by somebody whose database works.
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = sleep(backoff.pause()) => {}
                    }
                    continue;
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = bell.rung() => pace.gather().await,
                () = lanes.slots.freed() => pace.gather().await,
                () = sleep(wait) => {}
            }
        }
    }

    async fn claim(&self, lanes: &Lanes) -> Result<Claimed, StoreError> {
        let free = lanes.slots.room();
        if free.is_empty() {
            return Ok(Claimed::Full);
        }
        let claim = Claim {
            worker: self.worker,
            kinds: self.handlers.keys().copied().collect(),
            free,
            lease: self.options.lease,
        };
        let jobs = self.queue.claim(&claim).await?;
        if jobs.is_empty() {
            let next = self.queue.next_due(&claim).await?.unwrap_or(self.options.poll);
            // A job that is due but locked by somebody is not worth a loop without a pause.
            let pause =
                next.clamp(self.options.gather.max(Duration::from_millis(10)), self.options.poll);
            return Ok(Claimed::NoneFor(pause));
        }
        failpoint::reach(Failpoint::Claim);
        jobs.into_iter().for_each(|job| lanes.take(job));
        Ok(Claimed::Some)
    }

    /// Ends leases that ran out, and measures, at a steady pace.
    async fn maintain_until(&self, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.queue.rescue().await {
                Ok(0) => {}
                Ok(rescued) => {
                    tracing::warn!(rescued, "leases ran out; their jobs are due again");
                    metrics::counter!("convene_jobs_rescued_total").increment(rescued as u64);
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "rescuing jobs failed"
                    );
                }
            }
            self.measure().await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(self.options.rescue) => {}
            }
        }
    }

    async fn measure(&self) {
        // A failure shows in the claims.
        let Ok(mut backlog) = self.queue.backlog().await else { return };
        // A queue that has run empty is not listed any more, and must not go on telling what it held last.
        let named: BTreeSet<&str> = self.handlers.values().map(|handler| handler.queue()).collect();
        for name in named {
            if !backlog.iter().any(|queue| queue.queue == name) {
                let queue = name.to_owned();
                let age = Duration::ZERO;
                backlog.push(QueueBacklog { queue, due: 0, age, running: 0, dead: 0 });
            }
        }
        for queue in backlog {
            let labels = [("queue", queue.queue)];
            #[expect(clippy::cast_precision_loss, reason = "gauges for people")]
            {
                metrics::gauge!("convene_jobs_due", &labels).set(queue.due as f64);
                metrics::gauge!("convene_jobs_running", &labels).set(queue.running as f64);
                metrics::gauge!("convene_jobs_dead", &labels).set(queue.dead as f64);
            }
            metrics::gauge!("convene_jobs_age_seconds", &labels).set(queue.age.as_secs_f64());
        }
    }

    async fn hand_back(&self, leases: Vec<Fence>) {
        if leases.is_empty() {
            return;
        }
        let started = Instant::now();
        match self.queue.hand_back(&leases).await {
            Ok(()) => tracing::info!(jobs = leases.len(), "jobs were handed back"),
            Err(error) => tracing::warn!(
                jobs = leases.len(),
                after = ?started.elapsed(),
                error = &error as &dyn std::error::Error,
                "jobs were not handed back; their leases will run out"
            ),
        }
        leases.iter().for_each(|lease| self.heartbeats.release(*lease));
    }

    fn slots(&self) -> Slots {
        let limit = |queue: &str| {
            let named = self.options.concurrency.get(queue).copied();
            named.unwrap_or(self.options.default_concurrency)
        };
        Slots::new(self.handlers.values().map(|handler| (handler.queue(), limit(handler.queue()))))
    }
}
