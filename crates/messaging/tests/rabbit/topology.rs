//! Declaring what has to exist.

use std::sync::Arc;

use convene_messaging::{BrokerError, BrokerReport, declare_topology, inspect_broker};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;

use convene_testkit::poll::poll_until;

use crate::support::{Broker, DEADLINE, Jobs, Recorder, intake};

#[tokio::test]
async fn it_is_declared_as_often_as_one_likes() {
    let broker = Broker::shared().await;
    let topology = broker.topology(&intake(&Arc::default(), &Arc::default()));
    for _ in 0..2 {
        declare_topology(&broker.options, &topology).await.unwrap();
    }
    for queue in topology.queues() {
        assert_eq!(broker.ready(queue).await, 0, "{queue}");
    }
}

#[tokio::test]
async fn what_exists_otherwise_is_named_and_left_alone() {
    let broker = Broker::shared().await;
    let topology = broker.topology(&intake(&Arc::<Recorder>::default(), &Arc::<Jobs>::default()));
    let name = topology.queues().find(|queue| queue.ends_with("convene.recorder")).unwrap();
    let declare =
        |options| broker.channel.queue_declare(name.into(), options, FieldTable::default());
    declare(QueueDeclareOptions::durable()).await.unwrap();

    match declare_topology(&broker.options, &topology).await {
        Err(BrokerError::Mismatch { kind: "queue", name: named, difference }) => {
            assert_eq!(named, name);
            assert!(difference.contains("inequivalent arg"), "{difference}");
        }
        other => panic!("{other:?}"),
    }

    declare(QueueDeclareOptions::durable()).await.expect("it is as it was");
    broker.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    declare_topology(&broker.options, &topology).await.unwrap();
}

#[tokio::test]
async fn an_inspection_tells_what_is_there_and_makes_nothing() {
    let broker = Broker::shared().await;
    let topology = broker.topology(&intake(&Arc::<Recorder>::default(), &Arc::<Jobs>::default()));
    for _ in 0..2 {
        let report = inspect_broker(&broker.options, &topology).await.unwrap();
        let names: Vec<&str> =
            report.missing.iter().filter_map(|missing| missing.split(' ').nth(1)).collect();
        let mut expected = vec![topology.events(), topology.unrouted()];
        expected.extend(topology.queues());
        assert_eq!((names, report.mismatched), (expected, None), "nothing was made by asking");
    }

    declare_topology(&broker.options, &topology).await.unwrap();
    let report = inspect_broker(&broker.options, &topology).await.unwrap();
    assert_eq!(report, BrokerReport::default());

    let publishing = broker.channel.basic_publish(
        "".into(),
        topology.parked().into(),
        BasicPublishOptions::default(),
        b"?",
        BasicProperties::default(),
    );
    publishing.await.unwrap();
    poll_until(DEADLINE, "the message is parked", async || {
        let report = inspect_broker(&broker.options, &topology).await.unwrap();
        (report == BrokerReport { parked: 1, ..BrokerReport::default() }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_inspection_names_what_has_other_properties() {
    let broker = Broker::shared().await;
    let topology = broker.topology(&intake(&Arc::<Recorder>::default(), &Arc::<Jobs>::default()));
    declare_topology(&broker.options, &topology).await.unwrap();
    let name = topology.queues().find(|queue| queue.ends_with("convene.recorder")).unwrap();
    broker.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    let other = QueueDeclareOptions::durable();
    broker.channel.queue_declare(name.into(), other, FieldTable::default()).await.unwrap();

    let report = inspect_broker(&broker.options, &topology).await.unwrap();
    assert!(report.missing.is_empty(), "{report:?}");
    assert!(report.mismatched.unwrap().contains(name));
}
