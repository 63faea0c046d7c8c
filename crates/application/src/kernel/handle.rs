//! Reacting to events inside the process: a typed payload in, an effect out, once.
//!
//! ```
//! # use std::sync::Arc;
//! # use async_trait::async_trait;
//! # use convene_application::kernel::events::NotConsumed;
//! # use convene_application::kernel::handle::{EventConsumer, HandleEvent, Handled, Occurrence};
//! # use convene_application::kernel::uow::{Tx, Uow};
//! use convene_contracts::rsvp::{RsvpCancelled, RsvpConfirmed};
//!
//! /// Counts who comes. `BadgeTx` is the transaction of the module, as for its use cases.
//! struct Badges;
//! # trait BadgeTx: Tx { fn add(&mut self, person: &str); fn remove(&mut self, person: &str); }
//!
//! #[async_trait]
//! impl HandleEvent<RsvpConfirmed, dyn BadgeTx> for Badges {
//!     async fn handle(
//!         &self,
//!         tx: &mut (dyn BadgeTx + 'static),
//!         event: &Occurrence<RsvpConfirmed>,
//!     ) -> Result<Handled, NotConsumed> {
//!         tx.add(event.data.rsvp.user_id.as_str());
//!         Ok(Handled::Done)
//!     }
//! }
//! # #[async_trait]
//! # impl HandleEvent<RsvpCancelled, dyn BadgeTx> for Badges {
//! #     async fn handle(&self, tx: &mut (dyn BadgeTx + 'static), event: &Occurrence<RsvpCancelled>)
//! #     -> Result<Handled, NotConsumed> {
//! #         tx.remove(event.data.rsvp.user_id.as_str());
//! #         Ok(Handled::Done)
//! #     }
//! # }
//! # fn wire(uow: Uow<dyn BadgeTx>) -> EventConsumer<dyn BadgeTx> {
//! let badges = Arc::new(Badges);
//! EventConsumer::named("badge.count", uow)
//!     .on::<RsvpConfirmed>(badges.clone())
//!     .on::<RsvpCancelled>(badges)
//! # }
//! ```

use std::num::NonZeroU16;
use std::sync::Arc;

use async_trait::async_trait;
use convene_contracts::{Actor, CloudEvent, EventPayload};
use convene_domain::ids::CommunityId;
use jiff::Timestamp;
use uuid::Uuid;

use super::context::RequestContext;
use super::events::{Consumer, Flow, LoggedEvent, NotConsumed, Order};
use super::uow::{Tx, Uow};

/// What a module does when something has happened: the effect of events of one type, in one version.
#[async_trait]
pub trait HandleEvent<E: EventPayload, T: ?Sized>: Send + Sync {
    /// Reads and stages the effect. The transaction claims the event for the consumer and is committed by whoever calls
    /// this, so the effect is had once, however often the event is delivered. Nothing outside the database is to be done
    /// here: that is for a job, which the effect stages.
    ///
    /// # Errors
    /// [`NotConsumed::Failed`], as `?` makes it of failures and of what the store says: rolled back, and tried again as a
    /// job. [`NotConsumed::Poison`]: rolled back, and put to the dead letters.
    async fn handle(&self, tx: &mut T, event: &Occurrence<E>) -> Result<Handled, NotConsumed>;
}

/// What became of an event that could be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The effect is staged: it is committed together with the claim.
    Done,
    /// There is nothing to do. What was staged is rolled back, and nothing is written: if the event is delivered again,
    /// it is looked at again.
    Ignored,
}

/// Something that has happened, as its type describes it.
#[derive(Clone, Debug)]
pub struct Occurrence<E: EventPayload> {
    /// The event's id, the same however often it is delivered.
    pub id: Uuid,
    /// Its position in the log: dense, from 1, the same for every reader.
    pub position: i64,
    /// What it happened to.
    pub subject: E::Subject,
    /// The version of the subject after it, from 1: tells which of two events of a subject is the later.
    pub aggregate_version: i32,
    /// The community in which it happened; none for what happens to an account.
    pub community: Option<CommunityId>,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// The id of the request that caused it, directly or through others.
    pub correlation_id: String,
    /// The trace of that request.
    pub traceparent: Option<String>,
    /// 0, unless an operator has the consumer take the event once more: the number of that replay.
    pub replay: i32,
    /// What happened in detail.
    pub data: E,
}

impl<E: EventPayload> Occurrence<E> {
    /// The context of what the consumer does about it: that of the platform itself, in the name of the same request.
    #[must_use]
    pub fn context(&self) -> RequestContext {
        RequestContext {
            traceparent: self.traceparent.clone(),
            ..RequestContext::system(self.correlation_id.clone())
        }
    }
}

impl<E: EventPayload<Subject: From<String>>> Occurrence<E> {
    /// Reads a recorded event of this type and version.
    fn read(event: &LoggedEvent) -> Result<Self, Unreadable> {
        let envelope: CloudEvent<E> = serde_json::from_slice(&event.envelope)
            .map_err(|source| Unreadable { event_type: E::TYPE, version: E::VERSION, source })?;
        Ok(Self {
            id: event.id,
            position: event.position,
            subject: envelope.subject.into(),
            aggregate_version: envelope.aggregateversion,
            community: event.community,
            occurred_at: envelope.time.get(),
            actor: envelope.actor,
            correlation_id: envelope.correlationid,
            traceparent: envelope.traceparent,
            replay: event.replay,
            data: envelope.data,
        })
    }
}

/// An event whose data is not what its type promises.
#[derive(Debug, thiserror::Error)]
#[error("the event does not read as {event_type}.v{version}")]
struct Unreadable {
    event_type: &'static str,
    version: u16,
    source: serde_json::Error,
}

/// A consumer made of [`HandleEvent`]s: reads each event as its type, claims it, has it handled, and commits.
///
/// - An event is wanted by its type *and version*. A breaking change publishes the same occurrence in both versions for a
///   while; a consumer that handles one of them passes over the other, and sees each occurrence once.
/// - An event that does not read as its type says is [poison](NotConsumed::Poison): another attempt of the same release
///   would find the same. It holds nothing up and is not tried twenty times.
/// - Each event has a transaction of its own.
pub struct EventConsumer<T: ?Sized> {
    name: &'static str,
    uow: Uow<T>,
    types: Vec<&'static str>,
    reactions: Vec<Box<dyn Reaction<T>>>,
    flow: Flow,
}

impl<T: Tx + ?Sized + 'static> EventConsumer<T> {
    /// One that handles nothing yet. The name, such as `badge.count`, is that of its inbox and its queue: one that is
    /// renamed takes what is delivered a second time.
    #[must_use]
    pub fn named(name: &'static str, uow: Uow<T>) -> Self {
        Self { name, uow, types: Vec::new(), reactions: Vec::new(), flow: Flow::default() }
    }

    /// Also handles events of type `E`, in its version.
    ///
    /// # Panics
    /// If it handles them already: nobody could say which of the two is meant.
    #[must_use]
    pub fn on<E>(mut self, handler: Arc<dyn HandleEvent<E, T>>) -> Self
    where
        E: EventPayload<Subject: From<String> + Send + Sync> + Send + Sync,
    {
        let handled = self.reactions.iter().any(|known| known.event() == (E::TYPE, E::VERSION));
        assert!(!handled, "{} handles {}.v{} twice", self.name, E::TYPE, E::VERSION);
        if !self.types.contains(&E::TYPE) {
            self.types.push(E::TYPE);
        }
        self.reactions.push(Box::new(Typed(handler)));
        self
    }

    /// Takes events of one subject in any order, and several of them at once.
    #[must_use]
    pub fn in_any_order(mut self) -> Self {
        self.flow.order = Order::Any;
        self
    }

    /// Has a process hold no more than so many events that a broker delivered.
    #[must_use]
    pub fn prefetch(mut self, events: NonZeroU16) -> Self {
        self.flow.prefetch = Some(events);
        self
    }
}

#[async_trait]
impl<T: Tx + ?Sized + 'static> Consumer for EventConsumer<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn patterns(&self) -> &[&'static str] {
        &self.types
    }

    fn flow(&self) -> Flow {
        self.flow
    }

    async fn consume(&self, event: &LoggedEvent) -> Result<(), NotConsumed> {
        let meant = (event.event_type.as_str(), event.version);
        match self.reactions.iter().find(|reaction| reaction.event() == meant) {
            Some(reaction) => reaction.react(self.name, &self.uow, event).await,
            // Another version of the type.
            None => Ok(()),
        }
    }
}

/// A [`HandleEvent`] whose type of event is known to itself alone.
#[async_trait]
trait Reaction<T: ?Sized>: Send + Sync {
    /// The type and version of its events.
    fn event(&self) -> (&'static str, u16);

    async fn react(
        &self,
        consumer: &'static str,
        uow: &Uow<T>,
        event: &LoggedEvent,
    ) -> Result<(), NotConsumed>;
}

struct Typed<E: EventPayload, T: ?Sized>(Arc<dyn HandleEvent<E, T>>);

#[async_trait]
impl<E, T> Reaction<T> for Typed<E, T>
where
    E: EventPayload<Subject: From<String> + Send + Sync> + Send + Sync,
    T: Tx + ?Sized + 'static,
{
    fn event(&self) -> (&'static str, u16) {
        (E::TYPE, E::VERSION)
    }

    async fn react(
        &self,
        consumer: &'static str,
        uow: &Uow<T>,
        event: &LoggedEvent,
    ) -> Result<(), NotConsumed> {
        let occurrence = Occurrence::<E>::read(event).map_err(NotConsumed::poison)?;
        let mut tx = uow.begin(Vec::new()).await?;
        tx.consume(consumer, occurrence.id, occurrence.replay);
        match self.0.handle(&mut *tx, &occurrence).await {
            Ok(Handled::Done) => Ok(tx.commit().await?),
            Ok(Handled::Ignored) => Ok(()),
            // Whoever has had this effect finds what it changed, and may well stumble over it.
            Err(_) if tx.consumed_before() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
