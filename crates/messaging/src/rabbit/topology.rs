//! What has to exist at the broker: the exchanges, and a queue for each consumer of this installation.
//!
//! | name | what |
//! |---|---|
//! | `convene.events` | topic exchange; carries every event under `{type}.v{version}` |
//! | `convene.unrouted` | fanout exchange, the alternate of the above, and its queue: events that nobody has bound; bounded |
//! | `convene.{consumer}` | the queue of a consumer of this installation |
//! | `convene.parked` | messages that a consumer cannot read, or that were delivered too often without an answer; bounded |
//!
//! Declaring is idempotent: what exists stays. What exists *otherwise* is a [`BrokerError::Mismatch`], never replaced, since
//! it may hold events. Bindings are only ever added: AMQP does not tell which ones there are. A consumer that wants less than
//! it did passes over what its old bindings still bring.

use std::time::Duration;

use convene_application::kernel::consume::Subscription;
use convene_contracts::{EventTypePattern, amqp};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind, ExchangeKind};
use tokio::time::timeout;

use super::connection::Link;
use super::{BrokerError, RabbitOptions};

/// A quorum queue counts how often a message was delivered without an answer, lost connections included, and parks it
/// beyond this. RabbitMQ before 4.0 has no limit of its own: a message that kills its consumer would do so for ever.
const DELIVERY_LIMIT: i64 = 20;
/// The most events that nobody has bound a queue for; the oldest go. They are kept to be looked at.
const UNROUTED_LENGTH: i64 = 10_000;
/// The most parked messages; the oldest go. The log has the events.
const PARKED_LENGTH: i64 = 100_000;
/// How long the broker may take for one declaration.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The names and bindings of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    events: String,
    unrouted: String,
    parked: String,
    queues: Vec<ConsumerQueue>,
    expires: Option<Duration>,
}

/// A consumer's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConsumerQueue {
    consumer: &'static str,
    pub(super) name: String,
    keys: Vec<String>,
}

impl Topology {
    /// The topology for these consumers.
    #[must_use]
    pub fn new(options: &RabbitOptions, subscriptions: &[Subscription]) -> Self {
        let named = |name: &str| format!("{}{name}", options.prefix);
        let queue = |subscription: &Subscription| ConsumerQueue {
            consumer: subscription.name(),
            name: named(&format!("convene.{}", subscription.name())),
            keys: subscription.patterns().iter().map(binding_key).collect(),
        };
        Self {
            events: named(amqp::EXCHANGE),
            unrouted: named(amqp::UNROUTED_EXCHANGE),
            parked: named("convene.parked"),
            queues: subscriptions.iter().map(queue).collect(),
            expires: options.expires,
        }
    }

    /// The exchange that carries every event.
    #[must_use]
    pub fn events(&self) -> &str {
        &self.events
    }

    /// The exchange, and the queue, of events that nobody has bound a queue for.
    #[must_use]
    pub fn unrouted(&self) -> &str {
        &self.unrouted
    }

    /// The queue of messages that a consumer cannot read, or that were delivered too often.
    #[must_use]
    pub fn parked(&self) -> &str {
        &self.parked
    }

    /// The names of all queues.
    pub fn queues(&self) -> impl Iterator<Item = &str> {
        let own = self.queues.iter().map(|queue| queue.name.as_str());
        own.chain([self.unrouted.as_str(), self.parked.as_str()])
    }

    pub(super) fn queue_of(&self, consumer: &str) -> Option<&ConsumerQueue> {
        self.queues.iter().find(|queue| queue.consumer == consumer)
    }

    /// Declares everything. A publisher does before its first event: an event that finds no queue never reaches the
    /// consumer.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), BrokerError> {
        self.declare_shared(channel).await?;
        for queue in &self.queues {
            self.declare_queue(channel, queue).await?;
        }
        Ok(())
    }

    /// The names of both exchanges.
    pub(super) fn exchanges(&self) -> [&str; 2] {
        [&self.events, &self.unrouted]
    }

    /// Declares what all consumers share.
    pub(super) async fn declare_shared(&self, channel: &Channel) -> Result<(), BrokerError> {
        exchange(channel, &self.unrouted, ExchangeKind::Fanout, []).await?;
        let alternate = [("alternate-exchange", text(&self.unrouted))];
        exchange(channel, &self.events, ExchangeKind::Topic, alternate).await?;
        // Classic, not replicated: what nobody wants is not worth a consensus.
        self.queue(channel, &self.unrouted, "classic", bounded(UNROUTED_LENGTH)).await?;
        bind(channel, &self.unrouted, &self.unrouted, "").await?;
        self.queue(channel, &self.parked, "quorum", bounded(PARKED_LENGTH)).await
    }

    /// Declares one consumer's queue.
    pub(super) async fn declare_queue(
        &self,
        channel: &Channel,
        queue: &ConsumerQueue,
    ) -> Result<(), BrokerError> {
        let arguments = [
            ("x-delivery-limit", DELIVERY_LIMIT.into()),
            // Through the default exchange, which knows each queue by its name.
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text(&self.parked)),
        ];
        self.queue(channel, &queue.name, "quorum", arguments).await?;
        for key in &queue.keys {
            bind(channel, &queue.name, &self.events, key).await?;
        }
        Ok(())
    }

    async fn queue<const N: usize>(
        &self,
        channel: &Channel,
        name: &str,
        kind: &str,
        arguments: [(&'static str, AMQPValue); N],
    ) -> Result<(), BrokerError> {
        let mut arguments = table(arguments);
        arguments.insert("x-queue-type".into(), text(kind));
        if let Some(expires) = self.expires {
            let millis = i64::try_from(expires.as_millis()).unwrap_or(i64::MAX);
            arguments.insert("x-expires".into(), millis.into());
        }
        let durable = QueueDeclareOptions::durable();
        declared("queue", name, channel.queue_declare(name.into(), durable, arguments)).await?;
        Ok(())
    }
}

/// Declares the topology on a connection made for it: every process does when it starts, so that other services find the
/// exchange there. Sinks and consumers declare it again whenever they connect.
///
/// # Errors
/// [`BrokerError::Mismatch`] if something else bears one of the names; any other if the broker cannot be used now.
pub async fn declare_topology(
    options: &RabbitOptions,
    topology: &Topology,
) -> Result<(), BrokerError> {
    let link = Link::open(options, "topology").await?;
    let channel = link.channel().await?;
    topology.declare(&channel).await?;
    link.close().await;
    Ok(())
}

/// The binding that lets the events of a pattern through, in every version. Routing keys are `{module}.{event}.v{version}`.
fn binding_key(pattern: &EventTypePattern) -> String {
    match pattern {
        EventTypePattern::Any => "#".to_owned(),
        EventTypePattern::Module(module) => format!("{module}.*.*"),
        EventTypePattern::Exact(event_type) => format!("{event_type}.*"),
    }
}

async fn exchange<const N: usize>(
    channel: &Channel,
    name: &str,
    kind: ExchangeKind,
    arguments: [(&'static str, AMQPValue); N],
) -> Result<(), BrokerError> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declaring = channel.exchange_declare(name.into(), kind, durable, table(arguments));
    declared("exchange", name, declaring).await
}

async fn bind(
    channel: &Channel,
    queue: &str,
    exchange: &str,
    key: &str,
) -> Result<(), BrokerError> {
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    let binding = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, arguments);
    declared("queue", queue, binding).await
}

/// Waits for the broker's answer to a declaration.
async fn declared<T>(
    kind: &'static str,
    name: &str,
    declaring: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    match timeout(TIMEOUT, declaring).await {
        Ok(answer) => answer.map_err(|error| mismatch(kind, name, error)),
        Err(_) => Err(BrokerError::Silent { kind, name: name.to_owned() }),
    }
}

/// The broker answers a declaration that differs from what exists with 406.
fn mismatch(kind: &'static str, name: &str, error: lapin::Error) -> BrokerError {
    match error.kind() {
        ErrorKind::ProtocolError(told)
            if *told.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) =>
        {
            let difference = told.get_message().to_string();
            BrokerError::Mismatch { kind, name: name.to_owned(), difference }
        }
        _ => error.into(),
    }
}

/// At the limit the oldest go; a publisher is never refused.
fn bounded(length: i64) -> [(&'static str, AMQPValue); 2] {
    [("x-max-length", length.into()), ("x-overflow", text("drop-head"))]
}

fn table<const N: usize>(entries: [(&'static str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(key.into(), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_lets_through_what_its_pattern_matches() {
        for (pattern, key) in [
            ("*", "#"),
            ("rsvp.*", "rsvp.*.*"),
            ("community.member_joined", "community.member_joined.*"),
        ] {
            assert_eq!(binding_key(&EventTypePattern::parse(pattern).unwrap()), key);
        }
    }
}
