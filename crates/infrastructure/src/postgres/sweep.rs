//! Sweeping: rows whose time is over go, in steps of bounded size, and the inbox gets its next partitions.

use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::store::StoreError;
use convene_application::kernel::sweep::{Keep, Sweep, Swept};
use diesel::QueryableByName;
use diesel::sql_types::Integer;

use super::PgStore;
use super::sql::{micros, sql};

/// The most rows that one statement deletes, so that none runs or locks for long.
const STEP: i64 = 2_000;

const KEEP_JOBS: &str = "SELECT convene_keep_jobs($1 * interval '1 microsecond') AS dropped";
const FORGET_EVENTS: &str =
    "SELECT convene_forget_events($1 * interval '1 microsecond') AS dropped";

#[derive(QueryableByName)]
struct Dropped {
    #[diesel(sql_type = Integer)]
    dropped: i32,
}

#[async_trait]
impl Sweep for PgStore {
    async fn sweep(&self, keep: Keep) -> Result<Swept, StoreError> {
        let inbox_partitions = self.keep_inbox().await?;
        let job_partitions = self.drop_partitions(KEEP_JOBS, keep.ended_jobs).await?;
        let event_partitions = match keep.events {
            Some(keep) => self.drop_partitions(FORGET_EVENTS, keep).await?,
            None => 0,
        };
        Ok(Swept {
            idempotency_keys: self
                .delete_all("DELETE FROM idempotency_keys WHERE scope = ANY (ARRAY(
                                 SELECT scope FROM idempotency_keys WHERE created_at < now() - interval '24 hours'
                                 ORDER BY created_at LIMIT $1))")
                .await?,
            dead_jobs: self
                .delete_all("DELETE FROM jobs_dead WHERE id = ANY (ARRAY(
                                 SELECT id FROM jobs_dead WHERE died_at < now() - interval '30 days'
                                 ORDER BY died_at LIMIT $1))")
                .await?,
            cron_ticks: self
                .delete_all("DELETE FROM cron_ticks WHERE ctid = ANY (ARRAY(
                                 SELECT old.ctid FROM cron_ticks AS old
                                 WHERE old.tick < now() - interval '7 days'
                                   AND EXISTS (SELECT FROM cron_ticks AS newer
                                               WHERE newer.name = old.name AND newer.tick > old.tick)
                                 LIMIT $1))")
                .await?,
            invalidations: self
                .delete_all("DELETE FROM cache_invalidations WHERE number = ANY (ARRAY(
                                 SELECT number FROM cache_invalidations WHERE at < now() - interval '20 minutes'
                                 ORDER BY at LIMIT $1))")
                .await?,
            inbox_partitions,
            job_partitions,
            job_groups: self
                .delete_all("DELETE FROM job_groups WHERE ctid = ANY (ARRAY(
                                 SELECT ctid FROM job_groups
                                 WHERE ready_at = 'infinity' AND at_once IS NULL AND NOT paused
                                   AND looked_at < now() - interval '1 day' LIMIT $1))
                             AND ready_at = 'infinity'")
                .await?,
            event_partitions,
        })
    }
}

impl PgStore {
    /// Repeats a statement that deletes up to `$1` rows until it finds fewer.
    async fn delete_all(&self, statement: &'static str) -> Result<usize, StoreError> {
        let mut total = 0;
        loop {
            let connection = self.connection().await?;
            let deleted = sql(statement).bind(STEP).run(&connection).await?;
            total += deleted;
            if i64::try_from(deleted).is_ok_and(|deleted| deleted < STEP) {
                return Ok(total);
            }
        }
    }

    /// An event may be redelivered as long as its retries last, which is less than two weeks.
    async fn keep_inbox(&self) -> Result<usize, StoreError> {
        let days = Duration::from_hours(14 * 24);
        self.drop_partitions(
            "SELECT convene_keep_inbox($1 * interval '1 microsecond') AS dropped",
            days,
        )
        .await
    }

    async fn drop_partitions(
        &self,
        statement: &'static str,
        keep: Duration,
    ) -> Result<usize, StoreError> {
        let connection = self.connection().await?;
        let dropped: Option<Dropped> = sql(statement).bind(micros(keep)).row(&connection).await?;
        Ok(dropped.map_or(0, |row| usize::try_from(row.dropped).unwrap_or(0)))
    }
}
