//! Declaring what has to exist.

use std::sync::Arc;

use convene_messaging::{BrokerError, declare_topology};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;

use crate::support::{Broker, Jobs, Recorder, intake};

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
