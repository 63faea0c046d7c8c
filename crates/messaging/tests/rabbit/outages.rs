//! What a broker, or the network before it, can do to us. Nothing here is told to recover.

use std::sync::Arc;
use std::time::{Duration, Instant};

use convene_application::kernel::events::Sink as _;
use convene_messaging::{BusStatus, RabbitOptions, declare_topology};
use convene_testkit::embedded::{RabbitMq, ServerOptions};
use convene_testkit::poll::poll_until;
use convene_testkit::proxy::{Fault, FaultProxy};
use secrecy::ExposeSecret as _;
use tokio::task::spawn_blocking;

use crate::support::{Broker, DEADLINE, Jobs, Recorder, event, intake, nobody, publish};

/// What the longest pause, its connection and a busy machine may take together.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.unwrap()
}

async fn start(options: ServerOptions) -> RabbitMq {
    blocking(|| RabbitMq::start(options)).await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_comes_back_needs_nobody() {
    let mut server = start(ServerOptions::temporary()).await;
    let (consumer, jobs) = (Arc::<Recorder>::default(), Arc::<Jobs>::default());
    let intake = intake(&consumer, &jobs);
    let broker = Broker::at(&server.url(), "").await;
    let running = broker.consume(&intake);
    let sink = broker.sink(&intake);
    publish(&sink, &[event(1)]).await;
    consumer.was_given(1).await;
    // RabbitMQ 3.10 writes down up to three seconds later that a quorum queue exists. Killed before, it comes back with a
    // queue that never answers again.
    tokio::time::sleep(Duration::from_secs(5)).await;

    server = blocking(move || server.kill().map(|()| server)).await.unwrap();

    assert!(sink.publish(&[event(2)]).await.is_err());
    assert!(matches!(sink.status(), BusStatus::Degraded { .. }));
    let noticed = async || (running.consumers.status() != BusStatus::Up).then_some(());
    poll_until(DEADLINE, "the consumers notice", noticed).await;
    // Long enough for the pauses to have grown to their longest.
    tokio::time::sleep(Duration::from_secs(6)).await;

    server = blocking(move || server.restart().map(|()| server)).await.unwrap();
    let returned = Instant::now();
    publish(&sink, &[event(2)]).await;
    poll_until(DEADLINE, "the consumer gets the event", async || {
        consumer.positions().contains(&2).then_some(())
    })
    .await;

    let recovered = returned.elapsed();
    println!("recovered {recovered:?} after the broker's return");
    assert!(recovered < RECOVERS_WITHIN, "{recovered:?}");
    assert_eq!(sink.status(), BusStatus::Up);
    assert_eq!(running.consumers.status(), BusStatus::Up);
    running.stop().await;
    drop(broker);
    blocking(move || drop(server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_disk_space_is_noticed_at_once_and_left_in_peace() {
    let folder = tempfile::tempdir().unwrap();
    let options = ServerOptions { stop_on_drop: true, ..ServerOptions::persistent(folder.path()) };
    let short = options.clone().setting("disk_free_limit.absolute", "999999999999999");
    let mut server = start(short).await;
    let broker = Broker::at(&server.url(), "").await;
    let sink = broker.sink(&nobody());

    // The broker tells only who tries.
    let started = Instant::now();
    let blocked = async || match sink.publish(&[event(1)]).await {
        Ok(_) => None,
        Err(error) => std::error::Error::source(&error).map(ToString::to_string),
    };
    let reason = poll_until(DEADLINE, "the sink is blocked", blocked).await;
    assert_eq!(reason, "the broker blocks publishers");
    assert!(started.elapsed() < broker.options.confirm, "nobody waits for a confirm");
    for _ in 0..3 {
        let again = Instant::now();
        assert!(sink.publish(&[event(1)]).await.is_err());
        assert!(again.elapsed() < broker.options.confirm, "it knows already");
    }

    server = blocking(move || server.stop().map(|()| server)).await.unwrap();
    drop(server);
    let server = start(options).await;
    publish(&sink, &[event(1)]).await;
    assert_eq!(sink.status(), BusStatus::Up);
    drop(broker);
    blocking(move || drop(server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_is_given_up() {
    let mut broker = Broker::shared().await;
    let url = broker.options.url.expose_secret().to_owned();
    let (_, at) = url.split_once('@').expect("a URL with a user");
    let upstream = at.split('/').next().unwrap().to_owned();
    let proxied = upstream.clone();
    let proxy = blocking(move || FaultProxy::start(upstream.as_str())).await.unwrap();
    let direct = broker.options.clone();
    broker.options = RabbitOptions {
        url: format!("{}?heartbeat=1", url.replace(&proxied, &proxy.addr().to_string())).into(),
        connect: Duration::from_millis(500),
        confirm: Duration::from_millis(500),
        ..direct.clone()
    };
    let (consumer, jobs) = (Arc::<Recorder>::default(), Arc::<Jobs>::default());
    let intake = intake(&consumer, &jobs);
    declare_topology(&direct, &broker.topology(&intake)).await.unwrap();
    let running = broker.consume(&intake);
    let sink = broker.sink(&intake);
    publish(&sink, &[event(1)]).await;
    consumer.was_given(1).await;

    proxy.set(Fault::HalfOpen);
    for _ in 0..3 {
        let started = Instant::now();
        assert!(sink.publish(&[event(2)]).await.is_err());
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    let noticed = async || (running.consumers.status() != BusStatus::Up).then_some(());
    poll_until(DEADLINE, "the consumers notice", noticed).await;

    proxy.set(Fault::Pass);
    publish(&sink, &[event(2)]).await;
    poll_until(DEADLINE, "the consumer gets the event", async || {
        consumer.positions().contains(&2).then_some(())
    })
    .await;
    assert_eq!(sink.status(), BusStatus::Up);
    assert_eq!(running.consumers.status(), BusStatus::Up);
    running.stop().await;
    broker.options = direct;
}
