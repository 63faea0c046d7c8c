//! The scheduler's ticks: one row for each that has come, and with it one job, whoever is first.

use async_trait::async_trait;
use convene_application::kernel::jobs::{CronStore, Duty};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Tx as _;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use jiff::Timestamp;

use super::PgStore;
use super::sql::sql;

#[derive(QueryableByName)]
struct Fired {
    #[diesel(sql_type = Text)]
    name: String,
}

#[async_trait]
impl CronStore for PgStore {
    async fn fire(&self, duties: &[Duty], now: Timestamp) -> Result<usize, StoreError> {
        let names: Vec<&'static str> = duties.iter().map(|duty| duty.name).collect();
        let ticks: Vec<Timestamp> = duties.iter().map(|duty| duty.tick(now)).collect();
        let mut tx = self.tx(Vec::new()).await?;
        // A later tick may be there already if this machine's clock is behind another's.
        let fired: Vec<Fired> = tx
            .flight(|connection| {
                sql("INSERT INTO cron_ticks (name, tick)
                     SELECT name, tick FROM unnest($1::text[], $2::timestamptz[]) AS due(name, tick)
                     WHERE NOT EXISTS (SELECT FROM cron_ticks AS fired
                                       WHERE fired.name = due.name AND fired.tick >= due.tick)
                     ON CONFLICT DO NOTHING RETURNING name")
                .bind(names)
                .bind(ticks)
                .rows(connection)
            })
            .await?;
        if fired.is_empty() {
            return Ok(0);
        }
        let jobs = duties
            .iter()
            .filter(|duty| fired.iter().any(|fired| fired.name == duty.name))
            .map(|duty| duty.job.clone());
        tx.staged().jobs.extend(jobs);
        tx.commit().await?;
        Ok(fired.len())
    }
}
