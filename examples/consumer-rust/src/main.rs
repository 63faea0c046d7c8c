//! A consumer of Convene's events: counts the confirmed seats of each event. README.md says what it shows.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its log is its output")]

mod seats;
mod topology;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use convene_contracts::{CloudEvent, EventType};
use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use seats::{Seats, Taken};
use topology::Topology;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Messages that the broker sends ahead. A consumer that dies gives so many back.
const PREFETCH: u16 = 16;
/// How often a message was tried before.
const ATTEMPT: &str = "x-attempt";
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome<()> {
    let url = setting("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f");
    let topology = Topology::from_env()?;
    let seats = Seats::open(setting("STORE", "consumer-rust.jsonl").as_ref())?;
    let left = env::var("COUNT").ok().map(|count| count.parse()).transpose()?;
    let mut consumer =
        Consumer { url, topology, seats, left, stop: signal(SignalKind::terminate())? };
    let mut pause = Duration::from_secs(1);
    loop {
        let Err(error) = consumer.session(&mut pause).await else { return Ok(()) };
        eprintln!("{error}; again in {pause:?}");
        tokio::select! {
            _ = consumer.stop.recv() => return Ok(()),
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

struct Consumer {
    url: String,
    topology: Topology,
    seats: Seats,
    /// Messages to settle before the end, if it is to end by itself.
    left: Option<u64>,
    stop: Signal,
}

impl Consumer {
    /// Consumes until it is to stop, or until the connection is lost.
    async fn session(&mut self, pause: &mut Duration) -> Outcome<()> {
        let name = ConnectionProperties::default().with_connection_name("consumer-rust".into());
        let connection = Connection::connect(&self.url, name).await?;
        let channel = connection.create_channel().await?;
        self.topology.declare(&channel).await?;
        channel.confirm_select(Default::default()).await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let queue = self.topology.queue.as_str().into();
        let options = BasicConsumeOptions::default();
        let mut deliveries =
            channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        *pause = Duration::from_secs(1);
        // The message in hand is always finished: only the wait for the next one is given up.
        while self.left != Some(0) {
            let delivery = tokio::select! {
                biased;
                _ = self.stop.recv() => break,
                next = deliveries.next() => next.ok_or("the connection was lost")??,
            };
            self.settle(&channel, &delivery).await?;
        }
        // What was sent ahead goes back to the queue.
        Ok(connection.close(200, "bye".into()).await?)
    }

    /// Handles a message, or passes it on to where it waits; acknowledges it in the end. A crash in between means that it
    /// comes again.
    async fn settle(&mut self, channel: &Channel, delivery: &Delivery) -> Outcome<()> {
        let attempt = attempt(delivery);
        let (outcome, id) = match read(&delivery.data) {
            Err(reason) => {
                eprintln!("malformed: {reason}");
                self.pass_on(channel, delivery, self.topology.dead(), attempt).await?;
                ("dead", None)
            }
            Ok(event) => {
                let outcome = match self.seats.take(&event)? {
                    Taken::Applied => "applied",
                    Taken::Duplicate => "duplicate",
                    Taken::Outdated => "outdated",
                    Taken::NotYet => {
                        let tier = self.topology.tier(attempt);
                        let outcome = if tier.is_some() { "retry" } else { "dead" };
                        let next = tier.unwrap_or_else(|| self.topology.dead());
                        self.pass_on(channel, delivery, next, attempt + 1).await?;
                        outcome
                    }
                };
                (outcome, Some(event.id))
            }
        };
        delivery.acker.ack(BasicAckOptions::default()).await?;
        println!("{}", json!({"outcome": outcome, "id": id, "attempt": attempt}));
        if outcome != "retry" {
            self.left = self.left.map(|left| left - 1);
        }
        Ok(())
    }

    /// Publishes a message to a queue and waits until the broker has it. Only then it may be acknowledged.
    async fn pass_on(
        &self,
        channel: &Channel,
        message: &Delivery,
        to: String,
        attempt: i32,
    ) -> Outcome<()> {
        let mut headers = message.properties.headers().clone().unwrap_or_default();
        headers.insert(ATTEMPT.into(), AMQPValue::LongInt(attempt));
        let properties = message.properties.clone().with_headers(headers).with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sent = channel.basic_publish("".into(), to.into(), options, &message.data, properties);
        match sent.await?.await? {
            Confirmation::Ack(None) => Ok(()),
            refused => Err(format!("the broker did not take a message: {refused:?}").into()),
        }
    }
}

/// The event in a message, if its envelope and its data are what the contract promises. Members that it does not know do
/// not matter: a version may gain some.
fn read(body: &[u8]) -> Outcome<CloudEvent> {
    let event: CloudEvent = serde_json::from_slice(body)?;
    if let Some(known) = EventType::by_routing_key(&event.routing_key()) {
        known.round_trip(&event)?;
    }
    Ok(event)
}

fn attempt(delivery: &Delivery) -> i32 {
    let headers = delivery.properties.headers().as_ref();
    headers.and_then(|headers| headers.inner().get(ATTEMPT)?.as_long_int()).unwrap_or(0)
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}
