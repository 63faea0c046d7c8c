//! Convene's buses: how recorded events reach the consumers, inside this installation and outside of it.
//!
//! Events leave the log through a [`Sink`] and come to the consumers through one [`Intake`], whichever bus is between:
//!
//! ```text
//!   with a broker       log ──▶ RabbitSink ──▶ exchange convene.events ──▶ queues ──▶ RabbitConsumers ──▶ Intake
//!                                                        └──▶ queues of other services
//!   without one         log ──▶ BusSink ─────────────────────────────────────────────────────────────────▶ Intake
//! ```
//!
//! Exactly one of the two paths runs in an installation. Both deliver at least once, and both keep the order of the events
//! of one subject, that is of one aggregate, as long as nothing is delivered again: an event's lane, of which there are a
//! few side by side, follows from its subject.
//!
//! # Who supervises what
//!
//! [`RabbitSink`] connects when it is called and has no task of its own: when to call it again after a failure is the
//! business of the engine that moves its cursor. [`RabbitConsumers::run`] never gives up: it connects, consumes, and after
//! any loss (of the network, the broker, a channel, a queue) begins again within seconds. The client library's own recovery
//! is not used: it gives up after some time, and it cannot know that what was unconfirmed is published again from the cursor
//! anyway.
//!
//! The two use connections of their own, since a broker that is short of memory or disk stops reading from connections that
//! publish: acknowledgements, which free its memory, must not be stuck behind them.
//!
//! [`Sink`]: convene_application::kernel::events::Sink
//! [`Intake`]: convene_application::kernel::consume::Intake

mod bus;
mod lanes;
mod rabbit;

pub use bus::BusSink;
pub use rabbit::{
    BrokerError, BrokerReport, BusStatus, RabbitConsumers, RabbitOptions, RabbitParking,
    RabbitSink, Topology, declare_topology, inspect_broker,
};
