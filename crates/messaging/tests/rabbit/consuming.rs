//! From a queue to a consumer.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use convene_application::kernel::consume::RetryConsumption;
use convene_application::kernel::events::{Flow, Order};
use convene_application::kernel::jobs::Job as _;
use convene_messaging::{BusStatus, RabbitOptions};
use convene_testkit::poll::poll_until;
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueDeleteOptions};
use lapin::types::AMQPValue;

use crate::support::{Broker, DEADLINE, Jobs, Recorder, Running, event, event_of, intake, publish};

const QUEUE: &str = "convene.recorder";

/// Waits until nothing is left in the queue, waiting or in hand; the consumers end first.
async fn assert_all_acknowledged(broker: &Broker, running: Running) {
    running.stop().await;
    let queue = format!("{}{QUEUE}", broker.options.prefix);
    // What was not acknowledged is ready again once its channel has gone.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(broker.ready(&queue).await, 0, "everything was acknowledged");
}

#[tokio::test]
async fn an_event_reaches_its_consumer_as_it_was_logged() {
    let broker = Broker::shared().await;
    let (consumer, jobs) = (Arc::<Recorder>::default(), Arc::<Jobs>::default());
    let intake = intake(&consumer, &jobs);
    let running = broker.consume(&intake);

    publish(&broker.sink(&intake), &[event(7)]).await;

    assert_eq!(consumer.was_given(1).await, [event(7)]);
    assert_eq!(running.consumers.status(), BusStatus::Up);
    assert_all_acknowledged(&broker, running).await;
    assert!(jobs.stored.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_event_that_is_delivered_twice_is_handed_in_twice() {
    let broker = Broker::shared().await;
    let (consumer, jobs) = (Arc::<Recorder>::default(), Arc::<Jobs>::default());
    let intake = intake(&consumer, &jobs);
    let running = broker.consume(&intake);
    let sink = broker.sink(&intake);

    publish(&sink, &[event(7)]).await;
    publish(&sink, &[event(7)]).await;

    let given = consumer.was_given(2).await;
    assert_eq!(given[0].id, given[1].id, "the inbox tells by the id");
    assert_all_acknowledged(&broker, running).await;
}

#[tokio::test]
async fn a_failed_consumption_becomes_a_job_and_holds_nothing_up() {
    let broker = Broker::shared().await;
    let (consumer, jobs) = (Arc::<Recorder>::default(), Arc::<Jobs>::default());
    consumer.failures.store(1, Ordering::SeqCst);
    let intake = intake(&consumer, &jobs);
    let running = broker.consume(&intake);

    publish(&broker.sink(&intake), &[event(7), event(8)]).await;

    consumer.was_given(2).await;
    assert_all_acknowledged(&broker, running).await;
    assert_eq!(consumer.positions(), [7, 8]);
    let stored = jobs.stored.lock().unwrap();
    let retry = RetryConsumption { consumer: "recorder".to_owned(), position: 7, replay: 0 };
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].kind, RetryConsumption::KIND);
    assert_eq!(stored[0].payload, serde_json::to_value(retry).unwrap());
}

#[tokio::test]
async fn an_event_waits_in_hand_while_not_even_the_job_can_be_stored() {
    let broker = Broker::shared().await;
    let (consumer, jobs) = (Arc::<Recorder>::default(), Arc::<Jobs>::default());
    consumer.failures.store(2, Ordering::SeqCst);
    jobs.failures.store(2, Ordering::SeqCst);
    let intake = intake(&consumer, &jobs);
    let running = broker.consume(&intake);

    publish(&broker.sink(&intake), &[event(7), event(8)]).await;

    consumer.was_given(4).await;
    assert_all_acknowledged(&broker, running).await;
    assert_eq!(consumer.positions(), [7, 7, 7, 8], "in order, since they are of one subject");
    assert!(jobs.stored.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_no_event_is_parked_with_the_reason() {
    let broker = Broker::shared().await;
    let (consumer, jobs) = (Arc::<Recorder>::default(), Arc::<Jobs>::default());
    let intake = intake(&consumer, &jobs);
    let topology = broker.topology(&intake);
    let running = broker.consume(&intake);
    publish(&broker.sink(&intake), &[event(7)]).await;
    consumer.was_given(1).await;

    let properties = BasicProperties::default().with_message_id("poison-1".into());
    let poison = broker.channel.basic_publish(
        topology.events().into(),
        "rsvp.confirmed.v1".into(),
        BasicPublishOptions::default(),
        b"{\"specversion\":\"0.3\"}",
        properties,
    );
    poison.await.unwrap();

    let parked = broker.take(topology.parked()).await;
    assert_eq!(parked.data, b"{\"specversion\":\"0.3\"}");
    assert_eq!(parked.properties.message_id().as_ref().unwrap().as_str(), "poison-1");
    let headers = parked.properties.headers().as_ref().unwrap().inner();
    assert_eq!(headers["x-convene-consumer"], AMQPValue::LongString("recorder".into()));
    let AMQPValue::LongString(reason) = &headers["x-convene-reason"] else { panic!("{headers:?}") };
    assert!(reason.to_string().starts_with("the body is no CloudEvent"), "{reason}");
    publish(&broker.sink(&intake), &[event(8)]).await;
    assert_eq!(consumer.was_given(2).await[1], event(8), "the next event is not held up");
    assert_all_acknowledged(&broker, running).await;
}

#[tokio::test]
async fn events_of_one_subject_keep_their_order_and_others_go_side_by_side() {
    let broker = Broker::shared().await;
    let (consumer, jobs) =
        (Arc::new(Recorder::taking(Duration::from_millis(10))), Arc::<Jobs>::default());
    let intake = intake(&consumer, &jobs);
    let running = broker.consume(&intake);
    let events: Vec<_> = (0..100_u8).map(|n| event_of(i64::from(n) + 1, n % 10)).collect();

    publish(&broker.sink(&intake), &events).await;

    consumer.was_given(100).await;
    for subject in 0..10 {
        let given =
            consumer.positions().into_iter().filter(|position| (position - 1) % 10 == subject);
        assert_eq!(
            given.collect::<Vec<_>>(),
            (0..10).map(|n| n * 10 + subject + 1).collect::<Vec<_>>()
        );
    }
    let lanes = u32::try_from(broker.options.lanes).unwrap();
    assert!((2..=lanes).contains(&consumer.most.load(Ordering::SeqCst)));
    assert_all_acknowledged(&broker, running).await;
}

/// Side by side though all are of one subject; and one by one where a process is to hold no more than one.
#[tokio::test]
async fn a_consumer_says_how_its_events_are_handed_in() {
    for (prefetch, side_by_side) in [(None, true), (NonZeroU16::new(1), false)] {
        let broker = Broker::shared().await;
        let flow = Flow { order: Order::Any, prefetch };
        let consumer = Arc::new(Recorder::taking(Duration::from_millis(20)).flowing(flow));
        let jobs = Arc::<Jobs>::default();
        let intake = intake(&consumer, &jobs);
        let running = broker.consume(&intake);
        let events: Vec<_> = (1..=40).map(event).collect();

        publish(&broker.sink(&intake), &events).await;

        consumer.was_given(40).await;
        assert_eq!(consumer.most.load(Ordering::SeqCst) > 1, side_by_side, "{flow:?}");
        assert_all_acknowledged(&broker, running).await;
    }
}

#[tokio::test]
async fn the_shutdown_waits_for_what_is_in_hand() {
    let broker = Broker::shared().await;
    let (consumer, jobs) =
        (Arc::new(Recorder::taking(Duration::from_millis(300))), Arc::<Jobs>::default());
    let intake = intake(&consumer, &jobs);
    let running = broker.consume(&intake);
    publish(&broker.sink(&intake), &[event(1), event(2), event(3)]).await;
    consumer.was_given(1).await;

    assert_all_acknowledged(&broker, running).await;

    assert_eq!(consumer.positions(), [1, 2, 3], "what was delivered was taken, none of it twice");
}

#[tokio::test]
async fn the_shutdown_does_not_wait_for_ever() {
    let mut broker = Broker::shared().await;
    broker.options = RabbitOptions { drain: Duration::from_millis(100), ..broker.options.clone() };
    let (consumer, jobs) =
        (Arc::new(Recorder::taking(Duration::from_secs(15))), Arc::<Jobs>::default());
    let intake = intake(&consumer, &jobs);
    let running = broker.consume(&intake);
    let queue = format!("{}{QUEUE}", broker.options.prefix);
    publish(&broker.sink(&intake), &[event(1)]).await;
    let begun = async || (consumer.most.load(Ordering::SeqCst) == 1).then_some(());
    poll_until(DEADLINE, "the consumption begins", begun).await;

    let started = std::time::Instant::now();
    running.stop().await;

    assert!(started.elapsed() < Duration::from_secs(8));
    let again = async || (broker.ready(&queue).await == 1).then_some(());
    poll_until(DEADLINE, "the event is in the queue again", again).await;
}

#[tokio::test]
async fn a_queue_that_is_deleted_comes_back() {
    let broker = Broker::shared().await;
    let (consumer, jobs) = (Arc::<Recorder>::default(), Arc::<Jobs>::default());
    let intake = intake(&consumer, &jobs);
    let running = broker.consume(&intake);
    let sink = broker.sink(&intake);
    publish(&sink, &[event(1)]).await;
    consumer.was_given(1).await;

    let queue = format!("{}{QUEUE}", broker.options.prefix);
    broker
        .channel
        .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();

    // Until it is back, events go to the unrouted queue.
    let mut position = 1;
    let given_again = async || {
        position += 1;
        publish(&sink, &[event(position)]).await;
        (consumer.positions().len() > 1).then_some(())
    };
    poll_until(DEADLINE, "the consumer is fed again", given_again).await;
    assert_eq!(running.consumers.status(), BusStatus::Up);
    running.stop().await;
}
