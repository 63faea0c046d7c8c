//! What the answers of a batch come to: attempts, retries, the endpoint's health, events and mail, in one unit of work.

use convene_domain::ids::{DeliveryId, WebhookId};
use convene_domain::webhook::{Answer, Endpoint, Next, Spread, after_attempt};
use jiff::Timestamp;
use serde_json::json;

use super::drain::Drainer;
use super::egress::Attempted;
use super::events::{self, Exhausted};
use super::jobs::MailFailing;
use super::ports::{ClaimedDelivery, SettledAttempt, Target};
use crate::kernel::context::RequestContext;
use crate::kernel::events::{NewEvent, Recorder};
use crate::kernel::failpoint::{self, Failpoint};
use crate::kernel::jobs::{LeasedJob, NewJob};
use crate::kernel::random::Random;
use crate::kernel::retry::retrying;
use crate::kernel::store::StoreError;

/// A claimed batch, sent as far as possible.
pub(super) struct Batch {
    pub(super) target: Target,
    /// In the order in which the exchanges ended.
    pub(super) sent: Vec<Sent>,
    pub(super) unsent: Vec<DeliveryId>,
}

/// A delivery that was sent, and what came back.
pub(super) struct Sent {
    pub(super) delivery: ClaimedDelivery,
    pub(super) at: Timestamp,
    pub(super) ended_at: Timestamp,
    pub(super) answer: Answer,
    pub(super) attempted: Attempted,
}

/// What is left after a batch.
pub(super) enum Rest {
    /// Nothing that could be sent: the job is done.
    Nothing,
    /// Nothing, and the unit of work that settled the batch has ended the job.
    Settled,
    /// Deliveries that are due at this time.
    DueAt(Timestamp),
}

impl Drainer {
    /// Settles a batch, also when a concurrent transaction is in the way.
    pub(super) async fn settle(
        &self,
        webhook: WebhookId,
        batch: &Batch,
        lease: &LeasedJob,
    ) -> Result<Rest, StoreError> {
        retrying(&*self.env.random, || self.settle_once(webhook, batch, lease)).await
    }

    /// Settles a batch in one unit of work. An error means that none of it happened.
    async fn settle_once(
        &self,
        webhook: WebhookId,
        batch: &Batch,
        lease: &LeasedJob,
    ) -> Result<Rest, StoreError> {
        let mut tx = self.uow.begin(Vec::new()).await?;
        let locked = tx.lock_drained(webhook, &batch.ids()).await?;
        let now = self.env.now();
        // Deleted meanwhile: the next claim finds that out, and has its deliveries removed.
        let Some((before, others_due)) = locked else { return Ok(Rest::DueAt(now)) };

        let context = caused_by(lease);
        let recorder = self.env.recorder(&context, now, Some(before.community));
        let mut verdict = Verdict::of(batch, before.clone(), &*self.env.random);
        tx.staged().events.extend(verdict.record(&recorder));
        if let Some(mail) = verdict.notice(now) {
            tx.staged().jobs.push(NewJob::new(&mail).caused_by(&context));
        }
        let due = verdict.next_due(others_due, (!batch.unsent.is_empty()).then_some(now));
        let (exhausted, disabled) = (verdict.exhausted.len(), verdict.disabled_by.is_some());

        if verdict.disabled_by.is_some() {
            let facts = json!({ "fields": ["status"] });
            tx.staged().audit(&context, Some(before.community), "webhook.disable", webhook, facts);
        }
        if verdict.endpoint != before {
            tx.update_endpoint(&verdict.endpoint);
        }
        tx.settle_attempts(verdict.attempts);
        if !batch.unsent.is_empty() {
            tx.release_deliveries(batch.unsent.clone(), now);
        }
        tx.fence(lease.fence(), due.is_none());
        failpoint::reach(Failpoint::AttemptWrite);
        tx.commit().await?;
        count(exhausted, disabled);
        Ok(due.map_or(Rest::Settled, Rest::DueAt))
    }
}

impl Batch {
    fn ids(&self) -> Vec<DeliveryId> {
        let sent = self.sent.iter().map(|sent| sent.delivery.id);
        sent.chain(self.unsent.iter().copied()).collect()
    }
}

/// What the answers of a batch come to.
struct Verdict {
    endpoint: Endpoint,
    attempts: Vec<SettledAttempt>,
    exhausted: Vec<Exhausted>,
    /// Whether the endpoint was disabled, with the status of the answer that did it.
    disabled_by: Option<Option<u16>>,
}

impl Verdict {
    fn of(batch: &Batch, endpoint: Endpoint, random: &dyn Random) -> Self {
        // Answers from where the endpoint no longer is say nothing about it.
        let still_there = endpoint.url == batch.target.url;
        let attempts = Vec::with_capacity(batch.sent.len());
        let mut verdict = Self { endpoint, attempts, exhausted: Vec::new(), disabled_by: None };
        for sent in &batch.sent {
            let spread = Spread::from_random(u32::from_ne_bytes(random.bytes()));
            if still_there {
                verdict.observe(sent, spread);
            }
            verdict.settle(sent, spread);
        }
        verdict
    }

    fn observe(&mut self, sent: &Sent, spread: Spread) {
        let retry_after = sent.attempted.retry_after;
        if self.endpoint.observe(sent.answer, retry_after, sent.ended_at, spread) {
            self.disabled_by = Some(sent.attempted.status);
        }
    }

    fn settle(&mut self, sent: &Sent, spread: Spread) {
        let Sent { delivery, at, ended_at, answer, attempted } = sent;
        let next =
            after_attempt(delivery.scheduled, *answer, attempted.retry_after, *ended_at, spread);
        if next == Next::Exhausted {
            self.exhausted.push(Exhausted {
                delivery: delivery.id,
                event_id: delivery.event_id,
                event_type: delivery.event_type.clone(),
                last_status: attempted.status,
            });
        }
        self.attempts.push(SettledAttempt {
            delivery: delivery.id,
            number: delivery.number,
            at: *at,
            status_code: attempted.status,
            duration: attempted.duration,
            error: attempted.error.clone(),
            response_head: attempted.response_head.clone(),
            next,
        });
    }

    /// The events of the endpoint.
    fn record(&mut self, recorder: &Recorder<'_>) -> Vec<NewEvent> {
        let mut recorded = Vec::new();
        for exhausted in self.exhausted.iter().filter(|exhausted| exhausted.is_recorded()) {
            recorded.push(events::exhausted(recorder, &mut self.endpoint, exhausted));
        }
        if let Some(last_status) = self.disabled_by {
            recorded.push(events::disabled(recorder, &mut self.endpoint, last_status));
        }
        recorded
    }

    /// The mail to whoever made the endpoint, if there is something new to tell.
    fn notice(&mut self, now: Timestamp) -> Option<MailFailing> {
        let disabled = self.disabled_by.is_some();
        let failing = !self.exhausted.is_empty() && self.endpoint.health.is_notice_due(now);
        if !(disabled || failing) {
            return None;
        }
        self.endpoint.health.noticed_at = Some(now);
        let (community, webhook) = (self.endpoint.community, self.endpoint.id);
        Some(MailFailing { community, webhook, disabled })
    }

    /// When there is something to send again, of these attempts, the others that are pending and those that were released.
    fn next_due(
        &self,
        others: Option<Timestamp>,
        released: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let retries = self.attempts.iter().filter_map(|attempt| match attempt.next {
            Next::RetryAt(at) => Some(at),
            Next::Succeeded | Next::Exhausted => None,
        });
        let due = retries.chain(others).chain(released).min()?;
        let due = due.max(self.endpoint.health.paused_until.unwrap_or(due));
        self.endpoint.is_enabled().then_some(due)
    }
}

fn caused_by(lease: &LeasedJob) -> RequestContext {
    RequestContext {
        traceparent: lease.traceparent.clone(),
        ..RequestContext::system(
            lease.correlation_id.clone().unwrap_or_else(|| format!("job-{}", lease.id)),
        )
    }
}

fn count(exhausted: usize, disabled: bool) {
    metrics::counter!("convene_webhook_exhausted_total").increment(exhausted as u64);
    metrics::counter!("convene_webhook_endpoints_disabled_total").increment(u64::from(disabled));
}
