//! How much waits.

use std::time::Duration;

use convene_application::kernel::jobs::QueueBacklog;
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};

use crate::postgres::PgStore;
use crate::postgres::sql::sql;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = BigInt)]
    due: i64,
    #[diesel(sql_type = BigInt)]
    age_micros: i64,
    #[diesel(sql_type = BigInt)]
    running: i64,
    #[diesel(sql_type = BigInt)]
    dead: i64,
}

/// Walks the same indexes as a claim, and counts no further than [`QueueBacklog::COUNTED`].
pub(super) async fn backlog(store: &PgStore) -> Result<Vec<QueueBacklog>, StoreError> {
    let connection = store.connection().await?;
    let rows: Vec<Row> = sql("WITH RECURSIVE level AS (
            (SELECT queue, priority FROM jobs WHERE leased_by IS NULL AND job_group IS NULL
             ORDER BY queue, priority LIMIT 1)
            UNION ALL
            SELECT next.queue, next.priority FROM level CROSS JOIN LATERAL (
                SELECT queue, priority FROM jobs
                WHERE leased_by IS NULL AND job_group IS NULL AND (queue, priority) > (level.queue, level.priority)
                ORDER BY queue, priority LIMIT 1) AS next
         ), ready AS (
            SELECT level.queue, job.run_at FROM level CROSS JOIN LATERAL (
                SELECT run_at FROM jobs
                WHERE queue = level.queue AND priority = level.priority AND leased_by IS NULL AND job_group IS NULL
                  AND run_at <= statement_timestamp()
                ORDER BY run_at LIMIT $1) AS job
            UNION ALL
            SELECT waiting.queue, job.run_at
            FROM (SELECT queue, job_group FROM job_groups WHERE ready_at < 'infinity' LIMIT $1) AS waiting
            CROSS JOIN LATERAL (
                SELECT run_at FROM jobs
                WHERE queue = waiting.queue AND job_group = waiting.job_group AND leased_by IS NULL
                  AND run_at <= statement_timestamp()
                ORDER BY run_at LIMIT $1) AS job
         ), due AS (
            SELECT queue, count(*) AS jobs, min(run_at) AS first FROM ready GROUP BY queue
         ), running AS (
            SELECT queue, count(*) AS jobs FROM (
                SELECT queue FROM jobs WHERE leased_by IS NOT NULL ORDER BY leased_until LIMIT $1) AS job
            GROUP BY queue
         ), dead AS (
            SELECT queue, count(*) AS jobs FROM (
                SELECT queue FROM jobs_dead ORDER BY died_at DESC LIMIT $1) AS job
            GROUP BY queue
         )
         SELECT queue, coalesce(due.jobs, 0)::bigint AS due, coalesce(running.jobs, 0) AS running,
                coalesce(dead.jobs, 0) AS dead,
                (coalesce(greatest(extract(epoch FROM clock_timestamp() - due.first), 0), 0) * 1000000)::bigint
                    AS age_micros
         FROM due FULL JOIN running USING (queue) FULL JOIN dead USING (queue)")
    .bind(QueueBacklog::COUNTED.cast_signed())
    .rows(&connection)
    .await?;
    Ok(rows.into_iter().map(QueueBacklog::from).collect())
}

impl From<Row> for QueueBacklog {
    fn from(row: Row) -> Self {
        let count = |number| u64::try_from(number).unwrap_or(0);
        Self {
            queue: row.queue,
            due: count(row.due),
            age: Duration::from_micros(count(row.age_micros)),
            running: count(row.running),
            dead: count(row.dead),
        }
    }
}
