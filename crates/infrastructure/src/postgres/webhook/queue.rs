//! Deliveries on their way out.

use async_trait::async_trait;
use convene_application::kernel::store::StoreError;
use convene_application::webhook::ports::{ClaimedBatch, ClaimedDelivery, DeliveryQueue, Target};
use convene_domain::ids::{TypedId as _, WebhookId};
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use jiff::Timestamp;
use uuid::Uuid;

use super::rows::{ClaimedRow, DueRow, TargetRow};
use crate::postgres::sql::{Sql, flight, sql};
use crate::postgres::store::PgStore;

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[async_trait]
impl DeliveryQueue for PgStore {
    async fn claim(
        &self,
        webhook: WebhookId,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<ClaimedBatch, StoreError> {
        let connection = self.connection().await?;
        let (claimed, target, due) = flight!(
            claim(webhook, now, until, limit).rows::<ClaimedRow>(&connection),
            sql("SELECT url, secret, headers, rate_limit, status, paused_until,
                     ARRAY(SELECT p.secret FROM webhook_previous_secrets p
                           WHERE p.endpoint_id = e.id AND p.signs_until > $2 ORDER BY p.id DESC) AS previous
                 FROM webhook_endpoints e WHERE id = $1")
                .bind(webhook.uuid())
                .bind(now)
                .row::<TargetRow>(&connection),
            sql("SELECT min(next_attempt_at) AS due FROM webhook_deliveries
                 WHERE endpoint_id = $1 AND status = 'pending'")
            .bind(webhook.uuid())
            .row::<DueRow>(&connection),
        )?;
        Ok(ClaimedBatch {
            target: target.map(Target::try_from).transpose()?,
            deliveries: claimed.into_iter().map(ClaimedDelivery::from).collect(),
            next_due: due.and_then(|row| row.due),
        })
    }

    async fn purge(&self, webhook: WebhookId, limit: u32) -> Result<u32, StoreError> {
        self.delete(
            sql("WITH gone AS (
                     DELETE FROM webhook_deliveries WHERE id = ANY (ARRAY(
                         SELECT id FROM webhook_deliveries
                         WHERE endpoint_id = $1 AND NOT EXISTS (SELECT FROM webhook_endpoints WHERE id = $1)
                         LIMIT $2))
                     RETURNING id
                 ), attempts AS (
                     DELETE FROM webhook_attempts WHERE delivery_id IN (SELECT id FROM gone)
                 )
                 SELECT count(*) AS count FROM gone")
            .bind(webhook.uuid())
            .bind(i64::from(limit)),
        )
        .await
    }

    async fn forget_secrets(&self, now: Timestamp) -> Result<u32, StoreError> {
        self.delete(
            sql("WITH gone AS (
                     DELETE FROM webhook_previous_secrets WHERE signs_until <= $1 RETURNING id
                 )
                 SELECT count(*) AS count FROM gone")
            .bind(now),
        )
        .await
    }

    async fn sweep(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.delete(
            sql("WITH gone AS (
                     DELETE FROM webhook_deliveries
                     WHERE id = ANY (ARRAY(SELECT id FROM webhook_deliveries WHERE id < $1 ORDER BY id LIMIT $2))
                     RETURNING id
                 ), attempts AS (
                     DELETE FROM webhook_attempts WHERE delivery_id IN (SELECT id FROM gone)
                 ), replays AS (
                     DELETE FROM webhook_replays WHERE created_at < $3 AND status <> 'running'
                 )
                 SELECT count(*) AS count FROM gone")
            .bind(first_uuid(before))
            .bind(i64::from(limit))
            .bind(before),
        )
        .await
    }
}

impl PgStore {
    async fn delete(&self, statement: Sql) -> Result<u32, StoreError> {
        let connection = self.connection().await?;
        let row: Option<CountRow> = statement.row(&connection).await?;
        Ok(row.map_or(0, |row| u32::try_from(row.count).unwrap_or(u32::MAX)))
    }
}

/// Counts the attempt and stores its start. What the row still says of an attempt before that was never settled goes to
/// the log first. The bound is zero, so nothing is claimed, unless the endpoint is there, enabled and not paused.
fn claim(webhook: WebhookId, now: Timestamp, until: Timestamp, limit: u32) -> Sql {
    sql("WITH due AS (
             SELECT id, number, started_at FROM webhook_deliveries
             WHERE endpoint_id = $1 AND status = 'pending' AND next_attempt_at <= $2
             ORDER BY next_attempt_at, id
             LIMIT coalesce((SELECT CASE WHEN pauses = 0 THEN $4 ELSE least($4, 1) END FROM webhook_endpoints
                             WHERE id = $1 AND status = 'enabled'
                               AND (paused_until IS NULL OR paused_until <= $2)), 0)
             FOR NO KEY UPDATE SKIP LOCKED
         ), interrupted AS (
             INSERT INTO webhook_attempts (delivery_id, number, started_at, error)
             SELECT id, number, started_at, 'interrupted' FROM due WHERE started_at IS NOT NULL
         )
         UPDATE webhook_deliveries d
         SET number = d.number + 1, scheduled = d.scheduled + 1, started_at = $2, next_attempt_at = $3
         FROM due WHERE d.id = due.id
         RETURNING d.id, d.event_id, d.event_type, d.number, d.scheduled, d.body, d.traceparent")
    .bind(webhook.uuid())
    .bind(now)
    .bind(until)
    .bind(i64::from(limit))
}

/// The smallest `UUIDv7` of an instant (RFC 9562 §5.7): ids of deliveries tell when they were made.
fn first_uuid(at: Timestamp) -> Uuid {
    Uuid::from_u128(u128::try_from(at.as_millisecond()).unwrap_or(0) << 80)
}
