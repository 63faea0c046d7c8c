//! How an installation is doing, as its database tells: what waits, how far the sinks are, and who works.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::relay::{RelayStatus, SinkCursors};
use crate::kernel::events::{EventLog, Sequencer};
use crate::kernel::jobs::{JobQueue, QueueBacklog};
use crate::kernel::store::StoreError;

/// A process that works, as far as it holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSeen {
    /// What it calls itself; another after each start.
    pub id: Uuid,
    /// Jobs that it runs.
    pub jobs: u64,
    /// Sinks that it leads.
    pub sinks: Vec<String>,
    /// How long it may be silent before others take that over.
    pub lease: Duration,
}

/// Reads who works.
#[async_trait]
pub trait WorkerReads: Send + Sync {
    /// The processes that hold a job or a sink now, at most a hundred, by id. An idle one holds neither unless it leads.
    ///
    /// # Errors
    /// The store's.
    async fn workers(&self) -> Result<Vec<WorkerSeen>, StoreError>;

    /// How long ago a scheduled duty came up last; none if none ever did. Some do four times a minute, so a longer silence
    /// means that no worker runs.
    ///
    /// # Errors
    /// The store's.
    async fn last_duty(&self) -> Result<Option<Duration>, StoreError>;
}

/// How an installation is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallationStatus {
    /// Events on their way out.
    pub relay: RelayStatus,
    /// The queues that hold anything, by name.
    pub queues: Vec<QueueBacklog>,
    /// Who works.
    pub workers: Vec<WorkerSeen>,
    /// How long ago a scheduled duty came up last.
    pub last_duty: Option<Duration>,
}

impl InstallationStatus {
    /// Asks the store.
    ///
    /// # Errors
    /// The store's.
    pub async fn read<S>(store: &S) -> Result<Self, StoreError>
    where
        S: Sequencer + SinkCursors + EventLog + JobQueue + WorkerReads,
    {
        let mut queues = JobQueue::backlog(store).await?;
        queues.sort_by(|a, b| a.queue.cmp(&b.queue));
        Ok(Self {
            relay: RelayStatus::read(store).await?,
            queues,
            workers: store.workers().await?,
            last_duty: store.last_duty().await?,
        })
    }
}
