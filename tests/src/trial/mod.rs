//! Trials: a mixed load on a whole installation that faults are injected into, and what must be true all the same.
//!
//! [`stage`] sets up private servers, a fault proxy between each of them and each process, and the processes. [`load`] has
//! people do things and writes each request to a [`history`]. [`faults`] follows a schedule that a seed decides. When all
//! is healed and quiet, a [`snapshot`] of the databases is taken, and the [`checker`] judges the [`Evidence`] alone.

pub mod checker;
pub mod clock;
pub mod dice;
pub mod faults;
pub mod history;
pub mod load;
pub mod snapshot;
pub mod stage;
pub mod usage;

use history::Record;
use snapshot::Snapshot;
use usage::Usage;

/// All that the checker knows.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Each request and its answer, in the order of the answers.
    pub history: Vec<Record>,
    /// What the databases hold in the end.
    pub snapshot: Snapshot,
    /// What the receiver of webhooks got, in order.
    pub hits: Vec<Hit>,
    /// What another service got from its queue, in order, repetitions included.
    pub foreign: Vec<Foreign>,
    /// The log's position when that queue was bound.
    pub foreign_since: i64,
    /// What the processes hold, before the faults and after them.
    pub usage: Vec<Usage>,
    /// What `convene audit verify` said, if the chains do not hold.
    pub broken_chains: Option<String>,
    /// Processes that ended though nobody killed them and they had started well.
    pub deaths: Vec<String>,
    /// Processes that were not ready long after everything was back.
    pub unready: Vec<String>,
}

/// A webhook that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// `webhook-id`, which is the delivery.
    pub delivery: String,
    /// `id` of the body, which is the event.
    pub event: String,
    /// The body.
    pub body: bytes::Bytes,
}

/// An event that another service received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The event.
    pub id: String,
    /// What it is about.
    pub subject: String,
    /// `aggregateversion`
    pub version: i64,
}
