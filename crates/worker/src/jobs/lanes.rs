//! Where claimed jobs run: a lane for each slot that is taken, one job after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convene_application::kernel::jobs::{Fence, Handler, LeasedJob};
use convene_application::kernel::random::Random;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::JobRunner;
use super::heartbeat::Heartbeats;
use super::run::{Abandoned, Run};
use super::settle::Settler;
use super::slots::{Held, Slots};

/// The lanes of a runner.
pub(super) struct Lanes {
    pub(super) slots: Slots,
    running: TaskTracker,
    settling: JoinHandle<()>,
    tools: Arc<Tools>,
}

/// What every run needs.
struct Tools {
    handlers: Arc<HashMap<&'static str, Arc<dyn Handler>>>,
    heartbeats: Arc<Heartbeats>,
    settler: Settler,
    abandoned: Arc<Abandoned>,
    random: Arc<dyn Random>,
    timeout: Duration,
    stuck: Duration,
}

impl Lanes {
    pub(super) fn new(slots: Slots, runner: &JobRunner) -> Self {
        let (settler, settling) = Settler::start(
            Arc::clone(&runner.queue),
            Arc::clone(&runner.heartbeats),
            runner.options.lease,
        );
        let tools = Tools {
            handlers: Arc::clone(&runner.handlers),
            heartbeats: Arc::clone(&runner.heartbeats),
            settler,
            abandoned: Arc::default(),
            random: Arc::clone(&runner.random),
            timeout: runner.options.timeout,
            stuck: runner.options.stuck,
        };
        Self { slots, running: TaskTracker::new(), settling, tools: Arc::new(tools) }
    }

    /// Keeps a claimed job's lease, and runs it as soon as there is a slot.
    pub(super) fn take(&self, job: LeasedJob) {
        let handler = self.tools.handlers.get(job.kind.as_str());
        let (Some(handler), Some(queue)) = (handler, self.slots.of(&job.queue)) else {
            tracing::error!(
                kind = job.kind,
                queue = job.queue,
                "a job that was not asked for is left to its lease"
            );
            return;
        };
        let lost = self.tools.heartbeats.hold(&job);
        let held = Held { job, handler: Arc::clone(handler), lost };
        let Some((mut slot, first)) = self.slots.admit(queue, held) else { return };
        let tools = Arc::clone(&self.tools);
        self.running.spawn(async move {
            let mut next = Some(first);
            while let Some(held) = next {
                let started = Instant::now();
                tools.run_of(held).complete().await;
                next = slot.next(started.elapsed());
            }
        });
    }

    /// Lets running jobs end, at most for so long, and has recorded how they did. Returns the leases of those that did not.
    pub(super) async fn end(self, drain: Duration) -> Vec<Fence> {
        self.running.close();
        if timeout(drain, self.running.wait()).await.is_err() {
            self.tools.abandoned.all.cancel();
            self.running.wait().await;
        }
        let abandoned = Arc::clone(&self.tools.abandoned);
        // The settler ends when nobody can hand anything in.
        drop(self.tools);
        if let Err(error) = self.settling.await {
            tracing::error!(%error, "the last jobs were not settled; their leases will run out");
        }
        abandoned.take()
    }
}

impl Tools {
    fn run_of(&self, held: Held) -> Run {
        let Held { job, handler, lost } = held;
        Run {
            timeout: handler.timeout().unwrap_or(self.timeout),
            handler,
            lost,
            settler: self.settler.clone(),
            heartbeats: Arc::clone(&self.heartbeats),
            abandoned: Arc::clone(&self.abandoned),
            random: Arc::clone(&self.random),
            stuck: self.stuck,
            job,
        }
    }
}
