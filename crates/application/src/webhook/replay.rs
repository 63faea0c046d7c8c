//! Many deliveries sent again: an operation that takes a while, carried out by a job in small steps.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convene_domain::community::CommunityRef;
use convene_domain::ids::{DeliveryId, ReplayId, WebhookId};
use convene_domain::webhook::{Endpoint, ReplayScope, ReplayStatus};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::fanout::Opened;
use super::jobs::Drain;
use super::ports::{FannedEvent, Replay, WebhookReads, WebhookTx};
use super::service::WebhookService;
use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::env::Env;
use crate::kernel::error::{Checked, Failure, FieldError};
use crate::kernel::events::LoggedEvent;
use crate::kernel::idempotency::{Idempotency, Reply};
use crate::kernel::jobs::{Job, LeasedJob, NewJob, Outcome, RunJob};
use crate::kernel::log::{CommunityLog, TypeFilter};
use crate::kernel::page::{Page, PageKey, PageQuery, Travel};
use crate::kernel::uow::{self, Uow};

/// The most rows of one step.
const STEP: u16 = 500;

/// What is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayInput {
    /// Which deliveries.
    pub scope: ReplayScope,
    /// Those that were made, or whose events were recorded, at this time or later. Of missing ones all without it.
    pub since: Option<Timestamp>,
}

/// Goes on with a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayDeliveries {
    /// The replay.
    #[serde(with = "crate::kernel::typed")]
    pub replay: ReplayId,
}

impl Job for ReplayDeliveries {
    const KIND: &'static str = "webhook.replay";
}

impl WebhookService {
    /// Begins to send many deliveries again, each under its id. What is made from now on is left alone.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, the input's own mistakes, `community_archived`.
    pub async fn replay(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        webhook: WebhookId,
        input: Checked<ReplayInput>,
        idempotency: Option<Idempotency<Replay>>,
    ) -> Result<Reply<Replay>, Failure> {
        let community = self.managed(principal, community).await?;
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        let locked = tx.lock_endpoint(community.id, webhook).await?;
        let endpoint = locked.ok_or_else(Failure::not_found)?;
        if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        let since = since(input?, &endpoint)?;
        community.ensure_writable()?;

        let replay = begin(&mut *tx, context, &self.env, &endpoint, since);
        tx.staged().reply(idempotency.as_ref(), &replay);
        tx.commit().await?;
        Ok(Reply::Fresh(replay))
    }

    /// How far a replay has got.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn get_replay(
        &self,
        principal: Principal,
        community: &CommunityRef,
        webhook: WebhookId,
        replay: ReplayId,
    ) -> Result<Replay, Failure> {
        let community = self.managed(principal, community).await?;
        let found = self.reads.replay(replay).await?;
        let here = |replay: &Replay| (replay.community, replay.webhook) == (community.id, webhook);
        found.filter(here).ok_or_else(Failure::not_found)
    }

    /// Stops a replay. What it has handed over is sent; one that has ended stays as it is.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `community_archived`.
    pub async fn cancel_replay(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        webhook: WebhookId,
        replay: ReplayId,
        idempotency: Option<Idempotency<Replay>>,
    ) -> Result<Reply<Replay>, Failure> {
        let community = self.managed(principal, community).await?;
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        let locked = tx.lock_replay(replay).await?;
        let here = |(_, replay): &(Endpoint, Replay)| {
            (replay.community, replay.webhook) == (community.id, webhook)
        };
        let (_, mut current) = locked.filter(here).ok_or_else(Failure::not_found)?;
        if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        community.ensure_writable()?;

        if current.status == ReplayStatus::Running {
            current.status = ReplayStatus::Cancelled;
            current.ended_at = Some(self.env.now());
            tx.update_replay(&current);
        }
        let staged = tx.staged();
        staged.audit(context, Some(community.id), "webhook.cancel_replay", replay, json!({}));
        staged.reply(idempotency.as_ref(), &current);
        tx.commit().await?;
        Ok(Reply::Fresh(current))
    }
}

/// From when on: of what has been made a time must be named, so that nobody sends everything again by accident.
pub(super) fn since(
    input: ReplayInput,
    endpoint: &Endpoint,
) -> Result<(ReplayScope, Timestamp), Failure> {
    match (input.scope, input.since) {
        (scope, Some(since)) => Ok((scope, since)),
        (ReplayScope::Missing, None) => Ok((ReplayScope::Missing, endpoint.created_at)),
        (scope, None) => {
            let detail = format!("must be given to send {} deliveries again", scope.as_str());
            Err(Failure::invalid(vec![FieldError::field("since", "required", detail)]))
        }
    }
}

/// Stages a new replay, and the job that carries it out.
pub(super) fn begin(
    tx: &mut dyn WebhookTx,
    context: &RequestContext,
    env: &Env,
    endpoint: &Endpoint,
    (scope, since): (ReplayScope, Timestamp),
) -> Replay {
    let now = env.now();
    let replay = Replay {
        id: env.id(now),
        community: endpoint.community,
        webhook: endpoint.id,
        scope,
        since,
        status: ReplayStatus::Running,
        redelivered: 0,
        cursor: None,
        created_at: now,
        ended_at: None,
    };
    tx.insert_replay(&replay);
    let job = ReplayDeliveries { replay: replay.id };
    let staged = tx.staged();
    staged.jobs.push(NewJob::new(&job).unique(replay.id).caused_by(context));
    let facts = json!({ "scope": scope.as_str(), "since": since.to_string() });
    staged.audit(context, Some(replay.community), "webhook.replay", replay.id, facts);
    replay
}

/// Carries replays out.
pub struct Replays {
    env: Env,
    uow: Uow<dyn WebhookTx>,
    reads: Arc<dyn WebhookReads>,
    log: Arc<dyn CommunityLog>,
}

impl Replays {
    /// The runner over its ports.
    #[must_use]
    pub fn new(
        env: Env,
        uow: Uow<dyn WebhookTx>,
        reads: Arc<dyn WebhookReads>,
        log: Arc<dyn CommunityLog>,
    ) -> Self {
        Self { env, uow, reads, log }
    }

    /// Hands over the next few deliveries, in one unit of work with how far it got. `false`: there are no more.
    async fn step(&self, id: ReplayId, lease: &LeasedJob) -> Result<bool, Failure> {
        let Some(seen) = self.reads.replay(id).await? else { return Ok(false) };
        // Read before anything is locked; only this job moves the cursor.
        let page = match seen.scope {
            ReplayScope::Missing => Some(self.page(&seen).await?),
            ReplayScope::Failed | ReplayScope::All => None,
        };
        let mut tx = self.uow.begin(Vec::new()).await?;
        let Some((endpoint, mut replay)) = tx.lock_replay(id).await? else { return Ok(false) };
        if replay.status != ReplayStatus::Running {
            return Ok(false);
        }
        let handed_over = match page {
            None => requeue(&mut *tx, &mut replay, self.env.now()).await?,
            Some(page) => self.make_missing(&mut *tx, &endpoint, &mut replay, page).await?,
        };
        let has_more = replay.ended_at.is_none();
        tx.update_replay(&replay);
        if handed_over > 0 {
            let context = RequestContext {
                traceparent: lease.traceparent.clone(),
                ..RequestContext::system(lease.correlation_id.clone().unwrap_or_default())
            };
            let drain = Drain { webhook: endpoint.id }.job(endpoint.community);
            tx.staged().jobs.push(drain.caused_by(&context));
        }
        tx.fence(lease.fence(), false);
        tx.commit().await?;
        Ok(has_more)
    }

    async fn page(&self, replay: &Replay) -> Result<Page<LoggedEvent>, Failure> {
        let travel = replay.cursor.map_or(Travel::First, Travel::After);
        let query = PageQuery { limit: STEP, travel };
        Ok(self.log.page(replay.community, &TypeFilter::Any, query).await?)
    }

    /// Stages deliveries of those events that the endpoint wants and has none of.
    async fn make_missing(
        &self,
        tx: &mut dyn WebhookTx,
        endpoint: &Endpoint,
        replay: &mut Replay,
        page: Page<LoggedEvent>,
    ) -> Result<u64, Failure> {
        let now = self.env.now();
        let mut wanted: Vec<FannedEvent> = Vec::new();
        for event in &page.items {
            if !endpoint.event_types.include(&event.event_type) {
                continue;
            }
            let Some(opened) = Opened::read(event) else { continue };
            let opened = opened?;
            let recorded_at = opened.recorded_at();
            let in_time = recorded_at > endpoint.created_at
                && recorded_at >= replay.since
                && recorded_at < replay.created_at;
            if in_time {
                // Each a little later than the one before it: deliveries are sent in this order.
                let at =
                    now + SignedDuration::from_micros(i64::try_from(wanted.len()).unwrap_or(0));
                wanted.extend(opened.fanned(at)?);
            }
        }
        let ids: Vec<Uuid> = wanted.iter().map(|event| event.id).collect();
        let delivered = tx.delivered(endpoint.id, &ids).await?;
        wanted.retain(|event| !delivered.contains(&event.id));
        let made = wanted.len() as u64;
        for event in wanted {
            let delivery = self.env.id(event.at);
            tx.insert_deliveries(event, vec![(delivery, endpoint.id)]);
        }
        replay.advance(made, page.next, now);
        Ok(made)
    }
}

/// Stages that the next few deliveries are sent again. One that is on its way is left as it is.
async fn requeue(
    tx: &mut dyn WebhookTx,
    replay: &mut Replay,
    now: Timestamp,
) -> Result<u64, Failure> {
    let made = tx.lock_made(replay, STEP.into()).await?;
    let ids: Vec<DeliveryId> =
        made.iter().filter(|made| !made.in_flight).map(|made| made.delivery).collect();
    let count = ids.len() as u64;
    if count > 0 {
        tx.requeue_deliveries(ids, now);
    }
    let next = made.last().filter(|_| made.len() >= usize::from(STEP)).map(|made| made.place);
    replay.advance(count, next, now);
    Ok(count)
}

impl Replay {
    /// So many more were handed over, and it goes on there; nowhere: it is done.
    fn advance(&mut self, handed_over: u64, next: Option<PageKey>, now: Timestamp) {
        self.redelivered += handed_over;
        self.cursor = next.or(self.cursor);
        if next.is_none() {
            self.status = ReplayStatus::Completed;
            self.ended_at = Some(now);
        }
    }
}

#[async_trait]
impl RunJob<ReplayDeliveries> for Replays {
    async fn run(&self, job: ReplayDeliveries, lease: &LeasedJob) -> Outcome {
        // One step a run, so that no run is long however much there is.
        match self.step(job.replay, lease).await {
            Ok(true) => Outcome::Snooze(Duration::ZERO),
            Ok(false) => Outcome::Done,
            Err(failure) => Outcome::Retry(failure),
        }
    }
}
