//! Sending an endpoint's due deliveries.
//!
//! A run claims a batch, sends it over a few connections at once, and settles it in one unit of work: attempts, retries,
//! the endpoint's health, and what is to be recorded and told. The claim is stored before anything is sent, and the unit
//! of work carries the job's fence, so whatever happens to this process a delivery that may not have arrived is sent
//! again, under the same id.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convene_domain::ids::{DeliveryId, WebhookId};
use convene_domain::webhook::{Answer, UNREACHABLE_AFTER};
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::Instrument as _;

use super::egress::{SignedRequest, WebhookSender, WebhookSigner};
use super::jobs::Drain;
use super::pace::Pace;
use super::ports::{ClaimedDelivery, DeliveryQueue, Target, WebhookTx};
use super::secret;
use super::settle::{Batch, Rest, Sent};
use crate::kernel::env::Env;
use crate::kernel::error::Failure;
use crate::kernel::jobs::{LeasedJob, Outcome, RunJob};
use crate::kernel::secrets::Sealer;
use crate::kernel::store::StoreError;
use crate::kernel::trace;
use crate::kernel::uow::Uow;

/// Nothing is sent later in a run than this: then it is somebody else's turn.
const TURN: Duration = Duration::from_secs(5);
/// How long one exchange may take; the sender keeps to it.
const EXCHANGE: Duration = Duration::from_secs(15);
/// How long a claim holds.
const CLAIM: SignedDuration = SignedDuration::from_secs(30);
// A claim that ended before its exchange would send twice.
const _: () = assert!(CLAIM.as_secs() as u64 > TURN.as_secs() + EXCHANGE.as_secs());
/// The pause before asking again for deliveries that are due but were locked by somebody.
const LOCKED: SignedDuration = SignedDuration::from_millis(50);
/// The most deliveries of a deleted endpoint that one statement removes.
const PURGE_BATCH: u32 = 500;

/// How much is sent at once.
#[derive(Clone, Copy, Debug)]
pub struct DrainOptions {
    /// The most deliveries that are claimed and settled together.
    pub batch: u32,
    /// The most requests in flight to one endpoint.
    pub concurrency: usize,
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self { batch: 128, concurrency: 8 }
    }
}

/// Sends deliveries.
pub struct Drainer {
    pub(super) env: Env,
    pub(super) uow: Uow<dyn WebhookTx>,
    queue: Arc<dyn DeliveryQueue>,
    sender: Arc<dyn WebhookSender>,
    signer: Arc<dyn WebhookSigner>,
    sealer: Arc<dyn Sealer>,
    options: DrainOptions,
}

/// A delivery with the request that carries it.
struct Signed {
    delivery: ClaimedDelivery,
    request: SignedRequest,
}

/// Whether more of a batch is sent: not once the receiver has asked for less, or does not seem to be there.
#[derive(Default)]
struct Brake {
    pulled: AtomicBool,
    unanswered: AtomicU32,
}

impl Brake {
    fn is_pulled(&self) -> bool {
        self.pulled.load(Ordering::Relaxed)
    }

    fn observe(&self, answer: Answer) {
        let pull = match answer {
            Answer::Overloaded | Answer::Gone => true,
            Answer::Unreachable => {
                self.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNREACHABLE_AFTER
            }
            Answer::Taken | Answer::Failed => {
                self.unanswered.store(0, Ordering::Relaxed);
                false
            }
        };
        if pull {
            self.pulled.store(true, Ordering::Relaxed);
        }
    }
}

impl Drainer {
    /// How long a run may be busy sending. One that were cut off sooner would send again what has arrived.
    pub const LONGEST: Duration = Duration::from_secs(TURN.as_secs() + EXCHANGE.as_secs());

    /// The drainer over its ports.
    #[must_use]
    pub fn new(
        env: Env,
        uow: Uow<dyn WebhookTx>,
        queue: Arc<dyn DeliveryQueue>,
        sender: Arc<dyn WebhookSender>,
        signer: Arc<dyn WebhookSigner>,
        sealer: Arc<dyn Sealer>,
        options: DrainOptions,
    ) -> Self {
        Self { env, uow, queue, sender, signer, sealer, options }
    }

    /// Claims a batch, sends it and settles it.
    async fn batch(
        &self,
        webhook: WebhookId,
        lease: &LeasedJob,
        turn_ends: Instant,
        pace: &Pace,
    ) -> Result<Rest, Failure> {
        let now = self.env.now();
        let claimed = self.queue.claim(webhook, now, now + CLAIM, self.options.batch).await?;
        let Some(target) = claimed.target else {
            return Ok(self.purge(webhook, now).await?);
        };
        if claimed.deliveries.is_empty() {
            let again = now + LOCKED;
            return Ok(match claimed.next_due {
                Some(due) if target.enabled => {
                    Rest::DueAt(due.max(again).max(target.paused_until.unwrap_or(due)))
                }
                _ => Rest::Nothing,
            });
        }
        let ids = claimed.deliveries.iter().map(|delivery| delivery.id).collect();
        let signed = match self.sign(&target, claimed.deliveries, now) {
            Ok(signed) => signed,
            Err(failure) => {
                let batch = Batch { target, sent: Vec::new(), unsent: ids };
                self.settle(webhook, &batch, lease).await?;
                return Err(failure);
            }
        };
        let batch = self.send(target, signed, turn_ends, pace).await;
        Ok(self.settle(webhook, &batch, lease).await?)
    }

    /// Removes deliveries of an endpoint that is no more.
    async fn purge(&self, webhook: WebhookId, now: Timestamp) -> Result<Rest, StoreError> {
        let purged = self.queue.purge(webhook, PURGE_BATCH).await?;
        Ok(if purged >= PURGE_BATCH { Rest::DueAt(now) } else { Rest::Nothing })
    }

    /// Opens the secrets once, and signs each delivery with each of them: receivers take whichever they know.
    fn sign(
        &self,
        target: &Target,
        deliveries: Vec<ClaimedDelivery>,
        now: Timestamp,
    ) -> Result<Vec<Signed>, Failure> {
        let sealed = target.sealed_secrets.iter();
        let secrets = sealed.map(|sealed| secret::open(&*self.sealer, sealed));
        let secrets: Vec<_> = secrets.collect::<Result<_, _>>().map_err(Failure::internal)?;
        let custom = secret::open_headers(&*self.sealer, target.sealed_headers.as_deref());
        let custom = custom.map_err(Failure::internal)?;
        let timestamp = now.as_second();
        deliveries
            .into_iter()
            .map(|delivery| {
                let id = delivery.id.to_string();
                let sign = |secret: &SecretString| {
                    self.signer.sign(secret.expose_secret(), &id, timestamp, &delivery.body)
                };
                let signatures: Vec<String> = secrets
                    .iter()
                    .map(sign)
                    .collect::<Result<_, _>>()
                    .map_err(Failure::internal)?;
                let mut headers: Vec<_> = custom.fields().clone().into_iter().collect();
                headers.extend([
                    ("content-type".to_owned(), "application/json".to_owned()),
                    ("webhook-id".to_owned(), id),
                    ("webhook-timestamp".to_owned(), timestamp.to_string()),
                    ("webhook-signature".to_owned(), signatures.join(" ")),
                ]);
                let url = target.url.as_str().to_owned();
                let body = delivery.body.clone();
                Ok(Signed { delivery, request: SignedRequest { url, headers, body } })
            })
            .collect()
    }

    /// Sends a batch until the turn ends, or the brake is pulled.
    async fn send(
        &self,
        target: Target,
        signed: Vec<Signed>,
        turn_ends: Instant,
        pace: &Pace,
    ) -> Batch {
        let rate = target.rate_limit;
        let moment = || pace.take(rate, Instant::now(), turn_ends);
        let brake = Brake::default();
        let exchanges: Vec<_> =
            signed.into_iter().map(|signed| self.exchange(signed, &moment, &brake)).collect();
        let mut exchanges =
            futures::stream::iter(exchanges).buffer_unordered(self.options.concurrency.max(1));
        let mut batch = Batch { target, sent: Vec::new(), unsent: Vec::new() };
        while let Some(exchange) = exchanges.next().await {
            match exchange {
                Ok(sent) => batch.sent.push(sent),
                Err(unsent) => batch.unsent.push(unsent),
            }
        }
        batch
    }

    async fn exchange(
        &self,
        Signed { delivery, mut request }: Signed,
        moment: &(dyn Fn() -> Option<Duration> + Sync),
        brake: &Brake,
    ) -> Result<Sent, DeliveryId> {
        if brake.is_pulled() {
            return Err(delivery.id);
        }
        match moment() {
            None => return Err(delivery.id),
            Some(Duration::ZERO) => {}
            Some(wait) => {
                tokio::time::sleep(wait).await;
                if brake.is_pulled() {
                    return Err(delivery.id);
                }
            }
        }
        let at = self.env.now();
        let parent = delivery.traceparent.as_deref();
        let span = trace::detail(
            || tracing::info_span!("webhook.deliver", delivery = %delivery.id, attempt = delivery.number),
        );
        let span = trace::continued(span, parent);
        // The receiver goes on with the trace, from this very attempt where that is known.
        let context = trace::traceparent(&span).or_else(|| delivery.traceparent.clone());
        request.headers.extend(context.map(|context| ("traceparent".to_owned(), context)));
        let attempted = self.sender.post(request).instrument(span).await;
        let answer = Answer::of(attempted.status, attempted.error.is_none());
        brake.observe(answer);
        metrics::histogram!("convene_webhook_attempt_seconds", "answer" => label(answer))
            .record(attempted.duration.as_secs_f64());
        Ok(Sent { delivery, at, ended_at: self.env.now(), answer, attempted })
    }
}

#[async_trait]
impl RunJob<Drain> for Drainer {
    #[tracing::instrument(name = "webhook.drain", skip_all, fields(webhook = %job.webhook))]
    async fn run(&self, job: Drain, lease: &LeasedJob) -> Outcome {
        let (turn_ends, pace) = (Instant::now() + TURN, Pace::default());
        loop {
            let due = match self.batch(job.webhook, lease, turn_ends, &pace).await {
                Ok(Rest::DueAt(due)) => due,
                Ok(Rest::Nothing) => return Outcome::Done,
                Ok(Rest::Settled) => return Outcome::Settled,
                // A store that is away for a while must not use up the attempts of a job that lives for days.
                Err(failure) if failure.is_temporary() => {
                    tracing::warn!(
                        error = &failure as &dyn std::error::Error,
                        "deliveries wait for the store"
                    );
                    return Outcome::Snooze(failure.retry_after.unwrap_or(TURN));
                }
                Err(failure) => return Outcome::Retry(failure),
            };
            let wait = Duration::try_from(due.duration_since(self.env.now())).unwrap_or_default();
            // Another run keeps the pace, too: it begins when the next request may go out.
            let wait = wait.max(pace.rest(Instant::now()));
            if !wait.is_zero() || Instant::now() >= turn_ends {
                return Outcome::Snooze(wait);
            }
        }
    }
}

fn label(answer: Answer) -> &'static str {
    match answer {
        Answer::Taken => "taken",
        Answer::Gone => "gone",
        Answer::Overloaded => "overloaded",
        Answer::Unreachable => "unreachable",
        Answer::Failed => "failed",
    }
}
