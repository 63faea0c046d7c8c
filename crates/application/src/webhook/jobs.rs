//! The jobs of this module.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convene_domain::ids::{CommunityId, WebhookId};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::drain::Drainer;
use super::notice::Notices;
use super::ports::DeliveryQueue;
use super::replay::{ReplayDeliveries, Replays};
use crate::kernel::clock::Clock;
use crate::kernel::jobs::{Duty, Handler, Job, LeasedJob, NewJob, Outcome, RunJob, handler};

/// How long deliveries and their attempts are kept.
const KEEP: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The most deliveries that one statement of the sweep removes.
const SWEEP_BATCH: u32 = 500;

/// Sends an endpoint's due deliveries. Unique by endpoint; lives as long as there is something pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The endpoint.
    #[serde(with = "crate::kernel::typed")]
    pub webhook: WebhookId,
}

/// Tells whoever made an endpoint that it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailFailing {
    /// The community that the endpoint belongs to.
    #[serde(with = "crate::kernel::typed")]
    pub community: CommunityId,
    /// The endpoint.
    #[serde(with = "crate::kernel::typed")]
    pub webhook: WebhookId,
    /// Whether it was disabled.
    pub disabled: bool,
}

/// Throws away deliveries whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepDeliveries {}

impl Job for Drain {
    const KIND: &'static str = "webhook.drain";
    const QUEUE: &'static str = "webhooks";
}

impl Job for MailFailing {
    const KIND: &'static str = "webhook.mail_failing";
    const QUEUE: &'static str = "mail";
}

impl Job for SweepDeliveries {
    const KIND: &'static str = "webhook.sweep";
}

impl Drain {
    /// The job that drains an endpoint of this community. The endpoints of a community are a group: communities take turns,
    /// so one with very many that are due delays nobody else's.
    #[must_use]
    pub fn job(self, community: CommunityId) -> NewJob {
        NewJob::new(&self).unique(self.webhook).group(format!("community:{community}"))
    }
}

/// Sweeps every hour.
#[must_use]
pub fn duty() -> Duty {
    let job = NewJob::new(&SweepDeliveries {}).unique(SweepDeliveries::KIND);
    Duty::every(SweepDeliveries::KIND, Duration::from_secs(3_600), job)
}

/// The handlers of this module's jobs.
pub fn handlers(
    drainer: Drainer,
    notices: Notices,
    replays: Replays,
    clock: Arc<dyn Clock>,
    queue: Arc<dyn DeliveryQueue>,
) -> Vec<Arc<dyn Handler>> {
    vec![
        handler::<Drain, _>(Arc::new(drainer)),
        handler::<MailFailing, _>(Arc::new(notices)),
        handler::<ReplayDeliveries, _>(Arc::new(replays)),
        handler::<SweepDeliveries, _>(Arc::new(Sweeper { clock, queue })),
    ]
}

struct Sweeper {
    clock: Arc<dyn Clock>,
    queue: Arc<dyn DeliveryQueue>,
}

#[async_trait]
impl RunJob<SweepDeliveries> for Sweeper {
    async fn run(&self, _: SweepDeliveries, _: &LeasedJob) -> Outcome {
        let now = self.clock.now();
        if let Err(error) = self.queue.forget_secrets(now).await {
            return Outcome::Retry(error.into());
        }
        let before = now - KEEP;
        match self.queue.sweep(before, SWEEP_BATCH).await {
            Ok(swept) if swept >= SWEEP_BATCH => Outcome::Snooze(Duration::ZERO),
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Retry(error.into()),
        }
    }
}
