//! Parked messages: looked at, given back to their consumers, removed.

use std::sync::Arc;
use std::time::Duration;

use convene_application::kernel::operate::dead_letters::{
    Parked, ParkedDone, ParkedMessage, ParkingLot as _,
};
use convene_messaging::{RabbitParking, declare_topology};
use convene_testkit::poll::poll_until;
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::support::{Broker, DEADLINE, Jobs, Recorder, intake};

/// Puts a message into a queue, as somebody else's program would.
async fn put(broker: &Broker, queue: &str, body: &[u8], headers: &[(&str, AMQPValue)]) {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), value.clone());
    }
    let properties = BasicProperties::default().with_headers(table).with_type("a.type".into());
    let options = BasicPublishOptions::default();
    let publishing =
        broker.channel.basic_publish("".into(), queue.into(), options, body, properties);
    publishing.await.unwrap().await.unwrap();
}

fn header(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

async fn decide(
    parking: &RabbitParking,
    mut decision: impl FnMut(&ParkedMessage) -> Parked + Send,
) -> (Vec<ParkedMessage>, ParkedDone) {
    let mut seen = Vec::new();
    let mut decision = |message: &ParkedMessage| {
        seen.push(message.clone());
        decision(message)
    };
    let done = parking.decide(100, Duration::ZERO, &mut decision).await.unwrap();
    (seen, done)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_at_stays_and_what_is_replayed_goes_home() {
    let broker = Broker::shared().await;
    let intake = intake(&Arc::<Recorder>::default(), &Arc::<Jobs>::default());
    let topology = broker.topology(&intake);
    declare_topology(&broker.options, &topology).await.unwrap();
    let parking = RabbitParking::new(broker.options.clone(), topology.clone());
    let home = topology.queues().next().unwrap().to_owned();
    let from = [
        ("x-convene-consumer", header("recorder")),
        ("x-convene-reason", header("the body is no CloudEvent")),
        ("x-convene-parked-at", AMQPValue::Timestamp(1_806_573_600)),
        ("x-kept", header("yes")),
    ];
    put(&broker, topology.parked(), b"{}", &from).await;
    put(&broker, topology.parked(), b"nobody's", &[]).await;
    put(&broker, topology.parked(), b"rubbish", &from).await;
    let what = "three messages are parked";
    poll_until(DEADLINE, what, async || (broker.ready(topology.parked()).await == 3).then_some(()))
        .await;

    // However often they are looked at, they are all still there, under the same names.
    let mut names = Vec::new();
    for _ in 0..25 {
        let (seen, done) = decide(&parking, |_| Parked::Keep).await;
        assert_eq!((seen.len(), done), (3, ParkedDone::default()));
        let mut digests: Vec<String> = seen.iter().map(|seen| seen.digest.clone()).collect();
        digests.sort();
        names.push(digests);
        let first = seen.iter().find(|seen| &seen.body[..] == b"{}").unwrap();
        assert_eq!(first.consumer.as_deref(), Some("recorder"));
        assert_eq!(first.reason, "the body is no CloudEvent");
        assert_eq!(first.event_type.as_deref(), Some("a.type"));
        assert_eq!(first.parked_at.unwrap().as_second(), 1_806_573_600);
        poll_until(DEADLINE, "they are given back", async || {
            (broker.ready(topology.parked()).await == 3).then_some(())
        })
        .await;
    }
    names.dedup();
    assert_eq!(names.len(), 1, "{names:?}");

    let (_, done) = decide(&parking, |message| match &message.body[..] {
        b"rubbish" => Parked::Purge,
        _ => Parked::Replay,
    })
    .await;
    assert_eq!(done, ParkedDone { replayed: 1, purged: 1, homeless: 1 });
    let replayed = broker.take(&home).await;
    assert_eq!(replayed.data, b"{}");
    let headers = replayed.properties.headers().clone().unwrap();
    let names: Vec<&str> = headers.inner().keys().map(ShortString::as_str).collect();
    assert!(names.contains(&"x-kept"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("x-convene")), "{names:?}");
    let what = "the one without a home is left";
    poll_until(DEADLINE, what, async || (broker.ready(topology.parked()).await == 1).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_by_a_consumer_tells_when_and_why() {
    let broker = Broker::shared().await;
    let intake = intake(&Arc::<Recorder>::default(), &Arc::<Jobs>::default());
    let topology = broker.topology(&intake);
    declare_topology(&broker.options, &topology).await.unwrap();
    let running = broker.consume(&intake);
    let home = topology.queues().next().unwrap().to_owned();
    put(&broker, &home, b"no event", &[]).await;
    poll_until(DEADLINE, "it is parked", async || {
        (broker.ready(topology.parked()).await == 1).then_some(())
    })
    .await;
    running.stop().await;
    let parking = RabbitParking::new(broker.options.clone(), topology.clone());
    let (seen, done) = decide(&parking, |_| Parked::Purge).await;
    assert_eq!((seen.len(), done.purged), (1, 1));
    assert_eq!(seen[0].consumer.as_deref(), Some("recorder"));
    assert!(seen[0].reason.starts_with("the body is no CloudEvent"), "{}", seen[0].reason);
    assert!(seen[0].parked_at.is_some());
    let (seen, _) = decide(&parking, |_| Parked::Keep).await;
    assert!(seen.is_empty());
}
