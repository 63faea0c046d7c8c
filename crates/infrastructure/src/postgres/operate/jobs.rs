//! Jobs in any state, and the operator's transaction on them.

use async_trait::async_trait;
use convene_application::kernel::operate::jobs::{
    DeadLetters, JobFilter, JobReads, JobState, JobTx, JobView, Revived,
};
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, SmallInt, Text, Timestamptz};
use jiff::Timestamp;

use crate::postgres::sql::{sql, stored};
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
        let rows: Vec<Row> = sql("SELECT id, kind, queue, state, priority, attempt, max_attempts, unique_key,
                    created_at, at, last_error
             FROM (
                SELECT job_id AS id, kind, queue, 'dead' AS state, priority, attempt, max_attempts, unique_key,
                       created_at, died_at AS at, last_error, 0 AS part, -extract(epoch FROM died_at) AS place
                FROM jobs_dead
                UNION ALL
                SELECT id, kind, queue,
                       CASE WHEN leased_by IS NOT NULL THEN 'running'
                            WHEN run_at <= statement_timestamp() THEN 'due' ELSE 'scheduled' END,
                       priority, attempt, max_attempts, unique_key, created_at, run_at, last_error,
                       1, extract(epoch FROM run_at)
                FROM jobs
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
}

impl TryFrom<Row> for JobView {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            state: stored("jobs.state", row.state.parse())?,
            id: row.id,
            kind: row.kind,
            queue: row.queue,
            priority: row.priority,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            unique_key: row.unique_key,
            created_at: row.created_at,
            at: row.at,
            last_error: row.last_error,
        })
    }
}

#[async_trait]
impl JobTx for PgTx {
    /// A statement cannot meet a unique key twice, so of the letters with one key one is made live, and all leave.
    async fn revive(
        &mut self,
        letters: &DeadLetters,
        limit: u32,
    ) -> Result<Vec<Revived>, StoreError> {
        let (job, before, kind) = match letters {
            DeadLetters::OfJob(job) => (Some(*job), None, None),
            DeadLetters::DiedBefore { time, kind } => (None, Some(*time), kind.clone()),
        };
        let revive = sql("WITH taken AS (
                DELETE FROM jobs_dead WHERE id = ANY (ARRAY(
                    SELECT id FROM jobs_dead
                    WHERE ($1 IS NULL OR job_id = $1) AND ($2 IS NULL OR died_at < $2) AND ($3 IS NULL OR kind = $3)
                    ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED))
                RETURNING *
             ), once AS (
                SELECT DISTINCT ON (kind, unique_key) * FROM taken WHERE unique_key IS NOT NULL
                ORDER BY kind, unique_key, id DESC
             ), keyed AS (
                INSERT INTO jobs (kind, queue, payload, unique_key, run_at, priority, max_attempts, traceparent,
                                  correlation_id)
                SELECT kind, queue, payload, unique_key, clock_timestamp(), priority, max_attempts, traceparent,
                       correlation_id
                FROM once ORDER BY kind, unique_key
                ON CONFLICT (kind, unique_key) WHERE unique_key IS NOT NULL DO UPDATE
                    SET rerun = jobs.leased_by IS NOT NULL, run_at = least(jobs.run_at, excluded.run_at)
                RETURNING id, kind, unique_key
             ), numbered AS (
                SELECT *, row_number() OVER (ORDER BY id) AS place FROM taken WHERE unique_key IS NULL
             ), unkeyed AS (
                INSERT INTO jobs (kind, queue, payload, run_at, priority, max_attempts, traceparent, correlation_id)
                SELECT kind, queue, payload, clock_timestamp(), priority, max_attempts, traceparent, correlation_id
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
        .bind(kind)
        .bind(i64::from(limit));
        let rows = self.flight(|connection| revive.rows::<RevivedRow>(connection)).await?;
        Ok(rows.into_iter().map(|row| Revived { job: row.job_id, now: row.now_id }).collect())
    }

    async fn hasten(&mut self, job: i64) -> Result<bool, StoreError> {
        let hasten = sql("UPDATE jobs SET run_at = clock_timestamp(), attempt = 0
             WHERE id = $1 AND leased_by IS NULL")
        .bind(job);
        Ok(self.flight(|connection| hasten.run(connection)).await? > 0)
    }

    async fn cancel(&mut self, job: i64) -> Result<Vec<JobState>, StoreError> {
        let cancel = sql("WITH live AS (
                DELETE FROM jobs WHERE id = $1 RETURNING leased_by, run_at
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
