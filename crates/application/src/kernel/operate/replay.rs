//! Recorded events, searched and given to a consumer once more.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convene_domain::ids::CommunityId;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::jobs::entry;
use crate::kernel::consume::{Intake, Subscription, Taken};
use crate::kernel::context::RequestContext;
use crate::kernel::env::Env;
use crate::kernel::error::{Code, Failure};
use crate::kernel::events::{EventLog, LoggedEvent};
use crate::kernel::log::TypeFilter;
use crate::kernel::store::StoreError;
use crate::kernel::uow::{Tx, Uow};

/// The most positions that one question to the log spans, so that a rare event costs many short questions, and no long
/// one.
const WINDOW: i64 = 10_000;
/// The most events in hand at once.
const BATCH: u32 = 500;
/// What is older, the inbox may have forgotten: an hour less than it keeps.
const INBOX_KNOWS: SignedDuration = SignedDuration::from_hours(14 * 24 - 1);

/// Which recorded events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    /// Of these types.
    pub types: TypeFilter,
    /// Of this community.
    pub community: Option<CommunityId>,
    /// Of this aggregate, by the envelope's `subject`.
    pub subject: Option<String>,
    /// Recorded at or after this time.
    pub from: Option<Timestamp>,
    /// Recorded before this time.
    pub to: Option<Timestamp>,
}

impl Default for EventFilter {
    fn default() -> Self {
        Self { types: TypeFilter::Any, community: None, subject: None, from: None, to: None }
    }
}

impl EventFilter {
    fn facts(&self) -> serde_json::Value {
        let types = match &self.types {
            TypeFilter::Any => "*".to_owned(),
            TypeFilter::Module(module) => format!("{module}.*"),
            TypeFilter::Exact(event_type) => event_type.clone(),
        };
        json!({
            "type": types,
            "community": self.community.map(|community| community.to_string()),
            "subject": self.subject,
            "from": self.from.map(|time| time.to_string()),
            "to": self.to.map(|time| time.to_string()),
        })
    }
}

/// An event of the log, with when its transaction recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The event.
    pub event: LoggedEvent,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

/// Searches the event log.
#[async_trait]
pub trait LogSearch: Send + Sync {
    /// Events that fit with a position in `after < position ≤ through`, oldest first.
    ///
    /// # Errors
    /// The store's.
    async fn search(
        &self,
        filter: &EventFilter,
        after: i64,
        through: i64,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, StoreError>;
}

/// What consumers have taken.
#[async_trait]
pub trait InboxReads: Send + Sync {
    /// Those of the events that the consumer has taken, in this replay or, with 0, as they came.
    ///
    /// # Errors
    /// The store's.
    async fn consumed(
        &self,
        consumer: &str,
        replay: i32,
        events: &[Uuid],
    ) -> Result<HashSet<Uuid>, StoreError>;
}

/// The transaction that begins a replay.
#[async_trait]
pub trait ReplayTx: Tx {
    /// Numbers a new replay.
    ///
    /// # Errors
    /// The store's.
    async fn number_replay(&mut self, consumer: &str) -> Result<i32, StoreError>;

    /// Whose replay it is. `None` if there was none of that number.
    ///
    /// # Errors
    /// The store's.
    async fn consumer_of(&mut self, replay: i32) -> Result<Option<String>, StoreError>;
}

/// Reads on through the log: what fits, window by window.
struct Walk<'a> {
    search: &'a dyn LogSearch,
    filter: &'a EventFilter,
    position: i64,
    through: i64,
}

impl Walk<'_> {
    /// The next events that fit; none when the end is reached.
    async fn next(&mut self, limit: u32) -> Result<Vec<RecordedEvent>, StoreError> {
        while self.position < self.through {
            let window = self.through.min(self.position.saturating_add(WINDOW));
            let found = self.search.search(self.filter, self.position, window, limit).await?;
            let is_full = found.len() >= limit as usize;
            self.position = match found.last() {
                Some(last) if is_full => last.event.position,
                _ => window,
            };
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }
}

/// Events behind `after` that fit, oldest first, at most so many.
///
/// # Errors
/// The store's.
pub async fn list<S: LogSearch + EventLog>(
    store: &S,
    filter: &EventFilter,
    after: i64,
    limit: u32,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let mut walk =
        Walk { search: store, filter, position: after.max(0), through: store.head().await? };
    let mut listed = Vec::new();
    while let Some(left) = limit.checked_sub(u32::try_from(listed.len()).unwrap_or(limit))
        && left > 0
    {
        let found = walk.next(left).await?;
        if found.is_empty() {
            break;
        }
        listed.extend(found);
    }
    Ok(listed)
}

/// Which events a replay gives to the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayMode {
    /// Those that it has not taken yet.
    Missing,
    /// All, also those that it has taken before: their effects happen once more.
    Again,
    /// What is left of a replay of this number that was broken off.
    Resume(i32),
}

/// What to replay, to whom and how fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// The consumer's name.
    pub consumer: String,
    /// Which events; those that the consumer does not want are passed over.
    pub filter: EventFilter,
    /// Which of them.
    pub mode: ReplayMode,
    /// The most events in a second.
    pub per_second: NonZeroU32,
    /// Counts alone.
    pub dry_run: bool,
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// The number of the replay; none for one of missing events, and for a dry run.
    pub replay: Option<i32>,
    /// Events that fit and that the consumer wants.
    pub matched: u64,
    /// Those that it had taken before; they were left out.
    pub consumed_before: u64,
    /// Those that are too old to tell whether it has taken them; they were left out.
    pub too_old: u64,
    /// Those that it has taken now, or would.
    pub replayed: u64,
    /// Those that it failed at; each is tried again as a job.
    pub postponed: u64,
}

/// Gives recorded events to a consumer of this installation, the way that a bus does.
pub struct Replayer {
    env: Env,
    intake: Intake,
    log: Arc<dyn EventLog>,
    search: Arc<dyn LogSearch>,
    inbox: Arc<dyn InboxReads>,
    uow: Uow<dyn ReplayTx>,
}

impl Replayer {
    /// The use case over its ports.
    #[must_use]
    pub fn new(
        env: Env,
        intake: Intake,
        log: Arc<dyn EventLog>,
        search: Arc<dyn LogSearch>,
        inbox: Arc<dyn InboxReads>,
        uow: Uow<dyn ReplayTx>,
    ) -> Self {
        Self { env, intake, log, search, inbox, uow }
    }

    /// Replays what is in the log now, in its order, one event after the other.
    ///
    /// # Errors
    /// `not_found` for a consumer or a replay that does not exist; the store's, and then what was taken stays taken.
    pub async fn run(
        &self,
        context: &RequestContext,
        request: &ReplayRequest,
    ) -> Result<ReplayReport, Failure> {
        let subscription = self
            .intake
            .subscription(&request.consumer)
            .ok_or_else(|| self.no_such_consumer(&request.consumer))?;
        let through = self.log.head().await?;
        let number = self.begin(context, request).await?;
        let mut report = ReplayReport { replay: number, ..ReplayReport::default() };
        let mut pace = tokio::time::interval(Duration::from_secs(1) / request.per_second.get());
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut walk =
            Walk { search: &*self.search, filter: &request.filter, position: 0, through };
        loop {
            let found = walk.next(BATCH).await?;
            if found.is_empty() {
                return Ok(report);
            }
            for event in self.chosen(subscription, request, number, found, &mut report).await? {
                if request.dry_run {
                    report.replayed += 1;
                    continue;
                }
                pace.tick().await;
                match self.intake.take(subscription, &event).await? {
                    Taken::Consumed => report.replayed += 1,
                    Taken::Postponed => report.postponed += 1,
                    Taken::Unwanted => {}
                }
            }
        }
    }

    /// Leaves the audit entry, and numbers a replay of events that were taken before.
    async fn begin(
        &self,
        context: &RequestContext,
        request: &ReplayRequest,
    ) -> Result<Option<i32>, Failure> {
        let mut tx = self.uow.begin(Vec::new()).await?;
        let number = match request.mode {
            ReplayMode::Missing => None,
            ReplayMode::Resume(number) => {
                let consumer = tx.consumer_of(number).await?;
                if consumer.as_deref() != Some(request.consumer.as_str()) {
                    let detail = format!("{} has had no replay {number}.", request.consumer);
                    return Err(Failure::new(Code::NotFound, detail));
                }
                Some(number)
            }
            ReplayMode::Again if request.dry_run => None,
            ReplayMode::Again => Some(tx.number_replay(&request.consumer).await?),
        };
        if !request.dry_run {
            let facts = json!({ "replay": number, "events": request.filter.facts() });
            let object = format!("consumer:{}", request.consumer);
            tx.staged().audit.push(entry(context, "events.replay", object, facts));
            tx.commit().await?;
        }
        Ok(number)
    }

    /// The events to hand in, of those that were found.
    async fn chosen(
        &self,
        subscription: &Subscription,
        request: &ReplayRequest,
        number: Option<i32>,
        found: Vec<RecordedEvent>,
        report: &mut ReplayReport,
    ) -> Result<Vec<LoggedEvent>, Failure> {
        let mut wanted = found;
        wanted.retain(|recorded| subscription.wants(&recorded.event.event_type));
        report.matched += wanted.len() as u64;
        if request.mode == ReplayMode::Missing {
            let (before, horizon) = (wanted.len(), self.env.now() - INBOX_KNOWS);
            wanted.retain(|recorded| recorded.recorded_at >= horizon);
            report.too_old += (before - wanted.len()) as u64;
        }
        let replay = number.unwrap_or(0);
        if request.mode != ReplayMode::Again {
            let ids: Vec<Uuid> = wanted.iter().map(|recorded| recorded.event.id).collect();
            let consumed = self.inbox.consumed(subscription.name(), replay, &ids).await?;
            wanted.retain(|recorded| !consumed.contains(&recorded.event.id));
            report.consumed_before += (ids.len() - wanted.len()) as u64;
        }
        Ok(wanted.into_iter().map(|recorded| LoggedEvent { replay, ..recorded.event }).collect())
    }

    fn no_such_consumer(&self, consumer: &str) -> Failure {
        let names: Vec<&str> = self.intake.subscriptions().iter().map(Subscription::name).collect();
        let detail = format!("There is no consumer {consumer}; there is: {}.", names.join(", "));
        Failure::new(Code::NotFound, detail)
    }
}
