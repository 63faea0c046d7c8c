//! The scheduler's loop: fires the duties whose tick has come.

use std::sync::Arc;
use std::time::Duration;

use convene_application::kernel::backoff::Backoff;
use convene_application::kernel::clock::Clock;
use convene_application::kernel::jobs::{CronStore, Duty};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The longest sleep, since the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Fires duties at their ticks. Every process may run it: the store lets each tick be fired once.
pub struct Scheduler {
    store: Arc<dyn CronStore>,
    clock: Arc<dyn Clock>,
    duties: Vec<Duty>,
}

impl Scheduler {
    /// A scheduler of these duties.
    #[must_use]
    pub fn new(store: Arc<dyn CronStore>, clock: Arc<dyn Clock>, duties: Vec<Duty>) -> Self {
        Self { store, clock, duties }
    }

    /// Runs until the shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_secs(1), LONGEST_SLEEP);
        loop {
            let pause = match self.store.fire(&self.duties, self.clock.now()).await {
                Ok(fired) => {
                    backoff.reset();
                    metrics::counter!("convene_cron_fired_total").increment(fired as u64);
                    self.until_next()
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the scheduler failed"
                    );
                    backoff.pause()
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    fn until_next(&self) -> Duration {
        let now = self.clock.now();
        self.duties
            .iter()
            .filter_map(|duty| duty.until_next(now))
            .min()
            .unwrap_or(LONGEST_SLEEP)
            .min(LONGEST_SLEEP)
    }
}
