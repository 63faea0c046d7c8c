//! From events to a delivery for each endpoint that wants them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use convene_contracts::{CloudEvent, WebhookBody};
use convene_domain::ids::CommunityId;
use convene_domain::webhook::patterns_matching;
use jiff::{SignedDuration, Timestamp};

use super::jobs::Drain;
use super::ports::{FannedEvent, Wanted, WebhookReads, WebhookTx};
use crate::kernel::context::RequestContext;
use crate::kernel::env::Env;
use crate::kernel::error::Failure;
use crate::kernel::events::{Consumer, LoggedEvent, NotConsumed};
use crate::kernel::jobs::NewJob;
use crate::kernel::uow::Uow;

/// The longest body, in bytes.
const MAX_BODY: usize = 256 * 1024;
/// The most events in one transaction: it is short, and what it locks, the jobs of the endpoints, others want too.
const BATCH: usize = 64;

/// The consumer that makes deliveries. It takes events of every type as they were recorded, whole and many at once: so it
/// is a [`Consumer`] itself, and no handler of typed events.
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

    fn patterns(&self) -> &[&'static str] {
        &["*"]
    }

    fn batch(&self) -> usize {
        BATCH
    }

    async fn consume(&self, event: &LoggedEvent) -> Result<(), NotConsumed> {
        self.consume_all(&[event]).await
    }

    /// One read, and one flight that claims the events and writes everything. An event that nobody wants writes nothing,
    /// and needs no claim.
    async fn consume_all(&self, events: &[&LoggedEvent]) -> Result<(), NotConsumed> {
        let read = events.iter().filter_map(|event| Opened::read(event));
        let read = read.collect::<Result<Vec<_>, _>>().map_err(NotConsumed::Poison)?;
        if read.is_empty() {
            return Ok(());
        }
        let wanted: Vec<Wanted> = read.iter().map(Opened::wanted).collect();
        let wanting = self.reads.wanting(&wanted).await?;
        let fanned: Vec<_> =
            read.iter().zip(wanting).filter(|(_, wanting)| !wanting.is_empty()).collect();
        if fanned.is_empty() {
            return Ok(());
        }

        let mut tx = self.uow.begin(Vec::new()).await?;
        let claims = fanned.iter().map(|(opened, _)| (opened.event.id, opened.event.replay));
        tx.consume_all(self.name(), claims.collect());
        // Each a little later than the one before it: deliveries are sent in this order.
        let instants = std::iter::successors(Some(self.env.now()), |now| {
            Some(*now + SignedDuration::from_micros(1))
        });
        for ((opened, wanting), at) in fanned.into_iter().zip(instants) {
            let deliveries = wanting.iter().map(|webhook| (self.env.id(at), *webhook)).collect();
            let Some(event) = opened.fanned(at)? else { continue };
            tx.insert_deliveries(event, deliveries);
            // Also for endpoints that are disabled: one that is being enabled right now must not miss it.
            let context = opened.context();
            let drain = |webhook| Drain { webhook }.job(opened.community).caused_by(&context);
            let drains = wanting.into_iter().map(drain);
            tx.staged().jobs.extend(drains.collect::<Vec<NewJob>>());
        }
        Ok(tx.commit().await?)
    }
}

/// An event of a community with its envelope.
pub(super) struct Opened<'a> {
    event: &'a LoggedEvent,
    community: CommunityId,
    envelope: CloudEvent,
}

impl<'a> Opened<'a> {
    /// `None` for an event of no community, which no endpoint is about.
    pub(super) fn read(event: &'a LoggedEvent) -> Option<Result<Self, Failure>> {
        let community = event.community?;
        let envelope = serde_json::from_slice(&event.envelope).map_err(Failure::internal);
        Some(envelope.map(|envelope| Self { event, community, envelope }))
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            community: self.community,
            patterns: patterns_matching(&self.event.event_type),
            recorded_at: self.recorded_at(),
        }
    }

    pub(super) fn recorded_at(&self) -> Timestamp {
        self.envelope.time.get()
    }

    /// What is to be delivered; `None` if it is larger than a webhook may be. No event that we record is, by the bounds of
    /// what it is made of; one that were is left out, told and counted, and holds up nothing behind it.
    pub(super) fn fanned(&self, at: Timestamp) -> Result<Option<FannedEvent>, Failure> {
        let body = body(&self.envelope)?;
        if body.len() > MAX_BODY {
            tracing::error!(
                event = %self.event.id,
                event_type = self.event.event_type,
                bytes = body.len(),
                "an event is larger than a webhook may be; it is delivered to nobody"
            );
            metrics::counter!("convene_webhook_oversized_total").increment(1);
            return Ok(None);
        }
        Ok(Some(FannedEvent {
            id: self.event.id,
            event_type: self.event.event_type.clone(),
            body,
            traceparent: self.envelope.traceparent.clone(),
            at,
        }))
    }

    fn context(&self) -> RequestContext {
        RequestContext {
            traceparent: self.envelope.traceparent.clone(),
            ..RequestContext::system(self.envelope.correlationid.clone())
        }
    }
}

/// The bytes that receivers get.
fn body(envelope: &CloudEvent) -> Result<Bytes, Failure> {
    let body = serde_json::to_vec(&WebhookBody::from(envelope)).map_err(Failure::internal)?;
    Ok(Bytes::from(body))
}
