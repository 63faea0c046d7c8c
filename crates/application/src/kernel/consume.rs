//! From an event to a consumer's effect, whichever bus carried it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convene_contracts::{EventTypePattern, UnknownEventType};
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use tracing::{Instrument as _, Span};

use super::error::Failure;
use super::events::{Consumer, EventLog, Flow, LoggedEvent, NotConsumed};
use super::failpoint::{self, Failpoint};
use super::jobs::{Handler, Job, JobQueue, LeasedJob, NewJob, Outcome, RunJob, handler};
use super::store::StoreError;
use super::trace;

/// How long one consumption may take. A consumer's work is one short transaction.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A consumption that failed and is tried again. It names the event by position: the log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryConsumption {
    /// Whose consumption.
    pub consumer: String,
    /// Which event.
    pub position: i64,
    /// The replay that it belongs to; 0 for none.
    #[serde(default)]
    pub replay: i32,
}

impl Job for RetryConsumption {
    const KIND: &'static str = "consumer.retry";
    const QUEUE: &'static str = "consumers";
}

/// A consumer with its patterns, read.
#[derive(Clone)]
pub struct Subscription {
    consumer: Arc<dyn Consumer>,
    patterns: Vec<EventTypePattern>,
}

impl Subscription {
    /// Reads a consumer's patterns.
    ///
    /// # Errors
    /// A pattern that no event can match.
    pub fn new(consumer: Arc<dyn Consumer>) -> Result<Self, UnknownEventType> {
        let patterns =
            consumer.patterns().iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Self { consumer, patterns })
    }

    /// The consumer's stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.consumer.name()
    }

    /// The events that it wants.
    #[must_use]
    pub fn patterns(&self) -> &[EventTypePattern] {
        &self.patterns
    }

    /// Whether it wants events of this type.
    #[must_use]
    pub fn wants(&self, event_type: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(event_type))
    }

    /// How its events are handed in.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.consumer.flow()
    }

    /// Has the consumer take events; a panic and a time-out are failures.
    async fn consume(&self, events: &[&LoggedEvent]) -> Result<(), NotConsumed> {
        failpoint::reach(Failpoint::Effect);
        let started = Instant::now();
        let consumption = match events {
            [event] => self.consumer.consume(event),
            events => self.consumer.consume_all(events),
        };
        // Events that are taken together are of several traces: each has its span, and the work is done in the first.
        let spans = trace::of_each(events.iter().copied(), |event| {
            tracing::info_span!(
                "bus.consume",
                consumer = self.name(),
                events = events.len(),
                event = %event.id,
                event_type = event.event_type,
                position = event.position,
            )
        });
        let span = spans.first().cloned().unwrap_or_else(Span::current);
        let consumption = AssertUnwindSafe(consumption.instrument(span)).catch_unwind();
        let outcome = match tokio::time::timeout(TIMEOUT, consumption).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Failure::internal("the consumer panicked").into()),
            Err(_) => Err(Failure::internal("the consumption took too long").into()),
        };
        if outcome.is_ok() {
            failpoint::reach(Failpoint::InboxCommit);
        }
        let told = match &outcome {
            Ok(()) => "consumed",
            Err(NotConsumed::Failed(_)) => "failed",
            Err(NotConsumed::Poison(_)) => "poison",
        };
        let labels = [("consumer", self.name()), ("outcome", told)];
        metrics::histogram!("convene_consumer_seconds", &labels)
            .record(started.elapsed().as_secs_f64());
        metrics::histogram!("convene_consumer_batch_size", "consumer" => self.name())
            .record(events.len() as f64);
        outcome
    }
}

/// What became of an event that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The consumer has taken it, now or before.
    Consumed,
    /// The consumer did not take it; a job is stored that tries again.
    Postponed,
    /// The consumer does not want events of its type.
    Unwanted,
}

/// Where every bus hands its events in.
///
/// An event is done with when its consumer has taken it, or when a job is stored that tries again: so one failure never
/// holds up the events behind it. An event that the consumer will never take becomes a job as well, which ends with the dead
/// letters at its first run: there operators find what nobody can take, whichever bus brought it, and hand it in again by
/// the same means as everything else.
#[derive(Clone)]
pub struct Intake {
    subscriptions: Arc<[Subscription]>,
    jobs: Arc<dyn JobQueue>,
}

impl Intake {
    /// The consumers of this installation, and the queue for what they fail at.
    ///
    /// # Errors
    /// A pattern that no event can match.
    pub fn new(
        consumers: Vec<Arc<dyn Consumer>>,
        jobs: Arc<dyn JobQueue>,
    ) -> Result<Self, UnknownEventType> {
        let subscriptions =
            consumers.into_iter().map(Subscription::new).collect::<Result<_, _>>()?;
        Ok(Self { subscriptions, jobs })
    }

    /// The consumer of this name.
    #[must_use]
    pub fn subscription(&self, consumer: &str) -> Option<&Subscription> {
        self.subscriptions.iter().find(|known| known.name() == consumer)
    }

    /// The consumers with what they want.
    #[must_use]
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    /// Hands events to one consumer, in their order: together where that works, and otherwise one by one, so that one of
    /// which it cannot be taken holds up none of the others.
    ///
    /// # Errors
    /// The store's, with the number of events from the first that are done with: the others must be handed in again.
    pub async fn take_all(
        &self,
        subscription: &Subscription,
        events: &[&LoggedEvent],
    ) -> Result<(), (usize, StoreError)> {
        let mut done = 0;
        for batch in events.chunks(subscription.consumer.batch().max(1)) {
            if !self.take_batch(subscription, batch).await {
                for event in batch {
                    self.take(subscription, event).await.map_err(|error| (done, error))?;
                    done += 1;
                }
            } else {
                done += batch.len();
            }
        }
        Ok(())
    }

    /// Hands several events in together; `false` if they are to be taken one by one.
    async fn take_batch(&self, subscription: &Subscription, batch: &[&LoggedEvent]) -> bool {
        let wanted: Vec<&LoggedEvent> =
            batch.iter().copied().filter(|event| subscription.wants(&event.event_type)).collect();
        if wanted.len() < 2 {
            return false;
        }
        let Err(error) = subscription.consume(&wanted).await else { return true };
        tracing::debug!(
            consumer = subscription.name(),
            events = wanted.len(),
            error = &error as &dyn std::error::Error,
            "events are taken one by one"
        );
        false
    }

    /// Hands one event to one consumer.
    ///
    /// # Errors
    /// The store's, if the consumption failed and not even the job could be stored: the event must be handed in again.
    pub async fn take(
        &self,
        subscription: &Subscription,
        event: &LoggedEvent,
    ) -> Result<Taken, StoreError> {
        if !subscription.wants(&event.event_type) {
            return Ok(Taken::Unwanted);
        }
        let Err(error) = subscription.consume(&[event]).await else { return Ok(Taken::Consumed) };
        let (consumer, replay) = (subscription.name(), event.replay);
        let retry =
            RetryConsumption { consumer: consumer.to_owned(), position: event.position, replay };
        let key = match replay {
            0 => format!("{consumer}:{}", event.position),
            replay => format!("{consumer}:{}:{replay}", event.position),
        };
        self.jobs.enqueue(vec![NewJob::new(&retry).unique(key)]).await?;
        tracing::warn!(
            consumer,
            event = %event.id,
            position = event.position,
            error = &error as &dyn std::error::Error,
            "an event was not taken and becomes a job"
        );
        Ok(Taken::Postponed)
    }

    /// The handler that tries failed consumptions again.
    #[must_use]
    pub fn retries(&self, log: Arc<dyn EventLog>) -> Arc<dyn Handler> {
        handler::<RetryConsumption, _>(Arc::new(Retries { intake: self.clone(), log }))
    }
}

struct Retries {
    intake: Intake,
    log: Arc<dyn EventLog>,
}

#[async_trait]
impl RunJob<RetryConsumption> for Retries {
    async fn run(&self, job: RetryConsumption, _: &LeasedJob) -> Outcome {
        let Some(subscription) = self.intake.subscription(&job.consumer) else {
            return Outcome::Discard(Failure::internal(format!(
                "there is no consumer {}",
                job.consumer
            )));
        };
        let event = match self.log.read_after(job.position - 1, 1).await {
            Ok(events) => events.into_iter().find(|event| event.position == job.position),
            Err(error) => return Outcome::Retry(error.into()),
        };
        let Some(event) = event else {
            return Outcome::Discard(Failure::internal(format!(
                "there is no event {}",
                job.position
            )));
        };
        let event = LoggedEvent { replay: job.replay, ..event };
        match subscription.consume(&[&event]).await {
            Ok(()) => Outcome::Done,
            Err(NotConsumed::Failed(failure)) => Outcome::Retry(failure),
            Err(NotConsumed::Poison(failure)) => Outcome::Discard(failure),
        }
    }
}
