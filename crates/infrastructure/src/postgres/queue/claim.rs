//! Claiming: which jobs a worker gets, and when it is worth asking again.

use std::time::Duration;

use convene_application::kernel::jobs::{Claim, LeasedJob, RunControl};
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Integer, Jsonb, Nullable, SmallInt, Text};

use crate::postgres::PgStore;
use crate::postgres::sql::{Sql, flight, micros, sql};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = Nullable<Text>)]
    job_group: Option<String>,
    #[diesel(sql_type = Jsonb)]
    payload: serde_json::Value,
    #[diesel(sql_type = SmallInt)]
    attempt: i16,
    #[diesel(sql_type = SmallInt)]
    max_attempts: i16,
    #[diesel(sql_type = BigInt)]
    epoch: i64,
    #[diesel(sql_type = Nullable<Text>)]
    traceparent: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    correlation_id: Option<String>,
}

#[derive(QueryableByName)]
struct Room {
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = Integer)]
    free: i32,
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = Nullable<BigInt>)]
    in_micros: Option<i64>,
}

/// Jobs without a group in queues without limits, which are nearly all, take the short way. What operators have limited,
/// and what belongs to a group, is claimed by a function of its own behind it, if there is any: the same flight tells.
///
/// Each queue is walked priority by priority, and each priority by time: so jobs that are not due yet cost nothing, however
/// many there are and whatever their priority. Where a group waits as well, half of the room is left for it.
pub(super) async fn claim(store: &PgStore, claim: &Claim) -> Result<Vec<LeasedJob>, StoreError> {
    let short = room(
        claim,
        "WITH RECURSIVE room AS (
            SELECT queue, CASE WHEN EXISTS (SELECT FROM job_groups AS waiting
                                            WHERE waiting.queue = room.queue AND NOT waiting.paused
                                              AND waiting.ready_at <= statement_timestamp())
                               THEN (free + (random() < 0.5)::integer) / 2 ELSE free END AS free
            FROM unnest($1::text[], $2::integer[]) AS room(queue, free)
            WHERE free > 0 AND NOT EXISTS (
                SELECT FROM job_queues AS control WHERE control.queue = room.queue
                AND (control.paused OR control.at_once IS NOT NULL OR control.rate IS NOT NULL))
         ), level AS (
            SELECT room.queue, top.priority FROM room CROSS JOIN LATERAL (
                SELECT priority FROM jobs WHERE queue = room.queue AND leased_by IS NULL AND job_group IS NULL
                ORDER BY priority LIMIT 1) AS top
            UNION ALL
            SELECT level.queue, next.priority FROM level CROSS JOIN LATERAL (
                SELECT priority FROM jobs
                WHERE queue = level.queue AND leased_by IS NULL AND job_group IS NULL AND priority > level.priority
                ORDER BY priority LIMIT 1) AS next
         ), picked AS (
            SELECT due.id FROM room CROSS JOIN LATERAL (
                SELECT job.id FROM level CROSS JOIN LATERAL (
                    SELECT id FROM jobs
                    WHERE queue = level.queue AND priority = level.priority AND leased_by IS NULL
                      AND job_group IS NULL AND run_at <= statement_timestamp() AND kind = ANY ($3)
                    ORDER BY run_at, id LIMIT room.free FOR UPDATE SKIP LOCKED) AS job
                WHERE level.queue = room.queue LIMIT room.free) AS due
         )
         UPDATE jobs SET attempt = attempt + 1, epoch = epoch + 1, leased_by = $4,
             leased_until = clock_timestamp() + $5 * interval '1 microsecond', started_at = statement_timestamp()
         WHERE id = ANY (ARRAY(SELECT id FROM picked))
         RETURNING id, kind, queue, job_group, payload, attempt, max_attempts, epoch, traceparent, correlation_id",
    );
    let short = short.bind(claim.worker).bind(micros(claim.lease));
    let limited = room(
        claim,
        "SELECT queue, free FROM unnest($1::text[], $2::integer[]) AS room(queue, free)
         WHERE free > 0 AND (
            EXISTS (SELECT FROM job_queues AS control WHERE control.queue = room.queue
                    AND (control.at_once IS NOT NULL OR control.rate IS NOT NULL))
            OR EXISTS (SELECT FROM job_groups AS waiting
                       WHERE waiting.queue = room.queue AND NOT waiting.paused
                         AND waiting.ready_at <= statement_timestamp()))
           AND cardinality($3::text[]) > 0",
    );
    let connection = store.connection().await?;
    let (mut rows, limited): (Vec<Row>, Vec<Room>) =
        flight!(short.rows(&connection), limited.rows(&connection))?;
    let (mut queues, mut free) = (Vec::new(), Vec::new());
    for room in limited {
        let taken = rows.iter().filter(|row| row.queue == room.queue).count();
        let left = room.free - i32::try_from(taken).unwrap_or(i32::MAX);
        if left > 0 {
            queues.push(room.queue);
            free.push(left);
        }
    }
    if !queues.is_empty() {
        let more: Vec<Row> =
            sql("SELECT id, kind, queue, job_group, payload, attempt, max_attempts, epoch,
                    traceparent, correlation_id
             FROM convene_claim_limited($1, $2 * interval '1 microsecond', $3, $4, $5)")
            .bind(claim.worker)
            .bind(micros(claim.lease))
            .bind(claim.kinds.clone())
            .bind(queues)
            .bind(free)
            .rows(&connection)
            .await?;
        rows.extend(more);
    }
    Ok(rows.into_iter().map(LeasedJob::from).collect())
}

/// A queue that is paused has nothing to wait for, and one that is limited is not asked more than twenty times a second.
pub(super) async fn next_due(
    store: &PgStore,
    claim: &Claim,
) -> Result<Option<Duration>, StoreError> {
    let statement = room(
        claim,
        "WITH RECURSIVE room AS (
            SELECT room.queue, CASE WHEN control.at_once IS NOT NULL OR control.rate IS NOT NULL
                                    THEN clock_timestamp() + interval '50 milliseconds' END AS earliest
            FROM unnest($1::text[], $2::integer[]) AS room(queue, free) LEFT JOIN job_queues AS control USING (queue)
            WHERE free > 0 AND control.paused IS NOT TRUE
         ), level AS (
            SELECT room.queue, top.priority FROM room CROSS JOIN LATERAL (
                SELECT priority FROM jobs WHERE queue = room.queue AND leased_by IS NULL AND job_group IS NULL
                ORDER BY priority LIMIT 1) AS top
            UNION ALL
            SELECT level.queue, next.priority FROM level CROSS JOIN LATERAL (
                SELECT priority FROM jobs
                WHERE queue = level.queue AND leased_by IS NULL AND job_group IS NULL AND priority > level.priority
                ORDER BY priority LIMIT 1) AS next
         ), next AS (
            SELECT level.queue, first.run_at FROM level CROSS JOIN LATERAL (
                SELECT run_at FROM jobs
                WHERE queue = level.queue AND priority = level.priority AND leased_by IS NULL AND job_group IS NULL
                  AND kind = ANY ($3)
                ORDER BY run_at LIMIT 1) AS first
            UNION ALL
            SELECT room.queue, first.ready_at FROM room CROSS JOIN LATERAL (
                SELECT ready_at FROM job_groups
                WHERE queue = room.queue AND NOT paused AND ready_at < 'infinity' ORDER BY ready_at LIMIT 1) AS first
         )
         SELECT (extract(epoch FROM min(greatest(next.run_at, room.earliest)) - clock_timestamp()) * 1000000)::bigint
             AS in_micros
         FROM next JOIN room USING (queue)",
    );
    let connection = store.connection().await?;
    let due: Option<Due> = statement.row(&connection).await?;
    Ok(due
        .and_then(|due| due.in_micros)
        .map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
}

/// A statement whose first three parameters say what a worker has room for.
fn room(claim: &Claim, statement: &'static str) -> Sql {
    let (queues, free): (Vec<&'static str>, Vec<i32>) = claim.free.iter().copied().unzip();
    sql(statement).bind(queues).bind(free).bind(claim.kinds.clone())
}

impl From<Row> for LeasedJob {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            queue: row.queue,
            group: row.job_group,
            payload: row.payload,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            epoch: row.epoch,
            traceparent: row.traceparent,
            correlation_id: row.correlation_id,
            control: RunControl::default(),
        }
    }
}
