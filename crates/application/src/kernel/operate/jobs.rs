//! Jobs in an operator's hands: what waits, runs and has died; redriving and cancelling.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;

use crate::kernel::context::RequestContext;
use crate::kernel::error::{Code, Failure};
use crate::kernel::jobs::Progress;
use crate::kernel::store::StoreError;
use crate::kernel::uow::{AuditEntry, AuditOutcome, Tx, Uow};

/// The most dead letters that one transaction makes live again.
const REVIVED_AT_ONCE: u32 = 500;

/// Where a job stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub enum JobState {
    /// It waits for its time, or for the next attempt.
    Scheduled,
    /// It could run now.
    Due,
    /// A worker runs it.
    Running,
    /// It failed for good.
    Dead,
    /// It has ended as it should; it is remembered for a while.
    Done,
    /// It has ended because an operator cancelled it; it is remembered for a while.
    Cancelled,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Of this kind alone.
    pub kind: Option<String>,
    /// In this state alone. Jobs that have ended well are listed only if their state or an id is asked for.
    pub state: Option<JobState>,
    /// With this id alone.
    pub id: Option<i64>,
    /// The most to return.
    pub limit: u32,
}

/// A job as an operator sees it. Its payload is not shown: it may be personal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// Its id. A dead letter bears that of the job which died.
    pub id: i64,
    /// The stable name of its type.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// The group that it takes turns in.
    pub group: Option<String>,
    /// Where it stands.
    pub state: JobState,
    /// Smaller runs earlier.
    pub priority: i16,
    /// Attempts begun.
    pub attempt: i16,
    /// How often it is tried before it is dead.
    pub max_attempts: i16,
    /// At most one live job of the kind has this key.
    pub unique_key: Option<String>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// Not before this time; when it died, for a dead letter; when it ended, for one that has.
    pub at: Timestamp,
    /// When its last run began.
    pub started_at: Option<Timestamp>,
    /// An operator has asked the run to end.
    pub ending: bool,
    /// How far the run has got, as of the last heartbeat.
    pub progress: Option<Progress>,
    /// What failed last.
    pub last_error: Option<String>,
}

/// Reads jobs in any state.
#[async_trait]
pub trait JobReads: Send + Sync {
    /// Dead letters first, the latest death first; then live jobs in the order in which they are to run; then those that
    /// have ended well, the newest first.
    ///
    /// # Errors
    /// The store's.
    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, StoreError>;

    /// How many dead letters there are.
    ///
    /// # Errors
    /// The store's.
    async fn dead(&self) -> Result<u64, StoreError>;

    /// How many dead letters fit.
    ///
    /// # Errors
    /// The store's.
    async fn dead_fitting(&self, filter: &DeadFilter) -> Result<u64, StoreError>;
}

/// The transaction of an operator.
#[async_trait]
pub trait JobTx: Tx {
    /// Makes dead letters live again, each as a new job with all its attempts; the late finisher of a lost lease must
    /// not pass for it. One whose unique key a live job has becomes one with that.
    ///
    /// # Errors
    /// The store's.
    async fn revive(
        &mut self,
        letters: &DeadLetters,
        limit: u32,
    ) -> Result<Vec<Revived>, StoreError>;

    /// Makes a job that waits due at once, with all its attempts. Returns whether there is one.
    ///
    /// # Errors
    /// The store's.
    async fn hasten(&mut self, job: i64) -> Result<bool, StoreError>;

    /// Removes a job and its dead letters. One that runs is asked to end, and leaves when it has: what it would commit
    /// under its lease is refused from now on. Returns the states that they were in.
    ///
    /// # Errors
    /// The store's.
    async fn cancel(&mut self, job: i64) -> Result<Vec<JobState>, StoreError>;
}

/// Which dead letters to make live again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// Those of one job.
    OfJob(i64),
    /// Those that died before this time, of one kind or all.
    DiedBefore {
        /// The time.
        time: Timestamp,
        /// The kind; none means every kind.
        kind: Option<String>,
    },
    /// Those that died before this time and fit.
    Fitting {
        /// The time.
        time: Timestamp,
        /// Which.
        filter: DeadFilter,
    },
}

/// Which dead letters an operator means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// Of this kind alone.
    pub kind: Option<String>,
    /// Those that died then or later.
    pub since: Option<Timestamp>,
    /// Those whose last failure has this text in it.
    pub error: Option<String>,
}

/// A dead letter that was made live again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revived {
    /// The job that had died.
    pub job: i64,
    /// The job that it is now.
    pub now: i64,
}

/// What retrying one job came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retried {
    /// Its dead letters are live again.
    Revived(Vec<Revived>),
    /// It was waiting, and is due now.
    Hastened,
}

/// What operators do to jobs.
#[derive(Clone)]
pub struct JobOperator {
    uow: Uow<dyn JobTx>,
    reads: Arc<dyn JobReads>,
}

impl JobOperator {
    /// The use cases over their ports.
    #[must_use]
    pub fn new(uow: Uow<dyn JobTx>, reads: Arc<dyn JobReads>) -> Self {
        Self { uow, reads }
    }

    /// Jobs that fit.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, filter: &JobFilter) -> Result<Vec<JobView>, Failure> {
        Ok(self.reads.jobs(filter).await?)
    }

    /// Has one job tried again now: a dead letter is live again, a job that waits is due.
    ///
    /// # Errors
    /// `not_found`; `invalid_transition` while it runs.
    pub async fn retry(&self, context: &RequestContext, job: i64) -> Result<Retried, Failure> {
        let mut tx = self.uow.begin(Vec::new()).await?;
        let revived = tx.revive(&DeadLetters::OfJob(job), REVIVED_AT_ONCE).await?;
        let retried = if !revived.is_empty() {
            Retried::Revived(revived)
        } else if tx.hasten(job).await? {
            Retried::Hastened
        } else {
            drop(tx);
            return Err(self.why_not(job).await?);
        };
        tx.staged().audit.push(entry(context, "job.retry", format!("job:{job}"), json!({})));
        tx.commit().await?;
        Ok(retried)
    }

    /// Has every job tried again that is dead at `now`, of one kind or all; in steps, of which each leaves its own audit
    /// entry. Returns how many there were.
    ///
    /// # Errors
    /// The store's; what was done until then stays.
    pub async fn retry_dead(
        &self,
        context: &RequestContext,
        kind: Option<String>,
        now: Timestamp,
    ) -> Result<u64, Failure> {
        let object = kind.clone().unwrap_or_else(|| "*".to_owned());
        // What dies again meanwhile is left for the next time, or this could go on for ever.
        let letters = DeadLetters::DiedBefore { time: now, kind };
        let mut total = 0;
        loop {
            let mut tx = self.uow.begin(Vec::new()).await?;
            let revived = tx.revive(&letters, REVIVED_AT_ONCE).await?.len();
            if revived == 0 {
                return Ok(total);
            }
            let facts = json!({ "jobs": revived });
            tx.staged().audit.push(entry(context, "job.retry_dead", object.clone(), facts));
            tx.commit().await?;
            total += revived as u64;
        }
    }

    /// How many dead letters a redrive would make live again.
    ///
    /// # Errors
    /// The store's.
    pub async fn redrivable(&self, filter: &DeadFilter) -> Result<u64, Failure> {
        Ok(self.reads.dead_fitting(filter).await?)
    }

    /// Has the dead letters tried again that fit and are dead at `now`, no more than `per_second`; each second leaves its
    /// own audit entry. Returns how many there were.
    ///
    /// # Errors
    /// The store's; what was done until then stays.
    pub async fn redrive(
        &self,
        context: &RequestContext,
        filter: &DeadFilter,
        per_second: NonZeroU32,
        now: Timestamp,
    ) -> Result<u64, Failure> {
        let object = filter.kind.clone().unwrap_or_else(|| "*".to_owned());
        let letters = DeadLetters::Fitting { time: now, filter: filter.clone() };
        let step = per_second.get().min(REVIVED_AT_ONCE);
        let mut pace = tokio::time::interval(Duration::from_secs(1) * step / per_second.get());
        let mut total = 0;
        loop {
            pace.tick().await;
            let mut tx = self.uow.begin(Vec::new()).await?;
            let revived = tx.revive(&letters, step).await?.len();
            if revived == 0 {
                return Ok(total);
            }
            let facts = json!({
                "jobs": revived,
                "since": filter.since.map(|time| time.to_string()),
                "error": filter.error,
            });
            tx.staged().audit.push(entry(context, "job.redrive", object.clone(), facts));
            tx.commit().await?;
            total += revived as u64;
        }
    }

    /// Removes a job for good; one that runs is asked to end.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn cancel(
        &self,
        context: &RequestContext,
        job: i64,
    ) -> Result<Vec<JobState>, Failure> {
        let mut tx = self.uow.begin(Vec::new()).await?;
        let removed = tx.cancel(job).await?;
        if removed.is_empty() {
            return Err(no_such_job(job));
        }
        let states: Vec<String> = removed.iter().map(ToString::to_string).collect();
        let facts = json!({ "states": states });
        tx.staged().audit.push(entry(context, "job.cancel", format!("job:{job}"), facts));
        tx.commit().await?;
        Ok(removed)
    }

    async fn why_not(&self, job: i64) -> Result<Failure, Failure> {
        let filter = JobFilter { id: Some(job), limit: 1, ..JobFilter::default() };
        Ok(match self.reads.jobs(&filter).await?.first() {
            Some(_) => Failure::new(Code::InvalidTransition, format!("The job {job} is running.")),
            None => no_such_job(job),
        })
    }
}

fn no_such_job(job: i64) -> Failure {
    Failure::new(Code::NotFound, format!("There is no job {job}, live or dead."))
}

/// An entry about what has no typed identifier.
pub(super) fn entry(
    context: &RequestContext,
    action: &'static str,
    object: String,
    changed: serde_json::Value,
) -> AuditEntry {
    AuditEntry {
        context: context.clone(),
        community: None,
        action,
        object,
        outcome: AuditOutcome::Done,
        changed,
    }
}
