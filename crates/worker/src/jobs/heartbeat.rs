//! Prolongs the leases of running jobs, from a thread and a runtime of their own: a handler that keeps the main runtime
//! busy does not cost other jobs their leases.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use convene_application::kernel::jobs::{Beat, Fence, JobQueue, LeasedJob, Pulse, RunControl};
use convene_application::kernel::store::StoreError;
use tokio::runtime::{Builder, Handle};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How soon a failed heartbeat is repeated.
const REPEAT: Duration = Duration::from_secs(1);

/// Keeps the leases of this process. Dropping it ends its thread.
pub struct Heartbeats {
    held: Arc<Held>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// The leases of running jobs by the job.
#[derive(Default)]
struct Held(Mutex<HashMap<i64, Hold>>);

struct Hold {
    fence: Fence,
    renewed: Instant,
    lost: CancellationToken,
    control: RunControl,
}

/// Why heartbeats could not start.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatsError {
    /// There is no thread or no runtime to be had.
    #[error("the thread of the heartbeats cannot be started")]
    Thread(#[from] io::Error),
    /// The queue cannot be opened.
    #[error("the queue of the heartbeats cannot be opened")]
    Queue(#[from] StoreError),
}

impl Heartbeats {
    /// Starts the thread, which prolongs all leases by `lease`, once in each `every`. `open` makes a queue whose
    /// connections live on the given runtime, and so do not depend on the main one.
    ///
    /// # Errors
    /// No thread, no runtime, or what `open` answers.
    pub fn start(
        lease: Duration,
        every: Duration,
        open: impl FnOnce(Handle) -> Result<Arc<dyn JobQueue>, StoreError>,
    ) -> Result<Self, HeartbeatsError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let queue = open(runtime.handle().clone())?;
        let (held, stop) = (Arc::new(Held::default()), CancellationToken::new());
        let (beating, stopped) = (Arc::clone(&held), stop.clone());
        let thread =
            std::thread::Builder::new().name("job-heartbeats".to_owned()).spawn(move || {
                runtime.block_on(stopped.run_until_cancelled(beating.beat(&*queue, lease, every)));
            })?;
        Ok(Self { held, stop, thread: Some(thread) })
    }

    /// Prolongs the lease of this job from now on; the token is cancelled when it is lost.
    pub(super) fn hold(&self, job: &LeasedJob) -> CancellationToken {
        let (fence, lost) = (job.fence(), CancellationToken::new());
        let control = job.control.clone();
        let hold = Hold { fence, renewed: Instant::now(), lost: lost.clone(), control };
        // Claimed anew by this very process before anybody noticed that the older lease was lost.
        if let Some(older) = self.held.lock().insert(fence.job, hold) {
            older.lost.cancel();
        }
        lost
    }

    /// Prolongs it no longer.
    pub(super) fn release(&self, fence: Fence) {
        let mut held = self.held.lock();
        // The same job may have been leased to this process again.
        if held.get(&fence.job).is_some_and(|hold| hold.fence == fence) {
            held.remove(&fence.job);
        }
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the heartbeats panicked");
        }
    }
}

impl Hold {
    fn beat(&self) -> Beat {
        Beat { fence: self.fence, progress: self.control.told() }
    }
}

impl Held {
    async fn beat(&self, queue: &dyn JobQueue, lease: Duration, every: Duration) {
        let mut pause = every;
        loop {
            sleep(pause).await;
            let beats: Vec<Beat> = self.lock().values().map(Hold::beat).collect();
            if beats.is_empty() {
                pause = every;
                continue;
            }
            let asked = Instant::now();
            pause = match timeout(every, queue.heartbeat(&beats, lease)).await {
                Ok(Ok(pulse)) => {
                    self.renewed(&beats, &pulse, asked);
                    every
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a heartbeat failed");
                    REPEAT.min(every)
                }
                Err(_) => {
                    tracing::warn!("a heartbeat was not answered");
                    REPEAT.min(every)
                }
            };
            self.give_up_older_than(lease);
        }
    }

    fn renewed(&self, beats: &[Beat], pulse: &Pulse, asked: Instant) {
        let mut held = self.lock();
        for Beat { fence, .. } in beats {
            let Some(hold) = held.get_mut(&fence.job).filter(|hold| hold.fence == *fence) else {
                continue;
            };
            if pulse.lost.contains(&fence.job) {
                hold.lost.cancel();
                held.remove(&fence.job);
                continue;
            }
            hold.renewed = asked;
            if pulse.cancelled.contains(&fence.job) {
                hold.control.cancel();
            }
        }
    }

    /// Leases that could not be renewed for so long have run out, whoever has noticed.
    fn give_up_older_than(&self, lease: Duration) {
        self.lock().retain(|_, hold| {
            let current = hold.renewed.elapsed() < lease;
            if !current {
                hold.lost.cancel();
            }
            current
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
