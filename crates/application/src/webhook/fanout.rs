//! From one event to a delivery for each endpoint that wants it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use convene_contracts::{CloudEvent, WebhookBody};
use convene_domain::webhook::patterns_matching;

use super::jobs::Drain;
use super::ports::{FannedEvent, WebhookReads, WebhookTx};
use crate::kernel::context::RequestContext;
use crate::kernel::env::Env;
use crate::kernel::error::Failure;
use crate::kernel::events::{Consumer, LoggedEvent};
use crate::kernel::jobs::NewJob;
use crate::kernel::uow::Uow;

/// The longest body, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// The consumer that makes deliveries.
///
/// An endpoint gets the events that were recorded after it was made: those whose `time` is later than its creation. Both
/// are read from the clock inside the transaction that they belong to. So of an event and an endpoint that were made one
/// after the other, the order is kept, exactly within one machine and as exactly as their clocks agree between several;
/// of two that were made at the same time either may be the first. Their places in the log cannot decide it: an event
/// gets its position some time after its transaction has ended, and other events meanwhile.
pub struct FanOut {
    env: Env,
    uow: Uow<dyn WebhookTx>,
    reads: Arc<dyn WebhookReads>,
}

impl FanOut {
    /// The consumer over its ports.
    #[must_use]
    pub fn new(env: Env, uow: Uow<dyn WebhookTx>, reads: Arc<dyn WebhookReads>) -> Self {
        Self { env, uow, reads }
    }
}

#[async_trait]
impl Consumer for FanOut {
    fn name(&self) -> &'static str {
        "webhook.fanout"
    }

    fn patterns(&self) -> &'static [&'static str] {
        &["*"]
    }

    /// One read, and one flight that claims the event and writes everything. An event that nobody wants writes nothing,
    /// and needs no claim.
    async fn consume(&self, event: &LoggedEvent) -> Result<(), Failure> {
        let Some(community) = event.community else { return Ok(()) };
        let envelope: CloudEvent =
            serde_json::from_slice(&event.envelope).map_err(Failure::internal)?;
        let patterns = patterns_matching(&event.event_type);
        let wanting = self.reads.wanting(community, patterns, envelope.time.get()).await?;
        if wanting.is_empty() {
            return Ok(());
        }

        let now = self.env.now();
        let context = RequestContext {
            traceparent: envelope.traceparent.clone(),
            ..RequestContext::system(envelope.correlationid.clone())
        };
        let fanned = FannedEvent {
            id: event.id,
            event_type: event.event_type.clone(),
            body: body(&envelope)?,
            at: now,
        };
        let deliveries = wanting.iter().map(|webhook| (self.env.id(now), *webhook)).collect();

        let mut tx = self.uow.begin(Vec::new()).await?;
        tx.consume(self.name(), event.id, event.replay);
        tx.insert_deliveries(fanned, deliveries);
        // Also for endpoints that are disabled: one that is being enabled right now must not miss it.
        let drains = wanting.into_iter().map(|webhook| Drain { webhook }.job().caused_by(&context));
        tx.staged().jobs.extend(drains.collect::<Vec<NewJob>>());
        Ok(tx.commit().await?)
    }
}

/// The bytes that receivers get.
fn body(envelope: &CloudEvent) -> Result<Bytes, Failure> {
    let body = serde_json::to_vec(&WebhookBody::from(envelope)).map_err(Failure::internal)?;
    if body.len() > MAX_BODY {
        return Err(Failure::internal(format!(
            "an event of type {} has {} bytes, more than a webhook may have",
            envelope.r#type,
            body.len()
        )));
    }
    Ok(Bytes::from(body))
}
