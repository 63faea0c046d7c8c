//! How far recorded events have come on their way out.

use std::time::Duration;

use async_trait::async_trait;

use crate::kernel::events::{EventLog, OutboxBacklog, Sequencer};
use crate::kernel::store::StoreError;

/// The cursors of all sinks.
#[async_trait]
pub trait SinkCursors: Send + Sync {
    /// Every sink that ever published, by name.
    ///
    /// # Errors
    /// The store's.
    async fn sinks(&self) -> Result<Vec<SinkCursor>, StoreError>;
}

/// How far a sink has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkCursor {
    /// Its name.
    pub sink: String,
    /// The last position that is known to be delivered.
    pub position: i64,
    /// How often the lead was taken.
    pub epoch: i64,
    /// Whether a process holds the lead now.
    pub is_led: bool,
    /// How long ago the oldest event behind the position was recorded; none if there is none.
    pub oldest_behind: Option<Duration>,
}

/// The way from the outbox to the sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayStatus {
    /// Committed events that have no position yet.
    pub waiting: OutboxBacklog,
    /// The position of the newest event.
    pub head: i64,
    /// How far each sink has come.
    pub sinks: Vec<SinkCursor>,
}

impl RelayStatus {
    /// Asks the store.
    ///
    /// # Errors
    /// The store's.
    pub async fn read<S>(store: &S) -> Result<Self, StoreError>
    where
        S: Sequencer + SinkCursors + EventLog,
    {
        let waiting = Sequencer::backlog(store).await?;
        let sinks = store.sinks().await?;
        // Behind the cursors, so that none of them is ahead of it.
        let head = store.head().await?;
        Ok(Self { waiting, head, sinks })
    }

    /// How many events a sink has still to deliver.
    #[must_use]
    pub fn lag(&self, cursor: &SinkCursor) -> i64 {
        (self.head - cursor.position).max(0)
    }
}
