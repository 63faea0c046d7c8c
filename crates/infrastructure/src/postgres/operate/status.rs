//! Who works, as the leases tell.

use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::operate::status::{WorkerReads, WorkerSeen};
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = BigInt)]
    jobs: i64,
    #[diesel(sql_type = Array<Text>)]
    sinks: Vec<String>,
    #[diesel(sql_type = BigInt)]
    lease_micros: i64,
}

#[derive(QueryableByName)]
struct Age {
    #[diesel(sql_type = Nullable<BigInt>)]
    age_micros: Option<i64>,
}

#[async_trait]
impl WorkerReads for PgStore {
    async fn workers(&self) -> Result<Vec<WorkerSeen>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<Row> = sql("SELECT id, sum(jobs)::bigint AS jobs,
                    coalesce(array_agg(sink ORDER BY sink) FILTER (WHERE sink IS NOT NULL), '{}') AS sinks,
                    (extract(epoch FROM max(leased_until) - clock_timestamp()) * 1000000)::bigint AS lease_micros
             FROM (
                SELECT leased_by AS id, 1 AS jobs, NULL AS sink, leased_until FROM (
                    SELECT leased_by, leased_until FROM jobs WHERE leased_by IS NOT NULL
                    ORDER BY leased_until LIMIT 10000) AS leased
                UNION ALL
                SELECT holder, 0, sink, leased_until FROM sink_cursors
             ) AS held
             WHERE leased_until > clock_timestamp()
             GROUP BY id ORDER BY id LIMIT 100")
        .rows(&connection)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| WorkerSeen {
                id: row.id,
                jobs: row.jobs.unsigned_abs(),
                sinks: row.sinks,
                lease: micros(row.lease_micros),
            })
            .collect())
    }

    async fn last_duty(&self) -> Result<Option<Duration>, StoreError> {
        let connection = self.connection().await?;
        let age: Option<Age> = sql(
            "SELECT (extract(epoch FROM clock_timestamp() - max(fired_at)) * 1000000)::bigint AS age_micros
             FROM cron_ticks",
        )
        .row(&connection)
        .await?;
        Ok(age.and_then(|age| age.age_micros).map(micros))
    }
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
