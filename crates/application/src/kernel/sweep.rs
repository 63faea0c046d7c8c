//! What the platform throws away when its time is over.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::error::Failure;
use super::jobs::{self, Duty, Handler, Job, LeasedJob, NewJob, Outcome, RunJob};
use super::store::StoreError;

/// Throws away the platform's rows whose time is over, and makes room for those to come.
#[async_trait]
pub trait Sweep: Send + Sync {
    /// Sweeps all there is, in steps that are each bounded.
    ///
    /// # Errors
    /// The store's; what was swept until then stays swept.
    async fn sweep(&self, keep: Keep) -> Result<Swept, StoreError>;
}

/// How long things are kept that operators may keep longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// What jobs came to that have ended well, up to a day longer.
    pub ended_jobs: Duration,
    /// Recorded events, by whole partitions, and never one that a sink has yet to deliver; none means for good.
    pub events: Option<Duration>,
}

/// How many rows of each kind a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Idempotency keys older than a day.
    pub idempotency_keys: usize,
    /// Dead letters older than 30 days.
    pub dead_jobs: usize,
    /// Ticks of the scheduler older than a week.
    pub cron_ticks: usize,
    /// Invalidations of caches older than 20 minutes.
    pub invalidations: usize,
    /// Partitions of the inbox whose events are all older than 14 days.
    pub inbox_partitions: usize,
    /// Days of jobs that have ended.
    pub job_partitions: usize,
    /// Groups of jobs that nobody has used for a day and about which nothing is set.
    pub job_groups: usize,
    /// Partitions of the event log.
    pub event_partitions: usize,
}

/// The scheduled duty of sweeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepPlatform {}

impl Job for SweepPlatform {
    const KIND: &'static str = "platform.sweep";
}

/// Sweeps every ten minutes.
#[must_use]
pub fn duty() -> Duty {
    let job = NewJob::new(&SweepPlatform {}).unique(SweepPlatform::KIND);
    Duty::every(SweepPlatform::KIND, Duration::from_secs(600), job)
}

/// The handler that does it.
#[must_use]
pub fn handler(store: Arc<dyn Sweep>, keep: Keep) -> Arc<dyn Handler> {
    jobs::handler::<SweepPlatform, _>(Arc::new(Sweeper { store, keep }))
}

struct Sweeper {
    store: Arc<dyn Sweep>,
    keep: Keep,
}

#[async_trait]
impl RunJob<SweepPlatform> for Sweeper {
    async fn run(&self, _: SweepPlatform, _: &LeasedJob) -> Outcome {
        match self.store.sweep(self.keep).await {
            Ok(swept) => {
                tracing::info!(?swept, "swept");
                Outcome::Done
            }
            Err(error) => Outcome::Retry(Failure::from(error)),
        }
    }
}
