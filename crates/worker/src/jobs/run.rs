//! One run of one job: to its end, its time-out, the loss of its lease, or the end of the process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use convene_application::kernel::error::Failure;
use convene_application::kernel::jobs::{Fence, Handler, LeasedJob, Outcome, SettledAs};
use convene_application::kernel::random::Random;
use convene_application::kernel::trace;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::heartbeat::Heartbeats;
use super::retry::{describe, wait_after};
use super::settle::{Ended, Settler};

/// A job that is running.
pub(super) struct Run {
    pub(super) job: LeasedJob,
    pub(super) handler: Arc<dyn Handler>,
    /// Cancelled when the lease is lost.
    pub(super) lost: CancellationToken,
    pub(super) settler: Settler,
    pub(super) heartbeats: Arc<Heartbeats>,
    pub(super) abandoned: Arc<Abandoned>,
    pub(super) random: Arc<dyn Random>,
    /// How long the run may take.
    pub(super) timeout: Duration,
    /// How long a cancelled run may take to end.
    pub(super) stuck: Duration,
}

/// Runs that are to end because the process does, and the leases of those that were cut off.
#[derive(Default)]
pub(super) struct Abandoned {
    pub(super) all: CancellationToken,
    leases: Mutex<Vec<Fence>>,
}

impl Abandoned {
    fn add(&self, fence: Fence) {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).push(fence);
    }

    pub(super) fn take(&self) -> Vec<Fence> {
        std::mem::take(&mut *self.leases.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a run was cut off.
enum Cut {
    TimedOut,
    Cancelled,
    LeaseLost,
    ProcessEnds,
}

impl Run {
    /// Runs the job and hands in how it ended.
    pub(super) async fn complete(self) {
        let started = Instant::now();
        // While it waited for its slot.
        if self.lost.is_cancelled() {
            return self.end_as(Cut::LeaseLost, started).await;
        }
        if self.job.control.is_cancelled() {
            return self.end_as(Cut::Cancelled, started).await;
        }
        let mut task = self.spawn();
        let cut = tokio::select! {
            ended = &mut task => {
                self.settle(outcome(ended), started).await;
                return;
            }
            () = sleep(self.timeout) => Cut::TimedOut,
            () = self.job.control.cancelled() => {
                // It was told, and may put right what it has begun.
                if let Ok(ended) = timeout(self.stuck, &mut task).await {
                    self.settle(outcome(ended), started).await;
                    return;
                }
                Cut::Cancelled
            }
            () = self.lost.cancelled() => Cut::LeaseLost,
            () = self.abandoned.all.cancelled() => Cut::ProcessEnds,
        };
        match self.cut_off(task).await {
            // It ended by itself at the same moment.
            Some(outcome) => self.settle(outcome, started).await,
            None => self.end_as(cut, started).await,
        }
    }

    /// A task of its own, so that a panic is caught and a handler that blocks can be given up.
    fn spawn(&self) -> JoinHandle<Outcome> {
        let (handler, job) = (Arc::clone(&self.handler), self.job.clone());
        let span = tracing::info_span!(
            "job.run",
            job = job.id,
            kind = job.kind,
            attempt = job.attempt,
            request_id = job.correlation_id,
            traceparent = job.traceparent,
        );
        let span = trace::continued(span, job.traceparent.as_deref());
        tokio::spawn(async move { handler.run(&job).await }.instrument(span))
    }

    /// Drops the handler's future, and returns its outcome if it had one by then. A handler that blocks its thread cannot
    /// be dropped: it is reported, and whatever it still does is fenced.
    async fn cut_off(&self, mut task: JoinHandle<Outcome>) -> Option<Outcome> {
        task.abort();
        let Ok(ended) = timeout(self.stuck, &mut task).await else {
            metrics::counter!("convene_jobs_stuck_total", "kind" => self.handler.kind())
                .increment(1);
            tracing::error!(
                job = self.job.id,
                kind = self.job.kind,
                "a cancelled job does not end; its slot is replaced"
            );
            return None;
        };
        match ended {
            Err(error) if error.is_cancelled() => None,
            ended => Some(outcome(ended)),
        }
    }

    async fn end_as(self, cut: Cut, started: Instant) {
        match cut {
            Cut::TimedOut => {
                metrics::counter!("convene_jobs_timed_out_total", "kind" => self.handler.kind())
                    .increment(1);
                let failure = Failure::internal(format!("timed out after {:?}", self.timeout));
                self.settle(Outcome::Retry(failure), started).await;
            }
            Cut::Cancelled => self.record("cancelled", Some(SettledAs::Cancelled), started).await,
            Cut::LeaseLost => {
                metrics::counter!("convene_jobs_lost_total").increment(1);
                tracing::warn!(job = self.job.id, kind = self.job.kind, "a job's lease was lost");
                self.heartbeats.release(self.job.fence());
            }
            Cut::ProcessEnds => self.abandoned.add(self.job.fence()),
        }
    }

    async fn settle(&self, outcome: Outcome, started: Instant) {
        if self.job.control.is_cancelled() && !matches!(outcome, Outcome::Settled) {
            return self.record("cancelled", Some(SettledAs::Cancelled), started).await;
        }
        let (label, verdict) = self.verdict(outcome);
        self.record(label, verdict, started).await;
    }

    async fn record(&self, label: &'static str, verdict: Option<SettledAs>, started: Instant) {
        let labels = [("kind", self.handler.kind()), ("outcome", label)];
        metrics::histogram!("convene_job_seconds", &labels).record(started.elapsed().as_secs_f64());
        if verdict.is_none() && self.job.group.is_none() {
            self.heartbeats.release(self.job.fence());
        } else {
            self.settler.settle(Ended::new(&self.job, verdict)).await;
        }
    }

    /// What becomes of the job; nothing more if its own transaction recorded it.
    fn verdict(&self, outcome: Outcome) -> (&'static str, Option<SettledAs>) {
        match outcome {
            Outcome::Done => ("done", Some(SettledAs::Done)),
            Outcome::Settled => ("done", None),
            Outcome::Snooze(after) => ("snoozed", Some(SettledAs::Snoozed { after })),
            Outcome::Retry(failure) if self.job.attempt < self.job.max_attempts => {
                let after = wait_after(self.job.attempt, &*self.random);
                tracing::warn!(
                    job = self.job.id,
                    kind = self.job.kind,
                    attempt = self.job.attempt,
                    ?after,
                    error = &failure as &dyn std::error::Error,
                    "a job failed and is tried again"
                );
                ("retry", Some(SettledAs::Retry { after, error: describe(&failure) }))
            }
            Outcome::Retry(failure) | Outcome::Discard(failure) => {
                tracing::error!(
                    job = self.job.id,
                    kind = self.job.kind,
                    attempt = self.job.attempt,
                    error = &failure as &dyn std::error::Error,
                    "a job is dead"
                );
                ("dead", Some(SettledAs::Dead { error: describe(&failure) }))
            }
        }
    }
}

fn outcome(ended: Result<Outcome, tokio::task::JoinError>) -> Outcome {
    ended.unwrap_or_else(|error| Outcome::Retry(Failure::internal(error)))
}
