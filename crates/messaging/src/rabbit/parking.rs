//! The parked messages in an operator's hands.
//!
//! A queue can only be read by taking its messages off and giving them back. Taking is counted by quorum queues, and newer
//! brokers drop what was given back too often; so a message that was looked at a few times is parked anew instead, as a copy
//! that the broker has confirmed before the old one goes. A process that ends in between leaves both.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convene_application::kernel::clock::{Clock, SystemClock};
use convene_application::kernel::error::Failure;
use convene_application::kernel::operate::dead_letters::{
    Parked, ParkedDone, ParkedMessage, ParkingLot,
};
use jiff::Timestamp;
use lapin::message::{BasicGetMessage, Delivery};
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use tokio::time::timeout;

use super::connection::Link;
use super::message::{CONSUMER_HEADER, PARKED_AT_HEADER, REASON_HEADER};
use super::publisher::{Outgoing, Publisher};
use super::{BrokerError, RabbitOptions, Topology};

/// How long the broker may take to hand a message out.
const ANSWER: Duration = Duration::from_secs(10);
/// The header in which a quorum queue counts.
const DELIVERIES_HEADER: &str = "x-delivery-count";
/// A message that was handed out so often is parked anew. Brokers that drop messages do so after twenty.
const LOOKS: i64 = 10;
/// What the broker writes about a message that it moved.
const DEATH_HEADER: &str = "x-death";

/// The parking queue of an installation.
pub struct RabbitParking {
    options: RabbitOptions,
    topology: Arc<Topology>,
}

impl RabbitParking {
    /// The parking queue of this topology.
    #[must_use]
    pub fn new(options: RabbitOptions, topology: Topology) -> Self {
        Self { options, topology: Arc::new(topology) }
    }

    async fn decide(
        &self,
        channel: &Channel,
        publisher: &Publisher,
        most: u32,
        pause: Duration,
        decision: &mut (dyn for<'m> FnMut(&'m ParkedMessage) -> Parked + Send),
    ) -> Result<ParkedDone, BrokerError> {
        let mut done = ParkedDone::default();
        // What came after this began, such as copies of our own, is for the next time.
        let mut left = most;
        let mut waiting: Option<u32> = None;
        // Held until the end, when the broker gives them back; only what has to be parked anew is kept with its bytes.
        let mut tired = Vec::new();
        while left > 0 && waiting != Some(0) {
            left -= 1;
            let Some(message) = self.take(channel).await? else { break };
            waiting = Some(waiting.map_or(message.message_count, |known| known - 1));
            let delivery = message.delivery;
            let parked = read(&delivery);
            match decision(&parked) {
                Parked::Keep if deliveries(&delivery.properties) >= LOOKS => tired.push(delivery),
                Parked::Keep => {}
                Parked::Purge => {
                    delivery.acker.ack(BasicAckOptions::default()).await?;
                    done.purged += 1;
                }
                Parked::Replay => {
                    let home = self.home(&delivery.properties, parked.consumer.as_deref());
                    let Some(queue) = home else {
                        done.homeless += 1;
                        continue;
                    };
                    if done.replayed > 0 {
                        tokio::time::sleep(pause).await;
                    }
                    let properties = as_sent(&delivery.properties);
                    move_to(publisher, queue, &delivery, properties).await?;
                    done.replayed += 1;
                }
            }
        }
        for delivery in &tired {
            let properties = fresh(&delivery.properties);
            move_to(publisher, self.topology.parked().to_owned(), delivery, properties).await?;
        }
        Ok(done)
    }

    async fn take(&self, channel: &Channel) -> Result<Option<BasicGetMessage>, BrokerError> {
        let options = BasicGetOptions { no_ack: false };
        let taking = channel.basic_get(self.topology.parked().into(), options);
        Ok(timeout(ANSWER, taking).await.map_err(|_| BrokerError::Late)??)
    }

    /// The queue that a message came from, if it is one of ours.
    fn home(&self, properties: &BasicProperties, consumer: Option<&str>) -> Option<String> {
        let by_consumer = consumer.and_then(|consumer| self.topology.queue_of(consumer));
        if let Some(queue) = by_consumer {
            return Some(queue.name.clone());
        }
        let queue = death(properties)?.inner().get("queue").and_then(text)?;
        self.topology
            .queues()
            .find(|name| *name == queue && *name != self.topology.parked())
            .map(str::to_owned)
    }
}

#[async_trait]
impl ParkingLot for RabbitParking {
    async fn decide(
        &self,
        most: u32,
        pause: Duration,
        decision: &mut (dyn for<'m> FnMut(&'m ParkedMessage) -> Parked + Send),
    ) -> Result<ParkedDone, Failure> {
        let link = Link::open(&self.options, "operator").await.map_err(Failure::unavailable)?;
        let publisher =
            Publisher::new(self.options.clone(), Arc::clone(&self.topology), "operator");
        let outcome = async {
            let channel = link.channel().await?;
            self.topology.declare_shared(&channel).await?;
            self.decide(&channel, &publisher, most, pause, decision).await
        }
        .await;
        // With its channel ends what was held.
        link.close().await;
        publisher.close().await;
        outcome.map_err(Failure::unavailable)
    }
}

/// Publishes a message elsewhere and takes it off the queue when the broker has confirmed it.
async fn move_to(
    publisher: &Publisher,
    queue: String,
    delivery: &Delivery,
    properties: BasicProperties,
) -> Result<(), BrokerError> {
    let message = Outgoing { exchange: "", routing_key: queue, body: &delivery.data, properties };
    publisher.publish(std::iter::once(message)).await.1?;
    delivery.acker.ack(BasicAckOptions::default()).await?;
    Ok(())
}

/// What the headers tell of a parked message.
fn read(delivery: &Delivery) -> ParkedMessage {
    let properties = &delivery.properties;
    let header = |name: &str| properties.headers().as_ref()?.inner().get(name);
    let death = death(properties);
    let told = |name: &str| death.and_then(|death| death.inner().get(name));
    let reason = header(REASON_HEADER).and_then(text).unwrap_or_else(|| {
        let why = told("reason").and_then(text);
        why.map_or_else(
            || "nobody knows why".to_owned(),
            |why| format!("the broker moved it: {why}"),
        )
    });
    let parked_at = header(PARKED_AT_HEADER).or_else(|| told("time")).and_then(time);
    let consumer = header(CONSUMER_HEADER).and_then(text);
    ParkedMessage {
        digest: digest(&delivery.data, consumer.as_deref()),
        consumer,
        event_type: properties.kind().as_ref().map(ToString::to_string),
        reason,
        parked_at,
        body: Bytes::copy_from_slice(&delivery.data),
    }
}

/// The newest of what the broker tells about its moves.
fn death(properties: &BasicProperties) -> Option<&FieldTable> {
    match properties.headers().as_ref()?.inner().get(DEATH_HEADER)? {
        AMQPValue::FieldArray(deaths) => match deaths.as_slice().first()? {
            AMQPValue::FieldTable(death) => Some(death),
            _ => None,
        },
        _ => None,
    }
}

/// Names a message by its bytes and its consumer.
fn digest(body: &[u8], consumer: Option<&str>) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    hasher.write(consumer.unwrap_or_default().as_bytes());
    format!("{:016x}", hasher.finish())
}

fn deliveries(properties: &BasicProperties) -> i64 {
    let count = properties.headers().as_ref();
    match count.and_then(|headers| headers.inner().get(DELIVERIES_HEADER)) {
        Some(AMQPValue::LongLongInt(count)) => *count,
        Some(AMQPValue::LongInt(count)) => i64::from(*count),
        Some(AMQPValue::ShortInt(count)) => i64::from(*count),
        Some(AMQPValue::ShortShortInt(count)) => i64::from(*count),
        _ => 0,
    }
}

/// The properties without what parking and the broker added.
fn as_sent(properties: &BasicProperties) -> BasicProperties {
    let ours = [REASON_HEADER, CONSUMER_HEADER, PARKED_AT_HEADER, DELIVERIES_HEADER];
    without(properties, |name| ours.contains(&name) || is_of_a_move(name))
}

/// The properties of a copy that is parked anew: nobody has looked at it yet.
fn fresh(properties: &BasicProperties) -> BasicProperties {
    without(properties, |name| name == DELIVERIES_HEADER)
}

fn is_of_a_move(name: &str) -> bool {
    name == DEATH_HEADER || name.starts_with("x-first-death-") || name.starts_with("x-last-death-")
}

fn without(properties: &BasicProperties, gone: impl Fn(&str) -> bool) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        if !gone(name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    properties.clone().with_headers(headers)
}

/// The time for the header of a message that is parked. It is a mark for people, who have no other clock.
pub(super) fn parked_at() -> AMQPValue {
    AMQPValue::Timestamp(u64::try_from(SystemClock.now().as_second()).unwrap_or(0))
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn time(value: &AMQPValue) -> Option<Timestamp> {
    match value {
        AMQPValue::Timestamp(second) => Timestamp::from_second(i64::try_from(*second).ok()?).ok(),
        _ => None,
    }
}
