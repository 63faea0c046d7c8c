//! What is at the broker, asked without changing anything.

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{ErrorKind, ExchangeKind};
use tokio::time::timeout;

use super::connection::Link;
use super::topology::{TIMEOUT, Topology};
use super::{BrokerError, RabbitOptions};

/// What was found at the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerReport {
    /// The exchanges and queues of the topology that do not exist, as `queue convene.parked`.
    pub missing: Vec<String>,
    /// What exists with other properties than it should, in the broker's words.
    pub mismatched: Option<String>,
    /// Messages that wait to be looked at, because no consumer could read them.
    pub parked: u32,
    /// Messages that wait to be looked at, because nobody has bound a queue for them.
    pub unrouted: u32,
}

/// Asks the broker for each exchange and queue of the topology by name. Only where all of them exist are they declared,
/// which then changes nothing, and tells what has other properties.
///
/// # Errors
/// [`BrokerError`] if the broker cannot be used now.
pub async fn inspect_broker(
    options: &RabbitOptions,
    topology: &Topology,
) -> Result<BrokerReport, BrokerError> {
    let link = Link::open(options, "inspection").await?;
    let mut report = BrokerReport::default();
    for exchange in topology.exchanges() {
        if !exchange_exists(&link, exchange).await? {
            report.missing.push(format!("exchange {exchange}"));
        }
    }
    for queue in topology.queues() {
        match messages(&link, queue).await? {
            None => report.missing.push(format!("queue {queue}")),
            Some(waiting) if queue == topology.parked() => report.parked = waiting,
            Some(waiting) if queue == topology.unrouted() => report.unrouted = waiting,
            Some(_) => {}
        }
    }
    if report.missing.is_empty() {
        match topology.declare(&link.channel().await?).await {
            Ok(()) => {}
            Err(mismatch @ BrokerError::Mismatch { .. }) => {
                report.mismatched = Some(mismatch.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    link.close().await;
    Ok(report)
}

async fn exchange_exists(link: &Link, name: &str) -> Result<bool, BrokerError> {
    // A refusal ends the channel, so each question has its own.
    let channel = link.channel().await?;
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let asked =
        channel.exchange_declare(name.into(), ExchangeKind::Topic, passive, FieldTable::default());
    existing("exchange", name, asked).await.map(|found| found.is_some())
}

/// How many messages are in a queue. `None` if there is no such queue.
async fn messages(link: &Link, name: &str) -> Result<Option<u32>, BrokerError> {
    let channel = link.channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asked = channel.queue_declare(name.into(), passive, FieldTable::default());
    Ok(existing("queue", name, asked).await?.map(|queue| queue.message_count()))
}

/// The answer to a question by name. The broker answers 404 where there is nothing.
async fn existing<T>(
    kind: &'static str,
    name: &str,
    asked: impl Future<Output = lapin::Result<T>>,
) -> Result<Option<T>, BrokerError> {
    let Ok(answer) = timeout(TIMEOUT, asked).await else {
        return Err(BrokerError::Silent { kind, name: name.to_owned() });
    };
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.kind() {
            ErrorKind::ProtocolError(told)
                if *told.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) =>
            {
                Ok(None)
            }
            _ => Err(error.into()),
        },
    }
}
