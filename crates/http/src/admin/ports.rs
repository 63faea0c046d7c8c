//! What the administrators' API asks of the process that it is in.

use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::error::Failure;
use convene_application::kernel::operate::status::InstallationStatus;
use jiff::Timestamp;

use crate::ports::CheckState;

/// How the process, and what it depends on, is doing.
#[derive(Clone, Debug)]
pub struct ProcessStatus {
    /// The release with its commit.
    pub version: &'static str,
    /// When the process began.
    pub started_at: Timestamp,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
    /// Its connections to the database.
    pub pools: Vec<PoolState>,
    /// What it keeps in memory of the database.
    pub feeds: Vec<FeedState>,
}

/// Something that the process depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Its name.
    pub name: &'static str,
    /// How it is doing.
    pub state: CheckState,
    /// Since when, as far as this process has seen.
    pub since: Timestamp,
    /// How long it took to answer, or to be given up.
    pub latency: Duration,
}

/// A pool of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Its name.
    pub name: &'static str,
    /// Connections on loan.
    pub in_use: usize,
    /// Connections that are open and free.
    pub idle: usize,
    /// The most that it may open.
    pub max: usize,
    /// Who waits for one.
    pub waiting: usize,
}

/// A feed of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedState {
    /// Its name.
    pub name: &'static str,
    /// Whether what it keeps is believed.
    pub fresh: bool,
}

/// Tells how things are.
#[async_trait]
pub trait Reports: Send + Sync {
    /// Looks at the process and at what it depends on. Answers within a few seconds even if nothing else does.
    async fn process(&self) -> ProcessStatus;

    /// Asks the database how the installation is doing.
    ///
    /// # Errors
    /// The store's.
    async fn installation(&self) -> Result<InstallationStatus, Failure>;
}

/// What is logged now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilterState {
    /// The directives in force.
    pub filter: String,
    /// Those of the configuration.
    pub configured: String,
    /// When those of the configuration are in force again; none where they are.
    pub until: Option<Timestamp>,
}

/// Changes what the process logs, for a while.
pub trait LogFilterControl: Send + Sync {
    /// What is logged now.
    fn state(&self) -> LogFilterState;

    /// Puts other directives in force for so long; those of the configuration follow by themselves.
    ///
    /// # Errors
    /// Why the directives cannot be read.
    fn set(&self, filter: &str, lasting: Duration) -> Result<LogFilterState, String>;
}
