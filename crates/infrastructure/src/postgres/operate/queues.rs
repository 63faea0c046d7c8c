//! What operators set about queues and groups of jobs.

use async_trait::async_trait;
use convene_application::kernel::jobs::QueueBacklog;
use convene_application::kernel::operate::queues::{
    GroupLimits, GroupView, QueueLimits, QueueReads, QueueTx, Rate,
};
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Double, Integer, Nullable, Text};

use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;
use crate::postgres::tx::PgTx;

#[derive(QueryableByName)]
struct QueueRow {
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = Bool)]
    paused: bool,
    #[diesel(sql_type = Nullable<Integer>)]
    at_once: Option<i32>,
    #[diesel(sql_type = Nullable<Double>)]
    rate: Option<f64>,
    #[diesel(sql_type = Nullable<Integer>)]
    burst: Option<i32>,
    #[diesel(sql_type = Nullable<Integer>)]
    group_at_once: Option<i32>,
}

#[derive(QueryableByName)]
struct GroupLimitsRow {
    #[diesel(sql_type = Bool)]
    paused: bool,
    #[diesel(sql_type = Nullable<Integer>)]
    at_once: Option<i32>,
}

#[derive(QueryableByName)]
struct GroupRow {
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = Text)]
    job_group: String,
    #[diesel(sql_type = Bool)]
    paused: bool,
    #[diesel(sql_type = Nullable<Integer>)]
    at_once: Option<i32>,
    #[diesel(sql_type = BigInt)]
    due: i64,
    #[diesel(sql_type = BigInt)]
    running: i64,
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// A limit as the database keeps it; larger ones limit nothing.
fn limit(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl From<QueueRow> for QueueLimits {
    fn from(row: QueueRow) -> Self {
        let rate = row.rate.zip(row.burst);
        Self {
            paused: row.paused,
            at_once: row.at_once.map(count),
            rate: rate.map(|(per_second, burst)| Rate { per_second, burst: count(burst) }),
            group_at_once: row.group_at_once.map(count),
        }
    }
}

#[async_trait]
impl QueueReads for PgStore {
    async fn limits(&self) -> Result<Vec<(String, QueueLimits)>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<QueueRow> =
            sql("SELECT queue, paused, at_once, rate, burst, group_at_once FROM job_queues ORDER BY queue")
                .rows(&connection)
                .await?;
        Ok(rows.into_iter().map(|row| (row.queue.clone(), row.into())).collect())
    }

    async fn groups(&self, queue: Option<&str>, limit: u32) -> Result<Vec<GroupView>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<GroupRow> = sql("SELECT known.queue, known.job_group, known.paused, known.at_once,
                (SELECT count(*) FROM (
                    SELECT FROM jobs WHERE jobs.queue = known.queue AND jobs.job_group = known.job_group
                        AND leased_by IS NULL AND run_at <= statement_timestamp() LIMIT $3) AS due) AS due,
                (SELECT count(*) FROM jobs WHERE jobs.queue = known.queue AND jobs.job_group = known.job_group
                    AND leased_by IS NOT NULL) AS running
             FROM job_groups AS known WHERE $1 IS NULL OR known.queue = $1
             ORDER BY known.queue, known.job_group LIMIT $2")
        .bind(queue.map(str::to_owned))
        .bind(i64::from(limit))
        .bind(QueueBacklog::COUNTED.cast_signed())
        .rows(&connection)
        .await?;
        Ok(rows.into_iter().map(GroupView::from).collect())
    }
}

impl From<GroupRow> for GroupView {
    fn from(row: GroupRow) -> Self {
        Self {
            queue: row.queue,
            group: row.job_group,
            limits: GroupLimits { paused: row.paused, at_once: row.at_once.map(count) },
            due: row.due.unsigned_abs(),
            running: row.running.unsigned_abs(),
        }
    }
}

#[async_trait]
impl QueueTx for PgTx {
    async fn queue_limits(&mut self, queue: &str) -> Result<QueueLimits, StoreError> {
        let read = sql("SELECT queue, paused, at_once, rate, burst, group_at_once FROM job_queues
             WHERE queue = $1 FOR UPDATE")
        .bind(queue.to_owned());
        let row = self.flight(|connection| read.row::<QueueRow>(connection)).await?;
        Ok(row.map(QueueLimits::from).unwrap_or_default())
    }

    async fn limit_queue(&mut self, queue: &str, limits: &QueueLimits) -> Result<(), StoreError> {
        let write = sql("INSERT INTO job_queues AS known (queue, paused, at_once, rate, burst, tokens, group_at_once)
             VALUES ($1, $2, $3, $4, $5, coalesce($5, 0), $6)
             ON CONFLICT (queue) DO UPDATE SET paused = excluded.paused, at_once = excluded.at_once,
                rate = excluded.rate, burst = excluded.burst, group_at_once = excluded.group_at_once,
                tokens = CASE WHEN (known.rate, known.burst) IS NOT DISTINCT FROM (excluded.rate, excluded.burst)
                              THEN known.tokens ELSE excluded.tokens END")
        .bind(queue.to_owned())
        .bind(limits.paused)
        .bind(limits.at_once.map(limit))
        .bind(limits.rate.map(|rate| rate.per_second))
        .bind(limits.rate.map(|rate| limit(rate.burst)))
        .bind(limits.group_at_once.map(limit));
        self.flight(|connection| write.run(connection)).await?;
        Ok(())
    }

    async fn group_limits(&mut self, queue: &str, group: &str) -> Result<GroupLimits, StoreError> {
        let read = sql(
            "SELECT paused, at_once FROM job_groups WHERE queue = $1 AND job_group = $2 FOR UPDATE",
        )
        .bind(queue.to_owned())
        .bind(group.to_owned());
        let row = self.flight(|connection| read.row::<GroupLimitsRow>(connection)).await?;
        Ok(row.map_or_else(GroupLimits::default, |row| GroupLimits {
            paused: row.paused,
            at_once: row.at_once.map(count),
        }))
    }

    async fn limit_group(
        &mut self,
        queue: &str,
        group: &str,
        limits: &GroupLimits,
    ) -> Result<(), StoreError> {
        let write = sql("INSERT INTO job_groups (queue, job_group, paused, at_once, ready_at)
             VALUES ($1, $2, $3, $4, clock_timestamp())
             ON CONFLICT (queue, job_group) DO UPDATE
                SET paused = excluded.paused, at_once = excluded.at_once, ready_at = excluded.ready_at")
        .bind(queue.to_owned())
        .bind(group.to_owned())
        .bind(limits.paused)
        .bind(limits.at_once.map(limit));
        self.flight(|connection| write.run(connection)).await?;
        Ok(())
    }
}
