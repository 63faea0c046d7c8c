//! The queue of another service, which does not know how Convene is made.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use convene_contracts::amqp;
use convene_testkit::poll::poll_until;
use futures::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, Consumer};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::{PATIENCE, text};

const QUEUE: &str = "foreign";
const RECONNECT: Duration = Duration::from_millis(200);

/// How long the broker may take to answer a client that begins. Without a limit, one that knocked in the very moment of the
/// broker's start was seen to wait for ever for the end of the handshake.
const BEGINS_WITHIN: Duration = Duration::from_secs(2);

/// A queue for events, of RSVPs where nothing else is said, and a consumer that always comes back. Events that the queue gave twice are there
/// twice.
pub struct ForeignQueue {
    received: Arc<Mutex<Vec<Value>>>,
    consuming: JoinHandle<()>,
}

impl ForeignQueue {
    /// Declares the queue, which needs the exchange, and begins to consume it.
    pub async fn bind(url: &str) -> Self {
        Self::bind_to(url, "rsvp.#").await
    }

    /// The same for all events whose routing key matches.
    pub async fn bind_to(url: &str, pattern: &str) -> Self {
        poll_until(PATIENCE, "the queue is bound", async || declare(url, pattern).await.ok()).await;
        let received = Arc::<Mutex<Vec<Value>>>::default();
        let (url, given) = (url.to_owned(), Arc::clone(&received));
        let consuming = tokio::spawn(async move {
            loop {
                // The broker is away, or went away: that is what the tests are about.
                if let Ok(Ok((connection, deliveries))) = timeout(BEGINS_WITHIN, begin(&url)).await
                {
                    let _ = consume(deliveries, &given).await;
                    drop(connection);
                }
                sleep(RECONNECT).await;
            }
        });
        Self { received, consuming }
    }

    /// Everything that was received, in order.
    pub fn received(&self) -> Vec<Value> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many different events were received.
    #[must_use]
    pub fn distinct(&self) -> usize {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().filter_map(|event| event["id"].as_str()).collect::<HashSet<_>>().len()
    }

    /// How often this event was received.
    pub fn count(&self, event: &str) -> usize {
        self.received().iter().filter(|received| received["id"] == event).count()
    }

    /// Waits until all of these events were received.
    pub async fn has(&self, events: &[Value], within: Duration) {
        let events: HashSet<String> = events.iter().map(|event| text(&event["id"])).collect();
        poll_until(within, "the foreign queue has every event", async || {
            let received = self.received();
            let received: HashSet<String> = received.iter().map(|e| text(&e["id"])).collect();
            received.is_superset(&events).then_some(())
        })
        .await;
    }

    /// Insists that each aggregate's events came in order without a gap, not counting repetitions.
    pub fn is_in_order(&self) {
        let mut seen = HashSet::new();
        let mut versions: HashMap<String, i64> = HashMap::new();
        for event in self.received() {
            if seen.insert(text(&event["id"])) {
                let version = versions.entry(text(&event["subject"])).or_default();
                *version += 1;
                assert_eq!(event["aggregateversion"], *version, "{event}");
            }
        }
    }
}

impl Drop for ForeignQueue {
    fn drop(&mut self) {
        self.consuming.abort();
    }
}

async fn declare(url: &str, pattern: &str) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    // What a broker has confirmed to such a queue survives its crash, and nothing survives without what came before it.
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), arguments).await?;
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    channel
        .queue_bind(QUEUE.into(), amqp::EXCHANGE.into(), pattern.into(), options, arguments)
        .await?;
    connection.close(200, "OK".into()).await
}

async fn begin(url: &str) -> lapin::Result<(Connection, Consumer)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let deliveries = channel.basic_consume(QUEUE.into(), QUEUE.into(), options, arguments).await?;
    Ok((connection, deliveries))
}

async fn consume(mut deliveries: Consumer, received: &Mutex<Vec<Value>>) -> lapin::Result<()> {
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery?;
        let event: Value = serde_json::from_slice(&delivery.data).expect("events are JSON");
        let id = delivery.properties.message_id().as_ref().map(|id| id.as_str().to_owned());
        assert_eq!(id.as_deref(), event["id"].as_str(), "the message's id is the event's");
        received.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}
