//! Feeds one consumer from its queue, over one channel.

use std::num::NonZeroU16;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use convene_application::kernel::consume::{Intake, Subscription};
use convene_application::kernel::events::LoggedEvent;
use convene_application::kernel::failpoint::{self, Failpoint};
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

/// An event that was delivered and is not acknowledged yet.
struct InHand {
    event: LoggedEvent,
    traceparent: Option<String>,
    acker: Acker,
}

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
        channel.basic_qos(self.prefetch(), BasicQosOptions::default()).await?;
        let beginning = channel.basic_consume(
            self.queue.name.as_str().into(),
            self.subscription.name().into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        Ok(timeout(BEGIN, beginning).await.map_err(|_| BrokerError::Late)??)
    }

    /// How many unacknowledged events are held; at least one, since none would be no bound.
    fn prefetch(&self) -> u16 {
        let own = self.subscription.flow().prefetch;
        own.map_or(self.options.prefetch.max(1), NonZeroU16::get)
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
            let (lane, arrivals) = mpsc::channel(self.prefetch().into());
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
            Arrival::Event { event, .. } => {
                lane(event, self.subscription.flow().order, lanes.len())
            }
            Arrival::Undecodable(..) => 0,
        };
        // A lane ends before its sender only by a panic.
        lanes[lane].send(arrival).await.map_err(|_| BrokerError::Ended)
    }

    /// Takes what arrives in one lane in its order: whatever waits, together. Nobody waits for more.
    async fn work(self: Arc<Self>, mut arrivals: mpsc::Receiver<Arrival>) {
        let (mut waiting, most) = (Vec::new(), self.prefetch().into());
        while arrivals.recv_many(&mut waiting, most).await > 0 {
            let mut events = Vec::with_capacity(waiting.len());
            for arrival in waiting.drain(..) {
                match arrival {
                    Arrival::Event { event, traceparent, acker } => {
                        events.push(InHand { event, traceparent, acker });
                    }
                    Arrival::Undecodable(reason, delivery) => {
                        self.take_traced(std::mem::take(&mut events)).await;
                        self.park(&reason, &delivery).await;
                    }
                }
            }
            self.take_traced(events).await;
        }
    }

    async fn take_traced(&self, events: Vec<InHand>) {
        let Some(first) = events.first() else { return };
        let span = tracing::info_span!(
            "bus.deliver",
            consumer = self.subscription.name(),
            events = events.len(),
            event = %first.event.id,
            event_type = first.event.event_type,
            position = first.event.position,
            traceparent = first.traceparent,
        );
        self.take(events).instrument(span).await;
    }

    /// Takes events and acknowledges them, however long the database is gone. To give them back to the queue meanwhile
    /// would spend their deliveries, of which they have a few only, for nothing that they can help.
    async fn take(&self, mut events: Vec<InHand>) {
        let mut backoff = backoff();
        // Once the channel is lost, the broker delivers them again.
        while events.first().is_some_and(|held| held.acker.usable()) {
            let batch: Vec<&LoggedEvent> = events.iter().map(|held| &held.event).collect();
            let taken = self.intake.take_all(&self.subscription, &batch).await;
            let done = taken.as_ref().map_or_else(|(done, _)| *done, |()| events.len());
            for held in events.drain(..done) {
                acknowledge(&held.acker).await;
            }
            let Err((_, error)) = taken else { return };
            tracing::warn!(error = &error as &dyn std::error::Error, "events wait for the store");
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
    failpoint::reach(Failpoint::Ack);
}
