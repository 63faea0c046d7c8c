//! Publishes messages and waits until the broker has confirmed each.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use convene_application::kernel::failpoint::{self, Failpoint};
use futures::future::{Either, ready};
use futures::stream::{FuturesOrdered, Stream, StreamExt as _};
use futures::{FutureExt as _, poll};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Event};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::connection::Link;
use super::{BrokerError, RabbitOptions, Topology};

/// A message to publish.
pub(super) struct Outgoing<'a> {
    /// Empty: the default exchange, which routes by the names of queues.
    pub(super) exchange: &'a str,
    pub(super) routing_key: String,
    pub(super) body: &'a [u8],
    pub(super) properties: BasicProperties,
}

/// Publishes on a connection of its own, which it opens when there is something to publish.
pub(super) struct Publisher {
    options: RabbitOptions,
    topology: Arc<Topology>,
    purpose: &'static str,
    /// Taken out while it publishes, and put back only after a clean end: what a failed or a cancelled run left
    /// unconfirmed ends with its connection.
    session: Mutex<Option<Session>>,
}

/// A connection with a channel that confirms.
struct Session {
    channel: Channel,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    /// The broker blocked it in the middle of a run.
    interrupted: bool,
    link: Link,
}

impl Publisher {
    pub(super) fn new(
        options: RabbitOptions,
        topology: Arc<Topology>,
        purpose: &'static str,
    ) -> Self {
        Self { options, topology, purpose, session: Mutex::new(None) }
    }

    /// Publishes the messages in their order, all in flight together, and returns how many of them, from the first, are
    /// confirmed without a gap, and why that ended if it did early. Connects first where it has to.
    pub(super) async fn publish<'a>(
        &self,
        messages: impl Iterator<Item = Outgoing<'a>> + Send,
    ) -> (usize, Result<(), BrokerError>) {
        let mut slot = self.session.lock().await;
        let mut session = match slot.take().filter(Session::works) {
            Some(session) => session,
            None => match self.connect().await {
                Ok(session) => session,
                Err(error) => return (0, Err(error)),
            },
        };
        let (confirmed, outcome) = session.publish(messages, self.options.confirm).await;
        // A connection that is blocked is kept, to hear when that ends: a new one would only be blocked again.
        if matches!(outcome, Ok(()) | Err(BrokerError::Blocked)) {
            *slot = Some(session);
        }
        (confirmed, outcome)
    }

    /// Ends the connection, if there is one.
    pub(super) async fn close(&self) {
        if let Some(session) = self.session.lock().await.take() {
            session.link.close().await;
        }
    }

    async fn connect(&self) -> Result<Session, BrokerError> {
        let link = Link::open(&self.options, self.purpose).await?;
        let events = Box::pin(link.events());
        let channel = link.channel().await?;
        self.topology.declare(&channel).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        tracing::info!(purpose = self.purpose, "connected to the broker to publish");
        metrics::counter!("convene_bus_connects_total", "purpose" => self.purpose).increment(1);
        Ok(Session { channel, events, interrupted: false, link })
    }
}

impl Session {
    /// Whether it can be used, or will be as soon as the broker lets it. One that was interrupted is not used again after
    /// that: the rest of its run, which it still sends then, would be awaited by nobody.
    fn works(&self) -> bool {
        let open = self.link.is_open() && self.channel.status().connected();
        open && (self.link.is_blocked() || !self.interrupted)
    }

    async fn publish<'a>(
        &mut self,
        messages: impl Iterator<Item = Outgoing<'a>> + Send,
        patience: Duration,
    ) -> (usize, Result<(), BrokerError>) {
        // What was told since the last run shows in the state.
        while self.events.next().now_or_never().flatten().is_some() {}
        if self.link.is_blocked() {
            return (0, Err(BrokerError::Blocked));
        }
        let mut in_flight = FuturesOrdered::new();
        for message in messages {
            let mut confirmation = Box::pin(confirmed(&self.channel, message));
            // The first poll hands the message over to the connection, so it happens here, in order.
            in_flight.push_back(match poll!(&mut confirmation) {
                Poll::Ready(outcome) => Either::Left(ready(outcome)),
                Poll::Pending => Either::Right(confirmation),
            });
            failpoint::reach(Failpoint::Publish);
        }
        let mut count = 0;
        loop {
            let next = tokio::select! {
                biased;
                next = timeout(patience, in_flight.next()) => next,
                () = blocked(&mut self.events) => {
                    self.interrupted = true;
                    return (count, Err(BrokerError::Blocked));
                }
            };
            match next {
                Ok(Some(Ok(()))) => {
                    failpoint::reach(Failpoint::Confirm);
                    count += 1;
                }
                Ok(Some(Err(error))) => return (count, Err(error)),
                Ok(None) => return (count, Ok(())),
                Err(_) => return (count, Err(BrokerError::Late)),
            }
        }
    }
}

/// Publishes a message and waits for the broker's word on it.
async fn confirmed(channel: &Channel, message: Outgoing<'_>) -> Result<(), BrokerError> {
    let handed_over = Instant::now();
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let confirmation = channel
        .basic_publish(
            message.exchange.into(),
            message.routing_key.into(),
            options,
            message.body,
            message.properties,
        )
        .await?
        .await?;
    metrics::histogram!("convene_bus_confirm_seconds").record(handed_over.elapsed().as_secs_f64());
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        // Queues were deleted; they are declared again with the next connection.
        Confirmation::Ack(Some(_)) => Err(BrokerError::Unroutable),
        Confirmation::Nack(_) | Confirmation::NotRequested => {
            metrics::counter!("convene_bus_nacks_total").increment(1);
            Err(BrokerError::Refused)
        }
    }
}

/// Waits until the broker blocks the connection. The loss of it shows in the confirmations.
async fn blocked(events: &mut (impl Stream<Item = Event> + Unpin)) {
    while let Some(event) = events.next().await {
        if let Event::ConnectionBlocked(reason) = event {
            tracing::warn!(reason, "the broker blocks publishers");
            return;
        }
    }
    std::future::pending::<()>().await;
}
