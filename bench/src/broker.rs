//! From a commit to a consumer of RabbitMQ.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convene_application::kernel::wake::Wake;
use convene_messaging::{RabbitOptions, RabbitSink, Topology, declare_topology};
use convene_worker::{SequencerEngine, SequencerOptions, SinkEngine, SinkOptions};
use futures::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Fault;
use crate::client::percentile;
use crate::rsvp::{attend, service};
use crate::scene::{self, EVENTS, REGULARS, Scene};
use crate::table::Row;

const EVENTS_EACH: usize = 30_000;
const IN_FLIGHT: usize = 1_000;
const PACE: u64 = 1_000;
const PACED: u64 = 8_000;
const PATIENCE: Duration = Duration::from_secs(30);
/// What a consumer acknowledges at once.
const ACKNOWLEDGED: usize = 50;

pub(crate) async fn measure(scene: &Scene) -> Result<Vec<Row>, Fault> {
    let sql = scene.connect(scene.large()).await?;
    // Names of its own, so that no other queue gets the events too.
    let prefix = "bench.".to_owned();
    let options = RabbitOptions { prefix, ..RabbitOptions::new(scene.broker.clone().into()) };
    let topology = Topology::new(&options, &[]);
    declare_topology(&options, &topology).await?;
    let mut consumer = Consumer::start(scene, topology.events()).await?;

    // One envelope as the code writes it, many times.
    let wake = Arc::new(Wake::default());
    let store = scene.store(8, Arc::clone(&wake))?;
    let rsvps = service(&store);
    sql.batch_execute("TRUNCATE outbox, audit_pending").await?;
    attend(&rsvps, scene::user(REGULARS - 1), scene::event(0)).await?;
    sql.batch_execute(&format!(
        "INSERT INTO outbox (event_id, event_type, version, community_id, envelope)
         SELECT gen_random_uuid(), event_type, version, community_id, envelope
         FROM outbox, generate_series(1, {EVENTS_EACH} - 1)"
    ))
    .await?;
    let envelope: Vec<u8> = sql.query_one("SELECT envelope FROM outbox LIMIT 1", &[]).await?.get(0);
    // From here on, and not from where another process has stopped.
    sql.batch_execute(
        "UPDATE sink_cursors SET position = (SELECT position FROM log_head), leased_until = clock_timestamp()",
    )
    .await?;

    let end = CancellationToken::new();
    let started = Instant::now();
    let engines = engines(&store, &wake, RabbitSink::new(options, topology.clone()), &end);
    consumer.wait_for(EVENTS_EACH).await?;
    let ours = EVENTS_EACH as f64 / started.elapsed().as_secs_f64();

    let mut times = paced(&rsvps, &mut consumer).await?;
    end.cancel();
    for engine in engines {
        engine.await?;
    }
    let started = Instant::now();
    publish(scene, topology.events(), envelope).await?;
    consumer.wait_for(EVENTS_EACH).await?;
    let base = EVENTS_EACH as f64 / started.elapsed().as_secs_f64();

    Ok(vec![
        Row::ratio(
            "outbox to a consumer of RabbitMQ",
            ours,
            base,
            "≥ 0.8",
            "30,000 committed events: sequenced, published, confirmed, consumed from a quorum queue; base line: lapin \
             publishing the same bodies, 1,000 unconfirmed at most, to the same consumer",
        ),
        Row::number(
            "from a commit to the consumer at 1,000 /s",
            format!(
                "p50 {:.1} ms, p99 {:.1} ms",
                percentile(&mut times, 0.5).as_secs_f64() * 1e3,
                percentile(&mut times, 0.99).as_secs_f64() * 1e3
            ),
            "p99 < 50 ms",
            "8,000 RSVPs; from the answer of the use case, which is given behind the commit",
        ),
    ])
}

fn engines(
    store: &convene_infrastructure::postgres::PgStore,
    wake: &Arc<Wake>,
    sink: RabbitSink,
    end: &CancellationToken,
) -> [tokio::task::JoinHandle<()>; 2] {
    let sequencer = SequencerEngine::new(
        Arc::new(store.clone()),
        Arc::clone(wake),
        SequencerOptions::default(),
    );
    let sink = SinkEngine::new(
        Arc::new(store.clone()),
        Arc::new(sink),
        Arc::clone(wake),
        Uuid::from_u128(7),
        SinkOptions::default(),
    );
    let ends = (end.clone(), end.clone());
    [
        tokio::spawn(async move { sequencer.run(ends.0).await }),
        tokio::spawn(async move { sink.run(ends.1).await }),
    ]
}

/// RSVPs at an even pace; the time of each from its commit to its arrival.
async fn paced(
    rsvps: &convene_application::rsvp::RsvpService,
    consumer: &mut Consumer,
) -> Result<Vec<Duration>, Fault> {
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / PACE));
    let mut commits = Vec::new();
    for number in 0..u128::from(PACED) {
        tick.tick().await;
        let rsvps = rsvps.clone();
        // The newest people, whom the measurement of RSVPs meets last.
        let user = scene::user(REGULARS - 2 - number % 1_000);
        let event = scene::event(EVENTS - 1 - number / 1_000);
        commits.push(tokio::spawn(async move {
            let rsvp = attend(&rsvps, user, event).await?;
            Ok::<_, Fault>((rsvp, Instant::now()))
        }));
    }
    let mut times = Vec::new();
    let mut arrivals = HashMap::new();
    for commit in commits {
        let (rsvp, committed) = commit.await??;
        let arrived = loop {
            if let Some(arrived) = arrivals.remove(&rsvp) {
                break arrived;
            }
            let (at, body) = consumer.next().await?;
            let event: Value = serde_json::from_slice(&body)?;
            arrivals.insert(event["subject"].as_str().unwrap_or_default().to_owned(), at);
        };
        times.push(Instant::saturating_duration_since(&arrived, committed));
    }
    Ok(times)
}

async fn publish(scene: &Scene, exchange: &str, body: Vec<u8>) -> Result<(), Fault> {
    let connection = Connection::connect(&scene.broker, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut confirms = futures::stream::FuturesUnordered::new();
    for _ in 0..EVENTS_EACH {
        if confirms.len() >= IN_FLIGHT {
            let confirmed: Result<_, lapin::Error> = confirms.next().await.ok_or("no confirm")?;
            confirmed?;
        }
        let confirm = channel
            .basic_publish(
                exchange.into(),
                "rsvp.confirmed.v1".into(),
                options,
                &body,
                properties.clone(),
            )
            .await?;
        confirms.push(confirm);
    }
    while let Some(confirmed) = confirms.next().await {
        confirmed?;
    }
    Ok(())
}

/// A consumer of every event, with a quorum queue as our own consumers have.
struct Consumer {
    arrivals: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    _connection: Connection,
}

impl Consumer {
    async fn start(scene: &Scene, exchange: &str) -> Result<Self, Fault> {
        let connection =
            Connection::connect(&scene.broker, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare("bench".into(), durable, arguments).await?;
        channel
            .queue_bind(
                "bench".into(),
                exchange.into(),
                "#".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        channel.basic_qos(1_000, BasicQosOptions::default()).await?;
        let mut deliveries = channel
            .basic_consume(
                "bench".into(),
                "bench".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let (tell, arrivals) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut unacknowledged = 0;
            while let Some(Ok(delivery)) = deliveries.next().await {
                unacknowledged += 1;
                if unacknowledged == ACKNOWLEDGED {
                    unacknowledged = 0;
                    let all = BasicAckOptions { multiple: true };
                    delivery.acker.ack(all).await?;
                }
                tell.send((Instant::now(), delivery.data))?;
            }
            Ok::<(), Fault>(())
        });
        Ok(Self { arrivals, _connection: connection })
    }

    async fn next(&mut self) -> Result<(Instant, Vec<u8>), Fault> {
        Ok(timeout(PATIENCE, self.arrivals.recv()).await?.ok_or("the consumer ended")?)
    }

    async fn wait_for(&mut self, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            self.next().await?;
        }
        Ok(())
    }
}
