//! Many deliveries that are sent again.

use convene_application::kernel::page::PageKey;
use convene_application::kernel::store::StoreError;
use convene_application::webhook::ports::{AttemptStats, EndpointStats, MadeDelivery, Replay};
use convene_domain::ids::{ReplayId, TypedId as _, WebhookId};
use convene_domain::webhook::{ReplayScope, ReplayStatus};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use crate::postgres::sql::{Sql, sql, stored};

/// The columns of [`ReplayRow`].
pub(super) const REPLAY_COLUMNS: &str = "id, community_id, endpoint_id, scope, since, status, redelivered, cursor_sort, cursor_id, created_at, ended_at";

#[derive(QueryableByName)]
pub(super) struct ReplayRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    community_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    endpoint_id: Uuid,
    #[diesel(sql_type = Text)]
    scope: String,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    since: Timestamp,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = BigInt)]
    redelivered: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    cursor_sort: Option<i64>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    cursor_id: Option<Uuid>,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    created_at: Timestamp,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    ended_at: Option<Timestamp>,
}

impl TryFrom<ReplayRow> for Replay {
    type Error = StoreError;

    fn try_from(row: ReplayRow) -> Result<Self, StoreError> {
        let scope = ReplayScope::parse(&row.scope).ok_or(());
        let status = ReplayStatus::parse(&row.status).ok_or(());
        Ok(Self {
            id: ReplayId::from_uuid(row.id),
            community: convene_domain::ids::CommunityId::from_uuid(row.community_id),
            webhook: WebhookId::from_uuid(row.endpoint_id),
            scope: stored("webhook_replays.scope", scope)?,
            since: row.since,
            status: stored("webhook_replays.status", status)?,
            redelivered: row.redelivered.unsigned_abs(),
            cursor: row.cursor_sort.zip(row.cursor_id).map(|(sort, id)| PageKey { sort, id }),
            created_at: row.created_at,
            ended_at: row.ended_at,
        })
    }
}

#[derive(QueryableByName)]
pub(super) struct MadeRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    created_at: Timestamp,
    #[diesel(sql_type = Bool)]
    in_flight: bool,
}

impl From<MadeRow> for MadeDelivery {
    fn from(row: MadeRow) -> Self {
        Self {
            delivery: convene_domain::ids::DeliveryId::from_uuid(row.id),
            place: PageKey { sort: row.created_at.as_microsecond(), id: row.id },
            in_flight: row.in_flight,
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct DeliveredRow {
    #[diesel(sql_type = SqlUuid)]
    pub(super) event_id: Uuid,
}

/// Locks what the replay is about, the oldest first.
pub(super) fn lock_made(replay: &Replay, limit: u32) -> Sql {
    // Two statements, so that each has its index.
    let wanted = if replay.scope == ReplayScope::Failed { "AND status = 'failed'" } else { "" };
    // Before everything, if nothing was looked at yet.
    let (after, id) = replay.cursor.map_or((replay.since, Uuid::nil()), |key| {
        (Timestamp::from_microsecond(key.sort).unwrap_or(replay.since), key.id)
    });
    sql(format!(
        "SELECT id, created_at, started_at IS NOT NULL AS in_flight FROM webhook_deliveries
         WHERE endpoint_id = $1 AND (created_at, id) > ($2, $3) AND created_at < $4 {wanted}
         ORDER BY created_at, id LIMIT $5 FOR NO KEY UPDATE"
    ))
    .bind(replay.webhook.uuid())
    .bind(after)
    .bind(id)
    .bind(replay.created_at)
    .bind(i64::from(limit))
}

#[derive(QueryableByName)]
pub(super) struct StatsRow {
    #[diesel(sql_type = BigInt)]
    pending: i64,
    #[diesel(sql_type = BigInt)]
    succeeded: i64,
    #[diesel(sql_type = BigInt)]
    failed: i64,
    #[diesel(sql_type = BigInt)]
    taken: i64,
    #[diesel(sql_type = BigInt)]
    redirected: i64,
    #[diesel(sql_type = BigInt)]
    refused: i64,
    #[diesel(sql_type = BigInt)]
    broken: i64,
    #[diesel(sql_type = BigInt)]
    attempts: i64,
    #[diesel(sql_type = Nullable<Integer>)]
    p50: Option<i32>,
    #[diesel(sql_type = Nullable<Integer>)]
    p95: Option<i32>,
}

impl From<StatsRow> for EndpointStats {
    fn from(row: StatsRow) -> Self {
        let answered = row.taken + row.redirected + row.refused + row.broken;
        Self {
            pending: row.pending.unsigned_abs(),
            succeeded: row.succeeded.unsigned_abs(),
            failed: row.failed.unsigned_abs(),
            attempts: AttemptStats {
                taken: row.taken.unsigned_abs(),
                redirected: row.redirected.unsigned_abs(),
                refused: row.refused.unsigned_abs(),
                failed: row.broken.unsigned_abs(),
                unanswered: (row.attempts - answered).unsigned_abs(),
            },
            p50_ms: row.p50.map(i32::unsigned_abs),
            p95_ms: row.p95.map(i32::unsigned_abs),
        }
    }
}

/// Counts the newest deliveries and their attempts, at most `limit` deliveries however many there are.
pub(super) fn stats(webhook: WebhookId, since: Timestamp, limit: u32) -> Sql {
    sql("WITH recent AS MATERIALIZED (
             SELECT id, status FROM webhook_deliveries WHERE endpoint_id = $1 AND created_at >= $2
             ORDER BY created_at DESC, id DESC LIMIT $3
         ), deliveries AS (
             SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
                    count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
                    count(*) FILTER (WHERE status = 'failed') AS failed
             FROM recent
         ), attempts AS (
             SELECT count(*) AS attempts,
                    count(*) FILTER (WHERE status_code BETWEEN 200 AND 299 AND error IS NULL) AS taken,
                    count(*) FILTER (WHERE status_code BETWEEN 300 AND 399) AS redirected,
                    count(*) FILTER (WHERE status_code BETWEEN 400 AND 499) AS refused,
                    count(*) FILTER (WHERE status_code BETWEEN 500 AND 599) AS broken,
                    percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms) AS p50,
                    percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95
             FROM webhook_attempts JOIN recent ON recent.id = delivery_id
         )
         SELECT * FROM deliveries, attempts")
    .bind(webhook.uuid())
    .bind(since)
    .bind(i64::from(limit))
}
