//! What this module needs of the store.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convene_domain::ids::{CommunityId, DeliveryId, ReplayId, WebhookId};
use convene_domain::webhook::{
    DeliveryStatus, Endpoint, EndpointUrl, Next, RateLimit, ReplayScope, ReplayStatus,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::kernel::page::{Page, PageKey, PageQuery};
use crate::kernel::store::StoreError;
use crate::kernel::uow::Tx;

/// The most secrets of an endpoint that sign beside the one in force.
pub const PREVIOUS_SECRETS: u32 = 5;

/// The transaction of this module. Locks are taken in the order endpoint, deliveries, jobs.
#[async_trait]
pub trait WebhookTx: Tx {
    /// Reads nothing: begins the transaction, so that it is known what became of its claims.
    ///
    /// # Errors
    /// The store's.
    async fn open(&mut self) -> Result<(), StoreError>;

    /// Locks an endpoint of a community. `None` if the community has no such endpoint.
    ///
    /// # Errors
    /// The store's.
    async fn lock_endpoint(
        &mut self,
        community: CommunityId,
        webhook: WebhookId,
    ) -> Result<Option<Endpoint>, StoreError>;

    /// Locks a delivery to an endpoint of a community. `None` if there is no such delivery.
    ///
    /// # Errors
    /// The store's.
    async fn lock_delivery(
        &mut self,
        community: CommunityId,
        webhook: WebhookId,
        delivery: DeliveryId,
    ) -> Result<Option<DeliveryView>, StoreError>;

    /// Locks an endpoint whose batch is to be settled, and tells when the first of its other pending deliveries is due.
    /// `None` if the endpoint was deleted meanwhile.
    ///
    /// # Errors
    /// The store's.
    async fn lock_drained(
        &mut self,
        webhook: WebhookId,
        batch: &[DeliveryId],
    ) -> Result<Option<(Endpoint, Option<Timestamp>)>, StoreError>;

    /// The sealed header fields of a locked endpoint.
    ///
    /// # Errors
    /// The store's.
    async fn headers(&mut self, webhook: WebhookId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Stages a new endpoint with its sealed secret.
    fn insert_endpoint(&mut self, endpoint: &Endpoint, sealed_secret: Vec<u8>);

    /// Stages other sealed header fields of a locked or new endpoint.
    fn set_headers(&mut self, webhook: WebhookId, sealed: Option<Vec<u8>>);

    /// Stages another sealed secret of a locked endpoint. The one before signs beside it until that time; without one, it
    /// and all before it end at once. Of those before it the newest [`PREVIOUS_SECRETS`] go on.
    fn replace_secret(
        &mut self,
        webhook: WebhookId,
        sealed_secret: Vec<u8>,
        previous_until: Option<Timestamp>,
    );

    /// Stages a locked endpoint as it is now.
    fn update_endpoint(&mut self, endpoint: &Endpoint);

    /// Stages the end of a locked endpoint. Its deliveries stay, for [`DeliveryQueue::purge`]: there may be millions.
    fn delete_endpoint(&mut self, webhook: WebhookId);

    /// Stages deliveries of one event, due at once. An endpoint that has one of this event already gets no second.
    fn insert_deliveries(&mut self, event: FannedEvent, to: Vec<(DeliveryId, WebhookId)>);

    /// Stages that a delivery is pending and due at this time; with `afresh` its schedule begins anew.
    fn requeue_delivery(&mut self, delivery: DeliveryId, due: Timestamp, afresh: bool);

    /// Stages that deliveries are pending and due at this time, their schedules from the beginning.
    fn requeue_deliveries(&mut self, deliveries: Vec<DeliveryId>, due: Timestamp);

    /// Stages a new replay.
    fn insert_replay(&mut self, replay: &Replay);

    /// Locks a replay, and before it its endpoint. `None` without such a replay.
    ///
    /// # Errors
    /// The store's.
    async fn lock_replay(
        &mut self,
        replay: ReplayId,
    ) -> Result<Option<(Endpoint, Replay)>, StoreError>;

    /// Locks up to so many deliveries that a replay of failed or all ones is about, behind its cursor, the oldest first:
    /// those that were made before the replay, and at the time that it begins with or later.
    ///
    /// # Errors
    /// The store's.
    async fn lock_made(
        &mut self,
        replay: &Replay,
        limit: u32,
    ) -> Result<Vec<MadeDelivery>, StoreError>;

    /// Which of these events an endpoint has deliveries of.
    ///
    /// # Errors
    /// The store's.
    async fn delivered(
        &mut self,
        webhook: WebhookId,
        events: &[Uuid],
    ) -> Result<HashSet<Uuid>, StoreError>;

    /// Stages where a locked replay stands, and how far it got.
    fn update_replay(&mut self, replay: &Replay);

    /// Stages how attempts ended. One whose delivery was claimed again meanwhile is left out.
    fn settle_attempts(&mut self, attempts: Vec<SettledAttempt>);

    /// Stages that claimed deliveries were not attempted, and are due at this time.
    fn release_deliveries(&mut self, deliveries: Vec<DeliveryId>, due: Timestamp);
}

/// Reads that need no transaction.
#[async_trait]
pub trait WebhookReads: Send + Sync {
    /// An endpoint of a community.
    ///
    /// # Errors
    /// The store's.
    async fn endpoint(
        &self,
        community: CommunityId,
        webhook: WebhookId,
    ) -> Result<Option<Endpoint>, StoreError>;

    /// Endpoints of a community, newest first.
    ///
    /// # Errors
    /// The store's.
    async fn endpoints(
        &self,
        community: CommunityId,
        query: PageQuery,
    ) -> Result<Page<Endpoint>, StoreError>;

    /// Deliveries to an endpoint of a community, newest first. `None` if the community has no such endpoint.
    ///
    /// # Errors
    /// The store's.
    async fn deliveries(
        &self,
        community: CommunityId,
        webhook: WebhookId,
        query: PageQuery,
    ) -> Result<Option<Page<DeliveryView>>, StoreError>;

    /// A replay.
    ///
    /// # Errors
    /// The store's.
    async fn replay(&self, replay: ReplayId) -> Result<Option<Replay>, StoreError>;

    /// How the newest deliveries of an endpoint of a community have fared: at most so many, of those that were made since
    /// then. `None` if the community has no such endpoint.
    ///
    /// # Errors
    /// The store's.
    async fn stats(
        &self,
        community: CommunityId,
        webhook: WebhookId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Option<EndpointStats>, StoreError>;

    /// For each event, in their order, the endpoints of its community, disabled ones too, that have one of its patterns
    /// and were made before it was recorded.
    ///
    /// # Errors
    /// The store's.
    async fn wanting(&self, events: &[Wanted]) -> Result<Vec<Vec<WebhookId>>, StoreError>;
}

/// Endpoints and deliveries of all communities, for operators.
#[async_trait]
pub trait WebhookDirectory: Send + Sync {
    /// Endpoints of a community, or of all, newest first.
    ///
    /// # Errors
    /// The store's.
    async fn all_endpoints(
        &self,
        community: Option<CommunityId>,
        limit: u32,
    ) -> Result<Vec<Endpoint>, StoreError>;

    /// An endpoint of any community.
    ///
    /// # Errors
    /// The store's.
    async fn find_endpoint(&self, webhook: WebhookId) -> Result<Option<Endpoint>, StoreError>;

    /// The endpoint of a delivery.
    ///
    /// # Errors
    /// The store's.
    async fn endpoint_of(&self, delivery: DeliveryId) -> Result<Option<Endpoint>, StoreError>;

    /// Deliveries to an endpoint, in one status or any, newest first.
    ///
    /// # Errors
    /// The store's.
    async fn all_deliveries(
        &self,
        webhook: WebhookId,
        status: Option<DeliveryStatus>,
        limit: u32,
    ) -> Result<Vec<DeliveryView>, StoreError>;
}

/// Deliveries on their way out.
#[async_trait]
pub trait DeliveryQueue: Send + Sync {
    /// Claims pending deliveries of an endpoint that are due at `now`, the longest due first. The claim is the record
    /// that an attempt was begun, before anything is sent. It holds until `until`, when the delivery is due again; an
    /// attempt that was not settled by then is logged as interrupted.
    ///
    /// Nothing is claimed while the endpoint is disabled or paused, and a single delivery of one that has been pausing.
    ///
    /// # Errors
    /// The store's.
    async fn claim(
        &self,
        webhook: WebhookId,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<ClaimedBatch, StoreError>;

    /// Deletes up to so many deliveries of an endpoint that is no more, with their attempts; returns how many there were.
    ///
    /// # Errors
    /// The store's.
    async fn purge(&self, webhook: WebhookId, limit: u32) -> Result<u32, StoreError>;

    /// Deletes secrets whose time beside their successors is over; returns how many there were.
    ///
    /// # Errors
    /// The store's.
    async fn forget_secrets(&self, now: Timestamp) -> Result<u32, StoreError>;

    /// Deletes up to so many deliveries made before this time, with their attempts, and replays that ended and were asked
    /// for before it; returns how many deliveries there were.
    ///
    /// # Errors
    /// The store's.
    async fn sweep(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError>;
}

/// What all deliveries of one event share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FannedEvent {
    /// The event's id.
    pub id: Uuid,
    /// Its type.
    pub event_type: String,
    /// The bytes that are sent.
    pub body: Bytes,
    /// When the deliveries are made, and due.
    pub at: Timestamp,
    /// The trace of the request that caused it.
    pub traceparent: Option<String>,
}

/// A delivery as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryView {
    /// Its identity, the same over all attempts.
    pub id: DeliveryId,
    /// The event's id.
    pub event_id: Uuid,
    /// The event's type.
    pub event_type: String,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// Its attempts in their order, the running one last.
    pub attempts: Vec<AttemptView>,
    /// Whether an attempt is running, or was interrupted and not followed by another yet.
    pub in_flight: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// One attempt of a delivery as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptView {
    /// When it began.
    pub at: Timestamp,
    /// The status of the answer, if one arrived.
    pub status_code: Option<u16>,
    /// How long it took; none while it runs, and if it was interrupted.
    pub duration: Option<Duration>,
    /// What failed on the way, in a stable word.
    pub error: Option<String>,
    /// The first bytes of the answer's body.
    pub response_head: Bytes,
}

/// Many deliveries that are sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Its identity.
    pub id: ReplayId,
    /// The community that the endpoint belongs to.
    pub community: CommunityId,
    /// The endpoint.
    pub webhook: WebhookId,
    /// Which of its deliveries.
    pub scope: ReplayScope,
    /// Those that were made, or whose events were recorded, at this time or later.
    pub since: Timestamp,
    /// Where it stands.
    pub status: ReplayStatus,
    /// How many were handed over for sending.
    pub redelivered: u64,
    /// The last delivery, or the last event of the log, that was looked at.
    pub cursor: Option<PageKey>,
    /// When it was asked for. What was made later is left alone.
    pub created_at: Timestamp,
    /// When it was done, or stopped.
    pub ended_at: Option<Timestamp>,
}

/// A delivery that a replay is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeDelivery {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its place among the endpoint's.
    pub place: PageKey,
    /// Whether an attempt is running.
    pub in_flight: bool,
}

/// How deliveries to an endpoint have fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Deliveries that wait for an attempt, or for its end.
    pub pending: u64,
    /// Deliveries that were taken.
    pub succeeded: u64,
    /// Deliveries that failed for good.
    pub failed: u64,
    /// Attempts that have ended, and by what was answered.
    pub attempts: AttemptStats,
    /// How long attempts took, in milliseconds: that of the middle one; none without any.
    pub p50_ms: Option<u32>,
    /// That of the one that 95 of a hundred were no slower than.
    pub p95_ms: Option<u32>,
}

/// Attempts by what was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptStats {
    /// 2xx, read to the end.
    pub taken: u64,
    /// 3xx.
    pub redirected: u64,
    /// 4xx.
    pub refused: u64,
    /// 5xx.
    pub failed: u64,
    /// No answer, or one that broke off or is none of these.
    pub unanswered: u64,
}

impl AttemptStats {
    /// Counts an attempt.
    pub fn count(&mut self, status_code: Option<u16>, whole: bool) {
        let counter = match status_code {
            Some(200..=299) if whole => &mut self.taken,
            Some(300..=399) => &mut self.redirected,
            Some(400..=499) => &mut self.refused,
            Some(500..=599) => &mut self.failed,
            _ => &mut self.unanswered,
        };
        *counter += 1;
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.taken + self.redirected + self.refused + self.failed + self.unanswered
    }
}

impl EndpointStats {
    /// All deliveries together.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.pending + self.succeeded + self.failed
    }
}

/// An event for which endpoints are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it happened.
    pub community: CommunityId,
    /// The patterns that match it.
    pub patterns: [String; 3],
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

/// What a claim came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedBatch {
    /// Where the deliveries go. `None` if the endpoint was deleted.
    pub target: Option<Target>,
    /// The claimed deliveries.
    pub deliveries: Vec<ClaimedDelivery>,
    /// When the first pending delivery is due, claimed ones at the end of their claims. `None` without any.
    pub next_due: Option<Timestamp>,
}

/// Where deliveries go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL.
    pub url: EndpointUrl,
    /// What they are signed with, sealed: the secret in force, and behind it those that still sign beside it, the newest
    /// first.
    pub sealed_secrets: Vec<Vec<u8>>,
    /// The header fields that go with them, sealed.
    pub sealed_headers: Option<Vec<u8>>,
    /// The most that are sent in a second.
    pub rate_limit: Option<RateLimit>,
    /// Whether anything is sent at all.
    pub enabled: bool,
    /// Nothing is sent before this time.
    pub paused_until: Option<Timestamp>,
}

/// A delivery that is to be attempted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// Its identity.
    pub id: DeliveryId,
    /// The event's id.
    pub event_id: Uuid,
    /// The event's type.
    pub event_type: String,
    /// The number of this attempt over the delivery's life, from 1: it fences out those before it.
    pub number: i32,
    /// The place of this attempt in the schedule, from 1.
    pub scheduled: u32,
    /// The bytes to send.
    pub body: Bytes,
    /// The trace of the request that caused the event.
    pub traceparent: Option<String>,
}

/// How one attempt of a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledAttempt {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The number of the attempt.
    pub number: i32,
    /// When it began.
    pub at: Timestamp,
    /// The status of the answer, if one arrived.
    pub status_code: Option<u16>,
    /// How long it took.
    pub duration: Duration,
    /// What failed on the way, in a stable word.
    pub error: Option<String>,
    /// The first 1,024 bytes of the answer's body.
    pub response_head: Bytes,
    /// What becomes of the delivery.
    pub next: Next,
}
