//! Feeds one consumer from its queue, over one channel.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use convene_application::kernel::consume::{Intake, Subscription};
use convene_application::kernel::events::LoggedEvent;
use convene_application::kernel::random::Random;
use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Acker, Channel, Consumer as Deliveries};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::consumers::{backoff, jittered};
use super::message::{Arrival, Undecodable, parked, read};
use super::publisher::{Outgoing, Publisher};
use super::topology::ConsumerQueue;
use super::{BrokerError, RabbitOptions, Topology};
use crate::lanes::lane;

/// How long the broker may take to begin a subscription.
const BEGIN: Duration = Duration::from_secs(10);
/// How long it may take to end one.
const CANCEL: Duration = Duration::from_secs(2);
/// How long what is in hand may go on when the channel is lost. The broker delivers it again anyway; the inbox tells.
const AFTER_LOSS: Duration = Duration::from_secs(1);

/// What one consumer's deliveries need on their way.
pub(super) struct Feed {
    pub(super) subscription: Subscription,
    pub(super) queue: ConsumerQueue,
    pub(super) intake: Intake,
    pub(super) options: RabbitOptions,
    pub(super) topology: Arc<Topology>,
    pub(super) parking: Arc<Publisher>,
    pub(super) random: Arc<dyn Random>,
    pub(super) shutdown: CancellationToken,
}

impl Feed {
    /// Declares the queue and begins to consume it.
    pub(super) async fn begin(&self, channel: &Channel) -> Result<Deliveries, BrokerError> {
        self.topology.declare_queue(channel, &self.queue).await?;
        channel.basic_qos(self.options.prefetch, BasicQosOptions::default()).await?;
        let beginning = channel.basic_consume(
            self.queue.name.as_str().into(),
            self.subscription.name().into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        Ok(timeout(BEGIN, beginning).await.map_err(|_| BrokerError::Late)??)
    }

    /// Feeds the consumer until the shutdown, after which it finishes what it has in hand, or until the channel fails.
    pub(super) async fn run(
        self: &Arc<Self>,
        channel: &Channel,
        deliveries: Deliveries,
    ) -> Result<(), BrokerError> {
        let (mut lanes, mut workers) = (Vec::new(), JoinSet::new());
        for _ in 0..self.options.lanes.max(1) {
            // The broker sends no more than the prefetch, so a lane is never full.
            let (lane, arrivals) = mpsc::channel(self.options.prefetch.max(1).into());
            lanes.push(lane);
            workers.spawn(Arc::clone(self).work(arrivals));
        }
        let outcome = self.dispatch(channel, deliveries, lanes).await;
        let grace = if self.shutdown.is_cancelled() { self.options.drain } else { AFTER_LOSS };
        let finishing = async { while workers.join_next().await.is_some() {} };
        if timeout(grace, finishing).await.is_err() {
            tracing::warn!(
                consumer = self.subscription.name(),
                "events in hand are given up; the broker delivers them again"
            );
        }
        outcome
    }

    /// Spreads deliveries over the lanes. At the shutdown it asks for no more and passes on what has come already.
    async fn dispatch(
        &self,
        channel: &Channel,
        mut deliveries: Deliveries,
        lanes: Vec<mpsc::Sender<Arrival>>,
    ) -> Result<(), BrokerError> {
        let mut cancelled = false;
        loop {
            let delivery = tokio::select! {
                delivery = deliveries.next() => delivery,
                () = self.shutdown.cancelled(), if !cancelled => {
                    cancelled = true;
                    let ending = channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default());
                    timeout(CANCEL, ending).await.map_err(|_| BrokerError::Late)??;
                    continue;
                }
            };
            match delivery {
                Some(delivery) => self.pass(delivery?, &lanes).await?,
                None if cancelled => return Ok(()),
                None => return Err(BrokerError::Ended),
            }
        }
    }

    async fn pass(
        &self,
        delivery: Delivery,
        lanes: &[mpsc::Sender<Arrival>],
    ) -> Result<(), BrokerError> {
        if delivery.redelivered {
            let consumer = self.subscription.name();
            metrics::counter!("convene_bus_redelivered_total", "consumer" => consumer).increment(1);
        }
        let arrival = read(delivery);
        let lane = match &arrival {
            Arrival::Event { event, .. } => lane(event, lanes.len()),
            Arrival::Undecodable(..) => 0,
        };
        // A lane ends before its sender only by a panic.
        lanes[lane].send(arrival).await.map_err(|_| BrokerError::Ended)
    }

    /// Takes what arrives in one lane, one after the other.
    async fn work(self: Arc<Self>, mut arrivals: mpsc::Receiver<Arrival>) {
        while let Some(arrival) = arrivals.recv().await {
            match arrival {
                Arrival::Event { event, traceparent, acker } => {
                    let span = tracing::info_span!(
                        "bus.consume",
                        consumer = self.subscription.name(),
                        event = %event.id,
                        event_type = event.event_type,
                        position = event.position,
                        traceparent,
                    );
                    self.take(&event, &acker).instrument(span).await;
                }
                Arrival::Undecodable(reason, delivery) => self.park(&reason, &delivery).await,
            }
        }
    }

    /// Takes one event and acknowledges it, however long the database is gone. To give it back to the queue meanwhile would
    /// spend its deliveries, of which it has a few only, for nothing that it can help.
    async fn take(&self, event: &LoggedEvent, acker: &Acker) {
        let mut backoff = backoff();
        // Once the channel is lost, the broker delivers it again.
        while acker.usable() {
            let Err(error) = self.intake.take(&self.subscription, event).await else {
                return acknowledge(acker).await;
            };
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an event waits for the store"
            );
            if self.pause(backoff.pause()).await.is_break() {
                return;
            }
        }
    }

    /// Puts a message aside that no attempt will ever read, and acknowledges it.
    async fn park(&self, reason: &Undecodable, delivery: &Delivery) {
        let consumer = self.subscription.name();
        let mut backoff = backoff();
        while delivery.acker.usable() {
            let message = Outgoing {
                exchange: "",
                routing_key: self.topology.parked().to_owned(),
                body: &delivery.data,
                properties: parked(delivery, consumer, reason),
            };
            let (_, outcome) = self.parking.publish(std::iter::once(message)).await;
            let Err(error) = outcome else {
                metrics::counter!("convene_bus_parked_total", "consumer" => consumer).increment(1);
                let routing_key = delivery.routing_key.as_str();
                tracing::error!(consumer, routing_key, %reason, "a message that is no event was parked");
                return acknowledge(&delivery.acker).await;
            };
            tracing::warn!(
                consumer,
                error = &error as &dyn std::error::Error,
                "a message waits to be parked"
            );
            if self.pause(backoff.pause()).await.is_break() {
                return;
            }
        }
    }

    /// Waits before another attempt; the shutdown breaks it off.
    async fn pause(&self, pause: Duration) -> ControlFlow<()> {
        tokio::select! {
            () = self.shutdown.cancelled() => ControlFlow::Break(()),
            () = sleep(jittered(pause, &*self.random)) => ControlFlow::Continue(()),
        }
    }
}

async fn acknowledge(acker: &Acker) {
    if let Err(error) = acker.ack(BasicAckOptions::default()).await {
        // The channel is lost; the broker delivers the event again, and the inbox knows it.
        tracing::debug!(error = &error as &dyn std::error::Error, "an event was not acknowledged");
    }
}
