//! What died in an operator's hands: dead jobs and messages that no consumer could read, in one list, chosen by what they
//! are, when they died and what was wrong with them.
//!
//! Jobs are the database's: each is tried again or removed with its audit entry in one transaction. Messages lie at the
//! broker, which knows no transactions with us, so what is about to be done to them is in the audit log before it is done.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::jobs::{JobFilter, JobOperator, JobState, JobView, entry};
use crate::kernel::context::RequestContext;
use crate::kernel::error::{Code, Failure};
use crate::kernel::store::StoreError;
use crate::kernel::uow::{Tx, Uow};

/// The most that one call looks at, of jobs and of messages each.
pub const MOST: u32 = 10_000;

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// That bear one of these names; empty means any.
    pub ids: Vec<DeadId>,
    /// Jobs of this kind; messages of this event type.
    pub kind: Option<String>,
    /// That died at this time or later.
    pub since: Option<Timestamp>,
    /// Whose error has this in it, whatever the case of its letters.
    pub error: Option<String>,
}

/// The name of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadId {
    /// A job.
    Job(i64),
    /// A parked message, by its digest.
    Message(String),
}

impl std::fmt::Display for DeadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Job(id) => id.fmt(f),
            Self::Message(digest) => f.write_str(digest),
        }
    }
}

impl DeadFilter {
    fn takes_job(&self, job: &JobView) -> bool {
        self.takes(
            &DeadId::Job(job.id),
            Some(&job.kind),
            Some(job.at),
            job.last_error.as_deref().unwrap_or_default(),
        )
    }

    /// Whether a parked message is one of them.
    #[must_use]
    pub fn takes_message(&self, message: &ParkedMessage) -> bool {
        let id = DeadId::Message(message.digest.clone());
        self.takes(&id, message.event_type.as_deref(), message.parked_at, &message.reason)
    }

    /// What is not known of a letter fits no filter that asks for it.
    fn takes(&self, id: &DeadId, kind: Option<&str>, at: Option<Timestamp>, error: &str) -> bool {
        let named = self.ids.is_empty() || self.ids.contains(id);
        let of_kind = self.kind.as_deref().is_none_or(|wanted| kind == Some(wanted));
        let in_time = self.since.is_none_or(|since| at.is_some_and(|at| at >= since));
        let told = self
            .error
            .as_ref()
            .is_none_or(|wanted| error.to_lowercase().contains(&wanted.to_lowercase()));
        named && of_kind && in_time && told
    }

    fn wants_jobs(&self) -> bool {
        self.ids.is_empty() || self.ids.iter().any(|id| matches!(id, DeadId::Job(_)))
    }

    fn wants_messages(&self) -> bool {
        self.ids.is_empty() || self.ids.iter().any(|id| matches!(id, DeadId::Message(_)))
    }

    fn told(&self) -> Value {
        let ids: Vec<String> = self.ids.iter().map(ToString::to_string).collect();
        json!({
            "ids": ids,
            "kind": self.kind,
            "since": self.since.map(|since| since.to_string()),
            "error": self.error,
        })
    }
}

/// A message that no consumer could read, or that was delivered too often without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedMessage {
    /// What names it: 16 hexadecimal digits, the same as long as it is parked.
    pub digest: String,
    /// Whose queue it came from, if that is known.
    pub consumer: Option<String>,
    /// The event's type, if it says so.
    pub event_type: Option<String>,
    /// Why it is parked.
    pub reason: String,
    /// Since when, if that is known.
    pub parked_at: Option<Timestamp>,
    /// Its bytes, which may be personal.
    pub body: bytes::Bytes,
}

/// What to do with a parked message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked {
    /// Leave it where it is.
    Keep,
    /// Give it to the consumer that it was for once more.
    Replay,
    /// Remove it for good.
    Purge,
}

/// What was done to parked messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParkedDone {
    /// Given to their consumers.
    pub replayed: u64,
    /// Removed.
    pub purged: u64,
    /// Left, because nobody knows whom they were for.
    pub homeless: u64,
}

/// The messages that the broker keeps aside.
#[async_trait]
pub trait ParkingLot: Send + Sync {
    /// Looks at the oldest of them, at most so many, and decides about each. Between two that are replayed it waits for
    /// `pause`. What is kept is as it was; a message leaves only when its consumer's queue has it.
    ///
    /// # Errors
    /// `unavailable` if the broker cannot be used; what was done until then stays done.
    async fn decide(
        &self,
        most: u32,
        pause: Duration,
        decision: &mut (dyn for<'m> FnMut(&'m ParkedMessage) -> Parked + Send),
    ) -> Result<ParkedDone, Failure>;
}

/// Reads what dead jobs carry.
#[async_trait]
pub trait DeadPayloads: Send + Sync {
    /// The payload of the job that died last under this number, which may be personal.
    ///
    /// # Errors
    /// The store's.
    async fn dead_payload(&self, job: i64) -> Result<Option<Value>, StoreError>;
}

/// Dead letters, the latest deaths first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterList {
    /// Jobs.
    pub jobs: Vec<JobView>,
    /// Messages.
    pub messages: Vec<ParkedMessage>,
}

/// What was done to dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadDone {
    /// Jobs.
    pub jobs: u64,
    /// Messages.
    pub messages: ParkedDone,
}

/// What operators do to what died.
#[derive(Clone)]
pub struct DeadLetterOperator {
    jobs: JobOperator,
    payloads: Arc<dyn DeadPayloads>,
    /// None without a broker.
    parking: Option<Arc<dyn ParkingLot>>,
    uow: Uow<dyn Tx>,
}

impl DeadLetterOperator {
    /// The use cases over their ports.
    #[must_use]
    pub fn new(
        jobs: JobOperator,
        payloads: Arc<dyn DeadPayloads>,
        parking: Option<Arc<dyn ParkingLot>>,
        uow: Uow<dyn Tx>,
    ) -> Self {
        Self { jobs, payloads, parking, uow }
    }

    /// The letters that fit.
    ///
    /// # Errors
    /// The store's and the broker's.
    pub async fn list(&self, filter: &DeadFilter) -> Result<DeadLetterList, Failure> {
        let jobs = self.dead_jobs(filter).await?;
        let mut messages = Vec::new();
        if let Some(parking) = self.parking.as_ref().filter(|_| filter.wants_messages()) {
            let mut look = |message: &ParkedMessage| {
                if filter.takes_message(message) {
                    messages.push(message.clone());
                }
                Parked::Keep
            };
            parking.decide(MOST, Duration::ZERO, &mut look).await?;
        }
        Ok(DeadLetterList { jobs, messages })
    }

    /// What a dead job carries.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn payload(&self, job: i64) -> Result<Value, Failure> {
        let found = self.payloads.dead_payload(job).await?;
        found.ok_or_else(|| Failure::new(Code::NotFound, format!("There is no dead job {job}.")))
    }

    /// Has those that fit tried again, so many in a second: a job lives again as a new one, a message goes to the queue of
    /// the consumer that it was for.
    ///
    /// # Errors
    /// The store's and the broker's; what was done until then stays done.
    pub async fn replay(
        &self,
        context: &RequestContext,
        filter: &DeadFilter,
        rate: NonZeroU32,
    ) -> Result<DeadDone, Failure> {
        let pause = Duration::from_secs(1) / rate.get();
        let mut done = DeadDone::default();
        for id in numbers(&self.dead_jobs(filter).await?) {
            if done.jobs > 0 {
                tokio::time::sleep(pause).await;
            }
            match self.jobs.retry(context, id).await {
                Ok(_) => done.jobs += 1,
                // Somebody else was faster.
                Err(failure) if failure.code == Code::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        done.messages = self.settle(context, filter, pause, Parked::Replay).await?;
        Ok(done)
    }

    /// Removes those that fit, for good.
    ///
    /// # Errors
    /// The store's and the broker's; what was done until then stays done.
    pub async fn purge(
        &self,
        context: &RequestContext,
        filter: &DeadFilter,
    ) -> Result<DeadDone, Failure> {
        let mut done = DeadDone::default();
        for id in numbers(&self.dead_jobs(filter).await?) {
            match self.jobs.cancel(context, id).await {
                Ok(_) => done.jobs += 1,
                Err(failure) if failure.code == Code::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        done.messages = self.settle(context, filter, Duration::ZERO, Parked::Purge).await?;
        Ok(done)
    }

    async fn dead_jobs(&self, filter: &DeadFilter) -> Result<Vec<JobView>, Failure> {
        if !filter.wants_jobs() {
            return Ok(Vec::new());
        }
        let all = JobFilter {
            kind: filter.kind.clone(),
            state: Some(JobState::Dead),
            id: None,
            limit: MOST,
        };
        let mut jobs = self.jobs.list(&all).await?;
        jobs.retain(|job| filter.takes_job(job));
        Ok(jobs)
    }

    async fn settle(
        &self,
        context: &RequestContext,
        filter: &DeadFilter,
        pause: Duration,
        decision: Parked,
    ) -> Result<ParkedDone, Failure> {
        let Some(parking) = self.parking.as_ref().filter(|_| filter.wants_messages()) else {
            return Ok(ParkedDone::default());
        };
        let action = match decision {
            Parked::Keep => return Ok(ParkedDone::default()),
            Parked::Replay => "parked.replay",
            Parked::Purge => "parked.purge",
        };
        let mut tx = self.uow.begin(Vec::new()).await?;
        let object = "parked-messages".to_owned();
        tx.staged().audit.push(entry(context, action, object, filter.told()));
        tx.commit().await?;
        let mut decide = |message: &ParkedMessage| {
            if filter.takes_message(message) { decision } else { Parked::Keep }
        };
        parking.decide(MOST, pause, &mut decide).await
    }
}

/// The numbers of jobs, each once, the first death first: several letters may have one.
fn numbers(jobs: &[JobView]) -> Vec<i64> {
    let mut numbers = Vec::new();
    for job in jobs.iter().rev() {
        if !numbers.contains(&job.id) {
            numbers.push(job.id);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(reason: &str, at: Option<i64>) -> ParkedMessage {
        ParkedMessage {
            digest: "0123456789abcdef".to_owned(),
            consumer: None,
            event_type: Some("rsvp.confirmed".to_owned()),
            reason: reason.to_owned(),
            parked_at: at.map(|second| Timestamp::from_second(second).unwrap()),
            body: bytes::Bytes::new(),
        }
    }

    #[test]
    fn a_filter_takes_what_fits_all_of_it() {
        let any = DeadFilter::default();
        let since = DeadFilter { since: Timestamp::from_second(10).ok(), ..any.clone() };
        let error = DeadFilter { error: Some("CloudEvent".to_owned()), ..any.clone() };
        let kind = DeadFilter { kind: Some("event.created".to_owned()), ..any.clone() };
        let named = DeadFilter { ids: vec![DeadId::Job(1)], ..any.clone() };
        let late = message("the body is no cloudevent: EOF", Some(10));
        let early = message("delivered too often", Some(9));
        assert!(any.takes_message(&early) && any.takes_message(&late));
        assert!(since.takes_message(&late) && !since.takes_message(&early));
        assert!(!since.takes_message(&message("", None)), "nobody knows when");
        assert!(error.takes_message(&late) && !error.takes_message(&early));
        assert!(!kind.takes_message(&late));
        assert!(!named.takes_message(&late) && named.wants_jobs() && !named.wants_messages());
        let named = DeadFilter { ids: vec![DeadId::Message(late.digest.clone())], ..any };
        assert!(named.takes_message(&late) && !named.wants_jobs());
    }
}
