//! Jobs in any state, and the operator's transaction on them.

use async_trait::async_trait;
use convene_application::kernel::jobs::Progress;
use convene_application::kernel::operate::jobs::{
    DeadFilter, DeadLetters, JobFilter, JobReads, JobState, JobTx, JobView, Revived,
};
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Nullable, SmallInt, Text, Timestamptz};
use jiff::Timestamp;

use crate::postgres::sql::{Sql, sql, stored};
use crate::postgres::store::PgStore;
use crate::postgres::tx::PgTx;

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
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = SmallInt)]
    priority: i16,
    #[diesel(sql_type = SmallInt)]
    attempt: i16,
    #[diesel(sql_type = SmallInt)]
    max_attempts: i16,
    #[diesel(sql_type = Nullable<Text>)]
    unique_key: Option<String>,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    created_at: Timestamp,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    at: Timestamp,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    started_at: Option<Timestamp>,
    #[diesel(sql_type = Bool)]
    ending: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    progress_done: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    progress_total: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    last_error: Option<String>,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct RevivedRow {
    #[diesel(sql_type = BigInt)]
    job_id: i64,
    #[diesel(sql_type = BigInt)]
    now_id: i64,
}

#[derive(QueryableByName)]
struct State {
    #[diesel(sql_type = Text)]
    state: String,
}

#[async_trait]
impl JobReads for PgStore {
    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<Row> = sql("SELECT id, kind, queue, job_group, state, priority, attempt, max_attempts, unique_key,
                    created_at, at, started_at, ending, progress_done, progress_total, last_error
             FROM (
                SELECT job_id AS id, kind, queue, job_group, 'dead' AS state, priority, attempt, max_attempts,
                       unique_key, created_at, died_at AS at, NULL::timestamptz AS started_at, false AS ending,
                       NULL::bigint AS progress_done, NULL::bigint AS progress_total, last_error,
                       0 AS part, -extract(epoch FROM died_at) AS place
                FROM jobs_dead
                UNION ALL
                SELECT id, kind, queue, job_group,
                       CASE WHEN leased_by IS NOT NULL THEN 'running'
                            WHEN run_at <= statement_timestamp() THEN 'due' ELSE 'scheduled' END,
                       priority, attempt, max_attempts, unique_key, created_at, run_at, started_at,
                       cancelled_at IS NOT NULL, progress_done, progress_total, last_error,
                       1, extract(epoch FROM run_at)
                FROM jobs
                UNION ALL
                SELECT job_id, kind, queue, job_group, outcome, priority, attempt, max_attempts, unique_key,
                       created_at, finished_at, started_at, false, NULL, NULL, NULL, 2, -job_id
                FROM jobs_archive
                WHERE (outcome = $2 OR $2 IS NULL) AND (job_id = $3 OR $3 IS NULL)
                  AND ($2 IS NOT NULL OR $3 IS NOT NULL)
             ) AS job
             WHERE ($1 IS NULL OR kind = $1) AND ($2 IS NULL OR state = $2) AND ($3 IS NULL OR id = $3)
             ORDER BY part, place, id LIMIT $4")
        .bind(filter.kind.clone())
        .bind(filter.state.map(|state| state.to_string()))
        .bind(filter.id)
        .bind(i64::from(filter.limit))
        .rows(&connection)
        .await?;
        rows.into_iter().map(JobView::try_from).collect()
    }

    async fn dead(&self) -> Result<u64, StoreError> {
        let connection = self.connection().await?;
        let count: Option<Count> =
            sql("SELECT count(*) AS count FROM jobs_dead").row(&connection).await?;
        Ok(count.map_or(0, |count| count.count.unsigned_abs()))
    }

    async fn dead_fitting(&self, filter: &DeadFilter) -> Result<u64, StoreError> {
        let connection = self.connection().await?;
        let count: Option<Count> = sql("SELECT count(*) AS count FROM jobs_dead
             WHERE ($1 IS NULL OR kind = $1) AND ($2 IS NULL OR died_at >= $2)
               AND ($3 IS NULL OR position($3 IN last_error) > 0)")
        .bind(filter.kind.clone())
        .bind(filter.since)
        .bind(filter.error.clone())
        .row(&connection)
        .await?;
        Ok(count.map_or(0, |count| count.count.unsigned_abs()))
    }
}

impl TryFrom<Row> for JobView {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            state: stored("jobs.state", row.state.parse())?,
            id: row.id,
            kind: row.kind,
            queue: row.queue,
            group: row.job_group,
            priority: row.priority,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            unique_key: row.unique_key,
            created_at: row.created_at,
            at: row.at,
            started_at: row.started_at,
            ending: row.ending,
            progress: row.progress_done.map(|done| Progress { done, total: row.progress_total }),
            last_error: row.last_error,
        })
    }
}

/// Says that the groups of these jobs, as far as they have any, have something to claim.
fn ready_groups(jobs: Vec<i64>) -> Sql {
    sql("SELECT convene_ready_groups(array_agg(queue), array_agg(job_group), array_agg(run_at))
         FROM jobs WHERE id = ANY ($1) AND job_group IS NOT NULL HAVING count(*) > 0")
    .bind(jobs)
}

#[async_trait]
impl JobTx for PgTx {
    /// A statement cannot meet a unique key twice, so of the letters with one key one is made live, and all leave.
    async fn revive(
        &mut self,
        letters: &DeadLetters,
        limit: u32,
    ) -> Result<Vec<Revived>, StoreError> {
        let (job, before, filter) = match letters {
            DeadLetters::OfJob(job) => (Some(*job), None, DeadFilter::default()),
            DeadLetters::DiedBefore { time, kind } => {
                (None, Some(*time), DeadFilter { kind: kind.clone(), ..DeadFilter::default() })
            }
            DeadLetters::Fitting { time, filter } => (None, Some(*time), filter.clone()),
        };
        let revive = sql("WITH taken AS (
                DELETE FROM jobs_dead WHERE id = ANY (ARRAY(
                    SELECT id FROM jobs_dead
                    WHERE ($1 IS NULL OR job_id = $1) AND ($2 IS NULL OR died_at < $2) AND ($3 IS NULL OR kind = $3)
                      AND ($5 IS NULL OR died_at >= $5) AND ($6 IS NULL OR position($6 IN last_error) > 0)
                    ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED))
                RETURNING *
             ), once AS (
                SELECT DISTINCT ON (kind, unique_key) * FROM taken WHERE unique_key IS NOT NULL
                ORDER BY kind, unique_key, id DESC
             ), keyed AS (
                INSERT INTO jobs (kind, queue, job_group, payload, unique_key, run_at, priority, max_attempts,
                                  traceparent, correlation_id, keep)
                SELECT kind, queue, job_group, payload, unique_key, clock_timestamp(), priority, max_attempts,
                       traceparent, correlation_id, keep
                FROM once ORDER BY kind, unique_key
                ON CONFLICT (kind, unique_key) WHERE unique_key IS NOT NULL DO UPDATE
                    SET rerun = jobs.leased_by IS NOT NULL, run_at = least(jobs.run_at, excluded.run_at)
                RETURNING id, kind, unique_key
             ), numbered AS (
                SELECT *, row_number() OVER (ORDER BY id) AS place FROM taken WHERE unique_key IS NULL
             ), unkeyed AS (
                INSERT INTO jobs (kind, queue, job_group, payload, run_at, priority, max_attempts, traceparent,
                                  correlation_id, keep)
                SELECT kind, queue, job_group, payload, clock_timestamp(), priority, max_attempts, traceparent,
                       correlation_id, keep
                FROM numbered ORDER BY place
                RETURNING id
             )
             SELECT taken.job_id, keyed.id AS now_id FROM taken JOIN keyed USING (kind, unique_key)
             UNION ALL
             SELECT numbered.job_id, made.id FROM numbered
             JOIN (SELECT id, row_number() OVER (ORDER BY id) AS place FROM unkeyed) AS made USING (place)
             ORDER BY 1, 2")
        .bind(job)
        .bind(before)
        .bind(filter.kind)
        .bind(i64::from(limit))
        .bind(filter.since)
        .bind(filter.error);
        let rows = self.flight(|connection| revive.rows::<RevivedRow>(connection)).await?;
        self.write(ready_groups(rows.iter().map(|row| row.now_id).collect()));
        Ok(rows.into_iter().map(|row| Revived { job: row.job_id, now: row.now_id }).collect())
    }

    async fn hasten(&mut self, job: i64) -> Result<bool, StoreError> {
        let hasten = sql("UPDATE jobs SET run_at = clock_timestamp(), attempt = 0
             WHERE id = $1 AND leased_by IS NULL")
        .bind(job);
        let hastened = self.flight(|connection| hasten.run(connection)).await? > 0;
        self.write(ready_groups(vec![job]));
        Ok(hastened)
    }

    async fn cancel(&mut self, job: i64) -> Result<Vec<JobState>, StoreError> {
        let cancel = sql("WITH live AS MATERIALIZED (
                SELECT * FROM jobs WHERE id = $1 FOR UPDATE
             ), gone AS (
                DELETE FROM jobs WHERE id IN (SELECT id FROM live WHERE leased_by IS NULL)
             ), archived AS (
                INSERT INTO jobs_archive (job_id, kind, queue, job_group, unique_key, outcome, priority, attempt,
                                          max_attempts, correlation_id, created_at, started_at)
                SELECT id, kind, queue, job_group, unique_key, 'cancelled', priority, attempt, max_attempts,
                       correlation_id, created_at, started_at
                FROM live WHERE keep AND leased_by IS NULL
             ), told AS (
                UPDATE jobs SET cancelled_at = clock_timestamp(), rerun = false
                WHERE id IN (SELECT id FROM live WHERE leased_by IS NOT NULL)
             ), dead AS (
                DELETE FROM jobs_dead WHERE job_id = $1 RETURNING id
             )
             SELECT CASE WHEN leased_by IS NOT NULL THEN 'running'
                         WHEN run_at <= statement_timestamp() THEN 'due' ELSE 'scheduled' END AS state FROM live
             UNION ALL SELECT 'dead' FROM dead")
        .bind(job);
        let rows = self.flight(|connection| cancel.rows::<State>(connection)).await?;
        rows.into_iter().map(|row| stored("jobs.state", row.state.parse())).collect()
    }
}
