//! Webhook endpoints, their deliveries, and receivers that answer as the test wants.

mod egress;

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use bytes::Bytes;
use convene_application::kernel::context::RequestContext;
use convene_application::kernel::env::Env;
use convene_application::kernel::events::LoggedEvent;
use convene_application::kernel::idempotency::KeyClaim;
use convene_application::kernel::page::{Page, PageKey, PageQuery};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Begin;
use convene_application::webhook::ports::{
    AttemptView, ClaimedBatch, ClaimedDelivery, DeliveryQueue, DeliveryView, EndpointStats,
    FannedEvent, MadeDelivery, PREVIOUS_SECRETS, Replay, SettledAttempt, Target, Wanted,
    WebhookReads, WebhookTx,
};
use convene_contracts::EventPayload as _;
use convene_contracts::rsvp::RsvpConfirmed;
use convene_domain::ids::{CommunityId, DeliveryId, ReplayId, RsvpId, TypedId as _, WebhookId};
use convene_domain::webhook::{DeliveryStatus, Endpoint, Next, ReplayScope, ReplayStatus};
use jiff::Timestamp;
use uuid::Uuid;

use super::page::{Order, page};
use super::store::{FakeStore, FakeTx};

pub use egress::{FakeReceiver, FakeSigner, FakeUrlPolicy, answer};

/// An `rsvp.confirmed` of a community as it comes from the log, recorded now.
pub fn confirmed_rsvp(env: &Env, community: CommunityId) -> LoggedEvent {
    let context = RequestContext::system("req-test");
    let recorder = env.recorder(&context, env.now(), Some(community));
    let event = recorder.event(RsvpId::from_uuid(Uuid::nil()), 1, RsvpConfirmed::example());
    LoggedEvent {
        position: 1,
        id: event.id,
        event_type: event.event_type.to_owned(),
        version: event.version,
        community: event.community,
        envelope: event.envelope,
        replay: 0,
    }
}

/// The tables of webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Webhooks {
    /// Endpoints with their sealed secrets.
    pub endpoints: BTreeMap<WebhookId, (Endpoint, Vec<u8>)>,
    /// Sealed header fields of endpoints that have some.
    pub headers: BTreeMap<WebhookId, Vec<u8>>,
    /// Sealed secrets of before, the newest first, with when their time is over.
    pub previous_secrets: BTreeMap<WebhookId, Vec<(Vec<u8>, Timestamp)>>,
    /// Replays by id.
    pub replays: BTreeMap<ReplayId, Replay>,
    /// Deliveries by id.
    pub deliveries: BTreeMap<DeliveryId, DeliveryRow>,
}

/// A delivery as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its identity.
    pub id: DeliveryId,
    /// Where it goes.
    pub endpoint: WebhookId,
    /// The event's id.
    pub event_id: Uuid,
    /// The event's type.
    pub event_type: String,
    /// The bytes to send.
    pub body: Bytes,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// The number of the last attempt.
    pub number: i32,
    /// The place of the last attempt in the schedule.
    pub scheduled: u32,
    /// When the last attempt began, unless it was settled.
    pub started_at: Option<Timestamp>,
    /// When it is due, while it is pending.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Attempts that have ended.
    pub attempts: Vec<AttemptView>,
    traceparent: Option<String>,
}

impl DeliveryRow {
    fn view(&self) -> DeliveryView {
        let running = self.started_at.map(|at| AttemptView {
            at,
            status_code: None,
            duration: None,
            error: None,
            response_head: Bytes::new(),
        });
        DeliveryView {
            id: self.id,
            event_id: self.event_id,
            event_type: self.event_type.clone(),
            status: self.status,
            attempts: self.attempts.iter().cloned().chain(running).collect(),
            in_flight: self.started_at.is_some(),
            created_at: self.created_at,
        }
    }

    fn claim(&mut self, now: Timestamp, until: Timestamp) -> ClaimedDelivery {
        if let Some(at) = self.started_at.replace(now) {
            let error = Some("interrupted".to_owned());
            let response_head = Bytes::new();
            let running =
                AttemptView { at, status_code: None, duration: None, error, response_head };
            self.attempts.push(running);
        }
        self.number += 1;
        self.scheduled += 1;
        self.next_attempt_at = Some(until);
        ClaimedDelivery {
            id: self.id,
            event_id: self.event_id,
            event_type: self.event_type.clone(),
            number: self.number,
            scheduled: self.scheduled,
            body: self.body.clone(),
            traceparent: self.traceparent.clone(),
        }
    }

    fn settle(&mut self, attempt: SettledAttempt) {
        if self.started_at.is_none() || self.number != attempt.number {
            return;
        }
        (self.status, self.next_attempt_at) = match attempt.next {
            Next::Succeeded => (DeliveryStatus::Succeeded, None),
            Next::RetryAt(at) => (DeliveryStatus::Pending, Some(at)),
            Next::Exhausted => (DeliveryStatus::Failed, None),
        };
        self.started_at = None;
        self.attempts.push(AttemptView {
            at: attempt.at,
            status_code: attempt.status_code,
            duration: Some(attempt.duration),
            error: attempt.error,
            response_head: attempt.response_head,
        });
    }
}

impl Webhooks {
    /// An endpoint of a community.
    pub fn endpoint(&self, community: CommunityId, webhook: WebhookId) -> Option<&Endpoint> {
        let endpoint = &self.endpoints.get(&webhook)?.0;
        (endpoint.community == community).then_some(endpoint)
    }

    /// Secrets of before that still sign.
    fn previous(&self, webhook: WebhookId, now: Timestamp) -> impl Iterator<Item = &Vec<u8>> {
        let all = self.previous_secrets.get(&webhook).into_iter().flatten();
        all.filter(move |(_, until)| *until > now).map(|(sealed, _)| sealed)
    }

    fn pending(&self, webhook: WebhookId) -> impl Iterator<Item = &DeliveryRow> {
        self.deliveries
            .values()
            .filter(move |row| row.endpoint == webhook && row.status == DeliveryStatus::Pending)
    }

    fn next_due(&self, webhook: WebhookId, except: &[DeliveryId]) -> Option<Timestamp> {
        let others = self.pending(webhook).filter(|row| !except.contains(&row.id));
        others.filter_map(|row| row.next_attempt_at).min()
    }

    fn claim(
        &mut self,
        webhook: WebhookId,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Vec<ClaimedDelivery> {
        let Some((endpoint, _)) = self.endpoints.get(&webhook) else { return Vec::new() };
        let health = endpoint.health;
        if !endpoint.is_enabled() || health.paused_until.is_some_and(|until| until > now) {
            return Vec::new();
        }
        let limit = if health.pauses == 0 { limit } else { limit.min(1) };
        let mut due: Vec<_> = self
            .pending(webhook)
            .filter_map(|row| Some((row.next_attempt_at.filter(|at| *at <= now)?, row.id)))
            .collect();
        due.sort_unstable();
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        due.into_iter()
            .filter_map(|(_, id)| Some(self.deliveries.get_mut(&id)?.claim(now, until)))
            .collect()
    }

    fn remove(&mut self, limit: u32, condemned: impl Fn(&DeliveryRow) -> bool) -> u32 {
        let ids: Vec<_> =
            self.deliveries.values().filter(|row| condemned(row)).map(|row| row.id).collect();
        let ids = ids.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX));
        ids.map(|id| self.deliveries.remove(&id)).count().try_into().unwrap_or(u32::MAX)
    }
}

#[async_trait]
impl WebhookTx for FakeTx<Webhooks> {
    async fn open(&mut self) -> Result<(), StoreError> {
        self.read().await.map(|_| ())
    }

    async fn lock_endpoint(
        &mut self,
        community: CommunityId,
        webhook: WebhookId,
    ) -> Result<Option<Endpoint>, StoreError> {
        Ok(self.read().await?.endpoint(community, webhook).cloned())
    }

    async fn lock_delivery(
        &mut self,
        community: CommunityId,
        webhook: WebhookId,
        delivery: DeliveryId,
    ) -> Result<Option<DeliveryView>, StoreError> {
        let tables = self.read().await?;
        let row = tables.deliveries.get(&delivery).filter(|row| row.endpoint == webhook);
        let visible = tables.endpoint(community, webhook).is_some();
        Ok(row.filter(|_| visible).map(DeliveryRow::view))
    }

    async fn lock_drained(
        &mut self,
        webhook: WebhookId,
        batch: &[DeliveryId],
    ) -> Result<Option<(Endpoint, Option<Timestamp>)>, StoreError> {
        let tables = self.read().await?;
        let due = tables.next_due(webhook, batch);
        Ok(tables.endpoints.get(&webhook).map(|(endpoint, _)| (endpoint.clone(), due)))
    }

    async fn headers(&mut self, webhook: WebhookId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read().await?.headers.get(&webhook).cloned())
    }

    fn set_headers(&mut self, webhook: WebhookId, sealed: Option<Vec<u8>>) {
        self.write(move |tables| {
            match sealed {
                Some(sealed) => tables.headers.insert(webhook, sealed),
                None => tables.headers.remove(&webhook),
            };
            Ok(())
        });
    }

    fn replace_secret(
        &mut self,
        webhook: WebhookId,
        sealed_secret: Vec<u8>,
        previous_until: Option<Timestamp>,
    ) {
        self.write(move |tables| {
            let Some(row) = tables.endpoints.get_mut(&webhook) else { return Ok(()) };
            let replaced = std::mem::replace(&mut row.1, sealed_secret);
            let previous = tables.previous_secrets.entry(webhook).or_default();
            match previous_until {
                Some(until) => previous.insert(0, (replaced, until)),
                None => previous.clear(),
            }
            previous.truncate(PREVIOUS_SECRETS as usize);
            Ok(())
        });
    }

    fn insert_endpoint(&mut self, endpoint: &Endpoint, sealed_secret: Vec<u8>) {
        let endpoint = endpoint.clone();
        self.write(move |tables| {
            tables.endpoints.insert(endpoint.id, (endpoint, sealed_secret));
            Ok(())
        });
    }

    fn update_endpoint(&mut self, endpoint: &Endpoint) {
        let endpoint = endpoint.clone();
        self.write(move |tables| {
            if let Some(row) = tables.endpoints.get_mut(&endpoint.id) {
                row.0 = endpoint;
            }
            Ok(())
        });
    }

    fn delete_endpoint(&mut self, webhook: WebhookId) {
        self.write(move |tables| {
            tables.endpoints.remove(&webhook);
            tables.headers.remove(&webhook);
            tables.previous_secrets.remove(&webhook);
            tables.replays.retain(|_, replay| replay.webhook != webhook);
            Ok(())
        });
    }

    fn insert_deliveries(&mut self, event: FannedEvent, to: Vec<(DeliveryId, WebhookId)>) {
        self.write(move |tables| {
            for (id, endpoint) in to {
                let is_same =
                    |row: &DeliveryRow| row.endpoint == endpoint && row.event_id == event.id;
                if tables.deliveries.values().any(is_same) {
                    continue;
                }
                let row = DeliveryRow {
                    id,
                    endpoint,
                    event_id: event.id,
                    event_type: event.event_type.clone(),
                    body: event.body.clone(),
                    traceparent: event.traceparent.clone(),
                    status: DeliveryStatus::Pending,
                    number: 0,
                    scheduled: 0,
                    started_at: None,
                    next_attempt_at: Some(event.at),
                    created_at: event.at,
                    attempts: Vec::new(),
                };
                tables.deliveries.insert(id, row);
            }
            Ok(())
        });
    }

    fn requeue_delivery(&mut self, delivery: DeliveryId, due: Timestamp, afresh: bool) {
        self.write(move |tables| {
            if let Some(row) = tables.deliveries.get_mut(&delivery) {
                row.status = DeliveryStatus::Pending;
                row.next_attempt_at = Some(due);
                row.scheduled = if afresh { 0 } else { row.scheduled };
            }
            Ok(())
        });
    }

    fn requeue_deliveries(&mut self, deliveries: Vec<DeliveryId>, due: Timestamp) {
        for delivery in deliveries {
            self.requeue_delivery(delivery, due, true);
        }
    }

    fn insert_replay(&mut self, replay: &Replay) {
        let replay = replay.clone();
        self.write(move |tables| {
            tables.replays.insert(replay.id, replay);
            Ok(())
        });
    }

    async fn lock_replay(
        &mut self,
        replay: ReplayId,
    ) -> Result<Option<(Endpoint, Replay)>, StoreError> {
        let tables = self.read().await?;
        let Some(replay) = tables.replays.get(&replay) else { return Ok(None) };
        let endpoint = tables.endpoints.get(&replay.webhook);
        Ok(endpoint.map(|(endpoint, _)| (endpoint.clone(), replay.clone())))
    }

    async fn lock_made(
        &mut self,
        replay: &Replay,
        limit: u32,
    ) -> Result<Vec<MadeDelivery>, StoreError> {
        let tables = self.read().await?;
        let place = |row: &DeliveryRow| (row.created_at.as_microsecond(), row.id.uuid());
        let is_meant = |row: &&DeliveryRow| {
            row.endpoint == replay.webhook
                && (replay.scope == ReplayScope::All || row.status == DeliveryStatus::Failed)
                && row.created_at >= replay.since
                && row.created_at < replay.created_at
                && replay.cursor.is_none_or(|after| place(row) > (after.sort, after.id))
        };
        let mut rows: Vec<_> = tables.deliveries.values().filter(is_meant).collect();
        rows.sort_by_key(|row| place(row));
        rows.truncate(limit as usize);
        let made = |row: &DeliveryRow| MadeDelivery {
            delivery: row.id,
            place: PageKey { sort: row.created_at.as_microsecond(), id: row.id.uuid() },
            in_flight: row.started_at.is_some(),
        };
        Ok(rows.into_iter().map(made).collect())
    }

    async fn delivered(
        &mut self,
        webhook: WebhookId,
        events: &[Uuid],
    ) -> Result<HashSet<Uuid>, StoreError> {
        let rows = self.read().await?.deliveries.values();
        let rows = rows.filter(|row| row.endpoint == webhook && events.contains(&row.event_id));
        Ok(rows.map(|row| row.event_id).collect())
    }

    fn update_replay(&mut self, replay: &Replay) {
        self.insert_replay(replay);
    }

    fn settle_attempts(&mut self, attempts: Vec<SettledAttempt>) {
        self.write(move |tables| {
            for attempt in attempts {
                if let Some(row) = tables.deliveries.get_mut(&attempt.delivery) {
                    row.settle(attempt);
                }
            }
            Ok(())
        });
    }

    fn release_deliveries(&mut self, deliveries: Vec<DeliveryId>, due: Timestamp) {
        self.write(move |tables| {
            for id in deliveries {
                if let Some(row) =
                    tables.deliveries.get_mut(&id).filter(|row| row.started_at.is_some())
                {
                    row.number -= 1;
                    row.scheduled -= 1;
                    row.started_at = None;
                    row.next_attempt_at = Some(due);
                }
            }
            Ok(())
        });
    }
}

#[async_trait]
impl WebhookReads for FakeStore<Webhooks> {
    async fn endpoint(
        &self,
        community: CommunityId,
        webhook: WebhookId,
    ) -> Result<Option<Endpoint>, StoreError> {
        Ok(self.tables().await?.endpoint(community, webhook).cloned())
    }

    async fn endpoints(
        &self,
        community: CommunityId,
        query: PageQuery,
    ) -> Result<Page<Endpoint>, StoreError> {
        let tables = self.tables().await?;
        let endpoints = tables.endpoints.values().map(|(endpoint, _)| endpoint);
        let listed = endpoints.filter(|endpoint| endpoint.community == community).cloned();
        Ok(page(listed.collect(), Order::NewestFirst, query, |endpoint| PageKey {
            sort: endpoint.created_at.as_microsecond(),
            id: endpoint.id.uuid(),
        }))
    }

    async fn deliveries(
        &self,
        community: CommunityId,
        webhook: WebhookId,
        query: PageQuery,
    ) -> Result<Option<Page<DeliveryView>>, StoreError> {
        let tables = self.tables().await?;
        if tables.endpoint(community, webhook).is_none() {
            return Ok(None);
        }
        let rows = tables.deliveries.values().filter(|row| row.endpoint == webhook);
        let listed = rows.map(DeliveryRow::view).collect();
        Ok(Some(page(listed, Order::NewestFirst, query, |view| PageKey {
            sort: view.created_at.as_microsecond(),
            id: view.id.uuid(),
        })))
    }

    async fn replay(&self, replay: ReplayId) -> Result<Option<Replay>, StoreError> {
        Ok(self.tables().await?.replays.get(&replay).cloned())
    }

    async fn stats(
        &self,
        community: CommunityId,
        webhook: WebhookId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Option<EndpointStats>, StoreError> {
        let tables = self.tables().await?;
        if tables.endpoint(community, webhook).is_none() {
            return Ok(None);
        }
        let mut recent: Vec<_> = tables
            .deliveries
            .values()
            .filter(|row| row.endpoint == webhook && row.created_at >= since)
            .collect();
        recent.sort_by_key(|row| std::cmp::Reverse((row.created_at, row.id)));
        recent.truncate(limit as usize);
        let mut stats = EndpointStats::default();
        for row in &recent {
            match row.status {
                DeliveryStatus::Pending => stats.pending += 1,
                DeliveryStatus::Succeeded => stats.succeeded += 1,
                DeliveryStatus::Failed => stats.failed += 1,
            }
        }
        let attempts: Vec<_> = recent.iter().flat_map(|row| &row.attempts).collect();
        for attempt in &attempts {
            stats.attempts.count(attempt.status_code, attempt.error.is_none());
        }
        let mut durations: Vec<u32> = attempts
            .iter()
            .filter_map(|attempt| u32::try_from(attempt.duration?.as_millis()).ok())
            .collect();
        durations.sort_unstable();
        // The first that so many of a hundred are no greater than.
        let percentile = |percent: usize| {
            let rank = (durations.len() * percent).div_ceil(100);
            durations.get(rank.checked_sub(1)?).copied()
        };
        (stats.p50_ms, stats.p95_ms) = (percentile(50), percentile(95));
        Ok(Some(stats))
    }

    async fn wanting(&self, events: &[Wanted]) -> Result<Vec<Vec<WebhookId>>, StoreError> {
        let tables = self.tables().await?;
        let wants = |event: &Wanted, endpoint: &Endpoint| {
            endpoint.community == event.community
                && endpoint.created_at < event.recorded_at
                && event.patterns.iter().any(|text| endpoint.event_types.as_slice().contains(text))
        };
        let wanting = |event| {
            let endpoints = tables.endpoints.values().map(|(endpoint, _)| endpoint);
            endpoints
                .filter(|endpoint| wants(event, endpoint))
                .map(|endpoint| endpoint.id)
                .collect()
        };
        Ok(events.iter().map(wanting).collect())
    }
}

#[async_trait]
impl DeliveryQueue for FakeStore<Webhooks> {
    async fn claim(
        &self,
        webhook: WebhookId,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<ClaimedBatch, StoreError> {
        let mut tables = self.tables().await?;
        let deliveries = tables.claim(webhook, now, until, limit);
        let target = tables.endpoints.get(&webhook).map(|(endpoint, sealed_secret)| Target {
            url: endpoint.url.clone(),
            sealed_secrets: std::iter::once(sealed_secret)
                .chain(tables.previous(webhook, now))
                .cloned()
                .collect(),
            sealed_headers: tables.headers.get(&webhook).cloned(),
            rate_limit: endpoint.rate_limit,
            enabled: endpoint.is_enabled(),
            paused_until: endpoint.health.paused_until,
        });
        Ok(ClaimedBatch { target, deliveries, next_due: tables.next_due(webhook, &[]) })
    }

    async fn purge(&self, webhook: WebhookId, limit: u32) -> Result<u32, StoreError> {
        let mut tables = self.tables().await?;
        if tables.endpoints.contains_key(&webhook) {
            return Ok(0);
        }
        Ok(tables.remove(limit, |row| row.endpoint == webhook))
    }

    async fn forget_secrets(&self, now: Timestamp) -> Result<u32, StoreError> {
        let mut tables = self.tables().await?;
        let mut forgotten = 0;
        for previous in tables.previous_secrets.values_mut() {
            let before = previous.len();
            previous.retain(|(_, until)| *until > now);
            forgotten += before - previous.len();
        }
        Ok(forgotten.try_into().unwrap_or(u32::MAX))
    }

    async fn sweep(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        let mut tables = self.tables().await?;
        tables.replays.retain(|_, replay| {
            replay.status == ReplayStatus::Running || replay.created_at >= before
        });
        Ok(tables.remove(limit, |row| row.created_at < before))
    }
}

#[async_trait]
impl Begin<dyn WebhookTx> for FakeStore<Webhooks> {
    async fn begin(&self, claims: Vec<KeyClaim>) -> Result<Box<dyn WebhookTx>, StoreError> {
        Ok(Box::new(self.unit(claims)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract::webhook::Ports;

    #[expect(clippy::unused_async, reason = "adapters of a real store have to wait for it")]
    async fn ports() -> (Ports, ()) {
        let store = FakeStore::<Webhooks>::default();
        let (uow, reads) = (Arc::new(store.clone()), Arc::new(store.clone()));
        (Ports { uow, reads, queue: Arc::new(store) }, ())
    }

    crate::webhook_contract!(ports());
}
