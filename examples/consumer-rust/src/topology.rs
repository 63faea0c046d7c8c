//! The queues of this consumer, all its own: Convene knows nothing of them.
//!
//! | queue | what waits there |
//! |---|---|
//! | `Q` | what is to be handled, bound to Convene's exchange |
//! | `Q.retry.1` … | what failed, until its time is over; the broker then moves it back to `Q` |
//! | `Q.dead` | what cannot be read, or failed at every attempt: for a person |

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use crate::{Outcome, setting};

/// The names, and how long the messages of each tier wait.
pub(crate) struct Topology {
    exchange: String,
    pub(crate) queue: String,
    binding_key: String,
    tiers_ms: Vec<u32>,
}

impl Topology {
    pub(crate) fn from_env() -> Outcome<Self> {
        let tiers = setting("RETRY_TIERS_MS", "1000,10000,60000");
        Ok(Self {
            exchange: setting("EXCHANGE", convene_contracts::amqp::EXCHANGE),
            queue: setting("QUEUE", "example.consumer-rust"),
            // All of a module: versions are gapless only over all events of a subject.
            binding_key: setting("BINDING_KEY", "rsvp.*.*"),
            tiers_ms: tiers.split(',').map(str::parse).collect::<Result<_, _>>()?,
        })
    }

    /// Where a message waits that failed after so many attempts before; `None` after the last.
    pub(crate) fn tier(&self, attempt: i32) -> Option<String> {
        let tier = usize::try_from(attempt).ok().filter(|tier| *tier < self.tiers_ms.len())?;
        Some(format!("{}.retry.{}", self.queue, tier + 1))
    }

    pub(crate) fn dead(&self) -> String {
        format!("{}.dead", self.queue)
    }

    /// Declares the queues; what exists stays. The exchange is Convene's: it is only looked for.
    pub(crate) async fn declare(&self, channel: &Channel) -> Outcome<()> {
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let (exchange, none) = (self.exchange.as_str(), FieldTable::default());
        channel
            .exchange_declare(exchange.into(), ExchangeKind::Topic, passive, none.clone())
            .await?;

        queue(channel, &self.dead(), []).await?;
        for (tier, milliseconds) in (0..).zip(&self.tiers_ms) {
            // One queue a tier: a message expires at the head of its queue only, so each queue has one time to live.
            let name = self.tier(tier).unwrap_or_default();
            let back = [
                ("x-message-ttl", AMQPValue::LongUInt(*milliseconds)),
                ("x-dead-letter-exchange", text("")),
                ("x-dead-letter-routing-key", text(&self.queue)),
                // The way back survives a crash of the broker, too.
                ("x-dead-letter-strategy", text("at-least-once")),
                ("x-overflow", text("reject-publish")),
            ];
            queue(channel, &name, back).await?;
        }
        // A message that kills its consumer is delivered so often, then parked.
        let parked = [
            ("x-delivery-limit", AMQPValue::LongInt(20)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text(&self.dead())),
        ];
        queue(channel, &self.queue, parked).await?;
        let (name, key) = (self.queue.as_str().into(), self.binding_key.as_str().into());
        Ok(channel
            .queue_bind(name, exchange.into(), key, QueueBindOptions::default(), none)
            .await?)
    }
}

async fn queue<const N: usize>(
    channel: &Channel,
    name: &str,
    arguments: [(&'static str, AMQPValue); N],
) -> Outcome<()> {
    let mut table = FieldTable::default();
    table.insert("x-queue-type".into(), text("quorum"));
    for (key, value) in arguments {
        table.insert(key.into(), value);
    }
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), durable, table).await?;
    Ok(())
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
