//! The job queue as workers use it: leases that are claimed, prolonged, settled and rescued, each fenced by its epoch.
//!
//! Leases run by the database's clock, which all workers share. Statements lock rows in the order of their ids, so that
//! none waits for another in a circle.

use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::jobs::{
    Claim, Fence, JobQueue, LeasedJob, NewJob, QueueBacklog, SettledAs, Settlement,
};
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Jsonb, Nullable, SmallInt, Text};

use super::PgStore;
use super::jobs;
use super::sql::{Sql, micros, sql};

/// The most leases that one call ends.
const RESCUED_AT_ONCE: i64 = 500;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    queue: String,
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
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = Nullable<BigInt>)]
    in_micros: Option<i64>,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    jobs: i64,
}

#[derive(QueryableByName)]
struct BacklogRow {
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

#[async_trait]
impl JobQueue for PgStore {
    /// Each queue is walked priority by priority, and each priority by time: so jobs that are not due yet cost nothing,
    /// however many there are and whatever their priority.
    async fn claim(&self, claim: &Claim) -> Result<Vec<LeasedJob>, StoreError> {
        let statement = room(
            claim,
            "WITH RECURSIVE room AS (
                SELECT queue, free FROM unnest($1::text[], $2::integer[]) AS room(queue, free) WHERE free > 0
             ), level AS (
                SELECT room.queue, top.priority FROM room CROSS JOIN LATERAL (
                    SELECT priority FROM jobs WHERE queue = room.queue AND leased_by IS NULL
                    ORDER BY priority LIMIT 1) AS top
                UNION ALL
                SELECT level.queue, next.priority FROM level CROSS JOIN LATERAL (
                    SELECT priority FROM jobs
                    WHERE queue = level.queue AND leased_by IS NULL AND priority > level.priority
                    ORDER BY priority LIMIT 1) AS next
             ), picked AS (
                SELECT due.id FROM room CROSS JOIN LATERAL (
                    SELECT job.id FROM level CROSS JOIN LATERAL (
                        SELECT id FROM jobs
                        WHERE queue = level.queue AND priority = level.priority AND leased_by IS NULL
                          AND run_at <= statement_timestamp() AND kind = ANY ($3)
                        ORDER BY run_at, id LIMIT room.free FOR UPDATE SKIP LOCKED) AS job
                    WHERE level.queue = room.queue LIMIT room.free) AS due
             )
             UPDATE jobs SET attempt = attempt + 1, epoch = epoch + 1, leased_by = $4,
                 leased_until = clock_timestamp() + $5 * interval '1 microsecond'
             WHERE id = ANY (ARRAY(SELECT id FROM picked))
             RETURNING id, kind, queue, payload, attempt, max_attempts, epoch, traceparent, correlation_id",
        );
        let connection = self.connection().await?;
        let rows: Vec<Row> =
            statement.bind(claim.worker).bind(micros(claim.lease)).rows(&connection).await?;
        Ok(rows.into_iter().map(LeasedJob::from).collect())
    }

    async fn next_due(&self, claim: &Claim) -> Result<Option<Duration>, StoreError> {
        let statement = room(
            claim,
            "WITH RECURSIVE room AS (
                SELECT queue, free FROM unnest($1::text[], $2::integer[]) AS room(queue, free) WHERE free > 0
             ), level AS (
                SELECT room.queue, top.priority FROM room CROSS JOIN LATERAL (
                    SELECT priority FROM jobs WHERE queue = room.queue AND leased_by IS NULL
                    ORDER BY priority LIMIT 1) AS top
                UNION ALL
                SELECT level.queue, next.priority FROM level CROSS JOIN LATERAL (
                    SELECT priority FROM jobs
                    WHERE queue = level.queue AND leased_by IS NULL AND priority > level.priority
                    ORDER BY priority LIMIT 1) AS next
             )
             SELECT (extract(epoch FROM min(first.run_at) - clock_timestamp()) * 1000000)::bigint AS in_micros
             FROM level CROSS JOIN LATERAL (
                SELECT run_at FROM jobs
                WHERE queue = level.queue AND priority = level.priority AND leased_by IS NULL AND kind = ANY ($3)
                ORDER BY run_at LIMIT 1) AS first",
        );
        let connection = self.connection().await?;
        let due: Option<Due> = statement.row(&connection).await?;
        Ok(due
            .and_then(|due| due.in_micros)
            .map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
    }

    async fn heartbeat(&self, leases: &[Fence], lease: Duration) -> Result<Vec<i64>, StoreError> {
        let statement = fenced(
            leases,
            "WITH held AS (
                SELECT jobs.id FROM unnest($1::bigint[], $2::bigint[]) AS lease(id, epoch)
                JOIN jobs USING (id, epoch) WHERE jobs.leased_by IS NOT NULL ORDER BY jobs.id FOR UPDATE OF jobs
             )
             UPDATE jobs SET leased_until = clock_timestamp() + $3 * interval '1 microsecond'
             WHERE id = ANY (ARRAY(SELECT id FROM held)) RETURNING id",
        );
        let connection = self.connection().await?;
        let held: Vec<Id> = statement.bind(micros(lease)).rows(&connection).await?;
        Ok(leases
            .iter()
            .map(|fence| fence.job)
            .filter(|job| !held.iter().any(|held| held.id == *job))
            .collect())
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<usize, StoreError> {
        let (mut ids, mut epochs, mut verdicts) = (vec![], vec![], vec![]);
        let (mut waits, mut errors) = (vec![], vec![]);
        for Settlement { fence, verdict } in settlements {
            let (verdict, after, error) = match verdict {
                SettledAs::Done => ("done", Duration::ZERO, None),
                SettledAs::Retry { after, error } => ("retry", after, Some(error)),
                SettledAs::Snoozed { after } => ("snoozed", after, None),
                SettledAs::Dead { error } => ("dead", Duration::ZERO, Some(error)),
            };
            ids.push(fence.job);
            epochs.push(fence.epoch);
            verdicts.push(verdict);
            waits.push(micros(after));
            errors.push(error);
        }
        let connection = self.connection().await?;
        // What was asked for again while it ran runs again; a failure keeps its back-off all the same.
        let settled: Option<Count> = sql("WITH ended AS (
                SELECT jobs.*, run.verdict, run.after * interval '1 microsecond' AS after, run.error
                FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[])
                     AS run(id, epoch, verdict, after, error)
                JOIN jobs USING (id, epoch) WHERE jobs.leased_by IS NOT NULL ORDER BY jobs.id FOR UPDATE OF jobs
             ), buried AS (
                INSERT INTO jobs_dead (job_id, kind, queue, payload, unique_key, priority, attempt, max_attempts,
                                       last_error, traceparent, correlation_id, created_at)
                SELECT id, kind, queue, payload, unique_key, priority, attempt, max_attempts,
                       coalesce(error, ''), traceparent, correlation_id, created_at
                FROM ended WHERE verdict = 'dead'
             ), gone AS (
                DELETE FROM jobs WHERE id = ANY (ARRAY(
                    SELECT id FROM ended WHERE verdict IN ('done', 'dead') AND NOT rerun))
             ), again AS (
                UPDATE jobs SET leased_by = NULL, leased_until = NULL, rerun = false,
                    attempt = CASE ended.verdict WHEN 'retry' THEN ended.attempt
                                                 WHEN 'snoozed' THEN ended.attempt - 1 ELSE 0 END,
                    run_at = clock_timestamp() + CASE WHEN ended.verdict = 'snoozed' AND ended.rerun
                                                      THEN interval '0' ELSE ended.after END,
                    last_error = ended.error
                FROM ended WHERE jobs.id = ended.id AND (ended.rerun OR ended.verdict IN ('retry', 'snoozed'))
             )
             SELECT count(*) AS jobs FROM ended")
        .bind(ids)
        .bind(epochs)
        .bind(verdicts)
        .bind(waits)
        .bind(errors)
        .row(&connection)
        .await?;
        Ok(counted(settled))
    }

    async fn rescue(&self) -> Result<usize, StoreError> {
        let connection = self.connection().await?;
        let rescued: Option<Count> = sql("WITH lost AS (
                SELECT * FROM jobs WHERE leased_by IS NOT NULL AND leased_until < statement_timestamp()
                ORDER BY leased_until
                LIMIT $1 FOR UPDATE SKIP LOCKED
             ), buried AS (
                INSERT INTO jobs_dead (job_id, kind, queue, payload, unique_key, priority, attempt, max_attempts,
                                       last_error, traceparent, correlation_id, created_at)
                SELECT id, kind, queue, payload, unique_key, priority, attempt, max_attempts,
                       'the worker was lost during the last attempt', traceparent, correlation_id, created_at
                FROM lost WHERE attempt >= max_attempts
             ), gone AS (
                DELETE FROM jobs WHERE id = ANY (ARRAY(
                    SELECT id FROM lost WHERE attempt >= max_attempts AND NOT rerun))
             ), again AS (
                UPDATE jobs SET leased_by = NULL, leased_until = NULL, rerun = false, run_at = statement_timestamp(),
                    attempt = CASE WHEN lost.attempt >= lost.max_attempts THEN 0 ELSE lost.attempt END,
                    last_error = 'the worker was lost'
                FROM lost WHERE jobs.id = lost.id AND (lost.rerun OR lost.attempt < lost.max_attempts)
             )
             SELECT count(*) AS jobs FROM lost")
        .bind(RESCUED_AT_ONCE)
        .row(&connection)
        .await?;
        let rescued = counted(rescued);
        if rescued > 0 {
            self.wake().jobs.ring();
        }
        Ok(rescued)
    }

    async fn hand_back(&self, leases: &[Fence]) -> Result<(), StoreError> {
        let statement = fenced(
            leases,
            "WITH held AS (
                SELECT jobs.id FROM unnest($1::bigint[], $2::bigint[]) AS lease(id, epoch)
                JOIN jobs USING (id, epoch) WHERE jobs.leased_by IS NOT NULL ORDER BY jobs.id FOR UPDATE OF jobs
             )
             UPDATE jobs SET leased_by = NULL, leased_until = NULL, rerun = false, attempt = attempt - 1
             WHERE id = ANY (ARRAY(SELECT id FROM held))",
        );
        let connection = self.connection().await?;
        statement.run(&connection).await?;
        self.wake().jobs.ring();
        Ok(())
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<(), StoreError> {
        if let Some(insert) = jobs::insert(jobs) {
            let connection = self.connection().await?;
            insert.run(&connection).await?;
            self.wake().jobs.ring();
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<Vec<QueueBacklog>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<BacklogRow> = sql("WITH live AS (
                SELECT queue, count(*) FILTER (WHERE leased_by IS NULL AND run_at <= statement_timestamp()) AS due,
                       min(run_at) FILTER (WHERE leased_by IS NULL) AS first, count(leased_by) AS running
                FROM jobs GROUP BY queue
             ), dead AS (
                SELECT queue, count(*) AS dead FROM jobs_dead GROUP BY queue
             )
             SELECT queue, coalesce(due, 0) AS due, coalesce(running, 0) AS running, coalesce(dead, 0) AS dead,
                    (coalesce(greatest(extract(epoch FROM clock_timestamp() - first), 0), 0) * 1000000)::bigint
                        AS age_micros
             FROM live FULL JOIN dead USING (queue)")
        .rows(&connection)
        .await?;
        Ok(rows.into_iter().map(QueueBacklog::from).collect())
    }
}

/// A statement whose first three parameters say what a worker has room for.
fn room(claim: &Claim, statement: &'static str) -> Sql {
    let (queues, free): (Vec<&'static str>, Vec<i32>) = claim.free.iter().copied().unzip();
    sql(statement).bind(queues).bind(free).bind(claim.kinds.clone())
}

/// A statement whose first two parameters are leases.
fn fenced(leases: &[Fence], statement: &'static str) -> Sql {
    let (ids, epochs): (Vec<i64>, Vec<i64>) =
        leases.iter().map(|fence| (fence.job, fence.epoch)).unzip();
    sql(statement).bind(ids).bind(epochs)
}

fn counted(count: Option<Count>) -> usize {
    count.map_or(0, |count| usize::try_from(count.jobs).unwrap_or(0))
}

impl From<Row> for LeasedJob {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            queue: row.queue,
            payload: row.payload,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            epoch: row.epoch,
            traceparent: row.traceparent,
            correlation_id: row.correlation_id,
        }
    }
}

impl From<BacklogRow> for QueueBacklog {
    fn from(row: BacklogRow) -> Self {
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
