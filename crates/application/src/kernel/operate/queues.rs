//! Queues and groups of jobs in an operator's hands: pausing them, and how much of them runs at once, over all workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::jobs::entry;
use crate::kernel::context::RequestContext;
use crate::kernel::error::Failure;
use crate::kernel::jobs::{JobQueue, QueueBacklog};
use crate::kernel::store::StoreError;
use crate::kernel::uow::{Tx, Uow};

/// How fast jobs may start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// On average.
    pub per_second: f64,
    /// At once, after a while in which none started.
    pub burst: u32,
}

/// What operators set about a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueueLimits {
    /// None of its jobs starts.
    pub paused: bool,
    /// The most jobs that run at once.
    pub at_once: Option<u32>,
    /// How fast jobs start.
    pub rate: Option<Rate>,
    /// The most jobs of one group that run at once, unless the group has a limit of its own.
    pub group_at_once: Option<u32>,
}

/// What operators set about a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupLimits {
    /// None of its jobs starts.
    pub paused: bool,
    /// The most jobs that run at once.
    pub at_once: Option<u32>,
}

/// What is to be set about a queue; `None` leaves things as they are, `Some(None)` takes a limit away.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueueChange {
    /// Whether it is paused.
    pub paused: Option<bool>,
    /// The most jobs at once.
    pub at_once: Option<Option<u32>>,
    /// How fast jobs start.
    pub rate: Option<Option<Rate>>,
    /// The most jobs of one group at once.
    pub group_at_once: Option<Option<u32>>,
}

/// What is to be set about a group, likewise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupChange {
    /// Whether it is paused.
    pub paused: Option<bool>,
    /// The most jobs at once.
    pub at_once: Option<Option<u32>>,
}

/// A queue as an operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueView {
    /// What it holds.
    pub backlog: QueueBacklog,
    /// What is set.
    pub limits: QueueLimits,
}

/// A group as an operator sees it. Counting ends at [`QueueBacklog::COUNTED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its queue.
    pub queue: String,
    /// Its key.
    pub group: String,
    /// What is set.
    pub limits: GroupLimits,
    /// Jobs that are due and not leased.
    pub due: u64,
    /// Jobs that are leased.
    pub running: u64,
}

/// Reads what is set.
#[async_trait]
pub trait QueueReads: Send + Sync {
    /// The queues about which something was set.
    ///
    /// # Errors
    /// The store's.
    async fn limits(&self) -> Result<Vec<(String, QueueLimits)>, StoreError>;

    /// Groups of one queue or of all, by queue and key.
    ///
    /// # Errors
    /// The store's.
    async fn groups(&self, queue: Option<&str>, limit: u32) -> Result<Vec<GroupView>, StoreError>;
}

/// The transaction of an operator.
#[async_trait]
pub trait QueueTx: Tx {
    /// What is set about a queue, locked.
    ///
    /// # Errors
    /// The store's.
    async fn queue_limits(&mut self, queue: &str) -> Result<QueueLimits, StoreError>;

    /// Sets it. Workers keep to it from their next claim on; a new rate begins with its burst.
    ///
    /// # Errors
    /// The store's.
    async fn limit_queue(&mut self, queue: &str, limits: &QueueLimits) -> Result<(), StoreError>;

    /// What is set about a group, locked.
    ///
    /// # Errors
    /// The store's.
    async fn group_limits(&mut self, queue: &str, group: &str) -> Result<GroupLimits, StoreError>;

    /// Sets it.
    ///
    /// # Errors
    /// The store's.
    async fn limit_group(
        &mut self,
        queue: &str,
        group: &str,
        limits: &GroupLimits,
    ) -> Result<(), StoreError>;
}

/// What operators do to queues.
#[derive(Clone)]
pub struct QueueOperator {
    uow: Uow<dyn QueueTx>,
    reads: Arc<dyn QueueReads>,
    queue: Arc<dyn JobQueue>,
}

impl QueueOperator {
    /// The use cases over their ports.
    #[must_use]
    pub fn new(
        uow: Uow<dyn QueueTx>,
        reads: Arc<dyn QueueReads>,
        queue: Arc<dyn JobQueue>,
    ) -> Self {
        Self { uow, reads, queue }
    }

    /// The queues that hold something, or about which something was set, by name.
    ///
    /// # Errors
    /// The store's.
    pub async fn queues(&self) -> Result<Vec<QueueView>, Failure> {
        let mut limits: BTreeMap<String, QueueLimits> =
            self.reads.limits().await?.into_iter().collect();
        let mut queues: Vec<QueueView> = self
            .queue
            .backlog()
            .await?
            .into_iter()
            .map(|backlog| {
                let limits = limits.remove(&backlog.queue).unwrap_or_default();
                QueueView { backlog, limits }
            })
            .collect();
        queues.extend(limits.into_iter().map(|(queue, limits)| {
            let age = Duration::ZERO;
            QueueView { backlog: QueueBacklog { queue, due: 0, age, running: 0, dead: 0 }, limits }
        }));
        queues.sort_by(|one, other| one.backlog.queue.cmp(&other.backlog.queue));
        Ok(queues)
    }

    /// Groups of one queue or of all, by queue and key.
    ///
    /// # Errors
    /// The store's.
    pub async fn groups(&self, queue: Option<&str>, limit: u32) -> Result<Vec<GroupView>, Failure> {
        Ok(self.reads.groups(queue, limit).await?)
    }

    /// Sets something about a queue; returns what is set then. A queue that nobody uses may be set up beforehand.
    ///
    /// # Errors
    /// The store's.
    pub async fn change_queue(
        &self,
        context: &RequestContext,
        queue: &str,
        change: &QueueChange,
    ) -> Result<QueueLimits, Failure> {
        let mut tx = self.uow.begin(Vec::new()).await?;
        let before = tx.queue_limits(queue).await?;
        let limits = QueueLimits {
            paused: change.paused.unwrap_or(before.paused),
            at_once: change.at_once.unwrap_or(before.at_once),
            rate: change.rate.unwrap_or(before.rate),
            group_at_once: change.group_at_once.unwrap_or(before.group_at_once),
        };
        if limits != before {
            tx.limit_queue(queue, &limits).await?;
            let action = action(change.paused, ["queue.pause", "queue.resume", "queue.limit"]);
            let facts = queue_facts(&limits);
            tx.staged().audit.push(entry(context, action, format!("queue:{queue}"), facts));
            tx.commit().await?;
        }
        Ok(limits)
    }

    /// Sets something about a group of a queue; returns what is set then.
    ///
    /// # Errors
    /// The store's.
    pub async fn change_group(
        &self,
        context: &RequestContext,
        queue: &str,
        group: &str,
        change: &GroupChange,
    ) -> Result<GroupLimits, Failure> {
        let mut tx = self.uow.begin(Vec::new()).await?;
        let before = tx.group_limits(queue, group).await?;
        let limits = GroupLimits {
            paused: change.paused.unwrap_or(before.paused),
            at_once: change.at_once.unwrap_or(before.at_once),
        };
        if limits != before {
            tx.limit_group(queue, group, &limits).await?;
            let action = action(change.paused, ["group.pause", "group.resume", "group.limit"]);
            let object = format!("queue:{queue}/group:{group}");
            let facts = json!({ "paused": limits.paused, "at_once": limits.at_once });
            tx.staged().audit.push(entry(context, action, object, facts));
            tx.commit().await?;
        }
        Ok(limits)
    }
}

fn action(paused: Option<bool>, [pause, resume, limit]: [&'static str; 3]) -> &'static str {
    match paused {
        Some(true) => pause,
        Some(false) => resume,
        None => limit,
    }
}

fn queue_facts(limits: &QueueLimits) -> Value {
    json!({
        "paused": limits.paused,
        "at_once": limits.at_once,
        "rate": limits.rate.map(|rate| rate.per_second),
        "burst": limits.rate.map(|rate| rate.burst),
        "group_at_once": limits.group_at_once,
    })
}
