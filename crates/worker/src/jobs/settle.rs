//! Records how runs ended, those of a moment together.

use std::sync::Arc;
use std::time::Duration;

use convene_application::kernel::backoff::Backoff;
use convene_application::kernel::jobs::{JobQueue, Settlement};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::heartbeat::Heartbeats;

/// The most settlements in one statement.
const BATCH: usize = 200;
/// How long the first settlement of a batch waits for others.
const GATHER: Duration = Duration::from_millis(2);

/// Where runs hand in how they ended.
#[derive(Clone)]
pub(super) struct Settler(mpsc::Sender<Settlement>);

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

    pub(super) async fn settle(&self, settlement: Settlement) {
        if self.0.send(settlement).await.is_err() {
            tracing::error!("a run ended after the settler; its lease will run out");
        }
    }
}

async fn gather(first: Settlement, ended: &mut mpsc::Receiver<Settlement>) -> Vec<Settlement> {
    let deadline = Instant::now() + GATHER;
    let mut batch = vec![first];
    while batch.len() < BATCH {
        match timeout_at(deadline, ended.recv()).await {
            Ok(Some(settlement)) => batch.push(settlement),
            Ok(None) | Err(_) => break,
        }
    }
    batch
}

/// Tries until the leases would have run out; their jobs are rescued then. Leases are held meanwhile.
async fn record(
    queue: &dyn JobQueue,
    heartbeats: &Heartbeats,
    batch: Vec<Settlement>,
    lease: Duration,
) {
    let deadline = Instant::now() + lease;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        match queue.settle(batch.clone()).await {
            Ok(settled) => {
                let late = batch.len() - settled.min(batch.len());
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
                    jobs = batch.len(),
                    error = &error as &dyn std::error::Error,
                    "jobs could not be settled and will run again"
                );
                break;
            }
        }
    }
    batch.iter().for_each(|settlement| heartbeats.release(settlement.fence));
}
