//! Recorded events on their way out: staged in a transaction, sequenced, published, consumed once.

use std::num::NonZeroU16;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convene_contracts::{CloudEvent, EventContext, EventPayload};
use convene_domain::ids::{CommunityId, TypedId};
use jiff::Timestamp;
use uuid::Uuid;

use super::context::RequestContext;
use super::env::Env;
use super::error::Failure;
use super::store::{Source, StoreError};

/// An event that a transaction records, with the whole envelope as it will be published.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its id, a `UUIDv7`.
    pub id: Uuid,
    /// Its type, such as `rsvp.confirmed`.
    pub event_type: &'static str,
    /// The version of its payload.
    pub version: u16,
    /// The community that it belongs to.
    pub community: Option<CommunityId>,
    /// The `CloudEvents` envelope as JSON.
    pub envelope: Bytes,
}

/// Builds the events of one use case: what they share is given once. Made by [`Env::recorder`].
pub struct Recorder<'a> {
    pub(super) env: &'a Env,
    pub(super) context: &'a RequestContext,
    pub(super) now: Timestamp,
    pub(super) community: Option<CommunityId>,
}

impl Recorder<'_> {
    /// One event of an aggregate with its gapless version.
    ///
    /// # Panics
    /// Never for payloads that are plain data; a payload that cannot become JSON is a defect of its type.
    pub fn event<P: EventPayload>(
        &self,
        subject: impl TypedId,
        aggregate_version: i32,
        data: P,
    ) -> NewEvent
    where
        P::Subject: From<String>,
    {
        let id = self.env.random.uuid(self.now);
        let context = EventContext {
            id,
            subject: public(subject),
            time: self.now,
            aggregateversion: aggregate_version,
            actor: self.context.actor.to_string().into(),
            correlationid: self.context.request_id.clone(),
            causationid: None,
            traceparent: self.context.traceparent.clone(),
        };
        let envelope = CloudEvent::new(&self.env.schemas, context, data);
        NewEvent {
            id,
            event_type: P::TYPE,
            version: P::VERSION,
            community: self.community,
            envelope: Bytes::from(
                serde_json::to_vec(&envelope).expect("event payloads are plain data"),
            ),
        }
    }
}

/// An identifier as other services see it.
pub fn public<T: From<String>>(id: impl TypedId) -> T {
    T::from(id.to_string())
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its position: dense, from 1, the same for every reader.
    pub position: i64,
    /// Its id.
    pub id: Uuid,
    /// Its type.
    pub event_type: String,
    /// The version of its payload.
    pub version: u16,
    /// The community that it belongs to.
    pub community: Option<CommunityId>,
    /// The `CloudEvents` envelope as JSON.
    pub envelope: Bytes,
    /// 0, unless an operator has a consumer take the event once more: the number of that replay.
    pub replay: i32,
}

/// The member of an envelope that carries the trace.
#[derive(Default, serde::Deserialize)]
struct Traced {
    traceparent: Option<String>,
}

impl LoggedEvent {
    /// The trace of the request that caused it, as its envelope has it.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        // An envelope that cannot be read is no matter of traces.
        serde_json::from_slice::<Traced>(&self.envelope).unwrap_or_default().traceparent
    }
}

/// Gives committed events their positions. Any number of processes may call it; one at a time does the work.
#[async_trait]
pub trait Sequencer: Send + Sync {
    /// Moves up to `limit` committed events, in the order of recording, to the log, and up to as many audit entries to
    /// the audit log.
    ///
    /// # Errors
    /// The store's; nothing was moved then.
    async fn sequence(&self, limit: u32) -> Result<Sequenced, StoreError>;

    /// What still waits for its position.
    ///
    /// # Errors
    /// The store's.
    async fn backlog(&self) -> Result<OutboxBacklog, StoreError>;
}

/// What a call of the sequencer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequenced {
    /// Another process is at it.
    Busy,
    /// So many events and audit entries were moved.
    Moved {
        /// Events given a position.
        events: u32,
        /// Audit entries given a number.
        audit: u32,
    },
}

/// Committed events without a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxBacklog {
    /// How many there are; counted up to [`OutboxBacklog::COUNTED`].
    pub rows: u64,
    /// How long ago the oldest was recorded.
    pub age: Duration,
}

impl OutboxBacklog {
    /// Counting ends here, so that asking stays cheap when there is most to count.
    pub const COUNTED: u64 = 100_000;
}

/// The event log by position, and how far each sink has got.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// The events behind `position`, oldest first.
    ///
    /// # Errors
    /// The store's.
    async fn read_after(&self, position: i64, limit: u32) -> Result<Vec<LoggedEvent>, StoreError>;

    /// The position of the newest event; 0 while there is none.
    ///
    /// # Errors
    /// The store's.
    async fn head(&self) -> Result<i64, StoreError>;

    /// How far a sink is behind the newest event; `None` for one that never led. Cheap however far that is.
    ///
    /// # Errors
    /// The store's.
    async fn lag(&self, sink: &str) -> Result<Option<SinkLag>, StoreError>;

    /// Takes the lead over a sink's cursor for the time of the lease: returns its position and a new epoch that ends
    /// every older lead. `None` while another holder's lease runs. A cursor that did not exist begins where the
    /// furthest other one stands: a sink that replaces another goes on from there.
    ///
    /// # Errors
    /// The store's.
    async fn lead(
        &self,
        sink: &str,
        holder: Uuid,
        lease: Duration,
    ) -> Result<Option<Lead>, StoreError>;

    /// Moves the cursor, never backwards, and renews the lease; `false` if the epoch is no longer current.
    ///
    /// # Errors
    /// The store's.
    async fn advance(
        &self,
        sink: &str,
        lead: Lead,
        position: i64,
        lease: Duration,
    ) -> Result<bool, StoreError>;

    /// Gives the lead up, so that another process can take it at once.
    ///
    /// # Errors
    /// The store's.
    async fn resign(&self, sink: &str, lead: Lead) -> Result<(), StoreError>;
}

/// How far a sink is behind the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkLag {
    /// Events that are not delivered yet.
    pub events: u64,
    /// How long ago the oldest of them was recorded; zero without any.
    pub age: Duration,
}

/// The right to move a sink's cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The last position that was known to be delivered when the lead was taken.
    pub position: i64,
    /// Fences out whoever held the lead before.
    pub epoch: i64,
}

/// Where events are published to. Called with events in the order of their positions.
#[async_trait]
pub trait Sink: Send + Sync {
    /// The name of its cursor.
    fn name(&self) -> &'static str;

    /// The most events to publish in one call, all of which may be in flight together.
    fn in_flight(&self) -> u32 {
        1_000
    }

    /// Publishes a run of events and returns the last position up to which all are confirmed: a gap ends it. `None` if
    /// not even the first is.
    ///
    /// # Errors
    /// [`SinkError`] if nothing can be published now.
    async fn publish(&self, events: &[LoggedEvent]) -> Result<Option<i64>, SinkError>;

    /// Ends what it holds open, such as a connection: there is nothing to publish, for now or for good. It may be called
    /// again and again.
    async fn close(&self) {}
}

/// A sink that cannot publish now; the cursor stays and the sink is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct SinkError {
    /// What failed.
    pub what: &'static str,
    /// Why.
    #[source]
    pub source: Source,
}

/// A consumer of events with exactly one effect per event: its transaction claims the event by
/// [`Tx::consume`](super::uow::Tx::consume) and carries the effect.
///
/// This is what buses feed. Whoever reacts to certain events writes a [`HandleEvent`](super::handle::HandleEvent) and has
/// an [`EventConsumer`](super::handle::EventConsumer) do the rest; this trait itself is for those who want events of every
/// type, as they were recorded, or several in one transaction.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// Its stable name: the key of its inbox and the name of its queue.
    fn name(&self) -> &'static str;

    /// The event-type patterns it wants (`*`, `module.*` or exact types).
    fn patterns(&self) -> &[&'static str];

    /// Takes one event. An event that was taken before changes nothing.
    ///
    /// # Errors
    /// Why not; nothing of the effect is there then.
    async fn consume(&self, event: &LoggedEvent) -> Result<(), NotConsumed>;

    /// The most events that it takes in one transaction.
    fn batch(&self) -> usize {
        1
    }

    /// How its events are handed in.
    fn flow(&self) -> Flow {
        Flow::default()
    }

    /// Takes so many events, in their order, or none of them: after a failure each is handed in by itself. Called with
    /// more than one event only if [`Consumer::batch`] says so.
    ///
    /// # Errors
    /// Why not.
    async fn consume_all(&self, events: &[&LoggedEvent]) -> Result<(), NotConsumed> {
        for event in events {
            self.consume(event).await?;
        }
        Ok(())
    }
}

/// Why a consumer did not take an event.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotConsumed {
    /// Something failed: it is tried again, as a job with back-off.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// This consumer, as it is, will never take it. It goes to the dead letters, from where an operator may hand it in
    /// again, once there is a release that can.
    #[error("the consumer will never take the event")]
    Poison(#[source] Failure),
}

impl NotConsumed {
    /// An event that will never be taken, and why.
    pub fn poison(reason: impl Into<Source>) -> Self {
        Self::Poison(Failure::internal(reason))
    }
}

impl From<StoreError> for NotConsumed {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// How a consumer's events are handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Which of them wait for each other.
    pub order: Order,
    /// The most events that a process holds for it, where a broker delivers them; none means what the bus is configured
    /// with. Fewer, where each takes long and other processes are to have some.
    pub prefetch: Option<NonZeroU16>,
}

/// Which events of a consumer wait for each other. What has failed never holds up what is behind it: whoever must not take
/// an older event after a newer one looks at `aggregateversion`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Events of one subject are taken one after the other, as they were recorded, by one process.
    #[default]
    OfSubject,
    /// None: so a subject with very many events is no bottleneck.
    Any,
}
