//! Keeps the consumers of this process fed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use convene_application::kernel::backoff::Backoff;
use convene_application::kernel::consume::{Intake, Subscription};
use convene_application::kernel::random::Random;
use futures::future::join_all;
use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::Link;
use super::feed::Feed;
use super::publisher::Publisher;
use super::status::Health;
use super::{BrokerError, BusStatus, RabbitOptions, Topology};

/// The connection's part in the status.
const CONNECTION: &str = "connection";
/// What worked this long has recovered.
const RECOVERED: Duration = Duration::from_secs(10);
/// How often the queues are measured.
const MEASURE: Duration = Duration::from_secs(15);
/// How long the broker may take for what is not worth waiting for.
const ANSWER: Duration = Duration::from_secs(2);

/// Feeds the consumers of this process from their queues. Any number of processes may: the broker shares each queue's events
/// out among them.
///
/// An event is acknowledged when its effect is committed, or when a job is stored that tries again; where neither works, it
/// waits in hand until one does. A message that cannot be read is parked. Events of one subject are taken in order within a
/// process; different subjects side by side, [`RabbitOptions::lanes`] at once for each consumer.
pub struct RabbitConsumers {
    options: RabbitOptions,
    topology: Arc<Topology>,
    intake: Intake,
    random: Arc<dyn Random>,
    /// Publishes what is parked. On a connection of its own, so that a broker that blocks publishers still takes
    /// acknowledgements.
    parking: Arc<Publisher>,
    health: Health,
}

impl RabbitConsumers {
    /// The consumers behind this intake. Their queues are those of the topology, which has to be made for the same intake.
    #[must_use]
    pub fn new(
        options: RabbitOptions,
        topology: Topology,
        intake: Intake,
        random: Arc<dyn Random>,
    ) -> Self {
        let topology = Arc::new(topology);
        let parking = Publisher::new(options.clone(), Arc::clone(&topology), "parking");
        Self {
            options,
            topology,
            intake,
            random,
            parking: Arc::new(parking),
            health: Health::default(),
        }
    }

    /// Whether every consumer is being fed.
    #[must_use]
    pub fn status(&self) -> BusStatus {
        self.health.status()
    }

    /// Runs until the shutdown, whatever happens to the broker. At the shutdown it asks for no more events and finishes
    /// what is in hand, for [`RabbitOptions::drain`] at most.
    pub async fn run(&self, shutdown: CancellationToken) {
        if self.intake.subscriptions().is_empty() {
            return shutdown.cancelled().await;
        }
        let mut backoff = backoff();
        while !shutdown.is_cancelled() {
            let started = Instant::now();
            let session = self.session(&shutdown);
            let Err(error) = session.await else { break };
            self.health.down(CONNECTION, &error);
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "consuming from the broker was interrupted"
            );
            self.pause(&mut backoff, started, &shutdown).await;
        }
        self.parking.close().await;
    }

    /// Feeds all consumers over one connection until the shutdown, or until the connection is lost.
    async fn session(&self, shutdown: &CancellationToken) -> Result<(), BrokerError> {
        let link = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            link = Link::open(&self.options, "consumers") => link?,
        };
        self.topology.declare_shared(&link.channel().await?).await?;
        self.health.up(CONNECTION);
        metrics::counter!("convene_bus_connects_total", "purpose" => "consumers").increment(1);
        let subscriptions = self.intake.subscriptions().iter();
        let feeds = subscriptions.map(|subscription| self.keep_fed(&link, subscription, shutdown));
        tokio::select! {
            _ = join_all(feeds) => {}
            () = self.measure(&link) => {}
        }
        if !shutdown.is_cancelled() {
            return Err(BrokerError::Lost);
        }
        link.close().await;
        Ok(())
    }

    /// Feeds one consumer as long as the connection lasts. The loss of its channel or queue is its own affair.
    async fn keep_fed(
        &self,
        link: &Link,
        subscription: &Subscription,
        shutdown: &CancellationToken,
    ) {
        let consumer = subscription.name();
        let mut backoff = backoff();
        loop {
            let started = Instant::now();
            let Err(error) = self.feed(link, subscription, shutdown).await else { return };
            self.health.down(consumer, &error);
            if shutdown.is_cancelled() || !link.is_open() {
                return;
            }
            tracing::warn!(
                consumer,
                error = &error as &dyn std::error::Error,
                "a consumer is not fed"
            );
            self.pause(&mut backoff, started, shutdown).await;
        }
    }

    /// Feeds one consumer until the shutdown, or until its channel is lost.
    async fn feed(
        &self,
        link: &Link,
        subscription: &Subscription,
        shutdown: &CancellationToken,
    ) -> Result<(), BrokerError> {
        let consumer = subscription.name();
        let Some(queue) = self.topology.queue_of(consumer) else {
            return Err(BrokerError::Unroutable);
        };
        let channel = link.channel().await?;
        let feed = Arc::new(Feed {
            subscription: subscription.clone(),
            queue: queue.clone(),
            intake: self.intake.clone(),
            options: self.options.clone(),
            topology: Arc::clone(&self.topology),
            parking: Arc::clone(&self.parking),
            random: Arc::clone(&self.random),
            shutdown: shutdown.clone(),
        });
        let deliveries = feed.begin(&channel).await?;
        self.health.up(consumer);
        tracing::info!(consumer, queue = queue.name, "consuming from the broker");
        feed.run(&channel, deliveries).await?;
        close(&channel).await;
        Ok(())
    }

    async fn pause(&self, backoff: &mut Backoff, started: Instant, shutdown: &CancellationToken) {
        if started.elapsed() > RECOVERED {
            backoff.reset();
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sleep(jittered(backoff.pause(), &*self.random)) => {}
        }
    }

    /// Measures how much waits in each queue, now and then, for as long as it is polled.
    async fn measure(&self, link: &Link) {
        loop {
            sleep(MEASURE).await;
            if let Ok(channel) = link.channel().await {
                for queue in self.topology.queues() {
                    // A queue that is missing, which closes the channel, or silent: it shows elsewhere.
                    let Ok(Ok(waiting)) = timeout(ANSWER, waiting(&channel, queue)).await else {
                        break;
                    };
                    metrics::gauge!("convene_bus_queue_messages", "queue" => queue.to_owned())
                        .set(waiting);
                }
                close(&channel).await;
            }
        }
    }
}

/// Ends a channel before its connection ends, which would be too soon for one that is only dropped.
async fn close(channel: &Channel) {
    if !channel.status().connected() {
        return;
    }
    if let Ok(Err(error)) = timeout(ANSWER, channel.close(200, "OK".into())).await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "a channel ended before it was closed"
        );
    }
}

/// How many messages wait in a queue.
async fn waiting(channel: &Channel, queue: &str) -> lapin::Result<u32> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(queue.into(), passive, FieldTable::default()).await?.message_count())
}

/// The pauses between attempts to reach a broker or a database.
pub(super) fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
}

/// From half of a pause to all of it, so that those who lost a broker together do not come back together.
pub(super) fn jittered(pause: Duration, random: &dyn Random) -> Duration {
    let [chance] = random.bytes();
    pause.mul_f64(0.5 + 0.5 * f64::from(chance) / f64::from(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);

    impl Random for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn pauses_are_spread_from_half_to_all() {
        let pause = Duration::from_secs(4);
        assert_eq!(jittered(pause, &Fixed(0)), Duration::from_secs(2));
        assert_eq!(jittered(pause, &Fixed(255)), pause);
    }
}
