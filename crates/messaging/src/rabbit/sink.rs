//! The sink that publishes events to the broker.

use std::sync::Arc;

use async_trait::async_trait;
use convene_application::kernel::events::{LoggedEvent, Sink, SinkError};
use convene_contracts::amqp;

use super::message::properties;
use super::publisher::{Outgoing, Publisher};
use super::status::Health;
use super::{BrokerError, BusStatus, RabbitOptions, Topology};

/// The name of its cursor, and of its part in the status.
const NAME: &str = "rabbitmq";

/// Publishes events to the exchange, and counts those as published that the broker has confirmed.
///
/// An event that nobody has bound a queue for is no failure: it goes to the alternate exchange and is confirmed like any
/// other. A refusal, a silence, the end of the connection and a broker that blocks publishers end a run; what was confirmed
/// before counts, the rest is published again when the sink is called again. So an event may be published twice.
///
/// It connects when it is called and has no task of its own, so that it never tries harder than the engine that calls it.
pub struct RabbitSink {
    publisher: Publisher,
    topology: Arc<Topology>,
    in_flight: u32,
    health: Health,
}

impl RabbitSink {
    /// A sink for the broker of these options. It declares the topology whenever it connects.
    #[must_use]
    pub fn new(options: RabbitOptions, topology: Topology) -> Self {
        let topology = Arc::new(topology);
        let in_flight = options.in_flight;
        let publisher = Publisher::new(options, Arc::clone(&topology), "publisher");
        Self { publisher, topology, in_flight, health: Health::default() }
    }

    /// Whether the last run was published.
    #[must_use]
    pub fn status(&self) -> BusStatus {
        self.health.status()
    }

    fn outgoing<'a>(&'a self, event: &'a LoggedEvent) -> Outgoing<'a> {
        Outgoing {
            exchange: self.topology.events(),
            routing_key: amqp::routing_key(&event.event_type, event.version),
            body: &event.envelope,
            properties: properties(event),
        }
    }

    fn note(&self, outcome: &Result<(), BrokerError>) {
        let blocked = matches!(outcome, Err(BrokerError::Blocked));
        metrics::gauge!("convene_bus_blocked").set(u8::from(blocked));
        match outcome {
            Ok(()) => self.health.up(NAME),
            Err(error) => self.health.down(NAME, error),
        }
    }
}

#[async_trait]
impl Sink for RabbitSink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn in_flight(&self) -> u32 {
        self.in_flight
    }

    async fn publish(&self, events: &[LoggedEvent]) -> Result<Option<i64>, SinkError> {
        let outgoing = events.iter().map(|event| self.outgoing(event));
        let (confirmed, outcome) = self.publisher.publish(outgoing).await;
        metrics::counter!("convene_bus_published_total").increment(confirmed as u64);
        self.note(&outcome);
        let last = confirmed.checked_sub(1).map(|last| events[last].position);
        match (last, outcome) {
            (None, Err(error)) => Err(SinkError {
                what: "events could not be published to the broker",
                source: Box::new(error),
            }),
            (last, Ok(())) => Ok(last),
            (last, Err(error)) => {
                // Progress first: the next call tells the failure, if it lasts.
                let error = &error as &dyn std::error::Error;
                tracing::warn!(confirmed, of = events.len(), error, "a run was published in part");
                Ok(last)
            }
        }
    }

    async fn close(&self) {
        self.publisher.close().await;
        // Whoever publishes nothing fails at nothing.
        self.health.up(NAME);
    }
}
