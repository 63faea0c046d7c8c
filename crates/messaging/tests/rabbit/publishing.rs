//! From the log to the exchange.

use std::time::{Duration, Instant};

use convene_application::kernel::events::{LoggedEvent, Sink as _};
use convene_messaging::{BusStatus, RabbitOptions, RabbitSink, declare_topology};
use convene_testkit::poll::poll_until;
use futures::StreamExt as _;
use lapin::types::{AMQPValue, FieldTable};
use secrecy::SecretString;

use crate::support::{Broker, DEADLINE, event, nobody};

fn header(delivery: &lapin::message::Delivery, name: &str) -> AMQPValue {
    delivery.properties.headers().as_ref().unwrap().inner()[name].clone()
}

#[tokio::test]
async fn another_service_sees_the_envelope_and_its_properties() {
    let broker = Broker::shared().await;
    let topology = broker.topology(&nobody());
    declare_topology(&broker.options, &topology).await.unwrap();
    let queue = broker.foreign_queue(topology.events(), "rsvp.*.*", FieldTable::default()).await;
    let sink = broker.sink(&nobody());
    let sent = event(41);

    assert_eq!(sink.publish(std::slice::from_ref(&sent)).await.unwrap(), Some(41));

    let seen = broker.take(&queue).await;
    assert_eq!(seen.data, sent.envelope);
    assert_eq!(seen.exchange.as_str(), topology.events());
    assert_eq!(seen.routing_key.as_str(), "rsvp.confirmed.v1");
    let properties = &seen.properties;
    assert_eq!(
        properties.content_type().as_ref().unwrap().as_str(),
        "application/cloudevents+json"
    );
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), sent.id.to_string());
    assert_eq!(properties.kind().as_ref().unwrap().as_str(), "rsvp.confirmed");
    assert_eq!(properties.app_id().as_ref().unwrap().as_str(), "convene");
    assert_eq!(header(&seen, "x-convene-position"), AMQPValue::LongLongInt(41));
    let envelope: serde_json::Value = serde_json::from_slice(&sent.envelope).unwrap();
    let traceparent = envelope["traceparent"].as_str().unwrap();
    assert_eq!(header(&seen, "traceparent"), AMQPValue::LongString(traceparent.into()));
    sink.close().await;
}

#[tokio::test]
async fn a_run_is_published_in_order_and_confirmed_to_its_end() {
    let broker = Broker::shared().await;
    let topology = broker.topology(&nobody());
    declare_topology(&broker.options, &topology).await.unwrap();
    let queue = broker.foreign_queue(topology.events(), "#", FieldTable::default()).await;
    let mut deliveries = broker.foreign_consumer(&queue).await;
    let sink = broker.sink(&nobody());
    let run: Vec<LoggedEvent> = (1..=i64::from(sink.in_flight())).map(event).collect();

    let started = Instant::now();
    assert_eq!(sink.publish(&run).await.unwrap(), Some(1_000));
    println!("1,000 events were confirmed in {:?}", started.elapsed());

    for sent in &run {
        let seen = deliveries.next().await.unwrap().unwrap();
        assert_eq!(seen.data, sent.envelope, "at {}", sent.position);
    }
    assert_eq!(sink.publish(&[]).await.unwrap(), None);
    assert_eq!(sink.status(), BusStatus::Up);
}

#[tokio::test]
async fn an_event_that_nobody_has_bound_is_confirmed_and_kept_aside() {
    let broker = Broker::shared().await;
    let sink = broker.sink(&nobody());
    let unrouted = broker.topology(&nobody()).unrouted().to_owned();

    assert_eq!(sink.publish(&[event(1), event(2)]).await.unwrap(), Some(2));

    let count = async || (broker.ready(&unrouted).await == 2).then_some(());
    poll_until(DEADLINE, "both events are in the unrouted queue", count).await;
    assert_eq!(broker.take(&unrouted).await.data, event(1).envelope);
}

#[tokio::test]
async fn a_refusal_ends_the_run_before_the_gap() {
    let broker = Broker::shared().await;
    let topology = broker.topology(&nobody());
    declare_topology(&broker.options, &topology).await.unwrap();
    let mut full_at_two = FieldTable::default();
    full_at_two.insert("x-max-length".into(), AMQPValue::LongLongInt(2));
    full_at_two.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let queue = broker.foreign_queue(topology.events(), "#", full_at_two).await;
    let sink = broker.sink(&nobody());
    let run: Vec<LoggedEvent> = (1..=5).map(event).collect();

    assert_eq!(sink.publish(&run).await.unwrap(), Some(2));
    assert!(matches!(sink.status(), BusStatus::Degraded { .. }));
    let error = sink.publish(&run[2..]).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(cause.to_string(), "the broker refused a message");

    broker.take(&queue).await;
    broker.take(&queue).await;
    assert_eq!(sink.publish(&run[2..4]).await.unwrap(), Some(4));
    assert_eq!(sink.status(), BusStatus::Up);
}

#[tokio::test]
async fn without_a_broker_the_sink_says_so_at_once() {
    let nowhere = RabbitOptions::new(SecretString::from("amqp://127.0.0.1:1"));
    let broker = Broker::shared().await;
    let sink = RabbitSink::new(nowhere, broker.topology(&nobody()));
    declare_topology(&broker.options, &broker.topology(&nobody())).await.unwrap();

    let started = Instant::now();
    assert!(sink.publish(&[event(1)]).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(4));
    match sink.status() {
        BusStatus::Degraded { reason } => assert!(reason.contains("refused"), "{reason}"),
        BusStatus::Up => panic!("there is no broker"),
    }
}
