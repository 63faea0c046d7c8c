//! A typed consumer between a real broker and a real database: each event has its effect once.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convene_application::kernel::clock::SystemClock;
use convene_application::kernel::consume::{Intake, RetryConsumption};
use convene_application::kernel::context::RequestContext;
use convene_application::kernel::env::Env;
use convene_application::kernel::error::Failure;
use convene_application::kernel::events::{
    EventLog as _, LoggedEvent, NewEvent, NotConsumed, Sequencer as _, Sink as _,
};
use convene_application::kernel::handle::{EventConsumer, HandleEvent, Handled, Occurrence};
use convene_application::kernel::jobs::{Claim, Job, JobQueue as _, NewJob, Outcome};
use convene_application::kernel::uow::{Begin as _, Tx};
use convene_application::kernel::wake::Wake;
use convene_contracts::rsvp::RsvpConfirmed;
use convene_contracts::{EventPayload, SchemaBase};
use convene_domain::ids::RsvpId;
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use convene_messaging::{RabbitConsumers, RabbitOptions, RabbitSink, Topology};
use convene_testkit::broker::TestBroker;
use convene_testkit::database::TestDatabase;
use convene_testkit::fake::SeededRandom;
use convene_testkit::poll::poll_until;
use convene_testkit::versions::RsvpConfirmedV2;
use convene_tests::app::database;
use convene_tests::client::PATIENCE;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const NAME: &str = "test.badges";

/// The effect: it is there or not, like whatever else a transaction writes.
#[derive(Serialize, Deserialize)]
struct PrintBadge {
    rsvp: String,
}

impl Job for PrintBadge {
    const KIND: &'static str = "test.print_badge";
}

#[derive(Default)]
struct Badges {
    /// How often an event was handled, taken before or not.
    handled: AtomicUsize,
    fails: Mutex<bool>,
}

#[async_trait]
impl HandleEvent<RsvpConfirmed, dyn Tx> for Badges {
    async fn handle(
        &self,
        tx: &mut (dyn Tx + 'static),
        event: &Occurrence<RsvpConfirmed>,
    ) -> Result<Handled, NotConsumed> {
        let badge = PrintBadge { rsvp: event.subject.to_string() };
        tx.staged().jobs.push(NewJob::new(&badge).caused_by(&event.context()));
        self.handled.fetch_add(1, Ordering::SeqCst);
        match *self.fails.lock().unwrap() {
            true => Err(Failure::internal("the printer is out of paper").into()),
            false => Ok(Handled::Done),
        }
    }
}

struct Scene {
    admin: Client,
    store: PgStore,
    env: Env,
    badges: Arc<Badges>,
    intake: Intake,
    options: RabbitOptions,
    topology: Topology,
    sink: RabbitSink,
    shutdown: CancellationToken,
    consuming: tokio::task::JoinHandle<()>,
    _database: TestDatabase,
}

impl Scene {
    async fn new() -> Self {
        let database = database().await;
        let (admin, connection) =
            tokio_postgres::connect(&database.admin_url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let pool = PoolOptions::new(database.app_url().into(), 4);
        let pool = Pool::new(&pool, tokio::runtime::Handle::current()).unwrap();
        let store = PgStore::new(pool, Arc::new(Wake::default()));
        let random = Arc::new(SeededRandom::default());
        let env = Env {
            clock: Arc::new(SystemClock),
            random: random.clone(),
            schemas: SchemaBase::default(),
        };
        let badges = Arc::<Badges>::default();
        let consumer = EventConsumer::<dyn Tx>::named(NAME, Arc::new(store.clone()))
            .on::<RsvpConfirmed>(badges.clone());
        let intake = Intake::new(vec![Arc::new(consumer)], Arc::new(store.clone())).unwrap();

        let broker = tokio::task::spawn_blocking(TestBroker::new).await.unwrap();
        let options = RabbitOptions {
            prefix: broker.prefix().to_owned(),
            expires: Some(Duration::from_secs(120)),
            ..RabbitOptions::new(broker.url().into())
        };
        let topology = Topology::new(&options, intake.subscriptions());
        let sink = RabbitSink::new(options.clone(), topology.clone());
        let consumers =
            RabbitConsumers::new(options.clone(), topology.clone(), intake.clone(), random);
        let shutdown = CancellationToken::new();
        let end = shutdown.clone();
        let consuming = tokio::spawn(async move { consumers.run(end).await });
        Self {
            admin,
            store,
            env,
            badges,
            intake,
            options,
            topology,
            sink,
            shutdown,
            consuming,
            _database: database,
        }
    }

    /// An occurrence in both versions, as one change records them at the time of a breaking change.
    fn in_both_versions(&self) -> Vec<NewEvent> {
        let now = self.env.now();
        let context = RequestContext::system("req-test");
        let recorder = self.env.recorder(&context, now, None);
        let rsvp: RsvpId = self.env.id(now);
        vec![
            recorder.event(rsvp, 1, RsvpConfirmed::example()),
            recorder.event(rsvp, 2, RsvpConfirmedV2::example()),
        ]
    }

    /// Records events in one transaction; returns them with their places in the log.
    async fn record(&self, events: Vec<NewEvent>) -> Vec<LoggedEvent> {
        let head = self.store.head().await.unwrap();
        let mut tx: Box<dyn Tx> = self.store.begin(Vec::new()).await.unwrap();
        tx.staged().events = events;
        tx.commit().await.unwrap();
        self.store.sequence(100).await.unwrap();
        self.store.read_after(head, 100).await.unwrap()
    }

    async fn publish(&self, events: &[LoggedEvent]) {
        let last = events.last().map(|event| event.position);
        poll_until(PATIENCE, "the events are published", async || {
            let confirmed = self.sink.publish(events).await.ok()?;
            (confirmed == last).then_some(())
        })
        .await;
    }

    async fn handled(&self, times: usize) {
        poll_until(PATIENCE, "the event is handled", async || {
            (self.badges.handled.load(Ordering::SeqCst) >= times).then_some(())
        })
        .await;
    }

    async fn count(&self, what: &str) -> i64 {
        let count = format!("SELECT count(*) FROM {what}");
        self.admin.query_one(&count, &[]).await.unwrap().get(0)
    }

    async fn there_are(&self, what: &str, expected: i64) {
        poll_until(PATIENCE, &format!("{expected} of {what}"), async || {
            (self.count(what).await == expected).then_some(())
        })
        .await;
    }

    async fn effects(&self) -> (i64, i64) {
        let effects = self.count("jobs WHERE kind = 'test.print_badge'").await;
        (effects, self.count("inbox").await)
    }

    /// Runs the one consumption that waits to be tried again.
    async fn retry(&self) -> Outcome {
        let claim = Claim {
            worker: Uuid::nil(),
            kinds: vec![RetryConsumption::KIND],
            free: vec![(RetryConsumption::QUEUE, 9)],
            lease: Duration::from_secs(30),
        };
        let mut jobs = self.store.claim(&claim).await.unwrap();
        assert_eq!(jobs.len(), 1);
        self.intake.retries(Arc::new(self.store.clone())).run(&jobs.remove(0)).await
    }

    /// Lets the consumers finish what is in hand, and leaves nothing behind at the broker, which is shared.
    async fn end(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.consuming).await.expect("they end").unwrap();
        self.sink.close().await;
        let url = self.options.url.expose_secret();
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        for queue in self.topology.queues() {
            let left = channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
            assert_eq!(left.unwrap(), 0, "{queue}: everything was acknowledged, nothing parked");
        }
        for exchange in [self.topology.events(), self.topology.unrouted()] {
            let options = ExchangeDeleteOptions::default();
            channel.exchange_delete(exchange.into(), options).await.unwrap();
        }
        connection.close(200, "done".into()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occurrence_in_two_versions_has_one_effect_however_often_it_is_delivered() {
    let scene = Scene::new().await;
    let events = scene.record(scene.in_both_versions()).await;
    let versions: Vec<_> = events.iter().map(|event| event.version).collect();
    assert_eq!(versions, [1, 2]);
    for _ in 0..3 {
        scene.publish(&events).await;
    }
    scene.handled(3).await;
    scene.there_are("inbox", 1).await;
    assert_eq!(scene.effects().await, (1, 1));
    let badges = Arc::clone(&scene.badges);
    // Everything is acknowledged by then.
    scene.end().await;
    assert_eq!(badges.handled.load(Ordering::SeqCst), 3, "version 2 is passed over");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_fails_is_had_by_the_job_that_tries_again() {
    let scene = Scene::new().await;
    let events = scene.record(scene.in_both_versions()).await;
    *scene.badges.fails.lock().unwrap() = true;
    scene.publish(&events).await;
    scene.there_are("jobs WHERE kind = 'consumer.retry'", 1).await;
    assert_eq!(scene.effects().await, (0, 0), "neither the effect nor the claim");

    *scene.badges.fails.lock().unwrap() = false;
    let outcome = scene.retry().await;
    assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
    assert_eq!(scene.effects().await, (1, 1));
    scene.publish(&events).await;
    scene.handled(3).await;
    assert_eq!(scene.effects().await, (1, 1), "the job took it, and it arrives once more");
    scene.end().await;
}

/// It holds nothing up, and is dead at the first attempt of its job, with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_shape_is_poison() {
    let scene = Scene::new().await;
    let mut garbled = scene.in_both_versions();
    garbled.truncate(1);
    let mut envelope: serde_json::Value = serde_json::from_slice(&garbled[0].envelope).unwrap();
    envelope["data"] = serde_json::to_value(RsvpConfirmedV2::example()).unwrap();
    garbled[0].envelope = Bytes::from(envelope.to_string());
    garbled.extend(scene.in_both_versions());
    let events = scene.record(garbled).await;
    scene.publish(&events).await;
    scene.there_are("jobs WHERE kind = 'consumer.retry'", 1).await;
    scene.there_are("inbox", 1).await;
    assert_eq!(scene.effects().await, (1, 1), "what is behind it goes on");

    let Outcome::Discard(failure) = scene.retry().await else { panic!("it is dead at once") };
    let reason = std::error::Error::source(&failure).unwrap();
    assert_eq!(reason.to_string(), "the event does not read as rsvp.confirmed.v1");
    assert_eq!(scene.badges.handled.load(Ordering::SeqCst), 1);
    scene.end().await;
}
