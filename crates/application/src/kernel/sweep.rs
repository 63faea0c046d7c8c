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
    async fn sweep(&self) -> Result<Swept, StoreError>;
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
    /// Partitions of the inbox whose events are all older than 14 days.
    pub inbox_partitions: usize,
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
    Duty {
        name: SweepPlatform::KIND,
        every: Duration::from_secs(600),
        job: NewJob::new(&SweepPlatform {}).unique(SweepPlatform::KIND),
    }
}

/// The handler that does it.
#[must_use]
pub fn handler(store: Arc<dyn Sweep>) -> Arc<dyn Handler> {
    jobs::handler::<SweepPlatform, _>(Arc::new(Sweeper(store)))
}

struct Sweeper(Arc<dyn Sweep>);

#[async_trait]
impl RunJob<SweepPlatform> for Sweeper {
    async fn run(&self, _: SweepPlatform, _: &LeasedJob) -> Outcome {
        match self.0.sweep().await {
            Ok(swept) => {
                tracing::info!(?swept, "swept");
                Outcome::Done
            }
            Err(error) => Outcome::Retry(Failure::from(error)),
        }
    }
}
