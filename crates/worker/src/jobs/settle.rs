//! Records how runs ended, those of a moment together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use convene_application::kernel::backoff::Backoff;
use convene_application::kernel::jobs::{Fence, JobQueue, LeasedJob, SettledAs, Settlement};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::heartbeat::Heartbeats;

/// The most settlements in one statement.
const BATCH: usize = 500;
/// How long the first settlement of a batch waits for others.
const GATHER: Duration = Duration::from_millis(2);

/// A run that has ended.
#[derive(Clone)]
pub(super) struct Ended {
    fence: Fence,
    /// None if its own transaction recorded how.
    verdict: Option<SettledAs>,
    /// The queue and the group of its job, whose next one may start now.
    group: Option<(String, String)>,
}

impl Ended {
    pub(super) fn new(job: &LeasedJob, verdict: Option<SettledAs>) -> Self {
        let group = job.group.clone().map(|group| (job.queue.clone(), group));
        Self { fence: job.fence(), verdict, group }
    }
}

/// Where runs hand in how they ended.
#[derive(Clone)]
pub(super) struct Settler(mpsc::Sender<Ended>);

impl Settler {
    /// Starts the task that records. It ends when the last clone is dropped and everything is recorded.
    pub(super) fn start(
        queue: Arc<dyn JobQueue>,
        heartbeats: Arc<Heartbeats>,
        lease: Duration,
    ) -> (Self, JoinHandle<()>) {
        let (sender, mut ended) = mpsc::channel(BATCH);
        let task = tokio::spawn(async move {
            while let Some(first) = ended.recv().await {
                let batch = gather(first, &mut ended).await;
                record(&*queue, &heartbeats, batch, lease).await;
            }
        });
        (Self(sender), task)
    }

    pub(super) async fn settle(&self, ended: Ended) {
        if self.0.send(ended).await.is_err() {
            tracing::error!("a run ended after the settler; its lease will run out");
        }
    }
}

/// Whoever ends while the batch before is recorded waits in the channel: under load a batch is full at once.
async fn gather(first: Ended, ended: &mut mpsc::Receiver<Ended>) -> Vec<Ended> {
    let deadline = Instant::now() + GATHER;
    let mut batch = vec![first];
    while batch.len() < BATCH {
        let room = BATCH - batch.len();
        match timeout_at(deadline, ended.recv_many(&mut batch, room)).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    batch
}

/// Tries until the leases would have run out; their jobs are rescued then. Leases are held meanwhile.
async fn record(queue: &dyn JobQueue, heartbeats: &Heartbeats, batch: Vec<Ended>, lease: Duration) {
    let settlements: Vec<Settlement> = batch
        .iter()
        .filter_map(|ended| Some((ended.fence, ended.verdict.clone()?)))
        .map(|(fence, verdict)| Settlement { fence, verdict })
        .collect();
    let deadline = Instant::now() + lease;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    while !settlements.is_empty() {
        match queue.settle(settlements.clone()).await {
            Ok(settled) => {
                let late = settlements.len() - settled.min(settlements.len());
                if late > 0 {
                    tracing::warn!(late, "runs ended after their lease was lost");
                    metrics::counter!("convene_jobs_lost_total").increment(late as u64);
                }
                break;
            }
            Err(error) if Instant::now() < deadline => {
                tracing::warn!(error = &error as &dyn std::error::Error, "settling jobs failed");
                sleep(backoff.pause()).await;
            }
            Err(error) => {
                tracing::error!(
                    jobs = settlements.len(),
                    error = &error as &dyn std::error::Error,
                    "jobs could not be settled and will run again"
                );
                break;
            }
        }
    }
    batch.iter().for_each(|ended| heartbeats.release(ended.fence));
    let groups: BTreeSet<(String, String)> =
        batch.into_iter().filter_map(|ended| ended.group).collect();
    if !groups.is_empty()
        && let Err(error) = queue.ready(&groups.into_iter().collect::<Vec<_>>()).await
    {
        // Whoever looks next notices without being told.
        tracing::warn!(error = &error as &dyn std::error::Error, "groups were not told of an end");
    }
}
