//! What the tests share: names at the broker that go away with the test, events, a foreign client, and fakes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::consume::Intake;
use convene_application::kernel::error::Failure;
use convene_application::kernel::events::{Consumer, Flow, LoggedEvent, NotConsumed, Sink as _};
use convene_application::kernel::jobs::{
    Beat, Claim, Fence, JobQueue, LeasedJob, NewJob, Pulse, QueueBacklog, Settlement,
};
use convene_application::kernel::random::Random;
use convene_application::kernel::store::StoreError;
use convene_contracts::rsvp::RsvpConfirmed;
use convene_contracts::{CloudEvent, SchemaBase};
use convene_messaging::{RabbitConsumers, RabbitOptions, RabbitSink, Topology};
use convene_testkit::broker::TestBroker;
use convene_testkit::poll::poll_until;
use lapin::message::{BasicGetMessage, Delivery};
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long anything may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Names of a test's own at the broker, and a connection beside the adapter's.
pub(crate) struct Broker {
    pub(crate) options: RabbitOptions,
    pub(crate) channel: Channel,
    _connection: Connection,
    topologies: Mutex<Vec<Topology>>,
}

impl Broker {
    /// The broker that all tests share.
    pub(crate) async fn shared() -> Self {
        let broker = tokio::task::spawn_blocking(TestBroker::new).await.unwrap();
        Self::at(broker.url(), broker.prefix()).await
    }

    /// The broker at this URL.
    pub(crate) async fn at(url: &str, prefix: &str) -> Self {
        let options = RabbitOptions {
            prefix: prefix.to_owned(),
            expires: Some(Duration::from_secs(120)),
            ..RabbitOptions::new(SecretString::from(url))
        };
        let (connection, channel) = connect(url).await;
        Self { options, channel, _connection: connection, topologies: Mutex::default() }
    }

    pub(crate) fn topology(&self, intake: &Intake) -> Topology {
        let topology = Topology::new(&self.options, intake.subscriptions());
        self.topologies.lock().unwrap().push(topology.clone());
        topology
    }

    pub(crate) fn sink(&self, intake: &Intake) -> RabbitSink {
        RabbitSink::new(self.options.clone(), self.topology(intake))
    }

    /// Starts the consumers as a task, which ends with the token.
    pub(crate) fn consume(&self, intake: &Intake) -> Running {
        let consumers = Arc::new(RabbitConsumers::new(
            self.options.clone(),
            self.topology(intake),
            intake.clone(),
            Arc::new(NoChance),
        ));
        let shutdown = CancellationToken::new();
        let (running, token) = (Arc::clone(&consumers), shutdown.clone());
        let task = tokio::spawn(async move { running.run(token).await });
        Running { consumers, shutdown, task }
    }

    /// How many messages are ready in a queue.
    pub(crate) async fn ready(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(queue.into(), passive, FieldTable::default());
        queue.await.unwrap().message_count()
    }

    /// The next message of a queue, taken off it.
    pub(crate) async fn take(&self, queue: &str) -> Delivery {
        poll_until(DEADLINE, "a message", async || {
            let message = self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true });
            message.await.unwrap().map(|BasicGetMessage { delivery, .. }| delivery)
        })
        .await
    }

    /// A queue of another service, bound with this key.
    pub(crate) async fn foreign_queue(
        &self,
        exchange: &str,
        key: &str,
        arguments: FieldTable,
    ) -> String {
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare("".into(), exclusive, arguments).await.unwrap();
        let name = queue.name().clone();
        let bound = self.channel.queue_bind(
            name.clone(),
            exchange.into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.unwrap();
        name.to_string()
    }

    /// Consumes a queue as another service would.
    pub(crate) async fn foreign_consumer(&self, queue: &str) -> lapin::Consumer {
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consuming =
            self.channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        consuming.await.unwrap()
    }
}

/// Deletes what the test has made at the broker, also when it fails.
impl Drop for Broker {
    fn drop(&mut self) {
        let topologies = std::mem::take(&mut *self.topologies.lock().unwrap());
        let url = self.options.url.clone();
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                // A broker of the test's own may be gone.
                let connecting =
                    Connection::connect(url.expose_secret(), ConnectionProperties::default());
                if let Ok(connection) = connecting.await {
                    let channel = connection.create_channel().await.unwrap();
                    delete(&channel, &topologies).await.unwrap();
                    connection.close(200, "OK".into()).await.unwrap();
                }
            });
        });
        let cleaned = cleaning.join();
        assert!(
            cleaned.is_ok() || std::thread::panicking(),
            "the test's names could not be deleted"
        );
    }
}

async fn delete(channel: &Channel, topologies: &[Topology]) -> lapin::Result<()> {
    let queues: HashSet<_> = topologies.iter().flat_map(Topology::queues).collect();
    for queue in queues {
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    }
    for exchange in topologies.iter().flat_map(|t| [t.events(), t.unrouted()]) {
        channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await?;
    }
    Ok(())
}

pub(crate) async fn connect(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// Consumers that run.
pub(crate) struct Running {
    pub(crate) consumers: Arc<RabbitConsumers>,
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Shuts them down and waits for their end.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("the consumers end").unwrap();
    }
}

/// Publishes the events, as often as it takes; an engine would.
pub(crate) async fn publish(sink: &RabbitSink, events: &[LoggedEvent]) {
    let mut left = events;
    let what = "the events are published";
    poll_until(DEADLINE * 2, what, async || {
        if let Ok(Some(position)) = sink.publish(left).await {
            let after = left.iter().position(|event| event.position > position);
            left = after.map_or(&[], |first| &left[first..]);
        }
        left.is_empty().then_some(())
    })
    .await;
}

/// An event with this position, of this RSVP.
pub(crate) fn event_of(position: i64, rsvp: u8) -> LoggedEvent {
    let mut event = CloudEvent::<RsvpConfirmed>::example(&SchemaBase::default());
    event.id = Uuid::from_u128(u128::from(position.unsigned_abs()));
    event.subject = format!("rsvp_000000000000000000000000{rsvp:02}");
    LoggedEvent {
        position,
        id: event.id,
        event_type: event.r#type.clone(),
        version: event.version(),
        community: event.communityid.as_ref().map(|id| id.as_str().parse().unwrap()),
        envelope: serde_json::to_vec(&event).unwrap().into(),
        replay: 0,
    }
}

/// An event with this position.
pub(crate) fn event(position: i64) -> LoggedEvent {
    event_of(position, 1)
}

/// A consumer that remembers what it was given.
#[derive(Default)]
pub(crate) struct Recorder {
    given: Mutex<Vec<LoggedEvent>>,
    /// How many more consumptions fail.
    pub(crate) failures: AtomicU32,
    /// How long a consumption takes.
    takes: Duration,
    /// How it wants its events.
    flow: Flow,
    /// How many are under way, and the most that were.
    under_way: AtomicU32,
    pub(crate) most: AtomicU32,
}

impl Recorder {
    /// One that needs some time for each event.
    pub(crate) fn taking(takes: Duration) -> Self {
        Self { takes, ..Self::default() }
    }

    /// The same, with its events handed in like this.
    pub(crate) fn flowing(self, flow: Flow) -> Self {
        Self { flow, ..self }
    }

    pub(crate) fn given(&self) -> Vec<LoggedEvent> {
        self.given.lock().unwrap().clone()
    }

    pub(crate) fn positions(&self) -> Vec<i64> {
        self.given.lock().unwrap().iter().map(|event| event.position).collect()
    }

    /// Waits until it was given so many events.
    pub(crate) async fn was_given(&self, count: usize) -> Vec<LoggedEvent> {
        let what = format!("the consumer is given {count} events");
        poll_until(DEADLINE, &what, async || {
            Some(self.given()).filter(|given| given.len() >= count)
        })
        .await
    }
}

#[async_trait]
impl Consumer for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn patterns(&self) -> &[&'static str] {
        &["rsvp.*"]
    }

    fn flow(&self) -> Flow {
        self.flow
    }

    async fn consume(&self, event: &LoggedEvent) -> Result<(), NotConsumed> {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        self.given.lock().unwrap().push(event.clone());
        match count_down(&self.failures) {
            true => Err(Failure::internal("told to fail").into()),
            false => Ok(()),
        }
    }
}

/// Whether there was something to count down.
fn count_down(counter: &AtomicU32) -> bool {
    let less = |count: u32| count.checked_sub(1);
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
}

/// A job queue that remembers what was stored.
#[derive(Default)]
pub(crate) struct Jobs {
    pub(crate) stored: Mutex<Vec<NewJob>>,
    /// How many more attempts to store fail.
    pub(crate) failures: AtomicU32,
}

#[async_trait]
impl JobQueue for Jobs {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<(), StoreError> {
        if count_down(&self.failures) {
            return Err(StoreError::Unavailable(Box::from("told to fail")));
        }
        self.stored.lock().unwrap().extend(jobs);
        Ok(())
    }

    async fn claim(&self, _: &Claim) -> Result<Vec<LeasedJob>, StoreError> {
        unreachable!("a bus only stores jobs")
    }

    async fn next_due(&self, _: &Claim) -> Result<Option<Duration>, StoreError> {
        unreachable!("a bus only stores jobs")
    }

    async fn heartbeat(&self, _: &[Beat], _: Duration) -> Result<Pulse, StoreError> {
        unreachable!("a bus only stores jobs")
    }

    async fn settle(&self, _: Vec<Settlement>) -> Result<usize, StoreError> {
        unreachable!("a bus only stores jobs")
    }

    async fn ready(&self, _: &[(String, String)]) -> Result<(), StoreError> {
        unreachable!("a bus only stores jobs")
    }

    async fn rescue(&self) -> Result<usize, StoreError> {
        unreachable!("a bus only stores jobs")
    }

    async fn hand_back(&self, _: &[Fence]) -> Result<(), StoreError> {
        unreachable!("a bus only stores jobs")
    }

    async fn backlog(&self) -> Result<Vec<QueueBacklog>, StoreError> {
        unreachable!("a bus only stores jobs")
    }
}

/// An installation with one consumer.
pub(crate) fn intake(consumer: &Arc<Recorder>, jobs: &Arc<Jobs>) -> Intake {
    let consumers: Vec<Arc<dyn Consumer>> = vec![Arc::clone(consumer) as _];
    Intake::new(consumers, Arc::clone(jobs) as _).unwrap()
}

/// An installation without consumers.
pub(crate) fn nobody() -> Intake {
    Intake::new(Vec::new(), Arc::new(Jobs::default())).unwrap()
}

/// Randomness that is none.
struct NoChance;

impl Random for NoChance {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}
