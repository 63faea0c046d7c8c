//! The transaction of webhooks.

use std::collections::HashSet;

use async_trait::async_trait;
use convene_application::kernel::store::StoreError;
use convene_application::webhook::ports::{
    DeliveryView, FannedEvent, MadeDelivery, PREVIOUS_SECRETS, Replay, SettledAttempt, WebhookTx,
};
use convene_domain::ids::{CommunityId, DeliveryId, ReplayId, TypedId as _, WebhookId};
use convene_domain::webhook::{DeliveryStatus, Endpoint, Next};
use jiff::Timestamp;
use uuid::Uuid;

use super::replays::{self, DeliveredRow, MadeRow, REPLAY_COLUMNS, ReplayRow};
use super::rows::{
    ATTEMPT_COLUMNS, AttemptRow, DELIVERY_COLUMNS, DeliveryRow, DueRow, ENDPOINT_COLUMNS,
    EndpointRow, HeadersRow,
};
use crate::postgres::sql::{Sql, flight, sql};
use crate::postgres::tx::PgTx;

#[async_trait]
impl WebhookTx for PgTx {
    async fn open(&mut self) -> Result<(), StoreError> {
        self.flight(|_| std::future::ready(Ok(()))).await
    }

    async fn lock_endpoint(
        &mut self,
        community: CommunityId,
        webhook: WebhookId,
    ) -> Result<Option<Endpoint>, StoreError> {
        let lock = sql(format!(
            "SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoints
             WHERE id = $1 AND community_id = $2 FOR NO KEY UPDATE"
        ))
        .bind(webhook.uuid())
        .bind(community.uuid());
        let row = self.flight(|connection| lock.row::<EndpointRow>(connection)).await?;
        row.map(Endpoint::try_from).transpose()
    }

    async fn lock_delivery(
        &mut self,
        community: CommunityId,
        webhook: WebhookId,
        delivery: DeliveryId,
    ) -> Result<Option<DeliveryView>, StoreError> {
        let lock = sql(format!(
            "SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries d
             WHERE d.id = $1 AND d.endpoint_id = $2
               AND EXISTS (SELECT FROM webhook_endpoints e WHERE e.id = $2 AND e.community_id = $3)
             FOR NO KEY UPDATE OF d"
        ))
        .bind(delivery.uuid())
        .bind(webhook.uuid())
        .bind(community.uuid());
        let attempts = sql(format!(
            "SELECT {ATTEMPT_COLUMNS} FROM webhook_attempts a WHERE a.delivery_id = $1 ORDER BY a.number"
        ))
        .bind(delivery.uuid());
        let (row, attempts) = self
            .flight(|connection| async move {
                flight!(
                    lock.row::<DeliveryRow>(connection),
                    attempts.rows::<AttemptRow>(connection),
                )
            })
            .await?;
        row.map(|row| row.into_view(attempts)).transpose()
    }

    async fn lock_drained(
        &mut self,
        webhook: WebhookId,
        batch: &[DeliveryId],
    ) -> Result<Option<(Endpoint, Option<Timestamp>)>, StoreError> {
        let lock = sql(format!(
            "SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoints WHERE id = $1 FOR NO KEY UPDATE"
        ))
        .bind(webhook.uuid());
        let others_due = sql("SELECT min(next_attempt_at) AS due FROM webhook_deliveries
                 WHERE endpoint_id = $1 AND status = 'pending' AND id <> ALL ($2)")
        .bind(webhook.uuid())
        .bind(uuids(batch));
        let (row, due) = self
            .flight(|connection| async move {
                flight!(lock.row::<EndpointRow>(connection), others_due.row::<DueRow>(connection),)
            })
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((row.try_into()?, due.and_then(|row| row.due))))
    }

    async fn headers(&mut self, webhook: WebhookId) -> Result<Option<Vec<u8>>, StoreError> {
        let read = sql("SELECT headers FROM webhook_endpoints WHERE id = $1").bind(webhook.uuid());
        let row = self.flight(|connection| read.row::<HeadersRow>(connection)).await?;
        Ok(row.and_then(|row| row.headers))
    }

    fn insert_endpoint(&mut self, endpoint: &Endpoint, sealed_secret: Vec<u8>) {
        let statement =
            sql("INSERT INTO webhook_endpoints
                     (id, community_id, created_by, url, event_types, description, status, secret, version,
                      created_at, updated_at, public_key, header_names, rate_limit)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)")
                .bind(endpoint.id.uuid())
                .bind(endpoint.community.uuid())
                .bind(endpoint.created_by.uuid())
                .bind(endpoint.url.as_str().to_owned())
                .bind(endpoint.event_types.as_slice().to_vec())
                .bind(endpoint.description.clone().map(String::from))
                .bind(endpoint.status.as_str())
                .bind(sealed_secret)
                .bind(endpoint.version)
                .bind(endpoint.created_at)
                .bind(endpoint.updated_at)
                .bind(endpoint.signature.public_key().map(str::to_owned))
                .bind(endpoint.header_names.clone())
                .bind(rate(endpoint));
        self.write(statement);
    }

    fn set_headers(&mut self, webhook: WebhookId, sealed: Option<Vec<u8>>) {
        let statement = sql("UPDATE webhook_endpoints SET headers = $2 WHERE id = $1")
            .bind(webhook.uuid())
            .bind(sealed);
        self.write(statement);
    }

    fn replace_secret(
        &mut self,
        webhook: WebhookId,
        sealed_secret: Vec<u8>,
        previous_until: Option<Timestamp>,
    ) {
        // Without an overlap none is kept, whatever was promised before: somebody else knows them.
        let kept = if previous_until.is_some() { i64::from(PREVIOUS_SECRETS) } else { 0 };
        self.write(
            sql("INSERT INTO webhook_previous_secrets (endpoint_id, secret, signs_until)
                 SELECT id, secret, $2 FROM webhook_endpoints WHERE id = $1 AND $2 IS NOT NULL")
            .bind(webhook.uuid())
            .bind(previous_until),
        );
        self.write(
            sql("DELETE FROM webhook_previous_secrets WHERE endpoint_id = $1 AND id NOT IN (
                     SELECT id FROM webhook_previous_secrets WHERE endpoint_id = $1 ORDER BY id DESC LIMIT $2)")
            .bind(webhook.uuid())
            .bind(kept),
        );
        self.write(
            sql("UPDATE webhook_endpoints SET secret = $2 WHERE id = $1")
                .bind(webhook.uuid())
                .bind(sealed_secret),
        );
    }

    fn update_endpoint(&mut self, endpoint: &Endpoint) {
        let health = endpoint.health;
        let statement =
            sql("UPDATE webhook_endpoints SET url = $2, event_types = $3, description = $4, status = $5,
                     failing_since = $6, failures = $7, paused_until = $8, pauses = $9, noticed_at = $10,
                     version = $11, updated_at = $12, public_key = $13, header_names = $14,
                     rate_limit = $15
                 WHERE id = $1")
                .bind(endpoint.id.uuid())
                .bind(endpoint.url.as_str().to_owned())
                .bind(endpoint.event_types.as_slice().to_vec())
                .bind(endpoint.description.clone().map(String::from))
                .bind(endpoint.status.as_str())
                .bind(health.failing_since)
                .bind(signed(health.failures))
                .bind(health.paused_until)
                .bind(signed(health.pauses))
                .bind(health.noticed_at)
                .bind(endpoint.version)
                .bind(endpoint.updated_at)
                .bind(endpoint.signature.public_key().map(str::to_owned))
                .bind(endpoint.header_names.clone())
                .bind(rate(endpoint));
        self.write(statement);
    }

    fn delete_endpoint(&mut self, webhook: WebhookId) {
        self.write(sql("DELETE FROM webhook_endpoints WHERE id = $1").bind(webhook.uuid()));
    }

    fn insert_deliveries(&mut self, event: FannedEvent, to: Vec<(DeliveryId, WebhookId)>) {
        let (ids, endpoints): (Vec<Uuid>, Vec<Uuid>) =
            to.into_iter().map(|(delivery, webhook)| (delivery.uuid(), webhook.uuid())).unzip();
        let statement =
            sql("INSERT INTO webhook_deliveries
                     (id, endpoint_id, event_id, event_type, body, status, next_attempt_at, created_at, traceparent)
                 SELECT id, endpoint_id, $3, $4, $5, 'pending', $6, $6, $7
                 FROM unnest($1::uuid[], $2::uuid[]) AS delivery(id, endpoint_id)
                 ON CONFLICT ON CONSTRAINT webhook_deliveries_once DO NOTHING")
                .bind(ids)
                .bind(endpoints)
                .bind(event.id)
                .bind(event.event_type)
                .bind(event.body)
                .bind(event.at)
                .bind(event.traceparent);
        self.write(statement);
    }

    fn requeue_delivery(&mut self, delivery: DeliveryId, due: Timestamp, afresh: bool) {
        let statement = sql("UPDATE webhook_deliveries
                 SET status = 'pending', next_attempt_at = $2,
                     scheduled = CASE WHEN $3 THEN 0 ELSE scheduled END
                 WHERE id = $1")
        .bind(delivery.uuid())
        .bind(due)
        .bind(afresh);
        self.write(statement);
    }

    fn requeue_deliveries(&mut self, deliveries: Vec<DeliveryId>, due: Timestamp) {
        let statement = sql("UPDATE webhook_deliveries
                 SET status = 'pending', next_attempt_at = $2, scheduled = 0 WHERE id = ANY ($1)")
        .bind(uuids(&deliveries))
        .bind(due);
        self.write(statement);
    }

    fn insert_replay(&mut self, replay: &Replay) {
        let statement = sql("INSERT INTO webhook_replays
                     (id, community_id, endpoint_id, scope, since, status, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(replay.id.uuid())
        .bind(replay.community.uuid())
        .bind(replay.webhook.uuid())
        .bind(replay.scope.as_str())
        .bind(replay.since)
        .bind(replay.status.as_str())
        .bind(replay.created_at);
        self.write(statement);
    }

    async fn lock_replay(
        &mut self,
        replay: ReplayId,
    ) -> Result<Option<(Endpoint, Replay)>, StoreError> {
        let endpoint = sql(format!(
            "SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoints
             WHERE id = (SELECT endpoint_id FROM webhook_replays WHERE id = $1) FOR NO KEY UPDATE"
        ))
        .bind(replay.uuid());
        let lock = sql(format!(
            "SELECT {REPLAY_COLUMNS} FROM webhook_replays WHERE id = $1 FOR NO KEY UPDATE"
        ))
        .bind(replay.uuid());
        let (endpoint, replay) = self
            .flight(|connection| async move {
                flight!(endpoint.row::<EndpointRow>(connection), lock.row::<ReplayRow>(connection),)
            })
            .await?;
        let Some((endpoint, replay)) = endpoint.zip(replay) else { return Ok(None) };
        Ok(Some((endpoint.try_into()?, replay.try_into()?)))
    }

    async fn lock_made(
        &mut self,
        replay: &Replay,
        limit: u32,
    ) -> Result<Vec<MadeDelivery>, StoreError> {
        let lock = replays::lock_made(replay, limit);
        let rows = self.flight(|connection| lock.rows::<MadeRow>(connection)).await?;
        Ok(rows.into_iter().map(MadeDelivery::from).collect())
    }

    async fn delivered(
        &mut self,
        webhook: WebhookId,
        events: &[Uuid],
    ) -> Result<HashSet<Uuid>, StoreError> {
        let read = sql("SELECT event_id FROM webhook_deliveries
                 WHERE endpoint_id = $1 AND event_id = ANY ($2)")
        .bind(webhook.uuid())
        .bind(events.to_vec());
        let rows = self.flight(|connection| read.rows::<DeliveredRow>(connection)).await?;
        Ok(rows.into_iter().map(|row| row.event_id).collect())
    }

    fn update_replay(&mut self, replay: &Replay) {
        let statement =
            sql("UPDATE webhook_replays SET status = $2, redelivered = $3, cursor_sort = $4,
                     cursor_id = $5, ended_at = $6
                 WHERE id = $1")
            .bind(replay.id.uuid())
            .bind(replay.status.as_str())
            .bind(i64::try_from(replay.redelivered).unwrap_or(i64::MAX))
            .bind(replay.cursor.map(|key| key.sort))
            .bind(replay.cursor.map(|key| key.id))
            .bind(replay.ended_at);
        self.write(statement);
    }

    fn settle_attempts(&mut self, attempts: Vec<SettledAttempt>) {
        if !attempts.is_empty() {
            self.write(settle(attempts));
        }
    }

    fn release_deliveries(&mut self, deliveries: Vec<DeliveryId>, due: Timestamp) {
        let statement =
            sql("UPDATE webhook_deliveries
                 SET number = number - 1, scheduled = scheduled - 1, started_at = NULL, next_attempt_at = $2
                 WHERE id = ANY ($1) AND started_at IS NOT NULL")
                .bind(uuids(&deliveries))
                .bind(due);
        self.write(statement);
    }
}

/// The attempts go to the log, and their deliveries on their way.
fn settle(attempts: Vec<SettledAttempt>) -> Sql {
    let (mut ids, mut numbers, mut starts, mut codes) = (vec![], vec![], vec![], vec![]);
    let (mut durations, mut errors, mut heads) = (vec![], vec![], vec![]);
    let (mut statuses, mut dues) = (vec![], vec![]);
    for attempt in attempts {
        let (status, due) = match attempt.next {
            Next::Succeeded => (DeliveryStatus::Succeeded, None),
            Next::RetryAt(at) => (DeliveryStatus::Pending, Some(at)),
            Next::Exhausted => (DeliveryStatus::Failed, None),
        };
        ids.push(attempt.delivery.uuid());
        numbers.push(attempt.number);
        starts.push(attempt.at);
        codes.push(attempt.status_code.map(|code| i16::try_from(code).unwrap_or(i16::MAX)));
        durations.push(i32::try_from(attempt.duration.as_millis()).unwrap_or(i32::MAX));
        errors.push(attempt.error);
        heads.push(Some(attempt.response_head).filter(|head| !head.is_empty()));
        statuses.push(status.as_str());
        dues.push(due);
    }
    sql("WITH settled AS (
             SELECT * FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::smallint[], $5::integer[],
                                  $6::text[], $7::bytea[], $8::text[], $9::timestamptz[])
                  AS attempt(delivery_id, number, started_at, status_code, duration_ms, error, response_head,
                             status, next_attempt_at)
         ), current AS (
             UPDATE webhook_deliveries d
             SET status = s.status, next_attempt_at = s.next_attempt_at, started_at = NULL
             FROM settled s
             WHERE d.id = s.delivery_id AND d.number = s.number AND d.started_at IS NOT NULL
             RETURNING d.id
         )
         INSERT INTO webhook_attempts
             (delivery_id, number, started_at, status_code, duration_ms, error, response_head)
         SELECT s.delivery_id, s.number, s.started_at, s.status_code, s.duration_ms, s.error, s.response_head
         FROM settled s JOIN current c ON c.id = s.delivery_id")
    .bind(ids)
    .bind(numbers)
    .bind(starts)
    .bind(codes)
    .bind(durations)
    .bind(errors)
    .bind(heads)
    .bind(statuses)
    .bind(dues)
}

fn uuids(deliveries: &[DeliveryId]) -> Vec<Uuid> {
    deliveries.iter().map(|delivery| delivery.uuid()).collect()
}

fn rate(endpoint: &Endpoint) -> Option<i16> {
    endpoint.rate_limit.and_then(|rate| i16::try_from(rate.as_per_second()).ok())
}

fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
