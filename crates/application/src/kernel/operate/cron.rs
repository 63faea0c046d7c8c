//! The scheduler's duties in an operator's hands: when they come up, pausing them, and having one done now.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;

use super::jobs::entry;
use crate::kernel::context::RequestContext;
use crate::kernel::cron::Duty;
use crate::kernel::error::{Code, Failure};
use crate::kernel::store::StoreError;
use crate::kernel::uow::{Tx, Uow};

/// A duty as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DutyView {
    /// Its stable name.
    pub name: String,
    /// When it comes up.
    pub schedule: String,
    /// What becomes of missed ticks.
    pub missed: String,
    /// The next tick.
    pub next_tick: Timestamp,
    /// Its ticks pass unfired.
    pub paused: bool,
    /// The last tick that was fired.
    pub last_tick: Option<Timestamp>,
    /// When that was.
    pub last_fired_at: Option<Timestamp>,
}

/// Reads duties.
#[async_trait]
pub trait CronReads: Send + Sync {
    /// All that a scheduler has made known, by name.
    ///
    /// # Errors
    /// The store's.
    async fn duties(&self) -> Result<Vec<DutyView>, StoreError>;
}

/// The transaction of an operator.
#[async_trait]
pub trait CronTx: Tx {
    /// Has the ticks of a duty pass unfired, or fires them again. Returns whether there is one.
    ///
    /// # Errors
    /// The store's.
    async fn pause_duty(&mut self, name: &str, paused: bool) -> Result<bool, StoreError>;
}

/// What operators do to duties.
#[derive(Clone)]
pub struct CronOperator {
    uow: Uow<dyn CronTx>,
    reads: Arc<dyn CronReads>,
    duties: Vec<Duty>,
}

impl CronOperator {
    /// The use cases over their ports, on the duties of this release.
    #[must_use]
    pub fn new(uow: Uow<dyn CronTx>, reads: Arc<dyn CronReads>, duties: Vec<Duty>) -> Self {
        Self { uow, reads, duties }
    }

    /// All duties, by name.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self) -> Result<Vec<DutyView>, Failure> {
        Ok(self.reads.duties().await?)
    }

    /// Has the ticks of a duty pass unfired until it is resumed. What a tick has stored before runs all the same.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn pause(&self, context: &RequestContext, name: &str) -> Result<(), Failure> {
        self.set_paused(context, name, true).await
    }

    /// Has a duty come up again from its next tick on. Those that passed meanwhile were not missed.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn resume(&self, context: &RequestContext, name: &str) -> Result<(), Failure> {
        self.set_paused(context, name, false).await
    }

    async fn set_paused(
        &self,
        context: &RequestContext,
        name: &str,
        paused: bool,
    ) -> Result<(), Failure> {
        let mut tx = self.uow.begin(Vec::new()).await?;
        if !tx.pause_duty(name, paused).await? {
            return Err(no_such_duty(name));
        }
        let action = if paused { "cron.pause" } else { "cron.resume" };
        tx.staged().audit.push(entry(context, action, name.to_owned(), json!({})));
        Ok(tx.commit().await?)
    }

    /// Stores the job of a duty now, be it paused or not; its ticks stay what they are.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn run(&self, context: &RequestContext, name: &str) -> Result<(), Failure> {
        let duty = self.duties.iter().find(|duty| duty.name == name);
        let duty = duty.ok_or_else(|| no_such_duty(name))?;
        let mut tx = self.uow.begin(Vec::new()).await?;
        tx.staged().jobs.push(duty.job.clone().caused_by(context));
        tx.staged().audit.push(entry(context, "cron.run", name.to_owned(), json!({})));
        Ok(tx.commit().await?)
    }
}

fn no_such_duty(name: &str) -> Failure {
    Failure::new(
        Code::NotFound,
        format!("There is no duty {name}: `convene cron list` names them."),
    )
}
